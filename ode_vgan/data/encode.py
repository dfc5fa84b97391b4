"""Frames into an MP4, one at a time: none is kept, so that a film may be of any length."""

from collections.abc import Iterable, Iterator, Mapping
from fractions import Fraction
from typing import BinaryIO

import av
import numpy as np
from av.video.reformatter import VideoReformatter

from ode_vgan.errors import UserError

TIME_BASE = Fraction(1, 24_000)  # holds 1/24, 1/30, 1/60 s and every whole millisecond exactly


def write_frames(
    file: BinaryIO,
    frames: Iterable[np.ndarray],
    times: np.ndarray | float,
    *,
    codec: str,
    pix_fmt: str,
    settings: Mapping[str, str],
) -> None:
    """Write an MP4 into a file that can be sought in.

    Args:
        frames: uint8 (T, H, W, 3), or T of (H, W, 3) one by one.
        times: (T,) rising seconds, or for an array one number, frames per second.
        settings: of the encoder, as FFmpeg names them.

    Raises:
        UserError: times do not rise, or do not match the frames; odd sides with a subsampled pix_fmt.
    """
    ticks = _ticks(len(frames) if isinstance(frames, np.ndarray) else len(times), times)
    gaps = np.diff(ticks, append=ticks[-1] + (ticks[-1] - ticks[-2] if len(ticks) > 1 else 1000))
    stamps = zip(ticks.tolist(), gaps.tolist(), strict=True)
    with av.open(file, "w", format="mp4") as container:
        stream, converter = None, VideoReformatter()
        for image in _checked(frames, pix_fmt):
            if stream is None:
                stream = container.add_stream(codec, options=dict(settings))
                stream.width, stream.height, stream.pix_fmt = image.shape[1], image.shape[0], pix_fmt
                stream.time_base = stream.codec_context.time_base = TIME_BASE
                stream.codec_context.framerate = Fraction(TIME_BASE.denominator, int(np.median(gaps)))
            if (stamp := next(stamps, None)) is None:
                raise UserError(f"more frames than the {len(ticks)} times; give one for each.")
            frame = converter.reformat(av.VideoFrame.from_ndarray(image, format="rgb24"), format=pix_fmt, threads=1)
            frame.pts, frame.time_base, frame.duration = stamp[0], TIME_BASE, stamp[1]
            container.mux(stream.encode(frame))
        if (left := sum(1 for _ in stamps)) or stream is None:
            raise UserError(f"{len(ticks) - left} frames for {len(ticks)} times; give one for each.")
        container.mux(stream.encode(None))


def _checked(frames: Iterable[np.ndarray], pix_fmt: str) -> Iterator[np.ndarray]:
    """The frames, each as the first."""
    shape = None
    for frame in frames:
        if frame.dtype != np.uint8 or frame.ndim != 3 or frame.shape[2] != 3:
            raise UserError(f"a frame is {frame.dtype} {frame.shape}; a clip is uint8 (T, H, W, 3), T >= 1.")
        if shape is None and pix_fmt == "yuv420p" and (frame.shape[0] % 2 or frame.shape[1] % 2):
            raise UserError(f"{frame.shape[1]}x{frame.shape[0]} px is odd; yuv420p needs even sides. Use yuv444p.")
        if frame.shape != (shape := shape or frame.shape):
            raise UserError(f"a frame is {frame.shape}, the first is {shape}; a clip has one size.")
        yield np.ascontiguousarray(frame)


def _ticks(count: int, times: np.ndarray | float) -> np.ndarray:
    if not count:
        raise UserError("a clip of no frames; a clip is uint8 (T, H, W, 3), T >= 1.")
    seconds = np.asarray(times, dtype=np.float64)
    if seconds.ndim == 0:
        if not 0 < seconds <= TIME_BASE.denominator:
            raise UserError(f"{times} frames per second must be above 0 and at most {TIME_BASE.denominator}.")
        seconds = np.arange(count) / seconds
    ticks = np.rint((seconds - seconds[:1]) * TIME_BASE.denominator)
    if len(ticks) != count or not (np.diff(ticks) >= 1).all() or not np.isfinite(ticks).all():
        raise UserError(f"{len(ticks)} times for {count} frames must be as many and rise by 1/24000 s or more.")
    return ticks.astype(np.int64)
