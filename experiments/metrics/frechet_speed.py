"""Our Frechet distance against the one with scipy.linalg.sqrtm: time and error, on sets whose distance is known.

OMP_NUM_THREADS=1 python experiments/metrics/frechet_speed.py > experiments/metrics/frechet_speed.md
"""

import argparse
import os
import platform
import time
import warnings
from collections.abc import Callable
from statistics import median

import numpy as np
import scipy
import torch
from scipy.linalg import sqrtm
from torch import Tensor

from ode_vgan.metrics.frechet import frechet_distance, frechet_from_features, moments

INTRODUCTION = """# The Frechet distance against scipy.linalg.sqrtm

`OMP_NUM_THREADS={threads} python experiments/metrics/frechet_speed.py --dim {dim} --repeats {repeats}`

NumPy {numpy}, SciPy {scipy}, PyTorch {torch}, {machine}. Medians over {repeats} draws, the methods in turn on each.

Features with a spectrum as i^-p in a random basis, and the same features moved by a symmetric positive definite map:
that map is the optimal one, so the distance is the mean square of the moves, summed in extended precision. Errors are
relative to it. `moments`: from means and covariances, which both methods are given. `features`: from the rows, where
the time of sqrtm includes its covariances. Where N <= d these are singular.
"""


def known(count: int, dim: int, power: float, seed: int) -> tuple[Tensor, Tensor, np.longdouble]:
    """Two sets of features (N, F), and their squared distance."""
    draw = np.random.default_rng(seed)
    basis, turn = (np.linalg.qr(draw.standard_normal((dim, dim)))[0] for _ in range(2))
    rows = (draw.standard_normal((count, dim)) * np.arange(1, dim + 1) ** (-power / 2)) @ basis.T
    stretch = (turn * np.exp(draw.uniform(-0.3, 0.3, dim))) @ turn.T
    moved = rows @ ((stretch + stretch.T) / 2) + 0.01
    step = moved.astype(np.longdouble) - rows.astype(np.longdouble)
    mean = step.mean(0)
    distance = np.square(mean).sum() + np.square(step - mean).sum() / (count - 1)
    return torch.from_numpy(rows), torch.from_numpy(moved), distance


def by_sqrtm(mean_a: Tensor, cov_a: Tensor, mean_b: Tensor, cov_b: Tensor) -> float:
    """The form of most published code."""
    mean_a, cov_a, mean_b, cov_b = (part.numpy() for part in (mean_a, cov_a, mean_b, cov_b))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of a singular product
        root = sqrtm(cov_a @ cov_b)
    return np.square(mean_a - mean_b).sum() + np.trace(cov_a) + np.trace(cov_b) - 2 * np.trace(root).real


def timed(call: Callable) -> tuple[float, float, float]:
    """Value, wall milliseconds, CPU milliseconds."""
    wall, cpu = time.perf_counter(), time.process_time()
    value = float(call())
    return value, 1e3 * (time.perf_counter() - wall), 1e3 * (time.process_time() - cpu)


def compare(count: int, dim: int, power: float, repeats: int) -> dict[str, dict[str, list[tuple]]]:
    """(Error, wall, CPU) of each draw, by what is given and by method."""
    found = {given: {"ours": [], "sqrtm": []} for given in ("moments", "features")}
    for seed in range(repeats):
        a, b, distance = known(count, dim, power, seed)
        summed = *moments(a), *moments(b)
        calls = {
            ("moments", "ours"): lambda summed=summed: frechet_distance(*summed),
            ("moments", "sqrtm"): lambda summed=summed: by_sqrtm(*summed),
            ("features", "ours"): lambda a=a, b=b: frechet_from_features(a, b),
            ("features", "sqrtm"): lambda a=a, b=b: by_sqrtm(*moments(a), *moments(b)),
        }
        for (given, method), call in calls.items():
            value, wall, cpu = timed(call)
            found[given][method].append((float(abs(value - distance) / distance), wall, cpu))
    return found


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--dim", type=int, default=400)
    parser.add_argument("--repeats", type=int, default=9)
    args = parser.parse_args()
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", torch.get_num_threads())))
    about = {"numpy": np.__version__, "scipy": scipy.__version__, "torch": torch.__version__.split("+")[0]}
    print(INTRODUCTION.format(threads=torch.get_num_threads(), machine=platform.machine(), **about, **vars(args)))
    print("| N | p | given | ours, ms | sqrtm, ms | ratio | ratio of CPU | error, ours | error, sqrtm |")
    print("|---|---|---|---|---|---|---|---|---|")
    compare(2048, args.dim, 0, 1)  # the first call of a library is slow
    for count, power in ((2048, 0), (2048, 1), (2048, 2), (256, 1)):
        for given, methods in compare(count, args.dim, power, args.repeats).items():
            ours, theirs = ([median(column) for column in zip(*methods[name], strict=True)] for name in methods)
            times = f"{ours[1]:.1f} | {theirs[1]:.1f} | {theirs[1] / ours[1]:.1f} | {theirs[2] / ours[2]:.1f}"
            print(f"| {count} | {power} | {given} | {times} | {ours[0]:.1e} | {theirs[0]:.1e} |", flush=True)


if __name__ == "__main__":
    main()
