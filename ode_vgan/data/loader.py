"""Batches of windows with captions: batch k is a function of the seed and k alone."""

import logging
import os
import weakref
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import lru_cache
from itertools import count
from typing import NamedTuple

import numpy as np
import pytorch_lightning as pl
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Sampler

from ode_vgan.data.ahead import Ahead, as_it_is
from ode_vgan.data.shards import Entry
from ode_vgan.data.store import ClipStore, describe, open_source, set_aside, split_entries
from ode_vgan.data.windows import SHUFFLE_STREAM, ClipWindows, Sampling
from ode_vgan.embed.cache import cached
from ode_vgan.embed.embedder import Embedder
from ode_vgan.embed.none import NoEmbedder
from ode_vgan.errors import UserError

log = logging.getLogger(__name__)
CHECKED, CHECK_CHUNK = 1024, 32  # clips looked at before training, and how many of them at once


class RealClips(NamedTuple):
    """frames (N, T, H, W, C) uint8; times (N, T) float32 s; N captions; text (N, E) float32 unit rows."""

    frames: Tensor
    times: Tensor
    captions: list[str]
    text: Tensor


class PositionBatches(Sampler[list[tuple[int, int]]]):
    """Endless lists of (position, clip number); each round of `clips` positions is one shuffle of all clips.

    Args:
        start: gives the number of the first batch, asked whenever the iteration begins.
        rank, world: this process and how many there are; together they take the batches that one process would.
    """

    def __init__(self, clips: int, batch: int, seed: int, start: Callable[[], int], *, rank: int = 0, world: int = 1):
        self.clips, self.batch, self.seed, self.start, self.rank, self.world = clips, batch, seed, start, rank, world

    def __iter__(self) -> Iterator[list[tuple[int, int]]]:
        shuffle = lru_cache(maxsize=2)(self._shuffle)
        for number in count(self.start()):
            first = (number * self.world + self.rank) * self.batch
            places = [(position, *divmod(position, self.clips)) for position in range(first, first + self.batch)]
            yield [(position, int(shuffle(epoch)[i])) for position, epoch, i in places]

    def _shuffle(self, epoch: int) -> np.ndarray:
        return np.random.default_rng([self.seed, SHUFFLE_STREAM, epoch]).permutation(self.clips)


