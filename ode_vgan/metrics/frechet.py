"""The Frechet distance between two sets of features: pure, float64, and exact where covariances are singular."""

from collections.abc import Callable
from functools import cache, wraps

import numpy as np
import torch
from scipy.linalg import blas, lapack
from threadpoolctl import ThreadpoolController
from torch import Tensor

from ode_vgan.errors import UserError
from ode_vgan.metrics.moments import Moments, check_finite

PIVOT_FLOOR = 1e-9  # smallest squared Cholesky pivot, relative to the largest, for which the fast form is trusted


def one_thread(function: Callable) -> Callable:
    """Run it with one BLAS thread: more gain little at these sizes, and wait for each other where cores are shared."""

    @wraps(function)
    def limited(*args, **options):
        with _controller().limit(limits=1, user_api="blas"):
            return function(*args, **options)

    return limited


@one_thread
def moments(features: Tensor, *, correction: int = 1) -> tuple[Tensor, Tensor]:
    """Mean (F,) and covariance (F, F), float64, of features (N, F) or (N, T, F).

    Raises:
        UserError: fewer than 2 rows, or a value is not finite.
    """
    found = Moments.of(_rows(features))
    return found.mean, found.covariance(correction)


@one_thread
def frechet_distance(mean_a: Tensor, cov_a: Tensor, mean_b: Tensor, cov_b: Tensor) -> Tensor:
    """Squared Frechet distance between two Gaussians.

    tr sqrt(A B) is the sum of the singular values of P^T Q, with A = P P^T and B = Q Q^T: Cholesky factors, or where a
    covariance is singular, factors of its rank. Nothing is added to a diagonal.

    Args:
        mean_a, mean_b: (F,).
        cov_a, cov_b: (F, F), symmetric, positive semi-definite.

    Returns:
        () float64, squared feature units, >= 0; of a Gaussian and itself at most 1e-9 of its trace.

    Raises:
        UserError: the two sides differ in F, or a value is not finite.
    """
    mean_a, cov_a, mean_b, cov_b = (_array(part) for part in (mean_a, cov_a, mean_b, cov_b))
    if not mean_a.shape == mean_b.shape == cov_a.shape[:1] == cov_b.shape[:1]:
        raise UserError(f"features are {len(mean_a)} and {len(mean_b)} wide; use one extractor for both sides.")
    if not all(np.isfinite(part).all() for part in (mean_a, cov_a, mean_b, cov_b)):
        raise UserError("a mean or covariance is not finite; drop the clips whose features are NaN or infinite.")
    return _distance(mean_a - mean_b, cov_a.trace() + cov_b.trace(), _trace_root(_root(cov_a), _root(cov_b)))


@one_thread
def frechet_from_features(features_a: Tensor, features_b: Tensor, *, correction: int = 1) -> Tensor:
    """Squared Frechet distance between the Gaussians fitted to two sets of features.

    With no more rows than dimensions on a side, its centred data are its factor: exact, without an (F, F) matrix, and
    never a singular covariance.

    Args:
        features_a, features_b: (N, F), or (N, T, F) with every frame a row; 2 rows or more; the two N may differ.
        correction: the covariances are over N - correction; published FVD has 0.

    Returns:
        () float64, squared feature units, >= 0; of a set and itself at most 1e-9 of its trace.
    """
    if features_a.shape[-1:] != features_b.shape[-1:]:
        raise UserError(
            f"features are {tuple(features_a.shape[-1:])} and {tuple(features_b.shape[-1:])} wide; "
            "use one extractor for both sides."
        )
    (mean_a, root_a), (mean_b, root_b) = (_mean_and_root(_rows(side), correction) for side in (features_a, features_b))
    traces = np.square(root_a).sum() + np.square(root_b).sum()
    return _distance(mean_a - mean_b, traces, _trace_root(root_a, root_b))


@cache
def _controller() -> ThreadpoolController:
    return ThreadpoolController()


def _distance(shift: np.ndarray, traces: float, root: float) -> Tensor:
    distance = np.square(shift).sum() + traces - 2 * root
    return torch.tensor(max(float(distance), 0.0), dtype=torch.float64)  # below 0 is rounding, 1e-13 of the traces


def _array(part: Tensor) -> np.ndarray:
    return part.detach().cpu().double().numpy()


def _rows(features: Tensor) -> Tensor:
    rows = features.flatten(0, -2) if features.ndim > 2 else features
    if rows.ndim != 2 or len(rows) < 2:
        raise UserError(f"features are {tuple(features.shape)}; give (N, F) with N >= 2 to have a covariance.")
    check_finite(rows)
    return rows


def _mean_and_root(rows: Tensor, correction: int) -> tuple[np.ndarray, np.ndarray]:
    """Mean (F,), and R (F, r) with R R^T the covariance, by the cheapest way that loses no digits."""
    found = _array(rows)
    mean = found.mean(0)
    centred, scale = found - mean, (len(found) - correction) ** -0.5
    if len(centred) <= centred.shape[1]:
        return mean, centred.T * scale
    factor = _cholesky(centred.T @ centred)
    return mean, (np.linalg.qr(centred, mode="r").T if factor is None else factor) * scale


def _trace_root(root_a: np.ndarray, root_b: np.ndarray) -> float:
    """tr sqrt(A B) from roots (F, r) of A and B."""
    triangular = root_a.shape[0] == root_a.shape[1] and not np.triu(root_a, 1).any()
    if triangular:  # half the work; scipy's BLAS wants columns, so all is transposed
        product = blas.dtrmm(1.0, root_a.T, root_b.T, side=1, lower=0, trans_a=1)
    else:
        product = root_b.T @ root_a
    return np.linalg.svd(product, compute_uv=False).sum()


def _root(cov: np.ndarray) -> np.ndarray:
    """R (F, r) with R R^T = cov: its Cholesky factor, or with pivoting one of its numerical rank.

    Pivots below the rounding of the largest are zeros: their square roots, 1e-8, would not be.
    """
    factor = _cholesky(cov)
    if factor is not None:
        return factor
    packed, order, rank, _ = lapack.dpstrf(cov, lower=1)
    root = np.empty((len(cov), rank))
    root[order - 1] = np.tril(packed)[:, :rank]
    return root


def _cholesky(cov: np.ndarray) -> np.ndarray | None:
    """The lower factor, or None where a pivot is too small to be trusted."""
    try:
        factor = np.linalg.cholesky(cov)
    except np.linalg.LinAlgError:
        return None
    pivots = np.square(factor.diagonal())
    return factor if pivots.min() > PIVOT_FLOOR * pivots.max() else None
