"""From the bytes of a source to clips: refused by its header where too much, then decoded, cut and encoded anew.

What runs here reads hostile bytes; decoders.py runs it in a process that can be killed.
"""

import hashlib
import io
from dataclasses import dataclass

import av
import numpy as np
from PIL import Image

from ode_vgan.data.clips import CorruptClip, encode_clip, stream_frames
from ode_vgan.errors import UserError
from ode_vgan.laion.cuts import DETECTORS
from ode_vgan.laion.sniff import CLIPS, kind_of
from ode_vgan.laion.spans import Span, find_spans

DEMUXERS = {"gif": "gif", "mp4": "mp4", "webm": "matroska", "avi": "avi"}
RESIZES = ("square", "shortest", "keep")
# x264's AVX2 code can write other bytes from run to run (data/emoji.py); its SSE2 code, on one thread, does not
X264 = {"preset": "veryfast", "x264-params": "asm=sse2"}


@dataclass(frozen=True)
class MediaOptions:
    """What is taken of a source, and what a clip is made like.

    Attributes:
        max_seconds, max_frames, max_side_px: of a source; more is refused.
        max_pixels: width x height x frames of a source; 4e9 is a minute of full HD at 30 frames a second.
        memory_mb: what a decoder process may take beyond its start; decode_seconds: how long it may work on a source.
        resize: "square" crops the middle and scales it to size_px, "shortest" scales the shorter side to it, "keep"
            keeps the source's sides (but for an odd pixel). Nothing is enlarged.
        crf, pix_fmt: of the encoder, libx264. yuv420p plays everywhere; yuv444p keeps the colour of small clips.
        cuts: "none", "content" or "transnet"; cut_threshold: None is the detector's own.
        clip_min_seconds, clip_max_seconds: of a clip; longer shots are cut in pieces, shorter rests dropped.
        min_frames: of a clip; a still image has one.
    """

    max_seconds: float = 120.0
    max_frames: int = 3600
    max_side_px: int = 4096
    max_pixels: int = 4_000_000_000
    memory_mb: int = 4096
    decode_seconds: float = 60.0
    size_px: int = 256
    resize: str = "square"
    crf: float = 18.0
    pix_fmt: str = "yuv420p"
    cuts: str = "none"
    cut_threshold: float | None = None
    clip_min_seconds: float = 0.0
    clip_max_seconds: float | None = None
    min_frames: int = 2

    def __post_init__(self):
        positive = ("max_seconds", "max_frames", "max_side_px", "max_pixels", "memory_mb", "decode_seconds", "size_px")
        low = [f"{name}={getattr(self, name)}" for name in positive if not getattr(self, name) > 0]
        if low:
            raise UserError(f"{', '.join(low)} must be above 0. Leave it out for the default.")
        if self.resize not in RESIZES:
            raise UserError(f"resize={self.resize!r} must be one of {', '.join(RESIZES)}.")
        if self.cuts not in ("none", *DETECTORS):
            raise UserError(f"cuts={self.cuts!r} must be one of none, {', '.join(DETECTORS)}.")
        if self.pix_fmt not in ("yuv420p", "yuv444p"):
            raise UserError(f"pix_fmt={self.pix_fmt!r} must be yuv420p or yuv444p.")
        if self.clip_max_seconds is not None and not self.clip_max_seconds > self.clip_min_seconds:
            raise UserError(f"clip_max_seconds={self.clip_max_seconds} must be above clip_min_seconds.")

    @property
    def spans(self) -> bool:
        """Whether one source may give several clips."""
        return self.cuts != "none" or self.clip_max_seconds is not None


class MediaRefused(Exception):  # noqa: N818 named for what it is
    """A source that gives no clip; the message is one of a few.

    Attributes:
        status: "failed_to_decode", or "filtered" for a good file that was not wanted.
    """

    def __init__(self, message: str, status: str = "failed_to_decode"):
        super().__init__(message)
        self.status = status


@dataclass(frozen=True)
class Header:
    """What a file says of itself, before a frame is decoded. seconds None: it does not say."""

    kind: str
    codec: str
    width: int
    height: int
    frames: int
    seconds: float | None


@dataclass(frozen=True)
class MadeClip:
    """One clip of a source, as an MP4, and its span in the source."""

    content: bytes
    span: Span
    width: int
    height: int

    def row(self) -> dict:
        """Its columns in a shard."""
        seconds, frames = self.span.end_seconds - self.span.start_seconds, self.span.stop - self.span.first
        digest = hashlib.sha256(self.content).hexdigest()
        return {
            **{"clip_start": round(self.span.start_seconds, 6), "clip_end": round(self.span.end_seconds, 6)},
            **{"num_frames": frames, "duration_seconds": round(seconds, 6), "fps": round(frames / seconds, 6)},
            **{"width": self.width, "height": self.height, "bytes": len(self.content), "codec": "h264"},
            **{"clip_sha256": digest, "uid": digest[:32]},
        }


def make_clips(content: bytes, options: MediaOptions) -> tuple[Header, list[MadeClip]]:
    """The clips of a source; without cuts and a longest length, one with all its frames.

    Raises:
        MediaRefused: it is no clip, too much of one, broken, or nothing of it was wanted.
    """
    header = probe(content, options)
    box, size = fit(header.width, header.height, options)
    frames, times = _decode(content, header, options, box, size)
    end = 2 * times[-1] - times[-2] if len(times) > 1 else times[-1]
    if header.seconds is not None and header.seconds > times[-1]:
        end = header.seconds
    spans = find_spans(
        times,
        end,
        _cuts(frames, options),
        min_seconds=options.clip_min_seconds,
        max_seconds=options.clip_max_seconds,
        min_frames=options.min_frames,
    )
    if not spans:
        raise MediaRefused("still image" if len(times) == 1 else "too short", "filtered")
    return header, [_encode(frames, times, span, options) for span in spans]