class ClipData(pl.LightningDataModule):
    """Captioned clips of one source, split, decoded, embedded and cut into windows.

    A batch is a dict: frames (B, T, H, W, C) uint8; times (B, T) float32 seconds, times[:, 0] == 0; text (B, E)
    float32 unit rows; index (B,) int64, the clip's row in its split; caption, B strings.

    The training loader never ends. Set `start_batch` = k before a fit to go on with batch k exactly; Lightning's
    checkpoints carry it. A clip that turns out unusable is replaced by another that its position alone decides;
    `skipped` has the reason by key for every clip left out.

    Args:
        source: `emoji` (embedded), `shapes` (synthetic), or a folder of shards or of videos with captions beside them.
        frames: T.
        size: height and width, px.
        batch: clips per batch, over all processes that train together, which it divides.
        workers: loader processes; 0 loads in a thread of the training process.
        train_split, test_split: names in the clips' meta `split`; clips without one are split 90/10 by key.
        cache_mb: of decoded clips kept in memory that all workers share; of the others, the frames drawn are decoded.
        max_frames: frames read from the start of a clip, at most.
        limit: clips per split, at most, chosen by the hash of their keys.
        val_share: share of the training split's concepts (meta `concept`, else the key) set aside as split "val".
        subset: a manifest of `ode-vgan laion subset`, by its path or its name in the source's `subsets`: only its clips
            are read, and its sides win over the clips' own splits.
    """

    def __init__(
        self,
        source: str,
        embed: Embedder,
        *,
        frames: int,
        size: int,
        batch: int,
        sampling: Sampling | None = None,
        workers: int = 0,
        seed: int = 0,
        train_split: str = "train",
        test_split: str = "test",
        cache_mb: int = 1024,
        max_frames: int | None = None,
        limit: int | None = None,
        val_share: float = 0.0,
        subset: str | None = None,
    ):
        super().__init__()
        for name, value in (("frames", frames), ("size", size), ("batch", batch), ("workers", workers + 1)):
            if value < 1:
                raise UserError(f"data.{name} is too small: frames, size and batch are >= 1, workers >= 0. Raise it.")
        if not 0 <= val_share <= 0.5:
            raise UserError(f"data.val_share={val_share}; give a share of the training clips from 0 to 0.5.")
        self.source, self.embed, self.batch, self.workers, self.seed = str(source), cached(embed), batch, workers, seed
        self.frames, self.size, self.sampling = frames, size, sampling or Sampling()
        self.split_names, self.limit, self.val_share = (train_split, test_split), limit, val_share
        self.cache_mb, self.max_frames, self.subset = cache_mb, max_frames, subset
        self.start_batch = 0
        self.skipped: dict[str, str] = {}
        self.train_set: ClipWindows | None = None
        self.val_set: ClipWindows | None = None
        self.test_set: ClipWindows | None = None
        self.checked = False
        self._ahead: Callable[[], Ahead | None] = lambda: None

    def setup(self, stage: str | None = None) -> None:
        if not self.checked:
            self._index()
            self._check(self.train_set)
            self.checked = True
            if self.skipped:
                log.warning("%s: %s", self.source, describe(self.skipped))

    @property
    def captions(self) -> list[str]:
        """Captions of the training split, one per clip."""
        return self.train_set.captions

    def train_dataloader(self) -> Ahead:
        rank, world = (self.trainer.global_rank, self.trainer.world_size) if self.trainer else (0, 1)
        clips, batch, seed = len(self.train_set), self.batch // world, self.seed  # the thread must not know of `self`

        def batches(number: int) -> PositionBatches:
            return PositionBatches(clips, batch, seed, lambda: number, rank=rank, world=world)

        ahead = Ahead(self.train_set, batches, lambda: self.start_batch, workers=self.workers)
        self._ahead = weakref.ref(ahead)  # in a cycle with it, its workers would end 5 s later, by the collector
        return ahead

    def teardown(self, stage: str | None = None) -> None:
        if (ahead := self._ahead()) is not None:
            ahead.close()

    @property
    def waited_seconds(self) -> float:
        """That training has waited so far for batches."""
        ahead = self._ahead()
        return 0.0 if ahead is None else ahead.waited_seconds

    def test_dataloader(self) -> DataLoader:
        """Every test clip once, in the same window each time."""
        windows = self.windows("test")
        numbers = range(len(windows))
        batches = [[(i, i) for i in numbers[start : start + self.batch]] for start in numbers[:: self.batch]]
        pin = torch.cuda.is_available()
        return DataLoader(windows, batch_sampler=batches, num_workers=self.workers, collate_fn=as_it_is, pin_memory=pin)

    def real_clips(self, clips: int, *, split: str = "test", seed: int = 0) -> RealClips:
        """Windows of a split at its first stride, evenly; the same ones for the same (clips, split, seed).

        Args:
            split: "train", "val" or "test". When it has fewer than `clips`, each gives several windows.

        Raises:
            UserError: the split has no clip.
        """
        windows = self.windows(split, seed)
        positions = PositionBatches(len(windows), clips, seed, lambda: 0)
        batch = windows.__getitems__(next(iter(positions)))
        self.skipped |= batch.get("skipped", {})
        return RealClips(batch["frames"], batch["times"], batch["caption"], batch["text"])

    def gap_seconds(self, clips: int = 64) -> float:
        """Median seconds between the frames of training windows at the first stride; 0 for single frames."""
        windows, gaps = self.windows("train"), []
        for position, i in next(iter(PositionBatches(len(windows), clips, 0, lambda: 0))):
            with suppress(UserError, OSError):  # named when the clip is drawn
                gaps.append(np.diff(windows.seconds(i, position).astype(np.float32)))
        return round(float(torch.from_numpy(np.stack(gaps)).median()), 4) if gaps and gaps[0].size else 0.0

    def on_before_batch_transfer(self, batch: dict, dataloader_idx: int) -> dict:
        if self.trainer is not None and self.trainer.training:
            self.start_batch += 1  # counts batches that reached the training step, not those loaded ahead
        found = batch.pop("skipped", {})
        for key in found.keys() - self.skipped.keys():
            log.warning("%s: skipped %s: %s", self.source, key, found[key])
        self.skipped |= found
        return batch

    def state_dict(self) -> dict:
        return {"start_batch": self.start_batch}

    def load_state_dict(self, state: dict) -> None:
        self.start_batch = state["start_batch"]

    def _index(self) -> None:
        """Read what the source holds, split it and embed its captions; decode nothing."""
        if self.train_set is not None:
            return
        entries = self._entries()
        train, test = split_entries(entries, self.split_names)
        train, val = set_aside(train, self.val_share)
        train, val, test = (self._usable(side) for side in (train, val, test))
        if not train and self.skipped:
            why = describe(self.skipped)
            raise UserError(f"{self.source}: none of {len(entries)} clips can train: {why}. {self._remedy()}")
        if not train:
            stated = sorted({str(entry.meta.get("split")) for entry in entries})
            raise UserError(f"{self.source}: no split {self.split_names[0]!r}. Set data.train_split: {stated}.")
        text = self._embed_captions(train + val + test).split([len(train), len(val), len(test)])
        small_mb = self.cache_mb // 8
        self.train_set = self._windows(train, text[0], self.cache_mb - 2 * small_mb)
        self.val_set, self.test_set = self._windows(val, text[1], small_mb), self._windows(test, text[2], small_mb)

    def _entries(self) -> list[Entry]:
        """The source's entries, or those of the subset with its sides; ids that it names in vain are skipped."""
        entries = open_source(self.source)
        if self.subset is None:
            return entries
        from ode_vgan.laion.subset import entries_of, find_subset

        subset = find_subset(self.subset, self.source)
        found, missing = entries_of(entries, subset, self.split_names)
        if not found:
            raise UserError(f"{self.source}: none of its clips is in {subset.path}. Give the dataset that it is of.")
        self.skipped |= dict.fromkeys(missing, f"in {subset.path.name}, not in the source")
        return found

    def _usable(self, entries: list[Entry]) -> list[Entry]:
        """Entries within the limit, less those that their meta already rules out."""
        captions_needed, needed = not isinstance(self.embed, NoEmbedder), self.sampling.needed(self.frames)
        kept = []
        for entry in entries:
            stated = entry.meta.get("num_frames")
            frames = min(stated if isinstance(stated, int) else needed, self.max_frames or needed)
            if captions_needed and not (entry.caption or "").strip():
                self.skipped[entry.key] = "no caption"
            elif frames < needed:
                self.skipped[entry.key] = f"{frames} frames where {needed} are needed"
            else:
                kept.append(entry)
        return kept[: self.limit]

    def _embed_captions(self, entries: list[Entry]) -> Tensor:
        captions = [entry.caption or "" for entry in entries]
        unique = list(dict.fromkeys(captions))
        row = {caption: i for i, caption in enumerate(unique)}
        return self.embed.encode_text(unique)[[row[caption] for caption in captions]]

    def _windows(self, entries: list[Entry], text: Tensor, cache_mb: int) -> ClipWindows:
        store = ClipStore(entries, self.size, max_frames=self.max_frames, cache_mb=cache_mb)
        return ClipWindows(store, text, frames=self.frames, sampling=self.sampling, seed=self.seed)

    def _check(self, windows: ClipWindows) -> None:
        """Name what is broken or short, decoding only where nothing else tells; see that one clip gives a window."""
        store, good = windows.store, 0
        with ThreadPoolExecutor(min(4, os.cpu_count() or 1)) as pool:
            for start in range(0, len(store), CHECK_CHUNK):
                if good and (start >= CHECKED or store.full and store.whole):
                    break
                chunk = range(start, min(start + CHECK_CHUNK, len(store)))
                for i, reason in zip(chunk, pool.map(windows.unusable, chunk), strict=True):
                    if reason is None and not good:
                        reason = windows.unusable(i, decode=True)
                    good += reason is None
                    self.skipped |= {store.entries[i].key: reason} if reason else {}
        if not good:
            raise UserError(f"{self.source}: no clip can be used: {describe(self.skipped)}. {self._remedy()}")

    def windows(self, split: str, seed: int = 0) -> ClipWindows:
        """Windows of a split at its first stride, evenly, with captions embedded; decoded when asked for.

        Raises:
            UserError: no such split, or it has no clip.
        """
        self._index()
        sets = {"train": self.train_set, "val": self.val_set, "test": self.test_set}
        if split not in sets:
            raise UserError(f"split {split!r} is none of {', '.join(sets)}. Choose one.")
        windows = sets[split]
        if not len(windows) and split == "val":
            share = self.val_share
            raise UserError(f"{self.source}: data.val_share={share} sets no clip aside to validate on; raise it.")
        if not len(windows):
            raise UserError(f"{self.source}: no {split} clip. Add clips, or evaluate on the train split.")
        return ClipWindows(windows.store, windows.text, frames=self.frames, sampling=self.sampling.plain(), seed=seed)

    def _remedy(self) -> str:
        return "Add clips or captions, lower data.frames, or set embed=none for clips without captions."
