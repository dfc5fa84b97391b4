"""How often the intervals of the parametric law of model size and data hold what they should, on one known law.

python experiments/scaling_laws/coverage_plane.py --trials 200
"""

import argparse

import numpy as np

from ode_vgan.scaling.fit import fit
from ode_vgan.scaling.laws import Points

LAW = {"E": 0.2, "A": 40.0, "B": 90.0, "alpha": 0.35, "beta": 0.4}
SIZES, DATAS, OPERATIONS = 1e5 * 4.0 ** np.arange(4), 1e4 * 4.0 ** np.arange(4), 6
DESIGNS = {  # scatter of a configuration and of a seed in log10 error, and seeds
    "4 x 4 x 3, seeds scatter": (0.0, 0.01, 3),
    "4 x 4 x 3, configurations too": (0.005, 0.005, 3),
    "4 x 4 x 1": (0.0, 0.01, 1),
}


def error(size: np.ndarray, data: np.ndarray) -> np.ndarray:
    """LAW."""
    return LAW["E"] + LAW["A"] / size ** LAW["alpha"] + LAW["B"] / data ** LAW["beta"]


def points(run: float, seed: float, seeds: int, generator: np.random.Generator) -> Points:
    """A study: a run is a configuration, its seeds are its points."""
    index = np.repeat(np.arange(len(SIZES) * len(DATAS)), seeds)
    size, data = SIZES[index // len(DATAS)], DATAS[index % len(DATAS)]
    level = run * generator.standard_normal(index.max() + 1)[index]
    own = seed * generator.standard_normal(len(index))
    return Points(
        OPERATIONS * size * data, error(size, data) * 10 ** (level + own), index.astype(str), None, size, data
    )


def truths(compute: float) -> dict[str, float]:
    """What intervals should hold; `beyond` is the least error of any split of compute."""
    both = LAW["alpha"] + LAW["beta"]
    size = 10 ** np.linspace(2, 12, 40001)
    return {
        **{name: LAW[name] for name in ("E", "alpha", "beta")},
        "frontier": -LAW["alpha"] * LAW["beta"] / both, "size": LAW["beta"] / both,
        "beyond": float(error(size, compute / OPERATIONS / size).min()),
    }  # fmt: skip


def main() -> None:
    """Print the share of 90 % intervals that hold each truth; `beyond` is at ten times the largest compute."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--trials", type=int, default=200)
    parser.add_argument("--draws", type=int, default=200)
    args = parser.parse_args()
    for name, design in DESIGNS.items():
        held = []
        for trial in range(args.trials):
            study = points(*design, np.random.default_rng(100 + trial))
            found = fit(study, "chinchilla", bootstrap=args.draws, seed=trial)
            compute = 10 * float(study.compute.max())
            low, high = found.predict_interval(np.array([compute]))
            intervals = {**found.intervals, "beyond": (low[0], high[0])}
            held.append([intervals[one][0] <= value <= intervals[one][1] for one, value in truths(compute).items()])
        shares = dict(zip(truths(1.0), np.mean(held, axis=0), strict=True))
        print(f"{name}: " + ", ".join(f"{one} {share:.3f}" for one, share in shares.items()), flush=True)


if __name__ == "__main__":
    main()
