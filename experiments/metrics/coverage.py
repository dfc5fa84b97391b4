"""How often the 90 % interval holds the truth, on laws whose distance is known.

python experiments/metrics/coverage.py > experiments/metrics/coverage.md
"""

import argparse
import shlex
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from statistics import fmean

import numpy as np
import torch
from torch import Tensor

from ode_vgan.metrics.frechet import frechet_distance, frechet_from_features
from ode_vgan.metrics.intervals import Estimate, estimate, frechet_estimate, paired_difference
from ode_vgan.metrics.mmd import kvd

RESAMPLES = 100  # of a bootstrap
INTRODUCTION = """# Does the interval hold the truth?

`{command}`: {trials} draws a row, seed {seed}; {resampled} of them bootstrapped too, by 100 resamples.

The real law has a spectrum as 1 / i in a random basis; the generated one is a linear map of it, so the distance of the
two laws (truth) is known. A Student law has so many degrees of freedom. With N too small against d, and for KVD of two
laws, the truth is the mean of the plain value over the draws. Bootstrap: the percentile interval of the plain value.
"""
COLUMNS = (
    "law",
    "d",
    "N real",
    "N fake",
    "truth",
    "covers, %",
    "bootstrap covers, %",
    "mean width",
    "bias of plain",
    "bias of debiased",
    "sd of plain",
    "sd of debiased",
)


@dataclass
class Law:
    """Real features of one law, and generated ones that are a linear map of it, so that all moments are known.

    Attributes:
        kind: "Gaussian", "8 modes", or "Student N" with N degrees of freedom.
        size: of the map's logarithms and of the shift; 0 makes both sides one law.
        frames: rows of a clip, which share half of their variance.
    """

    kind: str
    dim: int
    size: float
    draw: torch.Generator
    frames: int = 1

    def __post_init__(self):
        scales = torch.arange(1, self.dim + 1).double() ** -0.5  # a spectrum as 1 / i, as of learned features
        self.root = self._rotation() * scales
        turn, stretch = self._rotation(), torch.rand(self.dim, generator=self.draw, dtype=torch.float64) * 2 - 1
        self.map = turn * (self.size * stretch).exp() @ turn.T
        self.shift = 0.3 * self.size * scales.mean() * self._normal(self.dim)
        self.modes = self._normal(8, self.dim) @ self.root.T

    def real(self, count: int) -> Tensor:
        """(count, F), or (count, T, F) with frames."""
        rows = self._normal(count * self.frames, self.dim)
        if self.frames > 1:
            rows = (rows.unflatten(0, (count, -1)) + self._normal(count, 1, self.dim)) / 2**0.5
        rows = rows @ self.root.T
        if self.kind == "8 modes":
            return rows + self.modes[torch.randint(8, (count,), generator=self.draw)]
        if self.kind.startswith("Student"):
            return rows / (self._normal(count, self.freedom).square().mean(1, keepdim=True)).sqrt()
        return rows

    def fake(self, count: int) -> Tensor:
        """(count, F), or (count, T, F) with frames."""
        return self.changed(self.real(count))

    def changed(self, rows: Tensor) -> Tensor:
        """What the generator makes of real rows."""
        return rows @ self.map + self.shift

    def distance(self) -> float:
        """Frechet distance of the two laws' own moments."""
        if not self.size:
            return 0.0
        mean, cov = torch.zeros(self.dim, dtype=torch.float64), self.root @ self.root.T
        if self.kind == "8 modes":
            mean, cov = self.modes.mean(0), cov + torch.cov(self.modes.T, correction=0)
        if self.kind.startswith("Student"):
            cov = cov * self.freedom / (self.freedom - 2)
        return float(frechet_distance(mean, cov, self.changed(mean), self.map @ cov @ self.map))

    @property
    def freedom(self) -> int:
        """Degrees of freedom of a Student law."""
        return int(self.kind.split()[1])

    def _normal(self, *shape: int) -> Tensor:
        return torch.randn(shape, generator=self.draw, dtype=torch.float64)

    def _rotation(self) -> Tensor:
        return torch.linalg.qr(self._normal(self.dim, self.dim))[0]


def laws(seed: int) -> Iterator[tuple[Law, int, int]]:
    """The grid: a law, and how many real and generated rows."""
    draw = torch.Generator().manual_seed(seed)
    for dim, ratios in ((16, (2.75, 32)), (64, (2.75, 5, 16))):
        for kind in ("Gaussian", "8 modes", "Student 10"):
            for size in (0.0, 0.1, 0.5):
                law = Law(kind, dim, size, draw)
                yield from ((law, int(ratio * dim), int(ratio * dim)) for ratio in ratios)
    for kind, counts in (("Gaussian", (1024, 320)), ("Student 5", (320, 320))):
        yield from ((Law(kind, 64, size, draw), *counts) for size in (0.0, 0.1, 0.5))


def bootstrap(real: Tensor, fake: Tensor, draw: np.random.Generator) -> tuple[float, float]:
    """The percentile bootstrap's 90 % interval, which everyone would try first."""
    found = []
    for _ in range(RESAMPLES):
        a, b = (rows[torch.from_numpy(draw.integers(len(rows), size=len(rows)))] for rows in (real, fake))
        found.append(float(frechet_from_features(a, b)))
    return tuple(np.quantile(found, (0.05, 0.95)))


