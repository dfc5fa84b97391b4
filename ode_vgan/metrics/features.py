"""Feature extractors behind one interface: clips in, one float64 row a clip out, and a hash of how."""

import hashlib
import json
from abc import ABC, abstractmethod

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from ode_vgan.errors import UserError

CHUNK_PIXELS = 1 << 16  # pixels of all frames described at once: 8 MB of intermediates, twice as fast as 60 MB
DEVIATION_FLOOR = 0.1  # of the largest; a free choice on the embedded clips, where the smallest is 0.17


class Extractor(ABC):
    """One way to turn clips into rows of numbers.

    Attributes:
        name: as in `fd_<name>`.
        id: the name with a version, which changes whenever the numbers do.
        dim: F, length of a row.
        min_frames, min_px: the shortest and smallest clip it can describe.
    """

    name: str
    id: str
    dim: int
    min_frames: int
    min_px: int

    @property
    def parameters(self) -> dict:
        """Everything but the code that the numbers depend on, as plain data."""
        return {}

    @abstractmethod
    def describe(self, clips: Tensor) -> Tensor:
        """(N, T, 3, H, W) float in [0, 255] -> (N, F)."""

    def __call__(self, clips: Tensor | np.ndarray) -> Tensor:
        """Describe uint8 clips (N, T, H, W, 3), a bounded number at a time.

        Returns:
            (N, F) float64 on the CPU; a row does not depend on the other clips beyond float32 rounding.

        Raises:
            UserError: the clips are not uint8 (N, T, H, W, 3), too short or too small.
        """
        clips = torch.as_tensor(clips)
        self._check(clips)
        chunk = max(1, CHUNK_PIXELS // clips[0, ..., 0].numel())
        with torch.no_grad():
            rows = [self.describe(part.movedim(-1, 2).float()).double().cpu() for part in clips.split(chunk)]
        return torch.cat(rows)

    def fingerprint(self) -> str:
        """sha256 over the id, the sizes and the parameters."""
        told = {"id": self.id, "dim": self.dim, "min_frames": self.min_frames, "parameters": self.parameters}
        return hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()

    def _check(self, clips: Tensor) -> None:
        if clips.ndim != 5 or clips.shape[-1] != 3 or clips.dtype != torch.uint8 or not len(clips):
            raise UserError(f"{self.id} got {clips.dtype} {tuple(clips.shape)}; give uint8 (N, T, H, W, 3), N >= 1.")
        frames, height, width = clips.shape[1:4]
        if frames < self.min_frames:
            raise UserError(f"{self.id} got {frames} frames, needs {self.min_frames}; use longer windows.")
        if min(height, width) < self.min_px:
            raise UserError(f"{self.id} got {height}x{width} px, needs {self.min_px}; use larger frames.")


class ColourLayout(Extractor):
    """Mean and temporal standard deviation of each colour channel in 2x2 cells: what hog3d is blind to."""

    name, id, dim, min_frames, min_px = "colour", "colour_v1", 24, 2, 2

    def describe(self, clips: Tensor) -> Tensor:
        maps = torch.cat([clips.mean(1), clips.std(1, correction=0)], 1)
        return functional.adaptive_avg_pool2d(maps, 2).flatten(1)


def find_extractor(name: str) -> Extractor:
    """The extractor called `name`.

    Raises:
        UserError: there is none of that name.
    """
    from ode_vgan.metrics.hog3d import Hog3d

    known = {kind.name: kind for kind in (Hog3d, ColourLayout)}
    if name not in known:
        raise UserError(f"no extractor {name!r}; there are {', '.join(known)}.")
    return known[name]()


def standardise(reference: Tensor, *others: Tensor) -> tuple[Tensor, ...]:
    """Divide every set by the reference set's standard deviation, dimension by dimension.

    A dimension that hardly varies in the reference is divided by DEVIATION_FLOOR of the largest deviation instead.
    An extractor's dimensions share one unit, and without this one clip in a bin that is empty in the reference
    outweighs all else.

    Args:
        reference, others: (N, F) float64.
    """
    deviation = reference.std(0)
    largest = deviation.max()
    scale = deviation.clamp_min(DEVIATION_FLOOR * largest) if largest > 0 else torch.ones_like(deviation)
    return tuple(features / scale for features in (reference, *others))
