"""Sets of clips that evaluation reads a batch at a time: windows of a real source, a folder of videos, a run's own."""

import hashlib
import json
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch
from torch import Tensor

from ode_vgan.data.clips import Clip, decode_clip
from ode_vgan.data.shards import Entry
from ode_vgan.data.store import ClipStore, describe, open_source
from ode_vgan.data.windows import SHUFFLE_STREAM, ClipWindows, Sampling, collate, span_frames
from ode_vgan.errors import UserError
from ode_vgan.metrics.protocol import Protocol

if TYPE_CHECKING:
    from ode_vgan.runs import Trained

MIN_SHARE = 0.9  # of a generated folder's clips that must be usable


class Batch(NamedTuple):
    """frames (n, T, H, W, 3) uint8; times (n, T) float32 s; n names; n captions; text (n, E) or None."""

    frames: Tensor
    times: Tensor
    names: list[str]
    captions: list[str]
    text: Tensor | None


class ClipSet(ABC):
    """N clips in a fixed order.

    Attributes:
        clips: N. frames: T.
        skipped: reason by name, for clips left out so far.
    """

    clips: int
    frames: int
    skipped: dict[str, str]

    @abstractmethod
    def batches(self, size: int) -> Iterator[Batch]:
        """All clips, at most `size` at a time."""

    def identity(self) -> dict | None:
        """Plain data that changes whenever a pixel could; None where that is not known."""
        return None


class RealSet(ClipSet):
    """Windows number `start` to `start + clips` of a source; the same ones for the same seed.

    Each round takes every clip once, in an order and at an offset that the seed draws; N above the number of clips
    gives further windows of the same clips.

    Args:
        windows: at even times. seed: of order and offsets.
        first: by name instead of drawn.
    """

    def __init__(self, windows: ClipWindows, clips: int, *, start: int = 0, seed: int = 0, first: bool = False):
        self.windows, self.clips, self.start, self.seed, self.first = windows, clips, start, seed, first
        self.frames = windows.frames
        self.skipped: dict[str, str] = {}

    def batches(self, size: int) -> Iterator[Batch]:
        places = self.places()
        for i in range(0, len(places), size):
            items = [self.windows[place] for place in places[i : i + size]]
            names = [self.windows.store.entries[item["index"]].key for item in items]
            one_size(zip(names, (item["frames"].shape for item in items), strict=True))
            batch = collate(items)
            self.skipped |= batch.get("skipped", {})
            yield Batch(batch["frames"], batch["times"], names, batch["caption"], batch["text"])

    def places(self) -> list[tuple[int, int]]:
        """(position, clip number) of each window."""
        count = len(self.windows)
        if self.first:
            order = sorted(range(count), key=lambda i: self.windows.store.entries[i].key)
            return [(i, order[i % count]) for i in range(self.start, self.start + self.clips)]
        rounds: dict[int, np.ndarray] = {}
        places = []
        for position in range(self.start, self.start + self.clips):
            turn, i = divmod(position, count)
            if turn not in rounds:
                rounds[turn] = np.random.default_rng([self.seed, SHUFFLE_STREAM, turn]).permutation(count)
            places.append((position, int(rounds[turn][i])))
        return places

    def identity(self) -> dict:
        store, sampling = self.windows.store, self.windows.sampling
        digest = hashlib.sha256()
        for entry in store.entries:
            source = entry.source
            told = (entry.key, str(source.path.resolve()), source.path.stat().st_mtime_ns, source.offset, source.size)
            digest.update(json.dumps([*told, entry.meta.get("duration_seconds"), entry.meta.get("loop")]).encode())
        return {
            "entries": digest.hexdigest(), "size": store.size, "max_frames": store.max_frames, "frames": self.frames,
            "strides": sampling.strides, "loop": sampling.loop, "window_seed": self.windows.seed, "seed": self.seed,
            "start": self.start, "clips": self.clips, "first": self.first,
        }  # fmt: skip

    def unique(self) -> int:
        """How many different videos the windows come from."""
        return min(len(self.windows), self.clips)


class FolderSet(ClipSet):
    """The first T frames of each video of a folder, in order of their names: clips that some model made.

    A video that cannot be used is left out and named.

    Args:
        size: side of a square crop, px; None keeps the files' own size, which must then be the same for all.

    Raises:
        UserError: the folder has fewer than `clips` videos.
    """

    def __init__(self, entries: list[Entry], clips: int, *, frames: int, every: int = 1, size: int | None, folder: str):
        if len(entries) < clips:
            raise UserError(
                f"{folder} has {len(entries)} clips, {clips} are needed; add clips or lower the protocol's N."
            )
        self.entries = sorted(entries, key=lambda entry: entry.key)[:clips]
        self.clips, self.frames, self.every, self.size, self.folder = clips, frames, every, size, folder
        self.skipped: dict[str, str] = {}

    def batches(self, size: int) -> Iterator[Batch]:
        rows: list[tuple[Entry, Clip]] = []
        shapes: dict[str, tuple[int, ...]] = {}
        good = 0
        for entry in self.entries:
            clip = self._read(entry)
            if clip is None:
                continue
            shapes = one_size([*shapes.items(), (entry.key, clip.frames.shape)])
            good += 1
            rows.append((entry, clip))
            if len(rows) == size:
                yield self._batch(rows)
                rows = []
        if rows:
            yield self._batch(rows)
        if good < MIN_SHARE * self.clips:
            raise UserError(f"{self.folder}: only {good} of {self.clips} clips can be used: {describe(self.skipped)}.")

    def _read(self, entry: Entry) -> Clip | None:
        needed = span_frames(self.frames, self.every)
        try:
            clip = decode_clip(entry.read(), size=self.size, max_frames=needed)
        except (UserError, OSError) as error:
            self.skipped[entry.key] = str(error)
            return None
        if len(clip.frames) < needed:
            self.skipped[entry.key] = f"{len(clip.frames)} frames where {needed} are needed"
            return None
        return Clip(clip.frames[:: self.every], clip.times[:: self.every])

    def _batch(self, rows: list[tuple[Entry, Clip]]) -> Batch:
        frames = torch.from_numpy(np.stack([clip.frames for _, clip in rows]))
        times = torch.from_numpy(np.stack([clip.times for _, clip in rows])).float()
        return Batch(frames, times, [e.key for e, _ in rows], [e.caption or "" for e, _ in rows], None)


