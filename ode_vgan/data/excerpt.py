"""Some frames of a video, decoded without the rest: its packets tell the times before any frame is decoded."""

import io
import time
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import av
import numpy as np
from av.packet import Packet
from av.video.reformatter import VideoReformatter

from ode_vgan.data.framing import THREADLESS_PX, to_square
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

TELLING = {"h264", "hevc", "vp9", "av1", "mjpeg"}  # codecs with one shown frame a packet
REORDERED = 32  # packets read past max_frames, since they come in the order of decoding


class Excerpt:
    """A video of which some frames are wanted; to be closed.

    Args:
        container: open, its packets read. packets: all that matter, in the order of decoding.
        size: side of a square centre crop, px; None keeps the file's own size.

    Attributes:
        times: (T,) float64 seconds from the first frame, rising; as of `decode_clip`.
        decoded: packets given to the decoder so far.
    """

    def __init__(
        self, container: av.container.InputContainer, packets: list[Packet], size: int | None, name: str, count: int
    ):
        self.container, self.packets, self.size, self.name = container, packets, size, name
        self.shown = sorted(packet.pts for packet in packets)[:count]
        base = packets[0].time_base
        since = np.array(self.shown, dtype=np.int64) - self.shown[0]
        self.times = since * base.numerator / base.denominator
        self.keys = [(packet.pts, i) for i, packet in enumerate(packets) if packet.is_keyframe]
        self.decoded = 0

    def __enter__(self) -> "Excerpt":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Give back the file and its decoder, which would else wait for the collector of cycles."""
        self.container.close()

    @property
    def shape(self) -> tuple[int, int, int]:
        """(H, W, 3) of a frame."""
        context = self.container.streams.video[0].codec_context
        return (self.size or context.height, self.size or context.width, 3)

    def take(self, index: Sequence[int], out: np.ndarray | None = None) -> np.ndarray:
        """Frames by number, in any order, some of them twice: (len(index), H, W, 3) uint8, in `out` if it is given.

        Nothing is decoded before the last keyframe that leads to the first of them, nor after the last.

        Raises:
            CorruptClip: one of them does not decode.
        """
        if out is None:
            out = np.empty((len(index), *self.shape), dtype=np.uint8)
        rows: dict[int, list[int]] = {}
        for row, i in enumerate(index):
            rows.setdefault(self.shown[i], []).append(row)
        place = bisect_right(self.keys, (min(rows), len(self.packets))) - 1
        if place > 0:
            with suppress(CorruptClip):  # a keyframe that does not stand alone: from the start then
                return self._decode(self.keys[place][1], dict(rows), out)
        return self._decode(0, rows, out)

    def _decode(self, start: int, rows: dict[int, list[int]], out: np.ndarray) -> np.ndarray:
        context = self.container.streams.video[0].codec_context
        context.flush_buffers()
        converter, begin = VideoReformatter(), time.monotonic()
        with broken_becomes_corrupt(self.name):
            for packet in [*self.packets[start:], None]:
                self.decoded += packet is not None
                check_patience(time.monotonic() - begin, self.name)
                for frame in context.decode(packet):
                    wanted = rows.pop(frame.pts, ())
                    if wanted and frame.is_corrupt:
                        raise CorruptClip(f"{self.name}: a frame that is wanted is broken. Replace it.")
                    if wanted:
                        picture = to_square(frame, converter, self.size)
                    for row in wanted:
                        out[row] = picture
                if not rows:
                    return out
        raise CorruptClip(f"{self.name}: {len(rows)} of {len(out)} frames wanted do not decode. Replace it.")


def open_excerpt(source: str | Path | bytes, *, size: int | None, max_frames: int | None = None) -> Excerpt | None:
    """Read a video's packets and decode nothing; None where only decoding tells when its frames are shown.

    Args:
        source: a path, or the bytes of a file.
        size: side of a square centre crop, px; None keeps the file's own size.
        max_frames: later frames do not count.

    Raises:
        CorruptClip: the file breaks off, has no video, or exceeds the limits.
        OSError: it cannot be read.
    """
    name = name_of(source)
    if check_whole(source, name):
        return None  # a WebP
    with broken_becomes_corrupt(name), ExitStack() as unless_returned:
        container = av.open(io.BytesIO(source) if isinstance(source, bytes) else str(source))
        unless_returned.enter_context(container)
        if not container.streams.video or container.streams.video[0].codec_context is None:
            raise CorruptClip(f"{name}: no video stream that can be decoded. Replace it.")
        stream = container.streams.video[0]
        context = stream.codec_context
        check_sides(context.width, context.height, name)
        if context.codec.canonical_name not in TELLING:
            return None
        check_index(container, stream, name)
        context.thread_type = "NONE" if context.width * context.height <= THREADLESS_PX else "AUTO"
        packets = list(_packets(container, stream, name, max_frames))
        if not _tell(packets):
            return None
        excerpt = Excerpt(container, packets, size, name, max_frames or len(packets))
        if max_frames is None or len(packets) < max_frames:
            check_end(container, [float(pts * packets[0].time_base) for pts in excerpt.shown[-2:]], name)
        unless_returned.pop_all()
        return excerpt


def _packets(container, stream, name: str, max_frames: int | None) -> Iterator[Packet]:
    for count, packet in enumerate(container.demux(stream)):
        if packet.size == 0 or max_frames is not None and count >= max_frames + REORDERED:
            return
        if count >= MAX_FRAMES:
            raise CorruptClip(f"{name}: more than {MAX_FRAMES} frames. Cut it into shorter clips.")
        yield packet


def _tell(packets: list[Packet]) -> bool:
    """Whether every packet is shown, at a time of its own that it states, and the first one stands alone."""
    return (
        bool(packets)
        and packets[0].is_keyframe
        and packets[0].pts is not None
        and all(
            packet.pts is not None and packet.pts >= packets[0].pts and not packet.is_discard and not packet.is_corrupt
            for packet in packets
        )
        and len({packet.pts for packet in packets}) == len(packets)
    )


@contextmanager
def broken_becomes_corrupt(name: str) -> Iterator[None]:
    """What FFmpeg says of a broken file, as a `CorruptClip`."""
    try:
        yield
    except (av.error.FFmpegError, EOFError, UnicodeDecodeError) as error:  # tags need not be text
        raise CorruptClip(f"{name}: broken ({one_line(error)}). Replace it.") from error
