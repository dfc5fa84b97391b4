"""Count, mean and scatter of features, in float64: summed block by block, and over ranks."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, distributed

from ode_vgan.errors import UserError

BLOCK = 8192  # rows in float64 at a time


@dataclass
class Moments:
    """Count, mean and scatter of rows: all that a Frechet distance needs, in F^2 numbers for any count.

    Blocks are merged by the difference of their means, so an offset of 1e6 deviations costs no digits.

    Attributes:
        count: rows seen.
        mean: (F,) float64.
        scatter: (F, F) float64, sum of outer products of the rows' deviations from the mean.

    Source: Chan, Golub and LeVeque (1979), the pairwise update of sums of squares.
    """

    count: int
    mean: Tensor
    scatter: Tensor

    @classmethod
    def empty(cls, dim: int) -> "Moments":
        """Of no rows yet, F = dim."""
        return cls(0, torch.zeros(dim, dtype=torch.float64), torch.zeros(dim, dim, dtype=torch.float64))

    @classmethod
    def of(cls, features: Tensor) -> "Moments":
        """Of features (N, F), or (N, T, F) with every frame a row."""
        return cls.empty(features.shape[-1]).update(features)

    @classmethod
    def merged(cls, parts: Sequence["Moments"]) -> "Moments":
        """Of the rows of all parts together; the parts stay as they are."""
        total = cls.empty(len(parts[0].mean))
        for part in parts:
            total.merge(part)
        return total

    def update(self, rows: Tensor) -> "Moments":
        """Add rows (..., F); returns itself.

        Raises:
            UserError: rows are not F wide, or a value is not finite; nothing is added then.
        """
        if rows.ndim < 2 or rows.shape[-1] != len(self.mean):
            raise UserError(f"features are {tuple(rows.shape)}; give (N, {len(self.mean)}) from one extractor.")
        rows = rows.detach().flatten(0, -2)
        check_finite(rows)
        for block in rows.split(BLOCK):
            block = block.cpu().double()
            mean = block.mean(0)
            centred = (block - mean).numpy()  # OpenBLAS forms the product in half of MKL's time on AMD
            self.merge(Moments(len(block), mean, torch.from_numpy(centred.T @ centred)))
        return self

    def merge(self, other: "Moments") -> "Moments":
        """Add the rows that `other` has seen, which stays as it is; returns itself."""
        if other.mean.shape != self.mean.shape:
            raise UserError(f"features are {len(self.mean)} and {len(other.mean)} wide; use one extractor for both.")
        total = self.count + other.count
        if other.count:
            shift = other.mean - self.mean
            self.scatter = self.scatter + other.scatter
            self.scatter.addr_(shift, shift, alpha=self.count * other.count / total)
            self.mean = self.mean + shift * (other.count / total)
            self.count = total
        return self

    def covariance(self, correction: int = 1) -> Tensor:
        """(F, F): scatter over count - correction; 1 is unbiased, 0 the maximum likelihood that published FVD uses."""
        if self.count < 2:
            raise UserError(f"{self.count} feature rows have no covariance; give 2 or more.")
        return self.scatter / (self.count - correction)

    def synced(self) -> "Moments":
        """Of the rows of all ranks, merged in the order of the ranks: the same bits on each. Itself without ranks."""
        if not (distributed.is_available() and distributed.is_initialized()):
            return self
        device = "cuda" if distributed.get_backend() == "nccl" else "cpu"
        packed = torch.cat([self.mean.new_tensor([self.count]), self.mean, self.scatter.flatten()]).to(device)
        gathered = [torch.empty_like(packed) for _ in range(distributed.get_world_size())]
        distributed.all_gather(gathered, packed)
        return Moments.merged([self._unpack(part.cpu()) for part in gathered])

    def _unpack(self, packed: Tensor) -> "Moments":
        dim = len(self.mean)
        return Moments(int(packed[0]), packed[1 : dim + 1], packed[dim + 1 :].reshape(dim, dim))


def check_finite(rows: Tensor) -> None:
    """Raises:
    UserError: a value of rows (N, F) is NaN or infinite.
    """
    if not rows.isfinite().all():
        bad = int((~rows.isfinite()).any(1).sum())
        raise UserError(f"{bad} of {len(rows)} feature rows are not finite; drop those clips.")
