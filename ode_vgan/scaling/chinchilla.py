"""The parametric law of model size and data: error = E + A / N^a + B / D^b."""

from dataclasses import dataclass

import numpy as np

from ode_vgan.errors import UserError
from ode_vgan.scaling.laws import Law, Points

DELTA = 1e-3  # where Huber's loss of natural log error turns from square to straight
SIZE = 5
STARTS = 40  # the best of the grid, from which L-BFGS runs
GRID = {  # natural logarithms of A, B, E over the geometric mean error, and the exponents a, b
    "levels": (-3.0, -1.5, -0.5), "floors": (-1.5, -0.5, -0.1), "exponents": (0.1, 0.3, 0.6, 1.0),
}  # fmt: skip
DRAWN_STEPS = 25
LEAST_SIZES = 3  # models, and amounts of data, that tell a curve from a line


@dataclass(frozen=True)
class Plane:
    """Points of the law in centred natural logarithms. n, d: (N,) of size and data. y: (B, N) of error."""

    n: np.ndarray
    d: np.ndarray
    y: np.ndarray


def terms(n: np.ndarray, d: np.ndarray, theta: np.ndarray) -> np.ndarray:
    """(3, B, N) natural logarithms of A / N^a, B / D^b and E; theta (B, 5) is log A, log B, log E, a, b."""
    a, b, e, alpha, beta = (theta[:, i : i + 1] for i in range(SIZE))
    return np.stack([a - alpha * n, b - beta * d, np.broadcast_to(e, (len(theta), len(n)))])


def log_error(n: np.ndarray, d: np.ndarray, theta: np.ndarray) -> np.ndarray:
    """(B, N) natural logarithm of the law's error."""
    return np.logaddexp.reduce(terms(n, d, theta), axis=0)


def huber(gap: np.ndarray) -> np.ndarray:
    """Huber's loss."""
    size = np.abs(gap)
    return np.where(size <= DELTA, gap**2 / 2, DELTA * (size - DELTA / 2))


def objective(theta: np.ndarray, plane: Plane) -> tuple[float, np.ndarray]:
    """The summed loss of one theta (5,), and its gradient (5,)."""
    parts = terms(plane.n, plane.d, theta[None])[:, 0]
    law = np.logaddexp.reduce(parts, axis=0)
    share = np.exp(parts - law)
    gap = law - plane.y[0]
    pull = np.clip(gap, -DELTA, DELTA)
    slopes = np.stack([*share, -share[0] * plane.n, -share[1] * plane.d])
    return float(huber(gap).sum()), slopes @ pull


def minimise(plane: Plane) -> np.ndarray:
    """(5,) of least loss: a grid of starts, L-BFGS from the best of them, BFGS from the best of those.

    Source: Hoffmann et al. (2022), Training compute-optimal large language models, approach 3; Besiroglu et al. (2024),
        Chinchilla scaling: a replication attempt.
    """
    from scipy.optimize import minimize

    level = plane.y.mean()
    exponents = GRID["exponents"]
    starts = np.array(
        [
            (level + a, level + b, level + e, alpha, beta)
            for a in GRID["levels"] for b in GRID["levels"] for e in GRID["floors"]
            for alpha in exponents for beta in exponents
        ]
    )  # fmt: skip
    losses = huber(log_error(plane.n, plane.d, starts) - plane.y).sum(axis=1)
    # The loss is of the order 1e-3 a point: scaled, so that the optimiser's tolerances mean something.
    scale = 1 / (DELTA * plane.y.shape[1])

    def scaled(theta: np.ndarray) -> tuple[float, np.ndarray]:
        loss, slope = objective(theta, plane)
        return scale * loss, scale * slope

    found = [
        minimize(scaled, start, jac=True, method="L-BFGS-B", options={"maxiter": 2000, "ftol": 1e-13, "gtol": 1e-9})
        for start in starts[np.argsort(losses)[:STARTS]]
    ]
    best = min(found, key=lambda one: one.fun)
    polished = minimize(scaled, best.x, jac=True, method="BFGS", options={"gtol": 1e-10})
    return polished.x if polished.fun < best.fun else best.x


