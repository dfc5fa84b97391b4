"""Which points a law rests on: the best of each step of compute, the Pareto front, or all."""

from dataclasses import dataclass

import numpy as np

from ode_vgan.errors import UserError

SELECTIONS = ("binned", "pareto", "all")
MARGIN = 0.1  # decades that the study adds above the largest compute before it cuts bins
SAME = 0.02  # decades within which two computes are one level: measured evaluations differ a little between seeds


@dataclass(frozen=True)
class Selected:
    """What a law is fitted to, for B versions of the same points.

    Attributes:
        x: (M,) log10 compute. y: (B, M) log10 error. weight: (B, M) 1 where the law rests on it, else 0.
    """

    x: np.ndarray
    y: np.ndarray
    weight: np.ndarray


def levels(compute: np.ndarray) -> np.ndarray:
    """(N,) which level of compute each point is at, from 0; computes within 5 % of a level's first are of it."""
    x = np.log10(compute)
    index = np.zeros(len(x), dtype=np.int64)
    order = np.argsort(x, kind="stable")
    first, level = x[order[0]], 0
    for i in order:
        if x[i] > first + SAME:
            first, level = x[i], level + 1
        index[i] = level
    return index


def select(x: np.ndarray, y: np.ndarray, how: str, bins: int = 5, centred: bool = True) -> Selected:
    """Choose what a law rests on.

    binned is the recipe of the OpenCLIP scaling study: equal steps of log10 compute from the least to 0.1 above the
    largest, the least error of each at the step's centre, empty steps left out.

    Args:
        x: (N,) log10 compute. y: (B, N) log10 error.
        how: binned, pareto (no other point has less error at less or equal compute) or all. bins: of binned.
        centred: binned puts the best of a step at its centre, as the study does, which bends a curve; else where it is.

    Raises:
        UserError: another selection, fewer than 2 bins.

    Source: Cherti et al. (2023), Reproducible scaling laws for contrastive language-image learning; figures.ipynb of
        LAION-AI/scaling-laws-openclip.
    """
    if how == "binned":
        return _binned(x, y, bins, centred)
    if how == "pareto":
        return _pareto(x, y)
    if how == "all":
        return Selected(x, y, np.ones_like(y))
    raise UserError(f"no selection {how!r}; choose {', '.join(SELECTIONS)}.")


def _binned(x: np.ndarray, y: np.ndarray, bins: int, centred: bool) -> Selected:
    if bins < 2:
        raise UserError(f"{bins} bins make no line; take 2 or more.")
    edges = np.linspace(x.min(), x.max() + MARGIN, bins + 1)
    index = np.searchsorted(edges, x, side="right") - 1
    filled = np.unique(index)
    if centred:
        best = np.stack([y[:, index == one].min(axis=1) for one in filled], axis=1)
        return Selected((edges[filled] + edges[filled + 1]) / 2, best, np.ones_like(best))
    weight = np.zeros_like(y)
    for one in filled:
        own = np.flatnonzero(index == one)
        weight[np.arange(len(y)), own[y[:, own].argmin(axis=1)]] = 1
    return Selected(x, y, weight)


def _pareto(x: np.ndarray, y: np.ndarray) -> Selected:
    order = np.argsort(x, kind="stable")
    places, starts = np.unique(x[order], return_index=True)
    best = np.minimum.reduceat(y[:, order], starts, axis=1)
    before = np.minimum.accumulate(best, axis=1)
    front = np.ones(best.shape)
    front[:, 1:] = best[:, 1:] < before[:, :-1]
    return Selected(places, best, front)
