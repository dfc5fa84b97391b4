"""Fit a law of error against compute, with intervals over runs and seeds, and what it misses on held-out compute."""

from dataclasses import dataclass, field, replace

import numpy as np

from ode_vgan.errors import UserError
from ode_vgan.scaling import chinchilla
from ode_vgan.scaling.bootstrap import draws as drawn
from ode_vgan.scaling.difference import Difference, compare, inner
from ode_vgan.scaling.laws import CURVES, POWER, Law, Points
from ode_vgan.scaling.leastsquares import curve
from ode_vgan.scaling.selection import Selected, levels, select

__all__ = ["Difference", "Fit", "HeldOut", "compare", "fit"]

LAWS = CURVES | {"chinchilla": chinchilla.CHINCHILLA}
LEAST_LEVELS = 5
LEAST_DECADES = 1.0
FEW_RUNS = 3
MANY_RUNS = 36  # of 16, intervals of the chinchilla law were measured to hold 0.8 to 0.95 in place of 0.9
SHIFT = 0.1  # of the interval's width, from which a bias of the recipe is told
UNSURE = ("saturating", "broken")


@dataclass(frozen=True)
class HeldOut:
    """What a law says of a level of compute that it was not shown.

    Attributes:
        compute: of the level. error: the best there, or the geometric mean for a law of all points.
        predicted, low, high: the law, and its interval.
    """

    compute: float
    error: float
    predicted: float
    low: float
    high: float

    @property
    def off(self) -> float:
        """Predicted over true, minus 1."""
        return self.predicted / self.error - 1


