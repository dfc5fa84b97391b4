"""Intervals of laws: what runs and seeds scatter, drawn again, and how far the recipe then lands from the truth."""

from dataclasses import dataclass

import numpy as np

from ode_vgan.scaling.leastsquares import line
from ode_vgan.scaling.selection import Selected


@dataclass(frozen=True)
class Scatter:
    """Standard deviations of log10 error about a law.

    Attributes:
        run: of a run's level. slope: of a run's exponent. point: of one number about its run's line.
    """

    run: float
    slope: float
    point: float


def scatter(u: np.ndarray, gap: np.ndarray, run: np.ndarray) -> Scatter:
    """Components of variance of residuals, by moments.

    A run with three numbers or more at several computes has a line of its own, another run of several numbers its mean.

    Args:
        u: (N,) log10 compute from a centre. gap: (N,) log10 error minus the law. run: (N,) labels.
    """
    labels, index = np.unique(run, return_inverse=True)
    left, free, means, slopes, slope_noise, counts = 0.0, 0, [], [], [], []
    for one in range(len(labels)):
        own_u, own_gap = u[index == one], gap[index == one]
        away = own_u - own_u.mean()
        spread, slope = float((away**2).sum()), 0.0
        lined = len(own_u) > 2 and spread > 1e-6
        if lined:
            slope = float((away * own_gap).sum() / spread)
            slopes.append(slope)
            slope_noise.append(1 / spread)
        rest = own_gap - own_gap.mean() - slope * away
        left, free = left + float((rest**2).sum()), free + len(own_u) - 1 - lined
        means.append(own_gap.mean())
        counts.append(len(own_u))
    if not free:
        return Scatter(0.0, 0.0, float(np.sqrt((gap**2).sum() / max(len(gap) - 2, 1))))
    point = left / free
    lost = 0 if len(slopes) == len(labels) else 2  # the law's own line, where runs do not have each a line
    between = float((np.square(means).sum() if lost else np.var(means) * len(means)) / max(len(means) - (lost or 1), 1))
    turning = np.var(slopes, ddof=1) - point * np.mean(slope_noise) if len(slopes) > 1 else 0.0
    return Scatter(
        *(float(np.sqrt(max(one, 0.0))) for one in (between - point * np.mean(1 / np.array(counts)), turning, point))
    )


def drawn(u: np.ndarray, run: np.ndarray, noise: Scatter, count: int, generator: np.random.Generator) -> np.ndarray:
    """(count, N) scatter of log10 error, for the same runs at the same computes."""
    labels, index = np.unique(run, return_inverse=True)
    centres = np.bincount(index, u) / np.bincount(index)
    away = u - centres[index]
    level = generator.standard_normal((count, len(labels)))[:, index]
    slope = generator.standard_normal((count, len(labels)))[:, index]
    own = generator.standard_normal((count, len(u)))
    return noise.run * level + noise.slope * slope * away + noise.point * own


def uncertainty(u: np.ndarray, y: np.ndarray, run: np.ndarray) -> np.ndarray:
    """(B, 2) standard errors of level and slope of a line through all points, by leaving out a run at a time.

    Points of a single run are left out one at a time.
    """
    labels, index = np.unique(run, return_inverse=True)
    if len(labels) < 2:
        labels, index = np.arange(len(u)), np.arange(len(u))
    without = []
    for one in range(len(labels)):
        kept = index != one
        if np.ptp(u[kept]) > 0:
            without.append(line(Selected(u[kept], y[:, kept], np.ones((len(y), int(kept.sum())))), 0.0))
    each = np.stack(without)
    return np.sqrt((len(each) - 1) * each.var(axis=0))
