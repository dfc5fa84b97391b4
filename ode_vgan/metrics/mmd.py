"""Maximum mean discrepancies between two sets of features: KVD, JEDi and CMMD, in float64 and bounded memory."""

from collections.abc import Callable

import torch
from torch import Tensor

from ode_vgan.errors import UserError
from ode_vgan.metrics.moments import check_finite

BLOCK = 512  # rows and columns of a kernel matrix at a time
SIGMA = 10.0  # of CMMD's kernel
UNIT = 1e-3  # largest deviation from 1 of the length of CMMD's rows

Kernel = Callable[[Tensor], Tensor]  # from inner products to kernel values, in place


def polynomial_mmd(
    a: Tensor, b: Tensor, *, degree: int = 3, gamma: float | None = None, coef0: float = 1.0, unbiased: bool = True
) -> Tensor:
    """Squared discrepancy under the kernel (gamma x.y + coef0)^degree.

    Args:
        a, b: features (N, F) or (N, T, F); the two N may differ.
        gamma: 1 / F when None.
        unbiased: leave out pairs of a row with itself, and of two frames of one clip; the value may then be below 0.

    Returns:
        () float64.

    Source: Gretton et al., A kernel two-sample test (2012).
    """
    scale = 1 / a.shape[-1] if gamma is None else gamma
    return _discrepancy(a, b, lambda inner: inner.mul_(scale).add_(coef0).pow_(degree), unbiased)


def kvd(a: Tensor, b: Tensor) -> Tensor:
    """Kernel video distance: the unbiased cubic discrepancy of all rows in one block; KID on frames."""
    return polynomial_mmd(a, b)


def kvd_subsets(
    a: Tensor, b: Tensor, *, subsets: int = 100, size: int = 1000, generator: torch.Generator | None = None
) -> tuple[float, float]:
    """Mean and deviation of the distance over random subsets without replacement, as KID is mostly published.

    The deviation is between subsets that overlap: no standard error.

    Raises:
        UserError: a side has fewer than `size` rows.
    """
    a, b = (rows.flatten(0, -2) for rows in (a, b))
    if min(len(a), len(b)) < size:
        raise UserError(f"{len(a)} and {len(b)} rows; subsets of {size} need as many on both sides, or a smaller size.")
    picks = [[torch.randperm(len(rows), generator=generator)[:size] for rows in (a, b)] for _ in range(subsets)]
    values = torch.stack([kvd(a[left], b[right]) for left, right in picks])
    return float(values.mean()), float(values.std(correction=0))


def jedi(a: Tensor, b: Tensor) -> Tensor:
    """100 x the biased discrepancy under (x.y / F)^2, which is that of the second moments about 0.

    Args:
        a, b: features (N, F) or (N, T, F). Published values are on V-JEPA features of 5,000 clips, and grow as N falls.

    Returns:
        () float64, >= 0: 100 / F^2 |E x x^T - E y y^T|^2, the squared Frobenius norm.

    Source: Luo et al., Beyond FVD (2024).
    """
    (a, _), (b, _) = _rows(a, b)
    gap = a.T @ a / len(a) - b.T @ b / len(b)
    return 100 / a.shape[1] ** 2 * gap.square().sum()


def jedi_unbiased(a: Tensor, b: Tensor) -> Tensor:
    """As `jedi`, with an expectation that does not depend on N; below 0 at times for equal laws."""
    return 100 * polynomial_mmd(a, b, degree=2, coef0=0.0)


def cmmd(a: Tensor, b: Tensor) -> Tensor:
    """1000 x the biased discrepancy under exp(-|x - y|^2 / 200), on rows of unit length.

    At that width it is 10 |mean x - mean y|^2 to 1 %: blind to all but the mean.

    Raises:
        UserError: a row is not of unit length.

    Source: Jayasumana et al., Rethinking FID (2024).
    """
    return _cmmd(a, b, unbiased=False)


def cmmd_unbiased(a: Tensor, b: Tensor) -> Tensor:
    """As `cmmd`, with an expectation that does not depend on N."""
    return _cmmd(a, b, unbiased=True)


def _cmmd(a: Tensor, b: Tensor, *, unbiased: bool) -> Tensor:
    for rows in (a, b):
        lengths = rows.double().norm(dim=-1)
        off = float((lengths - 1).abs().max())
        if not off <= UNIT:
            raise UserError(f"a row has length {1 + off:.3g} or {1 - off:.3g}; CMMD wants 1 +- {UNIT}: normalise rows.")
    return 1000 * _discrepancy(a, b, lambda inner: inner.sub_(1).div_(SIGMA**2).exp_(), unbiased)


def _discrepancy(a: Tensor, b: Tensor, kernel: Kernel, unbiased: bool) -> Tensor:
    (a, frames_a), (b, frames_b) = _rows(a, b)
    within = _within(a, frames_a, kernel, unbiased) + _within(b, frames_b, kernel, unbiased)
    return within - 2 * _kernel_sum(a, b, kernel) / (len(a) * len(b))


def _within(rows: Tensor, frames: int, kernel: Kernel, unbiased: bool) -> Tensor:
    """Mean kernel value over pairs of rows of one set; without those of one clip when unbiased."""
    total, pairs = _kernel_sum(rows, rows, kernel), len(rows) ** 2
    if unbiased:
        clips = rows.unflatten(0, (-1, frames))
        if len(clips) < 2:
            raise UserError("1 clip on a side has no pair of clips; an unbiased discrepancy needs 2 or more.")
        total, pairs = total - kernel(clips @ clips.mT).sum(), pairs - len(rows) * frames
    return total / pairs


def _kernel_sum(a: Tensor, b: Tensor, kernel: Kernel) -> Tensor:
    return torch.stack([kernel(rows @ columns.T).sum() for rows in a.split(BLOCK) for columns in b.split(BLOCK)]).sum()


def _rows(*sets: Tensor) -> list[tuple[Tensor, int]]:
    """Rows (N T, F) float64 of each set, and its T."""
    if len({rows.shape[-1] for rows in sets}) > 1 or any(rows.ndim < 2 or not len(rows) for rows in sets):
        raise UserError(f"features are {[tuple(rows.shape) for rows in sets]}; give (N, F) of one extractor, N >= 1.")
    found = [(rows.flatten(0, -2), rows[0].numel() // rows.shape[-1]) for rows in sets]
    for rows, _ in found:
        check_finite(rows)
    return [(rows.double(), frames) for rows, frames in found]
