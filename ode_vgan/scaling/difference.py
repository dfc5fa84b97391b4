"""Do two laws differ in exponent, in offset alone, or not at all that can be told?"""

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import combinations
from typing import TYPE_CHECKING

import numpy as np

from ode_vgan.errors import UserError

if TYPE_CHECKING:
    from ode_vgan.scaling.fit import Fit

EXPONENT, OFFSET, NEITHER = "differ in exponent", "differ only in offset", "are not told apart"


@dataclass(frozen=True)
class Difference:
    """Law b against law a.

    Attributes:
        a, b: names. exponent: that of b minus that of a; exponent_interval: (low, high) at `level`.
        at: compute, the geometric mean over both. offset: error of b over that of a there, 1 where they agree;
            offset_interval alike.
        verdict: EXPONENT, OFFSET or NEITHER. level: of the intervals.
    """

    a: str
    b: str
    exponent: float
    exponent_interval: tuple[float, float]
    at: float
    offset: float
    offset_interval: tuple[float, float]
    verdict: str
    level: float

    def sentence(self) -> str:
        """In words, with the numbers."""
        low, high = self.exponent_interval
        down, up = self.offset_interval
        return (
            f"{self.a} and {self.b} {self.verdict}: exponent {self.exponent:+.3f} [{low:+.3f}, {high:+.3f}], error of "
            f"{self.b} {self.offset:.3g} [{down:.3g}, {up:.3g}] times that of {self.a} at compute {self.at:.3g}"
        )


def compare(fits: Mapping[str, "Fit"]) -> list[Difference]:
    """Every pair of laws, the draws of each taken as independent.

    Where the same seeds trained both, what they share makes the intervals wider than need be.

    Raises:
        UserError: fewer than two fits, or fits of several laws, selections or levels of interval.
    """
    if len(fits) < 2:
        raise UserError(f"{len(fits)} law is compared with none; give two or more.")
    kinds = {(one.law, one.select, one.level) for one in fits.values()}
    if len(kinds) > 1:
        told = " and ".join(sorted(f"{law} law of {select} at {level:.0%}" for law, select, level in kinds))
        raise UserError(f"{told} are not compared; fit both alike.")
    return [_pair(a, fits[a], b, fits[b]) for a, b in combinations(fits, 2)]


def inner(draws: np.ndarray, level: float) -> np.ndarray:
    """(2, ...) low and high between which the share `level` of (B, ...) draws lies, those that are no number left out.

    The quantiles are those of the law that B draws come from, so that few draws make no narrower interval.
    """
    return np.nanquantile(draws, ((1 - level) / 2, (1 + level) / 2), axis=0, method="weibull")


def _pair(a: str, first: "Fit", b: str, second: "Fit") -> Difference:
    at = 10 ** ((first.centre + second.centre) / 2)
    where = np.array([at])
    turned = _differences(first.exponents(), second.exponents())
    exponent = tuple(map(float, inner(turned, first.level)))
    shifted = _differences(first.log10_drawn(where)[:, 0], second.log10_drawn(where)[:, 0])
    offset = tuple(float(10**one) for one in inner(shifted, first.level))
    verdict = EXPONENT if _outside(0, exponent) else OFFSET if _outside(1, offset) else NEITHER
    ratio = float(second.predict(where)[0] / first.predict(where)[0])
    return Difference(a, b, second.exponent - first.exponent, exponent, at, ratio, offset, verdict, first.level)


def _differences(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Differences of draws in an order that ties no draw of one to the same draw of the other."""
    known = np.isfinite(first), np.isfinite(second)
    count = min(int(one.sum()) for one in known)
    generator = np.random.default_rng(0)
    return generator.permutation(second[known[1]])[:count] - generator.permutation(first[known[0]])[:count]


def _outside(value: float, interval: tuple[float, float]) -> bool:
    return not interval[0] <= value <= interval[1]