def row(label: str, law: Law, counts: tuple[int, int], trials: int, **given) -> tuple:
    """One line of the table.

    Args:
        given: `of`, the estimator (frechet_estimate); `truth`, by default the laws' own distance, or None for the mean
            value over the trials; `resampled`, how many trials are bootstrapped too.
    """
    of: Callable[[Tensor, Tensor], Estimate] = given.get("of", frechet_estimate)
    draw, found, boots = np.random.default_rng(0), [], []
    for trial in range(trials):
        real, fake = law.real(counts[0]), law.fake(counts[1])
        found.append(of(real, fake))
        if trial < given.get("resampled", 0):
            boots.append(bootstrap(real, fake, draw))
    values = [one.value for one in found]
    truth = given["truth"] if "truth" in given else law.distance()
    truth = fmean(values) if truth is None else truth
    debiased = [one.debiased for one in found if one.debiased is not None]
    covers = [fmean(low <= truth <= high for low, high in ends) for ends in (_ends(found), boots) if ends]
    return (
        label,
        law.dim,
        *counts,
        truth,
        100 * covers[0],
        100 * covers[1] if boots else None,
        fmean(one.high - one.low for one in found),
        fmean(values) - truth,
        fmean(debiased) - truth if debiased else None,
        float(np.std(values)),
        float(np.std(debiased)) if debiased else None,
    )


def further(seed: int, trials: int) -> Iterator[tuple]:
    """Rows where the target is not the laws' distance, or the rows are not independent, or the distance is another."""
    draw = torch.Generator().manual_seed(seed)
    for kind in ("Gaussian", "8 modes", "Student 10"):
        for ratio in (0.5, 1, 2):
            law = Law(kind, 64, 0.5, draw)
            yield row(f"{kind}, N against d too small", law, (int(64 * ratio),) * 2, trials, truth=None)
    for size in (0.0, 0.5):
        law = Law("Gaussian", 16, size, draw, frames=4)
        yield row("Gaussian, 4 frames a clip", law, (120, 120), trials)
    for kind in ("Gaussian", "Student 10"):
        for size in (0.0, 0.5):
            law = Law(kind, 64, size, draw)

            def of(real: Tensor, fake: Tensor) -> Estimate:
                return estimate(kvd, real, fake, debias=False)

            yield row(f"{kind}, KVD", law, (256, 256), trials, of=of, truth=0.0 if size == 0 else None)


def paired(seed: int, trials: int) -> Iterator[tuple]:
    """Difference of two generators: the same latents and real clips, against fresh ones for each."""
    draw = torch.Generator().manual_seed(seed)
    for size in (0.1, 0.5):
        law, other = (Law("Gaussian", 16, one, draw) for one in (size, 1.3 * size))
        other.root, other.modes = law.root, law.modes
        truth = law.distance() - other.distance()
        together, apart = [], []
        for _ in range(trials):
            real, latents, fresh = law.real(256), law.real(256), law.real(256)
            sides = law.changed(latents), other.changed(latents)
            together.append(paired_difference(frechet_from_features, real, *sides))
            alone = frechet_estimate(real, sides[0]), frechet_estimate(law.real(256), other.changed(fresh))
            middle = alone[0].debiased - alone[1].debiased
            reach = sum(((one.high - one.low) / 2) ** 2 for one in alone) ** 0.5
            apart.append((middle - reach, middle + reach))
        for label, ends in (("paired", _ends(together)), ("unpaired", apart)):
            covers = fmean(low <= truth <= high for low, high in ends)
            yield label, 16, 256, truth, 100 * covers, fmean(high - low for low, high in ends)


def _ends(found: list) -> list[tuple[float, float]]:
    return [(one.low, one.high) for one in found]


def _line(cells: tuple) -> str:
    return "| " + " | ".join("" if c is None else f"{c:.3g}" if isinstance(c, float) else str(c) for c in cells) + " |"


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--trials", type=int, default=100, help="draws a row; a tenth of them is bootstrapped too")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    start, resampled = time.process_time(), max(args.trials // 10, 1)
    print(INTRODUCTION.format(command=shlex.join(["python", *sys.argv]), resampled=resampled, **vars(args)))
    print(_line(COLUMNS) + "\n" + "|" + "---|" * len(COLUMNS))
    found = []
    for law, *counts in laws(args.seed):
        found.append(row(law.kind, law, tuple(counts), args.trials, resampled=resampled))
        print(_line(found[-1]), flush=True)
    for one in further(args.seed, args.trials):
        found.append(one)
        print(_line(one), flush=True)
    covers = [one[COLUMNS.index("covers, %")] for one in found]
    print(f"\nOver the rows: {min(covers):.0f} % at the least, {fmean(covers):.1f} % in the mean.\n")
    print("The difference of two generators' distances to the real clips:\n")
    print("| generators | d | N | truth | covers, % | mean width |\n|---|---|---|---|---|---|")
    for one in paired(args.seed, args.trials):
        print(_line(one), flush=True)
    print(f"{time.process_time() - start:.0f} s", file=sys.stderr)


if __name__ == "__main__":
    main()
