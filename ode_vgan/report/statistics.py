"""What runs say of their families: means over seeds with intervals, and differences with seeds as the unit."""

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import combinations

from scipy.special import stdtr, stdtrit

from ode_vgan.report.study import Contrast, Run, Spread

LEVEL = 0.90  # of every interval; a difference is significant where its corrected p is 1 - LEVEL at most


def spreads(runs: Sequence[Run]) -> list[Spread]:
    """Each family's plain value under each key, over seeds; keys and families in the order in which they are met.

    A family's second run of one seed is no further seed and is left out.
    """
    families: dict[str, dict[int, Run]] = {}
    for run in runs:
        families.setdefault(run.family, {}).setdefault(run.seed, run)
    found = []
    for key in dict.fromkeys(key for run in runs for key in run.scores):
        for family, seeds in families.items():
            scores = {seed: run.scores[key] for seed, run in sorted(seeds.items()) if key in run.scores}
            if scores:
                real = statistics.fmean(score.real for score in scores.values())
                values = {seed: score.value for seed, score in scores.items()}
                found.append(over_seeds(values, family=family, key=key, real=real))
    return found


def over_seeds(values: Mapping[int, float], *, family: str = "", key: str = "", real: float = math.nan) -> Spread:
    """The mean of one number by seed, its sample deviation and t interval; only the mean with one seed."""
    mean, n = statistics.fmean(values.values()), len(values)
    if n < 2:
        return Spread(family, key, n, mean, None, None, None, dict(values), real)
    sd = statistics.stdev(values.values())
    reach = quantile(n - 1) * sd / math.sqrt(n)
    return Spread(family, key, n, mean, sd, mean - reach, mean + reach, dict(values), real)


def contrasts(found: Sequence[Spread]) -> list[Contrast]:
    """All pairs of families under each key, with p corrected over the pairs of that key."""
    keys: dict[str, list[Spread]] = {}
    for one in found:
        keys.setdefault(one.key, []).append(one)
    return [
        contrast for same in keys.values() for contrast in corrected([welch(a, b) for a, b in combinations(same, 2)])
    ]


def welch(a: Spread, b: Spread) -> Contrast:
    """Family a minus family b, its interval and two-sided p for unequal variances; only the value with one seed a side.

    Source: Welch (1947), with the degrees of freedom of Satterthwaite (1946).
    """
    value = a.mean - b.mean
    contrast = Contrast(a.family, b.family, a.key, value, None, None, None, None, None, a.n, b.n)
    if a.sd is None or b.sd is None:
        return contrast
    parts = [side.sd**2 / side.n for side in (a, b)]
    error = math.sqrt(sum(parts))
    if error == 0:
        return replace(contrast, low=value, high=value, p=float(value == 0))
    freedom = sum(parts) ** 2 / sum(part**2 / (side.n - 1) for part, side in zip(parts, (a, b), strict=True))
    reach, p = quantile(freedom) * error, 2 * float(stdtr(freedom, -abs(value) / error))
    return replace(contrast, low=value - reach, high=value + reach, p=p)


def corrected(found: Sequence[Contrast]) -> list[Contrast]:
    """The same contrasts with p corrected over those that have one, and a verdict at `LEVEL`."""
    adjusted = iter(holm([one.p for one in found if one.p is not None]))
    with_p = [one if one.p is None else replace(one, p_holm=next(adjusted)) for one in found]
    return [one if one.p is None else replace(one, significant=one.p_holm <= 1 - LEVEL) for one in with_p]


def holm(p: Sequence[float]) -> list[float]:
    """p values such that the chance of any false finding among them stays below the level they are compared with.

    Source: Holm (1979), as adjusted p values.
    """
    adjusted, least = [0.0] * len(p), 0.0
    for rank, i in enumerate(sorted(range(len(p)), key=lambda i: p[i])):
        least = max(least, min(1.0, (len(p) - rank) * p[i]))
        adjusted[i] = least
    return adjusted


def reaches(runs: Sequence[Run]) -> dict[str, dict[str, float | int | None]]:
    """How far one run's number reaches by its clips and by its seed, for each key: half widths of 90 % intervals.

    `clips`: of the interval that the run itself gives, the median over runs; it holds for that one trained model.
    `seeds`: of the number of one run around its family's mean, from deviations pooled within families, on `freedom`
    degrees; None where no family has two seeds. Where it is the larger, a run's own interval says too little of its
    family.
    """
    every, found = spreads(runs), {}
    for key in dict.fromkeys(one.key for one in every):
        widths = [run.scores[key].high - run.scores[key].low for run in runs if key in run.scores]
        same = [one for one in every if one.key == key and one.sd is not None]
        freedom = sum(one.n - 1 for one in same)
        pooled = math.sqrt(sum((one.n - 1) * one.sd**2 for one in same) / freedom) if freedom else None
        seeds = None if pooled is None else quantile(freedom) * pooled
        found[key] = {"clips": statistics.median(widths) / 2, "seeds": seeds, "freedom": freedom}
    return found


def quantile(freedom: float) -> float:
    """Student's t that leaves (1 - LEVEL) / 2 above it."""
    return float(stdtrit(freedom, (1 + LEVEL) / 2))
