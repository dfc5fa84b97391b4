"""What a distance of two finite sets says of that of their laws: bias removed, and a 90 % interval."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from statistics import fmean, pstdev
from typing import Literal

import torch
from scipy.special import stdtrit
from torch import Tensor

from ode_vgan.errors import UserError
from ode_vgan.metrics.frechet import frechet_distance, frechet_from_features
from ode_vgan.metrics.moments import Moments

GROUPS = 10
LEVEL = 0.90
SPLITS = 4  # random splits into halves, so 8 halves
ROWS_PER_DIM = 1.3  # in a half: with fewer the bias of a Frechet distance does not go as 1/N

Distance = Callable[[Tensor, Tensor], Tensor | float]


@dataclass(frozen=True)
class Estimate:
    """A distance with what is known of it; the interval may reach below 0, where the data cannot exclude 0.

    Attributes:
        value: of the two sets as they are: what others publish, biased upwards by about F / N.
        debiased: 2 value - the mean distance of halves; None with too few rows, where halves are no guide.
        low, high: 90 % interval.
        centre: what the interval is for: "debiased", the distance of the two laws; "plain", the mean of `value` over
            draws of the same N.
    """

    value: float
    debiased: float | None
    low: float
    high: float
    centre: Literal["debiased", "plain"]


@dataclass(frozen=True)
class Difference:
    """A distance less another, its 90 % interval, and whether that excludes 0; below 0 the first set is closer."""

    value: float
    low: float
    high: float
    significant: bool


def estimate(
    distance: Distance, real: Tensor, fake: Tensor, *, groups: int = GROUPS, debias: bool = True, seed: int = 0
) -> Estimate:
    """Distance, debiased distance and interval, from about 2 `groups` calls of `distance`.

    Leaving out one group of both sets at a time gives the standard error, and a second debiased value, the jackknife's.
    The interval reaches Student's t x the error beyond both.

    Args:
        real, fake: features (N, ...), independent along N, in random order; the two N may differ.
        groups: even. Row i belongs to group i mod groups.
        debias: False for a distance that has no bias, or one that does not go as 1/N.
        seed: of the splits into halves.

    Raises:
        UserError: fewer than 2 groups' worth of rows, or an odd number of groups.
    """
    _check(groups, real, fake)
    debias = debias and bias_is_regular(real, fake)
    return _estimate(partial(_of_groups, distance, groups, (real, fake)), groups, debias, seed)


def frechet_estimate(
    real: Tensor, fake: Tensor, *, correction: int = 1, debias: bool = True, seed: int = 0
) -> Estimate:
    """`estimate` of the Frechet distance: the rows are read once, and each distance comes from sums over groups.

    Args:
        real, fake: features (N, F) or (N, T, F), where the frames of a clip stay together.
        correction: the covariances are over N - correction.
        debias: False where rows are not independent, as windows of one video are not.
    """
    _check(GROUPS, real, fake)
    rows = min(len(side) - -(-len(side) // GROUPS) for side in (real, fake)) * real[0].numel() // real.shape[-1]
    if rows <= real.shape[-1]:  # covariances of fewer rows than dimensions: the form from the rows is exact and faster
        return estimate(partial(frechet_from_features, correction=correction), real, fake, debias=debias, seed=seed)
    sides = [[Moments.of(side[i::GROUPS]) for i in range(GROUPS)] for side in (real, fake)]

    def distance(kept: Sequence[int]) -> float:
        a, b = (Moments.merged([side[i] for i in kept]) for side in sides)
        return float(frechet_distance(a.mean, a.covariance(correction), b.mean, b.covariance(correction)))

    return _estimate(distance, GROUPS, debias and bias_is_regular(real, fake), seed)


def paired_difference(
    distance: Distance, real: Tensor, fake_a: Tensor, fake_b: Tensor, *, groups: int = GROUPS, debias: bool = True
) -> Difference:
    """distance(real, a) - distance(real, b) for two generators that were given the same latents and captions.

    A group of all three is left out together, so what the two sides share cancels. The value is corrected for bias by
    the jackknife where the bias goes as 1/N, since a generator of less variety has less of it.

    Args:
        fake_a, fake_b: features (N, ...), row i of both from the same latent.

    Raises:
        UserError: the two generated sets differ in shape.
    """
    if fake_a.shape != fake_b.shape:
        raise UserError(f"generated features are {tuple(fake_a.shape)} and {tuple(fake_b.shape)}; pairs need the same.")
    _check(groups, real, fake_a)

    def contrast(real: Tensor, fake_a: Tensor, fake_b: Tensor) -> float:
        return float(distance(real, fake_a)) - float(distance(real, fake_b))

    of = partial(_of_groups, contrast, groups, (real, fake_a, fake_b))
    value, left = of(range(groups)), _leave_one_out(of, groups)
    if debias and bias_is_regular(real, fake_a):
        value = _jackknife(value, left)
    reach = _reach(left)
    return Difference(value, value - reach, value + reach, abs(value) > reach)


def bias_is_regular(*sets: Tensor) -> bool:
    """Whether half of each set (N, ..., F) has rows enough for a bias as 1/N.

    Frames of a clip count as as many rows as they add to what its mean tells: 1 if all are the same, T if independent.
    """
    return all(effective_rows(rows) / 2 > ROWS_PER_DIM * _dim(rows) for rows in sets)


def effective_rows(features: Tensor) -> float:
    """N of features (N, F); of (N, T, F) between N and N T, by the variance of the clips' means."""
    if features.ndim < 3:
        return len(features)
    features = features.flatten(1, -2).double()
    spread, of_means = features.flatten(0, 1).var(0).sum(), features.mean(1).var(0).sum()
    frames = features.shape[1]
    return len(features) * min(max(float(spread / of_means), 1.0), frames) if of_means > 0 else len(features)


