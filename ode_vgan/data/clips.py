"""Clips: frames with the times at which they are shown, read from and written to video files.

The only uint8 <-> float boundary of the package is here (`to_float`, `to_uint8`).
"""

import io
import os
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import BinaryIO

import av
import numpy as np
import torch
from av.video.reformatter import VideoReformatter
from PIL import Image, UnidentifiedImageError
from torch import Tensor

from ode_vgan.data.encode import write_frames
from ode_vgan.data.framing import THREADLESS_PX, square, to_rgb
from ode_vgan.data.soundness import (
    MAX_FRAMES,
    CorruptClip,
    check_end,
    check_index,
    check_patience,
    check_sides,
    check_whole,
    name_of,
    one_line,
)
from ode_vgan.errors import UserError

BROKEN = (  # what the decoders say of broken files
    av.error.FFmpegError, EOFError, OSError, SyntaxError, UnicodeDecodeError, UnidentifiedImageError,
    Image.DecompressionBombError,
)  # fmt: skip


@dataclass(frozen=True)
class Clip:
    """Frames and the second at which each is shown.

    Attributes:
        frames: uint8 (T, H, W, 3), RGB.
        times: float64 (T,), seconds from the first frame; times[0] == 0, rising.
    """

    frames: np.ndarray
    times: np.ndarray

    def take(self, index: Sequence[int], out: np.ndarray | None = None) -> np.ndarray:
        """Frames by number, copied, to `out` if it is given."""
        return self.frames.take(index, axis=0, out=out, mode="clip")  # the default would copy twice


def decode_clip(source: str | Path | bytes, *, size: int | None = None, max_frames: int | None = None) -> Clip:
    """Decode a video or an animated image with the times that its file states.

    Args:
        source: a path, or the bytes of a file.
        size: side of a square centre crop, px; None keeps the file's own size.
        max_frames: stop after this many frames; None reads to the end.

    Raises:
        FileNotFoundError: there is no such file.
        CorruptClip: no frame decodes, the file breaks off midway, or its sides or length exceed the limits.
        UserError: size or max_frames below 1.
    """
    if size is not None and size < 1 or max_frames is not None and max_frames < 1:
        raise UserError(f"size={size} and max_frames={max_frames} must be at least 1. Leave them out for no limit.")
    frames, times = [], []
    for frame, seconds in stream_frames(source):
        frames.append(square(frame, size))
        times.append(seconds)
        if len(frames) == max_frames:
            break
    return Clip(np.stack(frames), np.array(times, dtype=np.float64))


def stream_frames(source: str | Path | bytes) -> Iterator[tuple[np.ndarray, float]]:
    """The frames of a video or an animated image one by one: uint8 (H, W, 3), and the second of each from the first.

    Raises:
        FileNotFoundError, CorruptClip: as `decode_clip`, once the reader gets there.
    """
    name = name_of(source)
    if not isinstance(source, bytes) and not Path(source).is_file():
        raise FileNotFoundError(f"no clip at {name}. Check the path.")
    read = _webp_frames if check_whole(source, name) else _video_frames
    count, last, spent, since = 0, -np.inf, 0.0, time.monotonic()
    try:
        for frame, seconds in read(source, name):
            spent += time.monotonic() - since
            check_patience(spent, name)
            if count == MAX_FRAMES:
                raise CorruptClip(f"{name}: more than {MAX_FRAMES} frames. Cut it into shorter clips.")
            if seconds <= last:
                late = f"frame {count} at {seconds:.3f} s is not after frame {count - 1}"
                raise CorruptClip(f"{name}: {late}. Re-encode it.")
            count, last = count + 1, seconds
            yield frame, seconds
            since = time.monotonic()
    except BROKEN as error:
        raise CorruptClip(f"{name}: broken after {count} frames ({one_line(error)}). Replace it.") from error
    if not count:
        raise CorruptClip(f"{name}: no frames. Replace it.")


