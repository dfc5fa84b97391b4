"""Batches of drawn clips: batch k is a function of the seed and k alone, and nothing is read from a disk."""

import weakref
from collections.abc import Callable, Sequence

import numpy as np
import pytorch_lightning as pl
import torch
from torch import Tensor
from torch.utils.data import Dataset

from ode_vgan.data.ahead import Ahead
from ode_vgan.data.drawn import SPLITS, World, draw_clips, draw_labels
from ode_vgan.data.drawn_captions import OTHERS, Curated, Web
from ode_vgan.data.loader import PositionBatches, RealClips
from ode_vgan.embed.cache import cached
from ode_vgan.embed.embedder import Embedder
from ode_vgan.errors import UserError

HELD_SEED = 20_260_725  # of the val and test clips, which every run is judged on whatever its seed


class DrawnClips(Dataset):
    """Clips of one world, drawn when asked for; a whole list of items at once costs least.

    Args:
        clips: how many there are. times: (T,) seconds in [0, 1]. size: px.
    """

    def __init__(
        self, world: World, captions: Curated | Web, embed: Embedder, *, clips: int, times: np.ndarray, size: int
    ):
        self.world, self.words, self.embed = world, captions, embed
        self.clips, self.times, self.size = clips, np.asarray(times, dtype=np.float32), size

    def __len__(self) -> int:
        return self.clips

    @property
    def captions(self) -> list[str]:
        """The caption of every clip."""
        return self.words.captions(self.world, np.arange(self.clips))

    @property
    def labels(self) -> Tensor:
        """(N, 4) int64: which word of each of `drawn.ATTRIBUTES` every clip shows."""
        return torch.from_numpy(draw_labels(self.world, np.arange(self.clips)))

    def batch(self, index: Sequence[int]) -> dict:
        """The clips of these numbers as a batch; the same dict as `ClipData`'s."""
        index = np.asarray(index, dtype=np.int64)
        captions = self.words.captions(self.world, index)
        return {
            "frames": torch.from_numpy(draw_clips(self.world, index, self.times, self.size)),
            "times": torch.from_numpy(np.tile(self.times, (len(index), 1))),
            "text": self.embed.encode_text(captions),
            "index": torch.from_numpy(index),
            "caption": captions,
        }

    def __getitems__(self, items: list[tuple[int, int]]) -> dict:
        return self.batch([number for _, number in items])

    def __getitem__(self, item: tuple[int, int]) -> dict:
        batch = self.batch([item[1]])
        return {name: value[0] for name, value in batch.items()} | {"index": item[1], "skipped": {}}


class DrawnData(pl.LightningDataModule):
    """A training set of a size and a distribution, and one curated test set for all of them.

    A batch is `ClipData`'s dict: frames (B, T, S, S, 3) uint8; times (B, T) float32 seconds; text (B, E) unit rows;
    index (B,) int64; caption, B strings. The training loader never ends: it shuffles the set anew each time through.
    Lightning's checkpoints carry `start_batch`, so that a resumed run sees what an uninterrupted one would have.

    Args:
        distribution: of the training set, see `drawn_captions`.
        clips: N, different clips in the training set.
        frames: T, over one second. size: height and width, px. batch: clips, which processes share evenly.
        noise: see `drawn.World`.
        val_clips, test_clips: in the sets to choose and to judge on, the same ones for every seed; 0 of val for none.
        workers: loader processes; 0 draws in a thread of the training process.
    """

    def __init__(
        self,
        embed: Embedder,
        *,
        distribution: Curated | Web,
        clips: int,
        frames: int,
        size: int,
        batch: int,
        noise: float,
        val_clips: int,
        test_clips: int,
        workers: int = 0,
        seed: int = 0,
    ):
        super().__init__()
        counts = {"clips": clips, "frames": frames, "size": size, "batch": batch, "test_clips": test_clips}
        for name, value in (counts | {"workers": workers + 1, "val_clips": val_clips + 1}).items():
            if not 1 <= value < OTHERS:
                raise UserError(f"data.{name} is out of range: workers and val_clips from 0, others from 1. Change it.")
        self.source, self.skipped, self.start_batch = f"drawn-{distribution.name}", {}, 0
        self._ahead: Callable[[], Ahead | None] = lambda: None
        self.embed, self.distribution, self.clips, self.batch = cached(embed), distribution, clips, batch
        self.frames, self.size, self.workers, self.seed = frames, size, workers, seed
        times = np.linspace(0, 1, frames) if frames > 1 else np.zeros(1)
        worlds = (World(seed, "train", distribution.zipf, noise), *(World(HELD_SEED, s, 0, noise) for s in SPLITS[1:]))
        kinds = zip(SPLITS, worlds, (distribution, Curated(), Curated()), (clips, val_clips, test_clips), strict=True)
        self.sets = {
            split: DrawnClips(world, words, self.embed, clips=number, times=times, size=size)
            for split, world, words, number in kinds
        }

    @property
    def captions(self) -> list[str]:
        """Captions of the training set, one per clip."""
        return self.sets["train"].captions

    def windows(self, split: str) -> DrawnClips:
        """The set of a split.

        Raises:
            UserError: no such split, or it has no clip.
        """
        if split not in self.sets:
            raise UserError(f"split {split!r} is none of {', '.join(SPLITS)}. Choose one.")
        if not len(self.sets[split]):
            raise UserError(f"data.{split}_clips=0 draws no clip to look at; raise it.")
        return self.sets[split]

    def gap_seconds(self) -> float:
        """Seconds between the frames; 0 for single frames."""
        times = self.sets["train"].times
        return round(float(times[1] - times[0]), 4) if len(times) > 1 else 0.0

    def real_clips(self, clips: int, *, split: str = "test", seed: int = 0) -> RealClips:
        """Clips of a split in an order that (split, seed) decides, some of them again if it has fewer than asked."""
        windows = self.windows(split)
        (items,) = [next(iter(PositionBatches(len(windows), clips, seed, lambda: 0)))]
        batch = windows.__getitems__(items)
        return RealClips(batch["frames"], batch["times"], batch["caption"], batch["text"])

    def train_dataloader(self) -> Ahead:
        rank, world = (self.trainer.global_rank, self.trainer.world_size) if self.trainer else (0, 1)
        windows, batch, seed = self.sets["train"], self.batch // world, self.seed  # the thread must not know of `self`

        def batches(number: int) -> PositionBatches:
            return PositionBatches(len(windows), batch, seed, lambda: number, rank=rank, world=world)

        ahead = Ahead(windows, batches, lambda: self.start_batch, workers=self.workers)
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

    def on_before_batch_transfer(self, batch: dict, dataloader_idx: int) -> dict:
        if self.trainer is not None and self.trainer.training:
            self.start_batch += 1  # counts batches that reached the training step, not those loaded ahead
        return batch

    def state_dict(self) -> dict:
        return {"start_batch": self.start_batch}

    def load_state_dict(self, state: dict) -> None:
        self.start_batch = state["start_batch"]
