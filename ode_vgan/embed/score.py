"""Shares and means over clips, with what chance gives and an interval that keeps clips of one concept together."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from ode_vgan.errors import UserError

LEVEL = 0.90  # of every interval
DRAWS = 2000  # of the bootstrap


@dataclass(frozen=True)
class Interval:
    """A number, and what it could be on other concepts of the same kind: the ends of its 90 % interval."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Score:
    """One number of one task, kept as what each item contributes.

    Attributes:
        task, metric: such as "text to clip" and "R@1".
        values: (N,) float64, an item's contribution; shares have values of 0 to 1.
        concepts: (N,) int64; items of one concept are drawn together.
        chance: what a guess that has seen no clip gets; None where that says nothing.
        guess: which guess that is, in words.
        strata: (N,) int64; the number is the mean over strata of their means. None: the plain mean.
        better: "higher" or "lower".
    """

    task: str
    metric: str
    values: Tensor
    concepts: Tensor
    chance: float | None
    guess: str = ""
    strata: Tensor | None = field(default=None)
    better: str = "higher"

    def __post_init__(self):
        shapes = {tuple(rows.shape) for rows in (self.values, self.concepts, self.strata) if rows is not None}
        if shapes != {(len(self.values),)} or not len(self.values):
            raise UserError(f"{self.task} {self.metric}: {sorted(shapes)} are no one item each; give (N,), N >= 1.")

    @property
    def value(self) -> float:
        """The number itself."""
        return float(self.weighted(torch.ones(1, len(self.values), dtype=torch.float64)))

    def weighted(self, weights: Tensor) -> Tensor:
        """(D,) the number under item weights (D, N); a stratum without weight is left out of its mean."""
        if self.strata is None:
            return weights @ self.values / weights.sum(1)
        kinds, place = self.strata.unique(return_inverse=True)
        member = torch.nn.functional.one_hot(place, len(kinds)).double()
        mass = weights @ member
        means = (weights * self.values) @ member / mass.clamp(min=1e-12)
        present = mass > 0
        return (means * present).sum(1) / present.sum(1)


def concept_weights(concepts: Tensor, draws: int = DRAWS, seed: int = 0) -> Tensor:
    """(D, N) float64 how often each item is in each bootstrap sample: as many concepts, drawn with replacement.

    The same (concepts, draws, seed) give the same samples, so that two subjects are compared on the same ones.
    """
    kinds, place = concepts.unique(return_inverse=True)
    counts = np.random.default_rng(seed).multinomial(len(kinds), np.full(len(kinds), 1 / len(kinds)), size=draws)
    return torch.from_numpy(counts).double()[:, place]


def interval(score: Score, *, draws: int = DRAWS, seed: int = 0) -> Interval:
    """The number with its percentile interval over concepts."""
    return mean_interval([score], draws=draws, seed=seed)


def mean_interval(scores: Sequence[Score], *, draws: int = DRAWS, seed: int = 0) -> Interval:
    """The mean of one number over several runs on the same items, with its interval over concepts.

    A share that is 0 or 1 for every item would have an interval without width: it then reaches as far as the share of
    G concepts, none of which was met, can be at this level (Clopper and Pearson, 1934).

    Raises:
        UserError: the runs were not given the same items.
    """
    _check_same(scores)
    sampled = _samples(scores, draws, seed)
    value = sum(score.value for score in scores) / len(scores)
    low, high = (float(sampled.quantile(q)) for q in ((1 - LEVEL) / 2, (1 + LEVEL) / 2))
    every = torch.cat([score.values for score in scores])
    reach = 1 - ((1 - LEVEL) / 2) ** (1 / len(scores[0].concepts.unique()))
    if bool((every == 0).all()):
        high = reach
    elif bool((every == 1).all()):
        low = 1 - reach
    return Interval(value, low, high)


def difference(a: Sequence[Score], b: Sequence[Score], *, draws: int = DRAWS, seed: int = 0) -> Interval:
    """Mean of the runs `a` minus that of `b`, both on the same bootstrap samples of concepts.

    Raises:
        UserError: the two were not given the same items.
    """
    _check_same([*a, *b])
    sampled = _samples(a, draws, seed) - _samples(b, draws, seed)
    value = sum(one.value for one in a) / len(a) - sum(one.value for one in b) / len(b)
    low, high = (float(sampled.quantile(q)) for q in ((1 - LEVEL) / 2, (1 + LEVEL) / 2))
    return Interval(value, low, high)


def _samples(scores: Sequence[Score], draws: int, seed: int) -> Tensor:
    weights = concept_weights(scores[0].concepts, draws, seed)
    return torch.stack([score.weighted(weights) for score in scores]).mean(0)


def _check_same(scores: Sequence[Score]) -> None:
    first = scores[0]
    for other in scores[1:]:
        if (other.task, other.metric) != (first.task, first.metric) or not torch.equal(other.concepts, first.concepts):
            raise UserError(
                f"{first.task} {first.metric} on {len(first.values)} items and {other.task} {other.metric} on "
                f"{len(other.values)}: only the same number on the same items can be compared."
            )
