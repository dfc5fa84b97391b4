"""Intervals of laws: what runs and seeds scatter, drawn again, and how far the recipe then lands from the truth."""

from dataclasses import dataclass

import numpy as np

from ode_vgan.scaling.laws import POWER, Law, Points
from ode_vgan.scaling.leastsquares import curve, line
from ode_vgan.scaling.selection import Selected, select

ALIKE = 1e-6  # squared decades within which the computes of a run tell no slope


@dataclass(frozen=True)
class Scatter:
    """Standard deviations of log10 error about a law, (B,) each, of B versions of the points.

    Attributes:
        run: of a run's level. slope: of a run's exponent. point: of one number about its run's line.
    """

    run: np.ndarray
    slope: np.ndarray
    point: np.ndarray


def draws(
    law: Law, points: Points, theta: np.ndarray, how: tuple[str, int], *, count: int, generator: np.random.Generator
) -> np.ndarray:
    """What the parameters of a curve may be: bootstrap-t with scatter drawn from a normal law of runs and points.

    Errors are drawn about the fitted law with the scatter of the points about it, selected and fitted again; how far
    that lands from where it began is set in units of its own standard error.

    Args:
        theta: (1, P) of the fit, counted from the mean of log10 compute. how: the selection and its bins.

    Returns:
        (count, P) within the law's bounds.
    """
    x, y = np.log10(points.compute), np.log10(points.error)[None]
    centre = x.mean()
    u = x - centre
    gap = y - law.curve(u, curve(law, select(x, y, "all"), centre))
    noise = scatter(u, gap, points.run, law.size)
    again = law.curve(u, theta) + drawn(u, points.run, noise, count, generator)
    found = curve(law, select(x, again, *how, law is POWER), centre, theta[0])
    whole = found if how[0] == "all" else curve(law, select(x, again, "all"), centre, theta[0])
    # Few runs that agree by chance look certain: the components of variance are a floor under what the points show. Not
    # under the draws, so that intervals hold 90 % or more.
    here = np.maximum(left_out(u, gap, points.run), by_components(u, gap, points.run))
    there = left_out(u, again - law.curve(u, whole), points.run)
    if law is POWER:
        return turned(theta, found, _ratio(here, there))
    return law.clip(theta + _ratio(*(_size(one) for one in (here, there))) * (found - theta), u)


def turned(theta: np.ndarray, found: np.ndarray, ratio: np.ndarray) -> np.ndarray:
    """(B, 2) of what level and slope of a line may be, from what the recipe finds where theta is true.

    As far as the recipe lands from the truth, the truth lies from what it found, the other way: a bias of the recipe's
    slope is taken out. The level of the best of several is that of the best, not of what they scatter about: its bias
    stays.

    Args:
        theta: (1, 2). found: (B, 2), NaN where it finds nothing.
        ratio: (B, 2) standard errors of the points over those of the draws.
    """
    off = found - theta
    off[:, 0] -= np.nanmean(off[:, 0])  # a front of one point has no line
    return theta - ratio * off


def scatter(u: np.ndarray, gap: np.ndarray, run: np.ndarray, lost: int) -> Scatter:
    """Components of variance of residuals, by moments.

    A run of three numbers or more at several computes has a line of its own, another its mean.

    Args:
        u: (N,) log10 compute from a centre. gap: (B, N) log10 error minus the law. run: (N,) labels.
        lost: how many parameters the law has.
    """
    labels, index = np.unique(run, return_inverse=True)
    counts, away = np.bincount(index), _away(u, index)
    spreads = np.bincount(index, away**2)
    lined = (counts > 2) & (spreads > ALIKE)
    free = len(u) - len(labels) - int(lined.sum())
    if not free:
        none = np.zeros(len(gap))
        return Scatter(none, none, np.sqrt((gap**2).sum(axis=1) / max(len(u) - lost, 1)))
    member = (index[:, None] == np.arange(len(labels))).astype(np.float64)
    means = gap @ (member / counts)
    slopes = gap @ (member * away[:, None] * np.divide(lined, spreads, out=np.zeros(len(labels)), where=lined))
    left = gap - means[:, index] - slopes[:, index] * away
    point = (left**2).sum(axis=1) / free
    # Where each run has a line of its own, the law takes one degree of freedom of their levels, else all of its own.
    taken = 1 if lined.all() else lost
    level = (means**2).sum(axis=1) / max(len(labels) - taken, 1) - point * (1 / counts).mean()
    slope = np.zeros(len(gap))
    if lined.sum() > 1:
        slope = slopes[:, lined].var(axis=1, ddof=1) - point * (1 / spreads[lined]).mean()
    return Scatter(*(np.sqrt(np.maximum(one, 0.0)) for one in (level, slope, point)))