@dataclass(frozen=True)
class Fit:
    """A law, and how sure it is.

    Attributes:
        law: power, saturating, broken or chinchilla. recipe: what it rests on, in words. select: binned, pareto or all.
        parameters: as published. intervals: (low, high) of each at `level`.
        levels, decades: different computes among the points, and how far apart the outer two are.
        few: fewer than five levels or less than a decade, and asked for all the same.
        rests_on: (x (M,), y (M,)) compute and error that the law was fitted to.
        held: (N,) which of the given points were held out. held_out: what the law says of them.
        centre, theta, draws: log10 compute that parameters count from, (P,) them, (B, P) draws of what they may be.
        notes: what a reader should know.
    """

    law: str
    recipe: str
    select: str
    parameters: dict[str, float]
    intervals: dict[str, tuple[float, float]]
    levels: int
    decades: float
    few: bool
    level: float
    rests_on: tuple[np.ndarray, np.ndarray]
    held: np.ndarray
    centre: float
    theta: np.ndarray
    draws: np.ndarray
    held_out: tuple[HeldOut, ...] = ()
    notes: tuple[str, ...] = field(default=())

    @property
    def exponent(self) -> float:
        """Of compute: alpha, or for chinchilla that of the reducible error at the best split of compute."""
        return self.parameters[LAWS[self.law].exponent]

    def exponents(self) -> np.ndarray:
        """(B,) draws of it."""
        return LAWS[self.law].named(self.draws, self.centre)[LAWS[self.law].exponent]

    def predict(self, compute: np.ndarray) -> np.ndarray:
        """(N,) error at (N,) compute."""
        return 10 ** self._curve(compute, self.theta[None])[0]

    def predict_interval(self, compute: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """(N,) low and (N,) high of the law at (N,) compute, at the fit's level."""
        low, high = inner(self.log10_drawn(compute), self.level)
        return 10**low, 10**high

    def log10_drawn(self, compute: np.ndarray) -> np.ndarray:
        """(B, N) log10 error at (N,) compute, a row a draw."""
        return self._curve(compute, self.draws)

    def _curve(self, compute: np.ndarray, theta: np.ndarray) -> np.ndarray:
        return LAWS[self.law].curve(np.log10(np.asarray(compute, dtype=np.float64)) - self.centre, theta)

    def to_json(self) -> dict[str, object]:
        """Plain data."""
        arrays = {"theta": self.theta.tolist(), "draws": np.round(self.draws, 9).tolist(), "held": self.held.tolist()}
        names = ("law", "recipe", "select", "parameters", "levels", "decades", "few", "level", "centre")
        return {
            **{name: getattr(self, name) for name in names},
            "intervals": {name: list(both) for name, both in self.intervals.items()},
            "rests_on": [side.tolist() for side in self.rests_on],
            "held_out": [vars(one) for one in self.held_out],
            "notes": list(self.notes),
            **arrays,
        }

    @classmethod
    def from_json(cls, content: dict) -> "Fit":
        """A fit that `to_json` told.

        Raises:
            KeyError, TypeError: another content.
        """
        arrays = {name: np.array(content[name], dtype=np.float64) for name in ("theta", "draws")}
        more = {
            "intervals": {name: (low, high) for name, (low, high) in content["intervals"].items()},
            "rests_on": tuple(np.array(side, dtype=np.float64) for side in content["rests_on"]),
            "held_out": tuple(HeldOut(**one) for one in content["held_out"]),
            "notes": tuple(content["notes"]),
            "held": np.array(content["held"], dtype=bool),
        }
        return cls(**{**content, **arrays, **more})


def fit(
    points: Points, law: str = "power", select: str = "binned", bins: int = 5, *, bootstrap: int = 1000,
    level: float = 0.9, seed: int = 0, hold_out: int = 0, allow_few: bool = False,
) -> Fit:  # fmt: skip
    """Fit a law to the points.

    Args:
        law: power, saturating, broken, or chinchilla, which rests on all points.
        select: binned (the OpenCLIP study's), pareto or all. bins: of binned.
        bootstrap: draws of the scatter of runs and seeds. level: of intervals. seed: of the draws.
        hold_out: how many of the largest levels of compute the fit does not see and predicts.
        allow_few: fit fewer than five levels or less than a decade, and say so.

    Raises:
        UserError: too few levels, decades or points for the law, or an unknown law or selection.
    """
    if law not in LAWS:
        raise UserError(f"no law {law!r}; choose {', '.join(LAWS)}.")
    held = _held(points, hold_out)
    seen = points.take(~held) if not held.all() else None
    few, count, decades = _check_range(seen, allow_few, hold_out)
    generator = np.random.default_rng(seed)
    if law == "chinchilla":
        select = "all"
        centre, chosen = 0.0, _select(POWER, *_logs(seen), select, bins)
        theta, draws = chinchilla.fit(seen, bootstrap, generator)
    else:
        centre, chosen = float(np.log10(seen.compute).mean()), _select(LAWS[law], *_logs(seen), select, bins)
        theta = curve(LAWS[law], chosen, centre)
        draws = drawn(LAWS[law], seen, theta, (select, bins), count=bootstrap, generator=generator)
    named = LAWS[law].named
    used = chosen.weight[0] > 0
    found = Fit(
        law, _told(select, bins), select, {name: float(one[0]) for name, one in named(theta, centre).items()},
        {name: tuple(map(float, inner(all_, level))) for name, all_ in named(draws, centre).items()},
        count, decades, few, level, (10 ** chosen.x[used], 10 ** chosen.y[0, used]), held, centre, theta[0], draws,
    )  # fmt: skip
    found = replace(found, notes=tuple(_notes(found, len(np.unique(seen.run)))))
    return _tried(found, points.take(held)) if hold_out else found


def _logs(points: Points) -> tuple[np.ndarray, np.ndarray]:
    return np.log10(points.compute), np.log10(points.error)[None]


def _told(select: str, bins: int) -> str:
    return {"binned": f"best of each of {bins} bins", "pareto": "Pareto front", "all": "all points"}[select]


def _held(points: Points, hold_out: int) -> np.ndarray:
    """(N,) whether a point is at one of the largest levels."""
    index = levels(points.compute)
    return index > index.max() - hold_out


def _check_range(points: Points | None, allow_few: bool, hold_out: int) -> tuple[bool, int, float]:
    """Whether the computes are few, how many levels, how many decades."""
    count = int(levels(points.compute).max()) + 1 if points is not None else 0
    if count < 2:
        left = f" are left without the {hold_out} held out" if hold_out else ""
        raise UserError(f"{count} level of compute{left}: no law is told from one. Train at 5 or more, over a decade.")
    decades = float(np.log10(points.compute.max() / points.compute.min()))
    few = count < LEAST_LEVELS or decades < LEAST_DECADES
    if few and not allow_few:
        without = f" without the {hold_out} held out" if hold_out else ""
        raise UserError(
            f"{count} levels of compute over {decades:.2g} decades{without}; an exponent takes {LEAST_LEVELS} over "
            f"{LEAST_DECADES:g}. Train at more, or see what they say all the same with --allow-few."
        )
    return few, count, decades


def _select(form: Law, x: np.ndarray, y: np.ndarray, how: str, bins: int) -> Selected:
    chosen = select(x, y, how, bins, form is POWER)
    count = int(chosen.weight[0].sum())
    if count < form.size + (form.size > 2):
        raise UserError(
            f"the {form.name} law has {form.size} parameters and {_told(how, bins)} leaves {count} points. Take more "
            "bins, all points, or another law."
        )
    return chosen


def _notes(found: Fit, runs: int) -> list[str]:
    """What a reader of the intervals should know."""
    notes = []
    low, high = found.intervals[LAWS[found.law].exponent]
    shift = found.exponent - float(np.nanmedian(found.exponents()))
    if found.law == "power" and found.select != "all" and abs(shift) > SHIFT * (high - low):
        notes.append(
            f"{found.recipe} moves the exponent by about {shift:+.3f} at these computes; the exponent is the recipe's, "
            "its interval is that of the law"
        )
    if found.law in UNSURE and found.select != "all":
        notes.append(
            f"intervals of the {found.law} law of {found.recipe} may be far too narrow; those of all points hold"
        )
    if found.law == "chinchilla" and runs < MANY_RUNS:
        notes.append(
            f"intervals of the chinchilla law of {runs} runs may be too narrow; those of {MANY_RUNS} or more hold"
        )
    if runs <= FEW_RUNS:
        what = "points scatter as if each were a run" if runs == 1 else f"{runs - 1} degrees of freedom between them"
        notes.append(f"{runs} run{'s' * (runs > 1)}: {what}")
    return notes


def _tried(found: Fit, points: Points) -> Fit:
    """The fit with what it says of points that it was not shown."""
    index = levels(points.compute)
    tried = []
    for one in range(index.max() + 1):
        there = points.take(index == one)
        if found.select != "all":
            there = there.take(np.array([there.error.argmin()]))
        compute, error = (float(np.exp(np.log(side).mean())) for side in (there.compute, there.error))
        said = float(_said(found, there, found.theta[None]).mean())
        low, high = inner(_said(found, there, found.draws).mean(axis=1), found.level)
        tried.append(HeldOut(compute, error, 10**said, float(10**low), float(10**high)))
    return replace(found, held_out=tuple(tried))


def _said(found: Fit, points: Points, theta: np.ndarray) -> np.ndarray:
    """(B, N) log10 error of the law at points: chinchilla's at their own size and data."""
    if found.law == "chinchilla":
        return chinchilla.log_error(np.log(points.parameters), np.log(points.samples), theta) / np.log(10)
    return LAWS[found.law].curve(np.log10(points.compute) - found.centre, theta)
