"""What tells that a video file is whole, and within the limits, before or after its frames are decoded."""

import io
import os
from collections.abc import Sequence
from pathlib import Path

import av
from av.container import InputContainer

from ode_vgan.errors import UserError

MAX_SIDE_PX = 8192
MAX_FRAMES = 100_000
MAX_SECONDS = 300.0  # of decoding, wall clock: hundreds of times what a clip of a training set takes


class CorruptClip(UserError):  # noqa: N818 named for what it is, as UserError is
    """A clip that cannot be decoded to its end."""


def name_of(source: str | Path | bytes) -> str:
    return f"clip of {len(source)} bytes" if isinstance(source, bytes) else str(source)


def one_line(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__


def check_patience(seconds: float, name: str) -> None:
    """Give up a clip that keeps its decoder busy beyond the limit; a frame's own time is bounded by its sides."""
    if seconds > MAX_SECONDS:
        raise CorruptClip(f"{name}: decoding takes more than {MAX_SECONDS:g} s. Cut or re-encode it.")


def check_whole(source: str | Path | bytes, name: str) -> bool:
    """Raise for a RIFF (AVI, WebP) or GIF that ends early, which decoders pass over; return whether it is WebP."""
    with io.BytesIO(source) if isinstance(source, bytes) else open(source, "rb") as file:
        head, length = file.read(12), file.seek(0, os.SEEK_END)
        file.seek(max(0, length - 16))
        tail = file.read().rstrip(b"\0")
    short_riff = head[:4] == b"RIFF" and int.from_bytes(head[4:8], "little") + 8 > length
    if short_riff or (head[:4] == b"GIF8" and not tail.endswith(b";")):
        raise CorruptClip(f"{name}: breaks off after {length} bytes. Replace it.")
    return head[:4] == b"RIFF" and head[8:12] == b"WEBP"


def check_index(container: InputContainer, stream: av.VideoStream, name: str) -> None:
    """An MP4 that breaks off between two frames just ends; its index tells."""
    entries = stream.index_entries
    if len(entries) and entries[len(entries) - 1].pos + entries[len(entries) - 1].size > container.size > 0:
        raise CorruptClip(f"{name}: breaks off after {container.size} bytes. Replace it.")


def check_end(container: InputContainer, times: Sequence[float], name: str) -> None:
    """A Matroska file that breaks off just ends; without sound, its stated duration tells.

    Args:
        times: seconds of the last two frames, by the file's own clock.
    """
    if "matroska" not in container.format.name or container.streams.audio or not container.duration or len(times) < 2:
        return
    stated, found = container.duration / av.time_base, 2 * times[-1] - times[-2]
    if found < 0.98 * stated - 0.1:
        raise CorruptClip(f"{name}: breaks off at {found:.2f} of {stated:.2f} s. Replace it.")


def check_sides(width: int, height: int, name: str) -> None:
    if not (0 < width <= MAX_SIDE_PX and 0 < height <= MAX_SIDE_PX):
        raise CorruptClip(f"{name}: {width}x{height} px; sides must be 1 to {MAX_SIDE_PX}. Scale it down.")
