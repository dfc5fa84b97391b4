"""The Frechet distance: ours beside the matrix square root that published codes take."""

import numpy as np
import scipy.linalg
import torch
from torch import Tensor

from ode_vgan.bench.contest import Asked, Contest, Work
from ode_vgan.metrics.frechet import frechet_distance, frechet_from_features, moments

WIDTH = 400  # of I3D's logits


def contests(asked: Asked) -> list[Contest]:
    """From moments, from as many rows as published FVD has, and from fewer rows than features."""
    width = 32 if asked.quick else WIDTH
    many, few = (pair(clips, width) for clips in (5 * width, width // 3))
    ours = [moments(side) for side in many]
    return [
        Contest(
            "frechet", f"moments, F={width}", "scipy's sqrtm of the product",
            lambda: frechet_distance(*ours[0], *ours[1]), lambda: by_sqrtm(*ours[0], *ours[1]),
            lambda: apart(frechet_distance(*ours[0], *ours[1]), by_sqrtm(*ours[0], *ours[1]), ours),
            tolerance=1e-9, work=Work(flops=flops_of_root(width, width), bytes=8 * 2 * width * width),
        ),
        of_features(many, tolerance=1e-9),
        of_features(few, tolerance=1e-5, note="its covariances are singular: sqrtm is worth half the digits"),
    ]  # fmt: skip


def of_features(sides: list[Tensor], tolerance: float, note: str = "") -> Contest:
    """From rows to a distance, the moments among the price."""
    clips, width = sides[0].shape
    rank, covariances = min(clips, width), 2 * 2 * clips * width**2 if clips > width else 0
    work = Work(
        flops=covariances + flops_of_root(rank, width), bytes=8 * 2 * clips * width, items=2 * clips, unit="clips"
    )
    return Contest(
        "frechet", f"{clips} clips, F={width}", "scipy's sqrtm of the product",
        lambda: frechet_from_features(*sides), lambda: published(sides),
        lambda: apart(frechet_from_features(*sides), published(sides), [moments(side) for side in sides]),
        tolerance=tolerance, work=work, note=note,
    )  # fmt: skip


def pair(clips: int, width: int) -> list[Tensor]:
    """Two sets of correlated features with falling variances, (N, F) float64; the same for the same arguments."""
    draw = torch.Generator().manual_seed(0)
    mix = torch.randn(width, width, generator=draw, dtype=torch.float64) * torch.arange(1, width + 1) ** -0.5
    return [torch.randn(clips, width, generator=draw, dtype=torch.float64) @ mix + shift for shift in (0.0, 0.1)]


def published(sides: list[Tensor]) -> float:
    """Mean and covariance by numpy, then the square root of the product, as published codes have it."""
    found = [side.numpy() for side in sides]
    (mean_a, cov_a), (mean_b, cov_b) = ((side.mean(0), np.cov(side, rowvar=False)) for side in found)
    return by_sqrtm(mean_a, cov_a, mean_b, cov_b)


def by_sqrtm(mean_a, cov_a, mean_b, cov_b) -> float:
    """The same distance with the Schur form of an unsymmetric product."""
    mean_a, cov_a, mean_b, cov_b = (np.asarray(part) for part in (mean_a, cov_a, mean_b, cov_b))
    root = scipy.linalg.sqrtm(cov_a @ cov_b)
    return float(np.square(mean_a - mean_b).sum() + cov_a.trace() + cov_b.trace() - 2 * np.real(root).trace())


def apart(one: Tensor, other: float, sides: list[tuple[Tensor, Tensor]]) -> float:
    """Difference of two distances, relative to the traces from which both are differences."""
    return abs(float(one) - other) / float(sum(cov.trace() for _, cov in sides))


def flops_of_root(rank: int, width: int) -> float:
    """Factors of both covariances where they are of full rank, their product, and its singular values (8/3 rank^3)."""
    return 8 / 3 * rank**3 + (5 / 3 * width**3 if rank == width else 2 * rank**2 * width)
