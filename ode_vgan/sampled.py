"""Clips from words, written as they are made: a film of tiles, a still of some frames, and each clip alone."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch

from ode_vgan.report.video import KEPT_BYTES, MAX_ROWS, grid_columns, grid_png, write_clips_mp4, write_mp4

if TYPE_CHECKING:
    from ode_vgan.runs import Trained


class Sampled:
    """Clips of a trained run, made some frames at a time.

    Args:
        texts: of N clips. times: seconds of the T frames of each. seed: of all of them.
        again: each is wanted alone too: they are kept while they are few, else made again.
    """

    def __init__(
        self, trained: "Trained", texts: Sequence[str], times: Sequence[float], seed: int, *, again: bool = False
    ):
        self.trained, self.texts, self.seed = trained, list(texts), seed
        self.seconds, self.text = np.asarray(times, np.float64), trained.embed.encode_text(self.texts)
        self.times = torch.from_numpy(self.seconds).float()
        self.columns = grid_columns(len(times))
        self.keeps, self._kept = again, None
        self._columns: list[np.ndarray] = []

    def stretches(self) -> Iterator[np.ndarray]:
        """All clips some frames at a time, (N, t, H, W, 3) uint8; notes on the way what is kept."""
        done, self._kept, self._columns = 0, [] if self.keeps else None, []
        for part in self.trained.stretches(self.text, self.times, self.seed):
            part = part.numpy()
            if self._kept is not None and part[:, :1].nbytes * len(self.times) <= KEPT_BYTES:
                self._kept.append(part)
            else:
                self._kept = None
            here = self.columns[(self.columns >= done) & (self.columns < done + part.shape[1])] - done
            self._columns.append(part[:MAX_ROWS, here])
            done += part.shape[1]
            yield part

    def still(self) -> np.ndarray:
        """(n, t, H, W, 3) uint8, the clips and frames of a grid; after `stretches` has been read."""
        return np.concatenate(self._columns, 1)

    def clip(self, i: int) -> Iterator[np.ndarray]:
        """The frames of one clip; after `stretches` has been read."""
        if self._kept is not None:
            return (frame for part in self._kept for frame in part[i])
        alone = self.trained.stretches(self.text[i : i + 1], self.times, self.seed, first=i)
        return (frame for part in alone for frame in part[0].numpy())


def write_sampled(clips: Sampled, stem: Path, *, title: str, alone: Path | None = None) -> list[Path]:
    """Write `stem`.mp4 and `stem`.png, and into the folder `alone` each clip as 0000.mp4 and so on; returns the paths.

    Memory does not grow with the length of the clips.
    """
    times, texts = clips.seconds, clips.texts
    written = [write_clips_mp4(stem.with_name(stem.name + ".mp4"), clips.stretches(), times, texts)]
    still, seconds = stem.with_name(stem.name + ".png"), times[clips.columns]
    written.append(grid_png(still, clips.still(), texts[:MAX_ROWS], seconds, title=title, total=len(texts)))
    if alone is not None:
        written += [write_mp4(alone / f"{i:04d}.mp4", clips.clip(i), times) for i in range(len(texts))]
    return written
