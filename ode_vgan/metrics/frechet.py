"""The Frechet distance between two sets of features: pure, float64, and exact where covariances are singular."""

import torch
from torch import Tensor

from ode_vgan.errors import UserError

PIVOT_FLOOR = 1e-9  # smallest squared Cholesky pivot, relative to the largest, for which the fast form is trusted


def moments(features: Tensor) -> tuple[Tensor, Tensor]:
    """Mean (F,) and unbiased covariance (F, F), float64, of features (N, F).

    Raises:
        UserError: fewer than 2 rows, or a value is not finite.
    """
    centred, mean = _centred(features)
    return mean, centred.T @ centred


def frechet_distance(mean_a: Tensor, cov_a: Tensor, mean_b: Tensor, cov_b: Tensor) -> Tensor:
    """Squared Frechet distance between two Gaussians.

    tr sqrt(A B) comes from a Cholesky factor and the eigenvalues of a symmetric matrix; where a covariance is singular,
    from the singular values of the product of two factors. Nothing is added to a diagonal.

    Args:
        mean_a, mean_b: (F,).
        cov_a, cov_b: (F, F), symmetric, positive semi-definite.

    Returns:
        () float64, squared feature units, >= 0; of a Gaussian and itself at most 1e-9 of its trace.

    Raises:
        UserError: the two sides differ in F, or a value is not finite.
    """
    mean_a, cov_a, mean_b, cov_b = (part.double() for part in (mean_a, cov_a, mean_b, cov_b))
    if not mean_a.shape == mean_b.shape == cov_a.shape[:1] == cov_b.shape[:1]:
        raise UserError(f"features are {len(mean_a)} and {len(mean_b)} wide; use one extractor for both sides.")
    if not all(part.isfinite().all() for part in (mean_a, cov_a, mean_b, cov_b)):
        raise UserError("a mean or covariance is not finite; drop the clips whose features are NaN or infinite.")
    return _distance(mean_a - mean_b, cov_a.trace() + cov_b.trace(), _trace_root(cov_a, cov_b))


def frechet_from_features(features_a: Tensor, features_b: Tensor) -> Tensor:
    """Squared Frechet distance between the Gaussians fitted to two sets of features.

    With no more rows than dimensions on a side, tr sqrt(A B) is the nuclear norm of the product of the centred data,
    which is exact, needs no (F, F) matrix and never meets a singular covariance.

    Args:
        features_a, features_b: (N, F), N >= 2; the two N may differ.

    Returns:
        () float64, squared feature units, >= 0; of a set and itself at most 1e-9 of its trace.
    """
    if features_a.shape[1:] != features_b.shape[1:]:
        raise UserError(
            f"features are {tuple(features_a.shape[1:])} and {tuple(features_b.shape[1:])} wide; "
            "use one extractor for both sides."
        )
    if min(len(features_a), len(features_b)) > features_a.shape[1]:
        return frechet_distance(*moments(features_a), *moments(features_b))
    centred_a, mean_a = _centred(features_a)
    centred_b, mean_b = _centred(features_b)
    root = torch.linalg.svdvals(centred_a @ centred_b.T).sum()
    return _distance(mean_a - mean_b, centred_a.square().sum() + centred_b.square().sum(), root)


def _distance(shift: Tensor, traces: Tensor, root: Tensor) -> Tensor:
    return (shift.square().sum() + traces - 2 * root).clamp_min(0)  # below 0 is rounding, 1e-13 of the traces


def _centred(features: Tensor) -> tuple[Tensor, Tensor]:
    """Rows minus their mean, over sqrt(N - 1), so that their Gram matrix is the covariance; and the mean."""
    features = features.double()
    if features.ndim != 2 or len(features) < 2:
        raise UserError(f"features are {tuple(features.shape)}; give (N, F) with N >= 2 to have a covariance.")
    if not features.isfinite().all():
        bad = int((~features.isfinite()).any(1).sum())
        raise UserError(f"{bad} of {len(features)} feature rows are not finite; drop those clips.")
    mean = features.mean(0)
    return (features - mean) / (len(features) - 1) ** 0.5, mean


def _trace_root(cov_a: Tensor, cov_b: Tensor) -> Tensor:
    """tr sqrt(A B) of two positive semi-definite matrices."""
    factor_a, factor_b = _cholesky(cov_a), _cholesky(cov_b)
    if factor_a is not None and factor_b is not None:
        return torch.linalg.eigvalsh(factor_a.T @ cov_b @ factor_a).clamp_min(0).sqrt().sum()
    factor_a = _root(cov_a) if factor_a is None else factor_a
    factor_b = _root(cov_b) if factor_b is None else factor_b
    return torch.linalg.svdvals(factor_a.T @ factor_b).sum()


def _cholesky(cov: Tensor) -> Tensor | None:
    factor, failed = torch.linalg.cholesky_ex(cov)
    pivots = factor.diagonal().square()
    return factor if not failed and pivots.min() > PIVOT_FLOOR * pivots.max() else None


def _root(cov: Tensor) -> Tensor:
    """R with R R^T = cov, of the numerical rank of cov.

    Eigenvalues below the rounding of the largest are zeros: their square roots, 1e-8, would not be.
    """
    values, vectors = torch.linalg.eigh(cov)
    kept = values > len(cov) * torch.finfo(cov.dtype).eps * values[-1].clamp_min(0)
    return vectors[:, kept] * values[kept].sqrt()
