"""Which frames of a clip a window shows, and at which seconds."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from ode_vgan.data.store import ClipStore
from ode_vgan.errors import UserError

SHUFFLE_STREAM, WINDOW_STREAM, SUBSTITUTE_STREAM = 0, 1, 2  # keep the draws of one seed apart


@dataclass(frozen=True)
class Sampling:
    """How T frames are taken from a clip; the first one is always time 0.

    Args:
        strides: source frames from one window frame to the next; one is drawn per clip among those that fit it.
        irregular: T distinct frames drawn inside the span of the stride, so that the gaps differ.
        loop: clips repeat without end, so that a window may run past the last frame into the first.
        whole: the T frames lie evenly from a clip's first to its last instead; nothing is drawn.
    """

    strides: tuple[int, ...] = (1,)
    irregular: bool = False
    loop: bool = False
    whole: bool = False

    def __post_init__(self):
        strides = (self.strides,) if isinstance(self.strides, int) else tuple(int(stride) for stride in self.strides)
        object.__setattr__(self, "strides", strides)
        if not strides or min(strides) < 1:
            raise UserError(f"strides must be whole numbers >= 1, got {list(strides)}. Try strides=[1].")
        if self.whole and self.irregular:
            raise UserError("whole=true takes frames evenly, irregular=true does not. Set one of them to false.")
        if self.irregular and max(strides) == 1:
            raise UserError("irregular times need a stride above 1 to draw frames from, got [1]. Try strides=[2,3].")

    def needed(self, frames: int) -> int:
        """Source frames that the shortest window of `frames` frames covers; 1 where clips loop."""
        if self.whole:
            return frames
        return 1 if self.loop else span_frames(frames, min(self.strides))

    def plain(self) -> "Sampling":
        """The same clips at the first stride, evenly: what an evaluation looks at."""
        return Sampling(strides=self.strides[:1], loop=self.loop, whole=self.whole)


def span_frames(frames: int, stride: int) -> int:
    """Source frames from the first to the last frame of a window, both included."""
    return (frames - 1) * stride + 1


def draw_window(
    times: np.ndarray, frames: int, sampling: Sampling, rng: np.random.Generator, *, period_seconds: float | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Draw a stride, a start and, where asked, uneven gaps.

    Args:
        times: (N,) seconds of the clip's frames, rising.
        period_seconds: length of one round of a looping clip, more than times[-1] - times[0]; None takes the clip as
            one that ends.

    Returns:
        (T,) int64 frame numbers in [0, N), and (T,) float64 seconds, rising, the first 0.

    Raises:
        UserError: the clip is too short for every stride.
    """
    count = len(times)
    if sampling.whole and count >= frames:
        return unroll(times, np.rint(np.linspace(0, count - 1, frames)).astype(np.int64), 0.0)
    if sampling.whole:
        raise UserError(f"{count} frames where {frames} are needed")
    fitting = [stride for stride in sampling.strides if period_seconds or span_frames(frames, stride) <= count]
    if not fitting:
        raise UserError(f"{count} frames where {sampling.needed(frames)} are needed")
    stride = fitting[rng.integers(len(fitting))]
    span = span_frames(frames, stride)
    start = rng.integers(count if period_seconds else count - span + 1)
    if sampling.irregular:
        later = 1 + np.sort(rng.choice(span - 1, size=frames - 1, replace=False))
        offsets = np.concatenate([[0], later])
    else:
        offsets = stride * np.arange(frames)
    return unroll(times, start + offsets, period_seconds or 0.0)


def unroll(times: np.ndarray, positions: np.ndarray, period_seconds: float) -> tuple[np.ndarray, np.ndarray]:
    """Frame numbers and seconds of positions on a time line that repeats the clip every period."""
    rounds, index = np.divmod(positions, len(times))
    seconds = np.asarray(times, dtype=np.float64)[index] + rounds * period_seconds
    return index.astype(np.int64), seconds - seconds[0]


def loop_period(times: np.ndarray, duration_seconds: float | None = None) -> float:
    """Seconds of one round: the stated duration if it passes the last timestamp, else one median gap past it.

    Raises:
        UserError: a single frame without a duration has no period.
    """
    shown = float(times[-1] - times[0])
    if duration_seconds is not None and duration_seconds > shown:
        return float(duration_seconds)
    if len(times) < 2:
        raise UserError("1 frame where a loop needs 2")
    return shown + float(np.median(np.diff(times)))