def _estimate(of: Callable[[Sequence[int]], float], groups: int, debias: bool, seed: int) -> Estimate:
    """From `of`, the distance of the rows in the groups that it is given."""
    value, left = of(range(groups)), _leave_one_out(of, groups)
    reach = _reach(left)
    if not debias:
        return Estimate(value, None, value - reach, value + reach, "plain")
    debiased = 2 * value - fmean(of(half) for half in _halves(groups, seed))
    both = debiased, _jackknife(value, left)
    return Estimate(value, debiased, min(both) - reach, max(both) + reach, "debiased")


def _of_groups(distance: Callable, groups: int, sets: Sequence[Tensor], kept: Sequence[int]) -> float:
    if len(kept) == groups:
        return float(distance(*sets))
    kept = torch.tensor(list(kept))
    return float(distance(*(rows[torch.isin(torch.arange(len(rows)) % groups, kept)] for rows in sets)))


def _leave_one_out(of: Callable[[Sequence[int]], float], groups: int) -> list[float]:
    return [of([i for i in range(groups) if i != out]) for out in range(groups)]


def _halves(groups: int, seed: int) -> list[list[int]]:
    draw = torch.Generator().manual_seed(seed)
    orders = [torch.randperm(groups, generator=draw).tolist() for _ in range(SPLITS)]
    return [half for order in orders for half in (order[: groups // 2], order[groups // 2 :])]


def _jackknife(value: float, left: Sequence[float]) -> float:
    """The value less its bias, as far as that goes as 1/N."""
    return len(left) * value - (len(left) - 1) * fmean(left)


def _reach(left: Sequence[float]) -> float:
    """Half the width of the interval, by the delete-group jackknife."""
    return float(stdtrit(len(left) - 1, (1 + LEVEL) / 2)) * (len(left) - 1) ** 0.5 * pstdev(left)


def _dim(features: Tensor) -> int:
    return features.shape[-1] if features.ndim > 1 else 1


def _check(groups: int, *sets: Tensor) -> None:
    if groups < 4 or groups % 2:
        raise UserError(f"{groups} groups cannot be halved; use an even number from 4.")
    if min(map(len, sets)) < 2 * groups:
        raise UserError(f"{min(map(len, sets))} clips a side; a distance with an interval needs {2 * groups} or more.")
