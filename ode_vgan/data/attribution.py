"""The words that travel with every built set of emoji: the artwork's licence and where it comes from."""

import textwrap
from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np

LICENSE = """\
MIT License

Copyright (c) Microsoft Corporation.

Permission is hereby granted, free of charge, to any person obtaining a copy
of this software and associated documentation files (the "Software"), to deal
in the Software without restriction, including without limitation the rights
to use, copy, modify, merge, publish, distribute, sublicense, and/or sell
copies of the Software, and to permit persons to whom the Software is
furnished to do so, subject to the following conditions:

The above copyright notice and this permission notice shall be included in all
copies or substantial portions of the Software.

THE SOFTWARE IS PROVIDED "AS IS", WITHOUT WARRANTY OF ANY KIND, EXPRESS OR
IMPLIED, INCLUDING BUT NOT LIMITED TO THE WARRANTIES OF MERCHANTABILITY,
FITNESS FOR A PARTICULAR PURPOSE AND NONINFRINGEMENT. IN NO EVENT SHALL THE
AUTHORS OR COPYRIGHT HOLDERS BE LIABLE FOR ANY CLAIM, DAMAGES OR OTHER
LIABILITY, WHETHER IN AN ACTION OF CONTRACT, TORT OR OTHERWISE, ARISING FROM,
OUT OF OR IN CONNECTION WITH THE SOFTWARE OR THE USE OR OTHER DEALINGS IN THE
SOFTWARE.
"""

README = """\
# Animated emoji, {size}x{size}

{clips} looping clips with captions: the animated part of Microsoft's Fluent Emoji, {tones} skin-tone variants.
{frames_min} to {frames_max} frames a clip (median {frames_median}), {seconds:.0f} s in all.

The artwork is by Microsoft Corporation under the MIT licence (`LICENSE`). It was taken, with names and keywords, from
these npm packages, each checked against a recorded sha256:

{packages}

Built with

    {command}

## What was done to it

- Files with fewer than {min_frames} frames, or in which nothing moves, were left out.
- Every frame was laid over white and scaled by area. White hides the least artwork of the light neutral backgrounds,
  and is what images on the web stand on; "fog" and "white flag" are the faintest clips and can still be seen.
- Every frame is kept, at its own time: the timestamps are the source's, to the millisecond.
- The caption is the emoji's Unicode name, followed by its skin tone where it has one.

## Split

By concept. All skin tones and genders of an emoji are one concept (woman surfing, man surfing and person surfing; all
families), and a hash of the concept's name puts it in `test` (about one in ten) or `train`.
So no test caption is ever trained on. Here: {train} train and {test} test clips of {concepts} concepts.

## Encoding

H.264 as FFmpeg options `{encoding}`, {bytes} bytes of MP4.
PSNR of the decoded RGB against the frames before encoding: median {psnr_median:.1f} dB, 5th percentile
{psnr_low:.1f} dB, least {psnr_least:.1f} dB; one value a clip, in the column `psnr_db`.

Chosen among these, measured at 64x64 on every 24th clip and scaled to 732 clips (preset veryslow for x264):

| encoding | MB of MP4 | PSNR median, dB | 5th percentile |
|---|---|---|---|
| x264 yuv444p crf 18 | 10.7 | 36.7 | 34.3 |
| x264 yuv444p crf 23, tune animation (Lanczos-scaled frames) | 7.7 | 34.4 | 32.2 |
| x264 yuv420p crf 18 (Lanczos-scaled frames) | 11.2 | 28.8 | 26.3 |
| x264 rgb24 crf 28, tune psnr | 13.3 | 38.4 | 36.4 |
| x264 yuv444p crf 24, tune psnr | 10.7 | 37.5 | 35.3 |
| **x264 yuv444p crf 24, tune psnr, 3 B-frames** | **9.0** | **37.4** | **35.2** |
| x264 yuv444p crf 26, tune psnr, 3 B-frames | 7.4 | 36.2 | 34.0 |
| x265 yuv444p crf 20 | 13.6 | 37.5 | 34.8 |
| VP9 yuv444p crf 30 | 8.3 | 37.2 | 35.4 |
| AV1 (SVT) yuv420p crf 30 | 5.7 | 29.1 | 26.5 |

Half-resolution chroma costs 8 dB on artwork this small. VP9 is as good for its bytes, and slower to write.

## Files

- `00000.tar`: webdataset; `.mp4`, `.txt` and `.json` of each key, which is the emoji's code points.
- `00000.parquet`: one row a clip;
{columns}.
- `00000_stats.json`: counts.

The same build writes the same bytes, given the same FFmpeg and kind of processor.
"""


def readme(rows: Sequence[Mapping], *, command: str, packages: Mapping, encoding: Mapping, min_frames: int) -> str:
    """The README of a built set, from the rows of its clips (at least one)."""
    frames = [row["num_frames"] for row in rows]
    psnr = [row["psnr_db"] for row in rows]
    splits = Counter(row["split"] for row in rows)
    options = {key: value for key, value in encoding.items() if key != "options"} | encoding.get("options", {})
    return README.format(
        size=rows[0]["width"],
        clips=len(rows),
        tones="with" if any(row["skin_tone"] for row in rows) else "without",
        frames_min=min(frames),
        frames_max=max(frames),
        frames_median=int(np.median(frames)),
        seconds=sum(row["duration_seconds"] for row in rows),
        packages="\n".join(f"- `{name}` {version}" for name, (version, _) in packages.items()),
        command=command,
        min_frames=min_frames,
        train=splits["train"],
        test=splits["test"],
        concepts=len({row["concept"] for row in rows}),
        encoding=" ".join(f"{key}={value}" for key, value in options.items()),
        bytes=f"{sum(row['bytes'] for row in rows):,}",
        psnr_median=np.median(psnr),
        psnr_low=np.percentile(psnr, 5),
        psnr_least=min(psnr),
        columns=textwrap.indent(textwrap.fill(", ".join(sorted(rows[0].keys() - {"bytes"})), 100), "  "),
    )