class ClipWindows(Dataset):
    """Windows over a store: item (position, clip number) is a pure function of (seed, position, clip number).

    A clip that cannot be used is replaced by one drawn from (seed, position) and named under `skipped` in the item.

    Args:
        text: (N, E) unit rows, one per clip of the store.
    """

    def __init__(self, store: ClipStore, text: Tensor, *, frames: int, sampling: Sampling, seed: int):
        self.store, self.text, self.frames, self.sampling, self.seed = store, text, frames, sampling, seed
        self.captions = [entry.caption or "" for entry in store.entries]

    def __len__(self) -> int:
        return len(self.store)

    def __getitem__(self, item: tuple[int, int]) -> dict:
        return self._item(item)

    def __getitems__(self, items: list[tuple[int, int]]) -> dict:
        """The batch of these items, as `collate` makes it; each frame is copied once, to its place in it.

        Wants a store of one size.
        """
        size = self.store.size
        frames = np.empty((len(items), self.frames, size, size, 3), dtype=np.uint8)
        return collate([self._item(item, out) for item, out in zip(items, frames, strict=True)], frames)

    def _item(self, item: tuple[int, int], out: np.ndarray | None = None) -> dict:
        position, number = item
        skipped = {}
        for i in self._candidates(position, number):
            try:
                frames, seconds = self.window(i, position, out)
            except (UserError, OSError) as error:
                skipped[self.store.entries[i].key] = str(error)
                continue
            return {
                "frames": frames,
                "times": seconds.astype(np.float32),
                "text": self.text[i],
                "index": i,
                "caption": self.captions[i],
                "skipped": skipped,
            }
        raise UserError(f"none of {len(self)} clips can be used; the last: {next(iter(skipped.values()))}.")

    def window(self, i: int, position: int, out: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray]:
        """(T, H, W, 3) uint8, in `out` if given, and (T,) seconds of clip i, at the place that the position draws.

        Raises:
            UserError, OSError: the clip cannot be decoded, or is too short.
        """
        return self.store.window(i, lambda times: self._drawn(i, position, times), out)

    def seconds(self, i: int, position: int) -> np.ndarray:
        """(T,) seconds of the window of clip i that the position draws; it is not decoded if that can be helped.

        Raises:
            UserError, OSError: as `window`, but for frames that do not decode.
        """
        return self._drawn(i, position, self.store.times(i))[1]

    def index(self, i: int, position: int) -> np.ndarray:
        """(T,) numbers of the frames in the window of clip i that the position draws.

        Raises:
            UserError, OSError: as `seconds`.
        """
        return self._drawn(i, position, self.store.times(i))[0]

    def _drawn(self, i: int, position: int, times: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        period = None
        if self.sampling.loop and self.store.loops(i, times):
            period = loop_period(times, self.store.duration_seconds(i, times))
        rng = np.random.default_rng([self.seed, WINDOW_STREAM, position])
        return draw_window(times, self.frames, self.sampling, rng, period_seconds=period)

    def unusable(self, i: int, *, decode: bool = False) -> str | None:
        """Why clip i gives no window, or None if it does; without `decode`, as far as its packets tell."""
        try:
            self.window(i, position=0) if decode else self.seconds(i, position=0)
        except (UserError, OSError) as error:
            return str(error)
        return None

    def _candidates(self, position: int, number: int) -> Iterator[int]:
        yield number
        rng = np.random.default_rng([self.seed, SUBSTITUTE_STREAM, position])
        yield from (int(i) for i in rng.permutation(len(self)) if i != number)


def collate(items: list[dict], frames: np.ndarray | None = None) -> dict:
    """Stack items to a batch; `skipped` appears only when there is something in it.

    Args:
        frames: (B, T, H, W, C), where they are stacked already.
    """
    frames = np.stack([item["frames"] for item in items]) if frames is None else frames
    batch = {
        "frames": torch.from_numpy(frames),
        "times": torch.from_numpy(np.stack([item["times"] for item in items])),
        "text": torch.stack([item["text"] for item in items]),
        "index": torch.tensor([item["index"] for item in items]),
        "caption": [item["caption"] for item in items],
    }
    skipped = {key: reason for item in items for key, reason in item["skipped"].items()}
    return batch | ({"skipped": skipped} if skipped else {})
