"""Weighted least squares of a curve for many versions of the same points at once."""

from collections.abc import Callable

import numpy as np

from ode_vgan.scaling.laws import Law
from ode_vgan.scaling.selection import Selected

STEPS = 40
SMALL = 1e-6  # step of forward differences


def line(selected: Selected, centre: float) -> np.ndarray:
    """(B, 2) level at the centre and slope of the straight line, in log10."""
    u, weight = selected.x - centre, selected.weight
    total = weight.sum(axis=1)
    mean_u = (weight * u).sum(axis=1) / total
    mean_y = (weight * selected.y).sum(axis=1) / total
    away = u - mean_u[:, None]
    spread = (weight * away**2).sum(axis=1)
    with np.errstate(invalid="ignore", divide="ignore"):
        slope = (weight * away * (selected.y - mean_y[:, None])).sum(axis=1) / spread
    return np.stack([mean_y - slope * mean_u, slope], axis=1)


def curve(law: Law, selected: Selected, centre: float, near: np.ndarray | None = None) -> np.ndarray:
    """Parameters of least squared log10 error.

    Args:
        near: (P,) where to start: the fit of the points that these versions are of.

    Returns:
        (B, P).
    """
    straight = line(selected, centre)
    if law.size == 2:
        return straight
    u = selected.x - centre
    if near is None:
        low = np.where(selected.weight > 0, selected.y, np.inf).min(axis=1)
        starts = law.starts(u, straight, low)
    else:
        starts = np.broadcast_to(near, (1, len(straight), law.size))
    fits = [
        descend(lambda theta: law.curve(u, theta), selected, start, lambda theta: law.clip(theta, u))
        for start in starts
    ]
    costs = np.stack([cost for _, cost in fits])
    best = costs.argmin(axis=0)
    return np.stack([theta for theta, _ in fits])[best, np.arange(len(best))]


def descend(
    model: Callable[[np.ndarray], np.ndarray], selected: Selected, start: np.ndarray,
    clip: Callable[[np.ndarray], np.ndarray],
) -> tuple[np.ndarray, np.ndarray]:  # fmt: skip
    """Levenberg-Marquardt from one start a version.

    Args:
        model: theta (B, P) -> (B, M). start: (B, P). clip: keeps theta within bounds.

    Returns:
        (B, P) and the (B,) weighted sum of squares there.
    """
    theta = np.array(start, dtype=np.float64)
    root = np.sqrt(selected.weight)
    gap = root * (model(theta) - selected.y)
    cost = (gap**2).sum(axis=1)
    damping = np.full(len(theta), 1e-2)
    for _ in range(STEPS):
        slopes = _slopes(model, theta, root)
        normal = np.einsum("bmp,bmq->bpq", slopes, slopes)
        scale = np.einsum("bpp->bp", normal) + 1e-12
        normal[:, range(theta.shape[1]), range(theta.shape[1])] += damping[:, None] * scale
        step = np.linalg.solve(normal, np.einsum("bmp,bm->bp", slopes, gap)[..., None])[..., 0]
        tried = clip(theta - step)
        tried_gap = root * (model(tried) - selected.y)
        tried_cost = (tried_gap**2).sum(axis=1)
        better = tried_cost < cost
        done = ~better | (cost - tried_cost < 1e-8 * cost)
        theta, gap = np.where(better[:, None], tried, theta), np.where(better[:, None], tried_gap, gap)
        cost = np.where(better, tried_cost, cost)
        damping = np.clip(np.where(better, damping / 5, damping * 4), 1e-10, 1e10)
        if (done & ((damping > 1e6) | better)).all():
            break
    return theta, cost


def _slopes(model: Callable[[np.ndarray], np.ndarray], theta: np.ndarray, root: np.ndarray) -> np.ndarray:
    """(B, M, P) of the weighted model, by forward differences."""
    here = model(theta)
    columns = []
    for i in range(theta.shape[1]):
        step = SMALL * np.maximum(np.abs(theta[:, i]), 1e-2)
        moved = theta.copy()
        moved[:, i] += step
        columns.append(root * (model(moved) - here) / step[:, None])
    return np.stack(columns, axis=2)