def near(theta: np.ndarray, plane: Plane, weight: np.ndarray, steps: int = DRAWN_STEPS) -> np.ndarray:
    """(B, 5) of least weighted loss near a theta (5,), for B weights of the points, by reweighted Gauss-Newton.

    Args:
        weight: (B, N), how often each point counts.
    """
    theta = np.repeat(theta[None], len(weight), axis=0)
    damping = np.full(len(weight), 1e-4)
    loss, normal, pull = _quadratic(theta, plane, weight)
    for _ in range(steps):
        scaled = normal.copy()
        diagonal = np.einsum("bpp->bp", normal)
        scaled[:, range(SIZE), range(SIZE)] += damping[:, None] * diagonal + 1e-12
        tried = theta - np.linalg.solve(scaled, pull[..., None])[..., 0]
        tried_loss, tried_normal, tried_pull = _quadratic(tried, plane, weight)
        better = tried_loss < loss
        theta = np.where(better[:, None], tried, theta)
        normal = np.where(better[:, None, None], tried_normal, normal)
        pull, loss = np.where(better[:, None], tried_pull, pull), np.where(better, tried_loss, loss)
        damping = np.clip(np.where(better, damping / 4, damping * 8), 1e-8, 1e8)
    return theta


def _quadratic(theta: np.ndarray, plane: Plane, weight: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The loss (B,), and the normal matrix (B, 5, 5) and gradient (B, 5) of the squares that touch it here."""
    parts = terms(plane.n, plane.d, theta)
    law = np.logaddexp.reduce(parts, axis=0)
    share = np.exp(parts - law)
    gap = law - plane.y
    slopes = np.stack([*share, -share[0] * plane.n, -share[1] * plane.d], axis=1)
    bent = weight * np.minimum(1, DELTA / np.maximum(np.abs(gap), 1e-12))
    normal = np.matmul(slopes * bent[:, None], slopes.transpose(0, 2, 1))
    return (weight * huber(gap)).sum(axis=1), normal, np.einsum("bpn,bn->bp", slopes, bent * gap)


def fit(points: Points, draws: int, generator: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """The law of points, and of as many again drawn from their runs.

    Returns:
        (6,) and (draws, 6): natural logarithms of A, B, E, then a, b, then log of compute over size times data.

    Raises:
        UserError: no sizes or data, or too few different ones.
    """
    _check(points)
    n, d, y = (np.log(one) for one in (points.parameters, points.samples, points.error))
    rate = np.median(np.log(points.compute) - n - d)
    plane = Plane(n - n.mean(), d - d.mean(), y[None])
    best = minimise(plane)
    labels, index = np.unique(points.run, return_inverse=True)
    counts = generator.multinomial(len(labels), np.full(len(labels), 1 / len(labels)), size=draws)
    again = near(best, plane, counts[:, index].astype(np.float64))
    return tuple(_uncentred(one, n.mean(), d.mean(), rate) for one in (best[None], again))


def _uncentred(theta: np.ndarray, n: float, d: float, rate: float) -> np.ndarray:
    a, b, e, alpha, beta = theta.T
    return np.stack([a + alpha * n, b + beta * d, e, alpha, beta, np.full(len(theta), rate)], axis=1)


def _check(points: Points) -> None:
    for name, words in {"parameters": "sizes of model", "samples": "amounts of data"}.items():
        values = getattr(points, name)
        if values is None:
            raise UserError(f"the chinchilla law takes {name} of each point and there are none. Name a column of them.")
        if len(np.unique(values)) < LEAST_SIZES:
            raise UserError(
                f"{len(np.unique(values))} {words}; the chinchilla law takes {LEAST_SIZES} or more. Train at more, or "
                "fit the power law."
            )
    if len(points) <= SIZE:
        raise UserError(f"{len(points)} points and {SIZE} parameters; the chinchilla law takes more points.")


def _named(theta: np.ndarray, centre: float) -> dict[str, np.ndarray]:
    a, b, e, alpha, beta, _ = theta.T
    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
        told = {"E": np.exp(e), "A": np.exp(a), "B": np.exp(b), "alpha": alpha, "beta": beta}
        return told | {"frontier": -alpha * beta / (alpha + beta), "size": beta / (alpha + beta)}


def _frontier(u: np.ndarray, theta: np.ndarray) -> np.ndarray:
    """(B, M) log10 error of the best split of 10^u of compute into size and data."""
    a, b, _, alpha, beta, rate = (theta[:, i : i + 1] for i in range(SIZE + 1))
    both = u * np.log(10) - rate
    with np.errstate(invalid="ignore", divide="ignore"):
        n = (np.log(alpha / beta) + a - b + beta * both) / (alpha + beta)
        law = np.logaddexp.reduce(
            [a - alpha * n, b - beta * (both - n), np.broadcast_to(theta[:, 2:3], n.shape)], axis=0
        )
    return law / np.log(10)


CHINCHILLA = Law("chinchilla", SIZE + 1, _frontier, lambda u, line, low: line[None], _named, exponent="frontier")