def drawn(u: np.ndarray, run: np.ndarray, noise: Scatter, count: int, generator: np.random.Generator) -> np.ndarray:
    """(count, N) scatter of log10 error, for the same runs at the same computes.

    Args:
        noise: of one version of the points.
    """
    labels, index = np.unique(run, return_inverse=True)
    level = generator.standard_normal((count, len(labels)))[:, index]
    slope = generator.standard_normal((count, len(labels)))[:, index]
    own = generator.standard_normal((count, len(u)))
    return noise.run * level + noise.slope * slope * _away(u, index) + noise.point * own


def by_components(u: np.ndarray, gap: np.ndarray, run: np.ndarray) -> np.ndarray:
    """(B, 2) standard errors of level and slope of a line through all points, by the components of variance."""
    index = np.unique(run, return_inverse=True)[1]
    through = line(Selected(u, gap, np.ones_like(gap)), 0.0)
    noise = scatter(u, gap - through[:, :1] - through[:, 1:] * u, run, 2)
    centred = u - u.mean()
    errors = []
    for weight in (np.full(len(u), 1 / len(u)), centred / (centred**2).sum()):
        whole = (np.bincount(index, weight) ** 2).sum()
        turning = (np.bincount(index, weight * _away(u, index)) ** 2).sum()
        own = (weight**2).sum()
        errors.append(np.sqrt(noise.run**2 * whole + noise.slope**2 * turning + noise.point**2 * own))
    return np.stack(errors, axis=1)


def left_out(u: np.ndarray, gap: np.ndarray, run: np.ndarray) -> np.ndarray:
    """(B, 2) standard errors of level and slope of a line through all points, by leaving out a run at a time.

    They hold whatever the scatter. Of a single run a point is left out at a time.

    Args:
        gap: (B, N) log10 error minus a law.
    """
    labels, index = np.unique(run, return_inverse=True)
    if len(labels) < 2:
        labels, index = np.arange(len(u)), np.arange(len(u))
    lines = []  # a row (N,) of the level of each line without a run, and of its slope: they are linear in the errors
    for one in range(len(labels)):
        kept = index != one
        centred = np.where(kept, u - u[kept].mean(), 0.0)
        spread = (centred**2).sum()
        if spread > ALIKE:
            lines.append((kept / kept.sum() - u[kept].mean() * centred / spread, centred / spread))
    if len(lines) < 2:
        return np.zeros((len(gap), 2))
    each = np.einsum("bn,rpn->rbp", gap, np.array(lines), optimize=True)
    return np.sqrt((len(each) - 1) * each.var(axis=0))


def _away(u: np.ndarray, index: np.ndarray) -> np.ndarray:
    """(N,) log10 compute from the mean of each one's run."""
    return u - (np.bincount(index, u) / np.bincount(index))[index]


def _size(errors: np.ndarray) -> np.ndarray:
    """(B, 1) root mean square of standard errors (B, P)."""
    return np.sqrt((errors**2).mean(axis=1, keepdims=True))


def _ratio(here: np.ndarray, there: np.ndarray) -> np.ndarray:
    """1 where nothing scatters."""
    return np.divide(here, there, out=np.ones_like(there), where=there > 0)