class RunSet(ClipSet):
    """What a trained generator makes of the captions and times of another set, each few clips from a seed of its own.

    Two runs asked with the same set and seed get the same latents.
    """

    def __init__(self, trained: "Trained", asked: RealSet, *, seed: int, chunk: int = 32):
        self.trained, self.asked, self.seed, self.chunk = trained, asked, seed, chunk
        self.clips, self.frames, self.skipped = asked.clips, asked.frames, {}

    def batches(self, size: int) -> Iterator[Batch]:
        for i, real in enumerate(self.asked.batches(self.chunk)):
            seed = self.seed * 100_003 + i * self.chunk
            frames = self.trained.render(real.text, real.times, seed).cpu()
            yield from split_batch(real._replace(frames=frames), size)


class SpoiledSet(ClipSet):
    """Another set with each batch put through a control of `ode_vgan.metrics.controls`."""

    def __init__(self, clean: ClipSet, control, *, seed: int):
        self.clean, self.control, self.seed = clean, control, seed
        self.clips, self.frames, self.skipped = clean.clips, clean.frames, {}

    def batches(self, size: int) -> Iterator[Batch]:
        draw = torch.Generator().manual_seed(self.seed)
        for batch in self.clean.batches(size):
            yield batch._replace(frames=self.control(batch.frames, draw))


def split_batch(batch: Batch, size: int) -> Iterator[Batch]:
    """A batch in parts of at most `size` clips."""
    for i in range(0, len(batch.frames), size):
        part = slice(i, i + size)
        yield Batch(*(value if value is None else value[part] for value in batch))


@dataclass(frozen=True)
class Source:
    """Real clips to judge by.

    Attributes:
        windows: over the clips of one split, at their usual length and stride.
        name, split: for the protocol.
    """

    windows: ClipWindows
    name: str
    split: str

    def real(self, protocol: Protocol, part: int, seed: int) -> RealSet:
        """The reference (part 0), or as many further windows (part 1)."""
        sampling = self.sampling(protocol)
        frames = protocol.frames or self.windows.frames
        windows = ClipWindows(self.windows.store, self.windows.text, frames=frames, sampling=sampling, seed=seed)
        clips = protocol.clips
        return RealSet(windows, clips, start=part * clips, seed=seed, first=protocol.first)

    def sampling(self, protocol: Protocol) -> Sampling:
        """Even windows at the data's first stride times the protocol's."""
        usual = self.windows.sampling
        return Sampling(strides=(usual.strides[0] * protocol.every,), loop=usual.loop)


def open_real(source: str, *, frames: int, sampling: Sampling, size: int | None, split: str) -> Source:
    """A source that needs no captions: `emoji`, `shapes` or a folder of shards or videos.

    Args:
        size: side of a square crop, px; None keeps the files' own size.
        split: "train", "test" or "all"; clips that name no split belong to each.

    Raises:
        UserError: no such source, or no clip of that split.
    """
    entries = open_source(source)
    if split != "all":
        entries = [entry for entry in entries if entry.meta.get("split", split) == split]
    if not entries:
        raise UserError(f"{source}: no {split} clip. Choose --split all.")
    text = torch.zeros(len(entries), 1)
    return Source(ClipWindows(ClipStore(entries, size), text, frames=frames, sampling=sampling, seed=0), source, split)


def one_size(shapes: Iterable[tuple[str, tuple[int, ...]]]) -> dict[str, tuple[int, ...]]:
    """The first of some named frame shapes (..., H, W, 3), which must all be as large.

    Raises:
        UserError: naming two that differ.
    """
    (first, shape), *others = shapes
    for name, other in others:
        if other[-3:] != shape[-3:]:
            sides = [f"{one[-2]}x{one[-3]}" for one in (shape, other)]
            raise UserError(
                f"{first} is {sides[0]} px and {name} {sides[1]} px; give --size PX to bring all to one size."
            )
    return {first: shape}


def is_run(path: str | Path) -> bool:
    """Whether a path is a trained run (a checkpoint file, a folder that has one, an export) and no folder of clips."""
    path = Path(path)
    if (path / "model.safetensors").is_file() and (path / "config.json").is_file():
        return True
    return path.is_file() or (path / "checkpoints").is_dir() or (path / "config.yaml").is_file()
