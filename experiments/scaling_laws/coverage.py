"""How often the intervals of `ode_vgan.scaling.fit` hold what they should: synthetic studies of known laws.

python experiments/scaling_laws/coverage.py --trials 400 > experiments/scaling_laws/coverage.csv
"""

import argparse
import csv
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from ode_vgan.scaling.fit import Fit, fit
from ode_vgan.scaling.laws import BREAK_DECADES, Points

BEYOND = 10.0  # predictions are checked at this many times the largest compute
ALPHA, LEVEL = -0.12, 1.7  # of the power law: error 10^1.7 C^-0.12
SIZE, DATA, RATES = 6.0, 4.0, (1e5, 1e4)  # steps of the grid, and its smallest model and data


@dataclass(frozen=True)
class Design:
    """A study to be simulated.

    Attributes:
        truth: compute (N,) -> error. named: parameters that fits should find.
        points: computes, runs and how much a run's level, its slope and a number scatter in log10 error.
    """

    name: str
    law: str
    truth: Callable[[np.ndarray], np.ndarray]
    named: dict[str, float]
    points: Callable[[np.random.Generator, Callable[[np.ndarray], np.ndarray]], Points]


def grid(run: float, point: float, seeds: int = 3, sizes: int = 4, datas: int = 4, law: Callable | None = None):
    """Models by data by seeds, as a CLIP study: a run is a configuration, its seeds are its points."""

    def points(generator: np.random.Generator, truth: Callable[[np.ndarray], np.ndarray]) -> Points:
        index = np.repeat(np.arange(sizes * datas), seeds)
        size, data = RATES[0] * SIZE ** (index // datas), RATES[1] * DATA ** (index % datas)
        level = run * generator.standard_normal(sizes * datas)[index]
        error = law(size, data) if law else truth(size * data)
        error = error * 10 ** (level + point * generator.standard_normal(len(index)))
        seed = np.tile(np.arange(seeds), sizes * datas)
        return Points(size * data, error, index.astype(str), seed, size, data)

    return points


def line(run: float, slope: float, point: float, looks: int, runs: int, step: float = 2.0):
    """Looks at a few runs of one model, as a GAN's: a run is a run."""

    def points(generator: np.random.Generator, truth: Callable[[np.ndarray], np.ndarray]) -> Points:
        index = np.repeat(np.arange(runs), looks)
        compute = 1e12 * step ** np.tile(np.arange(looks), runs)
        u = np.log10(compute) - np.log10(compute).mean()
        own = run * generator.standard_normal(runs)[index] + slope * generator.standard_normal(runs)[index] * u
        error = truth(compute) * 10 ** (own + point * generator.standard_normal(len(u)))
        return Points(compute, error, index.astype(str), index)

    return points


def power(compute: np.ndarray) -> np.ndarray:
    """The power law."""
    return 10**LEVEL * compute**ALPHA


def saturating(compute: np.ndarray) -> np.ndarray:
    """A floor of 1 and an exponent of -0.4."""
    return 1 + 2e4 * compute**-0.4


def broken(compute: np.ndarray) -> np.ndarray:
    """An exponent of -0.05 before 5e10 and -0.2 after."""
    u = np.log10(compute)
    return 10 ** (1 - 0.05 * u - 0.15 * BREAK_DECADES * np.logaddexp(0, (u - np.log10(5e10)) / BREAK_DECADES))


def plane(size: np.ndarray, data: np.ndarray) -> np.ndarray:
    """E + A / N^a + B / D^b."""
    return 1 + 40 * size**-0.35 + 30 * data**-0.3


PLANE = {"E": 1.0, "alpha": 0.35, "beta": 0.3}
EXPONENT = {"alpha": ALPHA}
FLOOR = {"alpha": -0.4, "e_inf": 1.0}
BENT = {"alpha": -0.05, "alpha_after": -0.2, "break": 5e10}
DESIGNS = (
    Design("4 x 4 x 3, seeds scatter", "power", power, EXPONENT, grid(0, 0.02)),
    Design("4 x 4 x 3, configurations too", "power", power, EXPONENT, grid(0.02, 0.02)),
    Design("4 x 4 x 1", "power", power, EXPONENT, grid(0, 0.02, seeds=1)),
    Design("3 runs x 5 looks", "power", power, EXPONENT, line(0.02, 0.03, 0.01, 5, 3)),
    Design("3 runs x 6 looks, one level", "power", power, EXPONENT, line(0, 0, 0.02, 6, 3)),
    Design("2 runs x 5 looks", "power", power, EXPONENT, line(0.02, 0.03, 0.01, 5, 2)),
    Design("5 runs x 6 looks", "power", power, EXPONENT, line(0.02, 0.03, 0.01, 6, 5)),
    Design("4 x 4 x 3, seeds scatter", "saturating", saturating, FLOOR, grid(0, 0.01)),
    Design("4 x 4 x 3, configurations too", "saturating", saturating, FLOOR, grid(0.01, 0.01)),
    Design("3 runs x 8 looks", "saturating", saturating, FLOOR, line(0.01, 0, 0.01, 8, 3, 4.0)),
    Design("4 x 4 x 3, seeds scatter", "broken", broken, BENT, grid(0, 0.01)),
    Design("4 x 4 x 3, configurations too", "broken", broken, BENT, grid(0.01, 0.01)),
    Design("4 x 4 x 3, seeds scatter", "chinchilla", power, PLANE, grid(0, 0.01, law=plane)),
    Design("4 x 4 x 3, configurations too", "chinchilla", power, PLANE, grid(0.01, 0.01, law=plane)),
    Design("6 x 6 x 2", "chinchilla", power, PLANE, grid(0, 0.01, 2, 6, 6, law=plane)),
)


def fits(design: Design, select: str, trials: int, draws: int) -> Iterator[tuple[Points, Fit]]:
    """A fit a trial."""
    for trial in range(trials):
        points = design.points(np.random.default_rng([trial, 6]), design.truth)
        yield points, fit(points, design.law, select, bootstrap=draws, seed=trial, allow_few=True)


def measured(design: Design, select: str, trials: int, draws: int) -> dict[str, object]:
    """The share of intervals that hold the truth, a row of the table."""
    held = {name: 0 for name in design.named}
    widths, predicted, levels, exponents = [], [], [], []
    for points, found in fits(design, select, trials, draws):
        for name, value in design.named.items():
            low, high = found.intervals[name]
            held[name] += low <= value <= high
        first = next(iter(design.named))
        widths.append(found.intervals[first][1] - found.intervals[first][0])
        exponents.append(found.parameters[first])
        at = np.array([BEYOND * points.compute.max()])
        predicted.append([np.log10(side[0]) for side in found.predict_interval(at)])
        levels.append((found.theta[0], np.log10(at[0]) - found.centre, np.log10(design.truth(at)[0])))
    shares = {name: count / trials for name, count in held.items()}
    return {
        "law": design.law, "select": select, "design": design.name, "trials": trials,
        "held": " ".join(f"{name} {share:.3f}" for name, share in shares.items()),
        "prediction_held": "" if design.law == "chinchilla" else f"{_foretold(design, predicted, levels):.3f}",
        "median_width": f"{np.median(widths):.4f}", "mean": f"{np.mean(exponents):.4f}",
        "spread_width": f"{2 * 1.645 * np.std(exponents):.4f}",
    }  # fmt: skip


def _foretold(design: Design, predicted: list, levels: list) -> float:
    """The share of intervals that hold the error at ten times the compute.

    For the power law that is the true slope through the level that the recipe finds on average: that of the best, where
    it rests on the best.
    """
    low, high = np.array(predicted).T
    level, away, truth = np.array(levels).T
    if design.law == "power":
        truth = level.mean() + ALPHA * away
    return float(((low <= truth) & (truth <= high)).mean())


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--trials", type=int, default=400)
    parser.add_argument("--draws", type=int, default=400)
    parser.add_argument("--law", default="")
    args = parser.parse_args()
    out = None
    for design in DESIGNS:
        selects = {"power": ("binned", "pareto", "all"), "chinchilla": ("all",)}.get(
            design.law, ("all",) if design.law == "broken" else ("all", "pareto")
        )
        for select in selects:
            if args.law in ("", design.law):
                row = measured(design, select, args.trials, args.draws)
                if out is None:
                    out = csv.DictWriter(sys.stdout, row, lineterminator="\n")
                    out.writeheader()
                out.writerow(row)
                sys.stdout.flush()


if __name__ == "__main__":
    main()
