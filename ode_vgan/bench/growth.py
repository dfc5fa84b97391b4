"""How time and memory grow with one size at a time: measured, and fitted as powers."""

import gc
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field

import numpy as np
from scipy import stats

from ode_vgan.bench.memory import live_bytes, traced_bytes

SLACK = 0.15  # of an exponent: what rounding to whole blocks and caches do


@dataclass(frozen=True)
class Sweep:
    """One piece of work at several sizes.

    Attributes:
        what: the work. axis: what grows. sizes: rising.
        make: size -> the work, prepared.
        power: the exponent that its arithmetic has. memory_power: of its memory; None as `power`.
        arrays: memory is NumPy's and Python's too, which is slow to follow, and not tensors' alone.
    """

    what: str
    axis: str
    sizes: Sequence[float]
    make: Callable[[float], Callable[[], object]]
    power: float = 1.0
    memory_power: float | None = None
    arrays: bool = False


@dataclass(frozen=True)
class Slope:
    """An exponent fitted to logarithms: all points, with a 95 % interval, and between the last two alone."""

    value: float
    low: float
    high: float
    end: float


@dataclass(frozen=True)
class Curve:
    """What was measured of a sweep.

    Attributes:
        seconds: of one thread's processor, by size, each repeat. bytes: of tensors and arrays at their peak, by size.
        power, memory_power: the exponents expected.
    """

    what: str
    axis: str
    sizes: list[float]
    seconds: list[list[float]]
    bytes: list[float]
    power: float
    memory_power: float
    slopes: dict[str, Slope] = field(default_factory=dict)

    def to_json(self) -> dict:
        """Plain data."""
        return asdict(self)


def measure_growth(sweep: Sweep, repeats: int = 3, tell: Callable[[str], object] = lambda line: None) -> Curve:
    """Time and memory at each size; sizes take turns within a round, and a round before is not counted."""
    works = [sweep.make(size) for size in sweep.sizes]
    for work in works:
        work()
    held = [_peak(work, sweep.arrays) for work in works]
    spent: list[list[float]] = [[] for _ in works]
    for _ in range(repeats):
        for work, own in zip(works, spent, strict=True):
            gc.collect()
            begin = time.process_time()
            work()
            own.append(time.process_time() - begin)
    tell(f"{sweep.what} against {sweep.axis}")
    memory_power = sweep.power if sweep.memory_power is None else sweep.memory_power
    slopes = {"time": slope(sweep.sizes, [float(np.median(own)) for own in spent]), "memory": slope(sweep.sizes, held)}
    return Curve(sweep.what, sweep.axis, list(sweep.sizes), spent, held, sweep.power, memory_power, slopes)


def slope(sizes: Sequence[float], values: Sequence[float]) -> Slope:
    """The exponent of values that grow as a power of sizes; of two sizes without an interval."""
    x, y = np.log(np.asarray(sizes, float)), np.log(np.maximum(np.asarray(values, float), 1e-12))
    fit = stats.linregress(x, y)
    half = fit.stderr * stats.t.ppf(0.975, len(x) - 2) if len(x) > 2 else math.nan
    end = (y[-1] - y[-2]) / (x[-1] - x[-2])
    return Slope(float(fit.slope), float(fit.slope - half), float(fit.slope + half), float(end))


def superlinear(curve: Curve) -> list[str]:
    """Which of time and memory grow faster at the largest sizes than they need to."""
    need = {"time": curve.power, "memory": curve.memory_power}
    return [kind for kind, found in curve.slopes.items() if found.end > need[kind] + SLACK]


def _peak(work: Callable[[], object], arrays: bool) -> float:
    found = []
    more = traced_bytes(lambda: found.append(live_bytes(work).peak)) if arrays else found.append(live_bytes(work).peak)
    return float(found[0] + (more or 0))