def probe(content: bytes, options: MediaOptions) -> Header:
    """What the file's headers and packets say; nothing is decoded in full.

    Raises:
        MediaRefused: it is no clip, or too much of one.
    """
    kind = kind_of(content)
    if kind not in CLIPS:
        raise MediaRefused(f"not a clip: {kind}")
    try:
        header = _webp_header(content) if kind == "webp" else _header(content, kind, options)
    except (av.error.FFmpegError, EOFError, OSError, ValueError, IndexError) as error:
        raise MediaRefused("corrupt") from error
    except MemoryError as error:
        raise MediaRefused("too much memory") from error
    _check(header, header.frames, options)
    return header


def fit(width: int, height: int, options: MediaOptions) -> tuple[tuple[int, int, int, int], tuple[int, int]]:
    """The part of a frame (left, top, right, bottom) that a clip shows, and the clip's (width, height), px."""
    step = 2 if options.pix_fmt == "yuv420p" else 1
    box = 0, 0, width, height
    if options.resize == "keep":
        size = width, height
    elif options.resize == "square":
        side = min(width, height)
        left, top = (width - side) // 2, (height - side) // 2
        box = left, top, left + side, top + side
        size = (min(side, options.size_px),) * 2
    else:
        shrink = min(1.0, options.size_px / min(width, height))
        size = round(width * shrink), round(height * shrink)
    even = tuple(max(step, side // step * step) for side in size)
    if size == (width, height):  # an odd pixel goes, rather than that all are blurred
        box = 0, 0, min(even[0], width), min(even[1], height)
    return box, even


def _check(header: Header, frames: int, options: MediaOptions) -> None:
    if not (0 < header.width <= options.max_side_px and 0 < header.height <= options.max_side_px):
        raise MediaRefused("too many pixels a side")
    if frames > options.max_frames:
        raise MediaRefused("too many frames")
    if header.seconds is not None and header.seconds > options.max_seconds:
        raise MediaRefused("too many seconds")
    if header.width * header.height * max(frames, 1) > options.max_pixels:
        raise MediaRefused("too many pixels")


def _header(content: bytes, kind: str, options: MediaOptions) -> Header:
    # the demuxer is named: a file that looks like a playlist to FFmpeg must not lead it to other files
    with av.open(io.BytesIO(content), format=DEMUXERS[kind]) as container:
        if not container.streams.video or container.streams.video[0].codec_context is None:
            raise MediaRefused("no video stream")
        stream = container.streams.video[0]
        context = stream.codec_context
        header = Header(kind, context.name, context.width, context.height, 0, None)
        _check(header, 0, options)
        frames, first, end = 0, None, None
        for packet in container.demux(stream):
            if packet.size:
                frames += 1
                if packet.pts is not None:
                    first = packet.pts if first is None else min(first, packet.pts)
                    end = max(end or 0, packet.pts + (packet.duration or 0))
                _check(header, frames, options)
        seconds = None if end is None else float((end - first) * stream.time_base)
        return Header(kind, context.name, context.width, context.height, frames, seconds)


def _webp_header(content: bytes) -> Header:
    """Sides, frames and milliseconds from the chunks of a RIFF; an absent duration counts 100 ms, as in browsers."""
    if content[12:16] != b"VP8X":
        return Header("webp", "webp", *Image.open(io.BytesIO(content)).size, 1, None)
    width, height = (int.from_bytes(content[i : i + 3], "little") + 1 for i in (24, 27))
    frames, milliseconds, at = 0, 0, 12
    while at + 8 <= len(content):
        if content[at : at + 4] == b"ANMF":
            frames += 1
            milliseconds += int.from_bytes(content[at + 20 : at + 23], "little") or 100
        at += 8 + int.from_bytes(content[at + 4 : at + 8], "little")
        at += at % 2
    return Header("webp", "webp", width, height, max(frames, 1), milliseconds / 1000 if frames else None)


def _decode(content: bytes, header: Header, options: MediaOptions, box, size) -> tuple[list[np.ndarray], np.ndarray]:
    frames, times = [], []
    try:
        for frame, seconds in stream_frames(content):
            if frame.shape[:2] != (header.height, header.width):
                raise MediaRefused("sides change")
            _check(header, len(frames) + 1, options)
            if seconds > options.max_seconds:
                raise MediaRefused("too many seconds")
            frames.append(_fitted(frame, box, size))
            times.append(seconds)
    except CorruptClip as error:
        raise MediaRefused("corrupt") from error
    except MemoryError as error:
        raise MediaRefused("too much memory") from error
    return frames, np.array(times)


def _fitted(frame: np.ndarray, box: tuple[int, int, int, int], size: tuple[int, int]) -> np.ndarray:
    left, top, right, bottom = box
    part = np.ascontiguousarray(frame[top:bottom, left:right])
    if size == (right - left, bottom - top):
        return part
    return np.asarray(Image.fromarray(part).resize(size, Image.Resampling.BOX))


def _cuts(frames: list[np.ndarray], options: MediaOptions) -> list[int]:
    if options.cuts == "none":
        return []
    threshold = {} if options.cut_threshold is None else {"threshold": options.cut_threshold}
    return DETECTORS[options.cuts](frames, **threshold)


def _encode(frames: list[np.ndarray], times: np.ndarray, span: Span, options: MediaOptions) -> MadeClip:
    part = np.stack(frames[span.first : span.stop])
    settings = {"crf": options.crf, "pix_fmt": options.pix_fmt, "options": X264}
    content = encode_clip(None, part, times[span.first : span.stop], **settings)
    return MadeClip(content, span, part.shape[2], part.shape[1])
