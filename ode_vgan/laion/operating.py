"""What a threshold on a score does: precision and recall with intervals, AUROC, and the threshold to choose. Pure."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

LEVEL, DEVIATIONS = 0.95, 1.959964
DRAWS = 400
MAX_POINTS = 101  # thresholds of a curve


@dataclass(frozen=True)
class Rate:
    """A share, and its interval of 95 %."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Point:
    """What one threshold does.

    Attributes:
        recall, false_positives: shares of positives and of negatives that pass it, by Wilson's interval.
        precision: where half of all are positive; from the ends of both intervals, so wider than 95 %.
    """

    threshold: float
    recall: Rate
    false_positives: Rate
    precision: Rate

    @property
    def f1(self) -> float:
        """Harmonic mean of precision and recall."""
        return 2 * self.recall.value / (1 + self.recall.value + self.false_positives.value)

    def precision_at(self, prevalence: float) -> Rate:
        """Precision where another share of all is positive."""
        return _precision(self.recall, self.false_positives, prevalence)


def wilson(passed: int, count: int) -> Rate:
    """A share of independent trials. Source: Wilson (1927), the score interval."""
    if count == 0:
        return Rate(math.nan, 0.0, 1.0)
    share, z2 = passed / count, DEVIATIONS**2
    centre = (share + z2 / (2 * count)) / (1 + z2 / count)
    reach = DEVIATIONS * math.sqrt(share * (1 - share) / count + z2 / (4 * count**2)) / (1 + z2 / count)
    low, high = max(0.0, centre - reach), min(1.0, centre + reach)
    return Rate(share, 0.0 if passed == 0 else low, 1.0 if passed == count else high)


def auroc(positives: Sequence[float], negatives: Sequence[float]) -> float:
    """Chance that a positive scores above a negative, ties as half."""
    from scipy.stats import rankdata

    count = len(positives)
    ranks = rankdata(np.concatenate([positives, negatives]))[:count]
    return float((ranks.sum() - count * (count + 1) / 2) / (count * len(negatives)))


def auroc_interval(
    positives: Sequence[float], negatives: Sequence[float], groups: tuple[Sequence, Sequence], *, seed: int = 0
) -> Rate:
    """AUROC with a percentile bootstrap over groups, since clips of one concept are no independent draws.

    Args:
        groups: of the positives, and of the negatives.
    """
    positives, negatives = np.asarray(positives, float), np.asarray(negatives, float)
    sides = [np.asarray(side, dtype=str) for side in groups]
    names = sorted(set(sides[0]) | set(sides[1]))
    rows = [{name: np.flatnonzero(side == name) for name in names} for side in sides]
    rng, found = np.random.default_rng(seed), []
    for _ in range(DRAWS):
        drawn = [names[i] for i in rng.integers(len(names), size=len(names))]
        a, b = (np.concatenate([side[name] for name in drawn]) for side in rows)
        if len(a) and len(b):
            found.append(auroc(positives[a], negatives[b]))
    low, high = np.quantile(found, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return Rate(auroc(positives, negatives), float(low), float(high))


def operating_points(positives: Sequence[float], negatives: Sequence[float], *, above: bool = True) -> list[Point]:
    """What each threshold does, rising; of more than 101 scores thresholds at the quantiles of both sides.

    Args:
        above: whether a score passes at its threshold and above, else at it and below.
    """
    positives, negatives = np.asarray(positives, float), np.asarray(negatives, float)
    thresholds = np.unique(np.concatenate([positives, negatives]))
    if len(thresholds) > MAX_POINTS:
        shares = np.linspace(0, 1, MAX_POINTS // 2 + 1)
        thresholds = np.unique([np.quantile(side, shares, method="nearest") for side in (positives, negatives)])
    return [point_at(float(one), positives, negatives, above=above) for one in thresholds]


def point_at(threshold: float, positives: Sequence[float], negatives: Sequence[float], *, above: bool = True) -> Point:
    """What one threshold does."""
    sides = (np.asarray(side, float) for side in (positives, negatives))
    recall, false = (
        wilson(int((side >= threshold if above else side <= threshold).sum()), len(side)) for side in sides
    )
    return Point(threshold, recall, false, _precision(recall, false, 0.5))


def recommended(
    points: Sequence[Point], positives: Sequence[float], negatives: Sequence[float], *, above: bool = True
) -> Point:
    """The point of highest F1 where half are positive; between it and the next score that would pass, the middle.

    Of equal ones the strictest.
    """
    order = sorted(points, key=lambda point: point.threshold, reverse=above)
    best = max(order, key=lambda point: round(point.f1, 12))
    scores = np.concatenate([np.asarray(positives, float), np.asarray(negatives, float)])
    beyond = scores[scores < best.threshold] if above else scores[scores > best.threshold]
    if not len(beyond):
        return best
    middle = (best.threshold + float(beyond.max() if above else beyond.min())) / 2
    return point_at(middle, positives, negatives, above=above)


def _precision(recall: Rate, false: Rate, prevalence: float) -> Rate:
    def share(passed: float, wrong: float) -> float:
        whole = passed * prevalence + wrong * (1 - prevalence)
        return passed * prevalence / whole if whole else math.nan

    return Rate(share(recall.value, false.value), share(recall.low, false.high), share(recall.high, false.low))
