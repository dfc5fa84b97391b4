"""Laws of error against compute, and the points that they are fitted to."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from ode_vgan.errors import UserError

BREAK_DECADES = 0.25  # half the decades of compute over which the broken law bends
WITHIN = 0.15  # share of the decades of compute that a break leaves on either side
FREE = (-np.inf, np.inf)


@dataclass(frozen=True)
class Points:
    """Errors of trained models.

    Attributes:
        compute: (N,) spent in training, any unit, > 0. error: (N,) > 0.
        run: (N,) labels. Points of a run share its luck: they are resampled and left out together. For one number a
            training run, it names the configuration, and its seeds are points; for looks at one training run, that run.
        seed: (N,) int.
        parameters, samples: (N,) size of the model and samples seen, for laws of both.

    Raises:
        UserError: lengths differ, no point, or a number that is not finite and above 0.
    """

    compute: np.ndarray
    error: np.ndarray
    run: np.ndarray | None = None
    seed: np.ndarray | None = None
    parameters: np.ndarray | None = None
    samples: np.ndarray | None = None

    def __post_init__(self) -> None:
        for name in ("compute", "error", "parameters", "samples"):
            values = getattr(self, name)
            if values is not None:
                object.__setattr__(self, name, _positive(np.asarray(values, dtype=np.float64), name))
        count = len(self.compute)
        defaults = {"run": np.array([f"point {i}" for i in range(count)]), "seed": np.zeros(count, dtype=np.int64)}
        for name, default in defaults.items():
            given = getattr(self, name)
            object.__setattr__(self, name, default if given is None else np.asarray(given))
        for name in ("error", "run", "seed", "parameters", "samples"):
            values = getattr(self, name)
            if values is not None and len(values) != count:
                raise UserError(f"{count} values of compute and {len(values)} of {name}; give one of each a point.")

    def __len__(self) -> int:
        return len(self.compute)

    def take(self, chosen: np.ndarray) -> "Points":
        """Some of the points, by mask or index."""
        names = ("compute", "error", "run", "seed", "parameters", "samples")
        return Points(**{name: None if (own := getattr(self, name)) is None else own[chosen] for name in names})


def _positive(values: np.ndarray, name: str) -> np.ndarray:
    if values.ndim != 1 or not len(values):
        raise UserError(f"{name} has shape {values.shape}; give one number a point, and at least one point.")
    bad = values[~(np.isfinite(values) & (values > 0))]
    if len(bad):
        raise UserError(
            f"{len(bad)} of {len(values)} values of {name} are not finite and above 0, such as {bad[0]:g}, and no "
            "power law has one. Leave them out."
        )
    return values


@dataclass(frozen=True)
class Law:
    """A curve of log10 error over u = log10 compute, counted from a centre, with parameters in a form easy to fit.

    Attributes:
        name: as asked for. size: P, how many parameters.
        curve: (u (M,), theta (B, P)) -> (B, M) log10 error.
        starts: (u (M,), line (B, 2), low (B,)) -> (S, B, P) where fits begin; line is the level and slope of the power
            law through the points, low their least log10 error.
        named: (theta (B, P), centre) -> parameters as they are published, (B,) each.
        bounds: (u (M,)) -> (P, 2) low and high of each parameter. exponent: which of the named is compute's.
    """

    name: str
    size: int
    curve: Callable[[np.ndarray, np.ndarray], np.ndarray]
    starts: Callable[[np.ndarray, np.ndarray, np.ndarray], np.ndarray]
    named: Callable[[np.ndarray, float], dict[str, np.ndarray]]
    bounds: Callable[[np.ndarray], np.ndarray] | None = None
    exponent: str = "alpha"

    def clip(self, theta: np.ndarray, u: np.ndarray) -> np.ndarray:
        """Parameters within their bounds."""
        if self.bounds is None:
            return theta
        low, high = self.bounds(u).T
        return np.clip(theta, low, high)


def _power_named(theta: np.ndarray, centre: float) -> dict[str, np.ndarray]:
    level, slope = theta[:, 0], theta[:, 1]
    with np.errstate(over="ignore"):
        return {"beta": 10 ** (level - slope * centre), "alpha": slope}


def _power_curve(u: np.ndarray, theta: np.ndarray) -> np.ndarray:
    return theta[:, :1] + theta[:, 1:2] * u


def _saturating_curve(u: np.ndarray, theta: np.ndarray) -> np.ndarray:
    falling = np.clip(theta[:, :1] + theta[:, 1:2] * u, -300, 300)
    return np.log10(10**falling + theta[:, 2:3])


def _saturating_starts(u: np.ndarray, line: np.ndarray, low: np.ndarray) -> np.ndarray:
    floors = 10**low
    starts = []
    for share in (0.0, 0.5, 0.9):
        # The part above the floor falls faster; at the centre it is what the floor leaves of the level.
        above = np.maximum(10 ** line[:, 0] - share * floors, 0.05 * floors)
        steeper = line[:, 1] * 10 ** line[:, 0] / above
        starts.append(np.stack([np.log10(above), steeper, share * floors], axis=1))
    return np.stack(starts)


def _saturating_named(theta: np.ndarray, centre: float) -> dict[str, np.ndarray]:
    return {"e_inf": theta[:, 2]} | _power_named(theta, centre)


def _broken_curve(u: np.ndarray, theta: np.ndarray) -> np.ndarray:
    level, before, after, place = (theta[:, i : i + 1] for i in range(4))
    bend = BREAK_DECADES * np.logaddexp(0, (u - place) / BREAK_DECADES)
    return level + before * u + (after - before) * bend


def _broken_starts(u: np.ndarray, line: np.ndarray, low: np.ndarray) -> np.ndarray:
    starts = []
    for share in (0.3, 0.5, 0.7):
        place = np.full(len(line), u.min() + share * (u.max() - u.min()))
        for before, after in ((0.6, 1.4), (1.4, 0.6)):
            starts.append(np.stack([line[:, 0], before * line[:, 1], after * line[:, 1], place], axis=1))
    return np.stack(starts)


def _broken_bounds(u: np.ndarray) -> np.ndarray:
    """The break lies among the points, with some of them on either side."""
    side = WITHIN * (u.max() - u.min())
    return np.array([FREE, FREE, FREE, (u.min() + side, u.max() - side)])


def _broken_named(theta: np.ndarray, centre: float) -> dict[str, np.ndarray]:
    with np.errstate(over="ignore"):
        place = 10 ** (theta[:, 3] + centre)
    return _power_named(theta, centre) | {"alpha_after": theta[:, 2], "break": place}


POWER = Law("power", 2, _power_curve, lambda u, line, low: line[None], _power_named)
SATURATING = Law(
    "saturating", 3, _saturating_curve, _saturating_starts, _saturating_named,
    lambda u: np.array([FREE, FREE, (0.0, np.inf)]),
)  # fmt: skip
BROKEN = Law("broken", 4, _broken_curve, _broken_starts, _broken_named, _broken_bounds)
CURVES = {law.name: law for law in (POWER, SATURATING, BROKEN)}
