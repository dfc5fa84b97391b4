"""Fidelity and variety apart: precision, recall, density and coverage; and the Inception Score."""

import torch
from torch import Tensor

from ode_vgan.errors import UserError
from ode_vgan.metrics.moments import check_finite

BLOCK = 512  # rows of a distance matrix at a time
SUM_TOLERANCE = 1e-3  # of the probabilities of a clip


def prdc(real: Tensor, fake: Tensor, *, k: int = 5) -> dict[str, float]:
    """Shares of each set within reach of the other; a row's reach is the distance to its k-th neighbour in its own set.

    A point on the edge is outside, as published (strictly closer counts).

    Args:
        real, fake: features (N, F) or (N, T, F), more than k rows; the two N may differ.

    Returns:
        precision: share of fake rows within reach of a real one, in [0, 1].
        recall: share of real rows within reach of a fake one, in [0, 1].
        density: real rows in whose reach a fake one is, over k; about 1 for equal laws, may exceed it.
        coverage: share of real rows with a fake one in reach, in [0, 1]; for equal laws about 1 - 2^-k.

    Raises:
        UserError: a side has k rows or fewer, or the sides differ in F.

    Source: the package `prdc` of Naeem et al. (2020), who defined the last two.
    """
    real, fake = (rows.flatten(0, -2) if rows.ndim > 2 else rows for rows in (real, fake))
    _check_rows(real, fake, k)
    real, fake = real.double(), fake.double()
    reach_real, reach_fake = _reach(real, k), _reach(fake, k)
    inside = torch.zeros(len(fake), dtype=torch.long)
    recalled = covered = 0
    for rows, reach in zip(real.split(BLOCK), reach_real.split(BLOCK), strict=True):
        apart = _distances(rows, fake)
        near = apart < reach[:, None]
        inside += near.sum(0)
        covered += int(near.any(1).sum())
        recalled += int((apart < reach_fake).any(1).sum())
    return {
        "precision": float((inside > 0).double().mean()),
        "recall": recalled / len(real),
        "density": float(inside.double().mean()) / k,
        "coverage": covered / len(real),
    }


def prdc_ceiling(real: Tensor, *, k: int = 5) -> dict[str, float]:
    """`prdc` of every second real row against the others: what a perfect generator gets at half of N.

    Args:
        real: features (N, F), or (N, T, F) where whole clips go to a half.
    """
    return prdc(real[0::2], real[1::2], k=k)


def inception_score(probabilities: Tensor, *, splits: int = 1) -> tuple[float, float]:
    """Mean and deviation over splits of exp of the information that a clip's class has: between 1 and K.

    Few clips in a split bias it low, so scores of different N / splits do not compare.

    Args:
        probabilities: (N, K), rows sum to 1. Splits are N / splits consecutive rows.

    Raises:
        UserError: a row is no distribution, or there are more splits than rows.
    """
    rows = probabilities.double()
    if rows.ndim != 2 or not 1 <= splits <= len(rows):
        raise UserError(f"probabilities are {tuple(rows.shape)}; give (N, K) with N >= {splits}, the number of splits.")
    off = float((rows.sum(1) - 1).abs().max())
    if not off <= SUM_TOLERANCE or rows.min() < 0:
        raise UserError(f"a row sums to 1 +- {off:.3g} or has a value below 0; give probabilities, not logits.")
    edges = [i * len(rows) // splits for i in range(splits + 1)]
    parts = [rows[start:stop] for start, stop in zip(edges[:-1], edges[1:], strict=True)]
    entropy = torch.special.entr
    scores = torch.stack([(entropy(part.mean(0)).sum() - entropy(part).sum(1).mean()).exp() for part in parts])
    return float(scores.mean()), float(scores.std(correction=0))


def _reach(rows: Tensor, k: int) -> Tensor:
    """(N,): distance to the k-th nearest other row."""
    return torch.cat([_distances(block, rows).kthvalue(k + 1, dim=1).values for block in rows.split(BLOCK)])


def _distances(a: Tensor, b: Tensor) -> Tensor:
    """(N, M), the same bits for a pair of rows wherever it stands, so that ties are ties."""
    return torch.cdist(a, b, compute_mode="use_mm_for_euclid_dist")


def _check_rows(real: Tensor, fake: Tensor, k: int) -> None:
    if real.ndim != 2 or real.shape[1:] != fake.shape[1:]:
        raise UserError(f"features are {tuple(real.shape)} and {tuple(fake.shape)}; give (N, F) of one extractor.")
    if k < 1 or min(len(real), len(fake)) <= k:
        raise UserError(f"k={k} with {len(real)} real and {len(fake)} fake rows; use 1 or more, and more rows than k.")
    check_finite(real)
    check_finite(fake)