def encode_clip(
    path: str | Path | None,
    frames: np.ndarray | Iterator[np.ndarray],
    times: np.ndarray | float,
    *,
    codec: str = "libx264",
    crf: float = 18,
    pix_fmt: str = "yuv444p",
    options: dict[str, str] | None = None,
) -> bytes | None:
    """Write an MP4 whose timestamps are the given times, to 1/24000 s (whole milliseconds are exact).

    Args:
        path: where to write, replaced only when complete; None returns the bytes instead.
        frames: uint8 (T, H, W, 3), RGB; or T of (H, W, 3) one by one, none of which is kept.
        times: (T,) rising seconds, or for an array one number, frames per second.
        options: further encoder options, as FFmpeg names them; they win over crf.

    Raises:
        UserError: times do not rise, or do not match the frames; odd sides with a subsampled pix_fmt.
    """
    if not isinstance(frames, Iterator):
        frames = np.ascontiguousarray(frames)
    # two encoder threads give other bytes than one; B-frames would shift the first timestamp
    settings = {"crf": f"{crf:g}", "preset": "veryslow", "bf": "0", "threads": "1"} | (options or {})
    given = {"codec": codec, "pix_fmt": pix_fmt, "settings": settings}
    if path is not None:
        with atomic_file(path) as file:
            return write_frames(file, frames, times, **given)
    buffer = io.BytesIO()
    write_frames(buffer, frames, times, **given)
    return buffer.getvalue()


def to_float(frames: Tensor) -> Tensor:
    """uint8 (..., T, H, W, C) to float32 (..., T, C, H, W) in [-1, 1]; inverse of `to_uint8`."""
    return frames.movedim(-1, -3).float().div(127.5).sub(1)


def to_uint8(x: Tensor) -> Tensor:
    """Float (..., T, C, H, W), clipped to [-1, 1], to uint8 (..., T, H, W, C), to the nearest level."""
    levels = x.detach().float().add(1).mul(127.5).round().clamp(0, 255)
    return levels.to(torch.uint8).movedim(-3, -1).contiguous()


def write_atomic(path: str | Path, content: bytes) -> None:
    """Put the content at the path in one step: readers see the old file or the whole new one."""
    with atomic_file(path) as file:
        file.write(content)


@contextmanager
def atomic_file(path: str | Path) -> Iterator[BinaryIO]:
    """A file to write into that takes the path's place in one step when it is complete, and vanishes if it is not."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(descriptor, "wb") as file:
            yield file
        os.chmod(temporary, 0o644)
        os.replace(temporary, path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def _video_frames(source: str | Path | bytes, name: str) -> Iterator[tuple[np.ndarray, float]]:
    file = io.BytesIO(source) if isinstance(source, bytes) else str(source)
    with av.open(file) as container:
        if not container.streams.video or container.streams.video[0].codec_context is None:
            raise CorruptClip(f"{name}: no video stream that can be decoded. Replace it.")
        stream = container.streams.video[0]
        width, height = stream.codec_context.width, stream.codec_context.height
        check_sides(width, height, name)
        check_index(container, stream, name)
        stream.thread_type = "NONE" if width * height <= THREADLESS_PX else "AUTO"
        converter = VideoReformatter()
        times: list[Fraction] = []
        for frame in container.decode(stream):
            if frame.is_corrupt:
                raise CorruptClip(f"{name}: broken after {len(times)} frames. Replace it.")
            times.append(_seconds(frame, len(times), stream))
            yield to_rgb(frame, converter), float(times[-1] - times[0])
        check_end(container, [float(seconds) for seconds in times[-2:]], name)


def _seconds(frame: av.VideoFrame, i: int, stream: av.VideoStream) -> Fraction:
    if frame.pts is not None:
        return frame.pts * frame.time_base
    return Fraction(i) / (stream.average_rate or stream.guessed_rate or 25)  # raw streams have no timestamps


def _webp_frames(source: str | Path | bytes, name: str) -> Iterator[tuple[np.ndarray, float]]:
    with Image.open(io.BytesIO(source) if isinstance(source, bytes) else source) as image:
        check_sides(*image.size, name)
        milliseconds = 0
        for i in range(getattr(image, "n_frames", 1)):
            image.seek(i)
            image.load()
            rgba = image.convert("RGBA")
            white = Image.new("RGBA", rgba.size, "white")
            yield np.asarray(Image.alpha_composite(white, rgba).convert("RGB")), milliseconds / 1000
            milliseconds += image.info.get("duration", 0) or 100
