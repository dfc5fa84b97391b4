"""Windows decoded from their files: ours beside a bare loop over PyAV, and beside other decoders where they install."""

import importlib
import io
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import av
import numpy as np
import torch
from av.video.reformatter import VideoReformatter

from ode_vgan.bench.contest import Asked, Contest, Work
from ode_vgan.build import build, find_target
from ode_vgan.data.clips import CorruptClip
from ode_vgan.data.excerpt import open_excerpt
from ode_vgan.data.loader import ClipData, PositionBatches
from ode_vgan.embed.none import NoEmbedder
from ode_vgan.errors import UserError

CLIPS, FEW = 64, 4
TARGET = 1.25  # of the bare decoder's time: 80 % of its rate
OTHERS = ("torchcodec", "decord")


@dataclass(frozen=True)
class Window:
    """What to decode.

    Attributes:
        content: the clip's file, or its bytes. index: (T,) frames of it. size: px.
    """

    content: Path | bytes
    index: np.ndarray
    size: int


def contests(asked: Asked) -> list[Contest]:
    """The windows that training would draw, one after the other on one thread."""
    windows, native = drawn(asked, FEW if asked.quick else CLIPS)
    ways = {"bare PyAV": bare}
    ways |= {name: way for name in OTHERS if (way := DECODERS[name]()) is not None}
    absent = ", ".join(name for name in OTHERS if name not in ways)
    size, frames = windows[0].size, len(windows[0].index)
    note = "" if native else f"scaled to {size} px by another filter, so not compared"
    found = []
    for name, way in ways.items():
        more = f"not installed: {absent}" if absent and way is bare else ""
        found.append(
            Contest(
                "decode", f"windows of {frames} frames, {size} px", name, lambda: [ours(one) for one in windows],
                lambda way=way: [way(one) for one in windows],
                (lambda way=way: difference(windows, way)) if native else None, work=Work(0, 0, len(windows), "clips"),
                tolerance=0.01 if name in OTHERS else 1e-9, target=TARGET if way is bare else None,
                note="; ".join(part for part in (note, more) if part),
            )
        )  # fmt: skip
    return found


def clip_data(asked: Asked, **changes: object) -> ClipData:
    """The clips that the experiment trains on, or those of `asked.data`, without captions.

    Raises:
        UserError: they are not read from files.
    """
    node = dict(asked.config()["data"]) | {"frames": asked.frames[0]}
    if not issubclass(find_target(node["_target_"], ("",)), ClipData):
        raise UserError(f"{node['_target_']} reads no files; take data=emoji, data=folder or data=shards")
    node |= ({"source": asked.data} if asked.data else {}) | changes
    data = build(node, trusted=("",), embed=NoEmbedder())
    data.setup()
    return data


def drawn(asked: Asked, clips: int) -> tuple[list[Window], bool]:
    """Windows of the first batches, and whether their files are of the size wanted."""
    data = clip_data(asked, cache_mb=0)
    windows = data.train_set
    found, native = [], True
    for position, i in next(iter(PositionBatches(len(windows), clips, data.seed, lambda: 0))):
        content = windows.store.entries[i].content()
        try:
            index = windows.index(i, position)
            excerpt = open_excerpt(content, size=None)
        except (UserError, OSError):
            continue
        native = native and excerpt is not None and excerpt.shape[:2] == (data.size, data.size)
        if excerpt is not None:
            excerpt.close()
        found.append(Window(content, index, data.size))
    return found, native


def ours(window: Window) -> np.ndarray:
    """As the loader decodes a clip that memory does not hold."""
    excerpt = open_excerpt(window.content, size=window.size)
    if excerpt is None:
        raise CorruptClip("a clip whose packets tell no times is decoded whole; bench others")
    with excerpt:
        return excerpt.take(window.index)


def bare(window: Window) -> np.ndarray:
    """A loop that decodes to the last frame wanted, scales those wanted, and checks nothing."""
    content = io.BytesIO(window.content) if isinstance(window.content, bytes) else str(window.content)
    rows: dict[int, list[int]] = {}
    for row, i in enumerate(window.index):
        rows.setdefault(int(i), []).append(row)
    out = np.empty((len(window.index), window.size, window.size, 3), dtype=np.uint8)
    with av.open(content) as container:
        stream = container.streams.video[0]
        stream.thread_type = "NONE"
        scaler = VideoReformatter()
        for i, frame in enumerate(container.decode(stream)):
            if i in rows:
                picture = scaler.reformat(frame, window.size, window.size, "rgb24", threads=1)
                out[rows.pop(i)] = picture.to_ndarray()
            if not rows:
                return out
    raise CorruptClip("the bare decoder came to the end before its window did")


def by_torchcodec() -> Callable[[Window], np.ndarray] | None:
    """Its decoder of a window; None where it is not installed or finds no FFmpeg."""
    try:
        decoder = importlib.import_module("torchcodec.decoders").VideoDecoder
    except (ImportError, RuntimeError, OSError):
        return None

    def decode(window: Window) -> np.ndarray:
        content = window.content if isinstance(window.content, bytes) else str(window.content)
        video = decoder(content, dimension_order="NCHW", num_ffmpeg_threads=1)
        frames = video.get_frames_at([int(i) for i in window.index]).data
        if frames.shape[-1] != window.size:
            frames = torch.nn.functional.interpolate(frames, size=(window.size, window.size), mode="bilinear")
        return frames.permute(0, 2, 3, 1).contiguous().numpy()

    return decode


def by_decord() -> Callable[[Window], np.ndarray] | None:
    """Its decoder of a window; None where it is not installed."""
    try:
        decord = importlib.import_module("decord")
    except (ImportError, OSError):
        return None

    def decode(window: Window) -> np.ndarray:
        content = io.BytesIO(window.content) if isinstance(window.content, bytes) else str(window.content)
        video = decord.VideoReader(content, width=window.size, height=window.size, num_threads=1)
        return video.get_batch([int(i) for i in window.index]).asnumpy()

    return decode


DECODERS = {"torchcodec": by_torchcodec, "decord": by_decord}


def difference(windows: list[Window], way: Callable[[Window], np.ndarray]) -> float:
    """Mean absolute difference of the pixels, over their mean."""
    own, other = (np.stack([decode(one) for one in windows]).astype(np.float64) for decode in (ours, way))
    return float(abs(own - other).mean() / own.mean())
