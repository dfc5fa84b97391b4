"""A linear probe: multinomial logistic regression on frozen embeddings, its regularisation chosen on other concepts."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from scipy.optimize import minimize
from torch import Tensor
from torch.nn.functional import cross_entropy, linear, one_hot

from ode_vgan.errors import UserError

L2_GRID = tuple(10 ** (exponent / 2) for exponent in range(2, -13, -1))  # from 10 down to 1e-6
SEARCH = {"maxiter": 5000, "maxfun": 10_000, "gtol": 1e-7, "ftol": 0.0, "maxcor": 20}


@dataclass(frozen=True)
class Probe:
    """A linear classifier of rows (N, E), in float64.

    Attributes:
        weight: (K, E). bias: (K,). mean: (E,), taken off the rows. scale: (), by which they are divided.
        l2: what the fit added, per row: half of it times the squared weights.
    """

    weight: Tensor
    bias: Tensor
    mean: Tensor
    scale: Tensor
    l2: float

    def __call__(self, rows: Tensor) -> Tensor:
        """(N, K) logits."""
        return linear((rows.double() - self.mean) / self.scale, self.weight, self.bias)


def fit_probe(rows: Tensor, labels: Tensor, classes: int, l2: float, start: Probe | None = None) -> Probe:
    """The minimum of mean cross entropy + l2 / 2 |weight|^2 over weight and bias, by L-BFGS.

    Rows are centred, and divided by the root mean square of their length over sqrt(E): one number, so that the
    geometry stays and l2 means the same for every embedder.

    Args:
        rows: (N, E) float. labels: (N,) int64 in [0, classes).
        start: of the search; it changes the time, not the answer.

    Raises:
        UserError: fewer than two classes have rows, or l2 is not above 0 (separable classes then have no minimum).
    """
    if len(labels.unique()) < 2 or len(rows) != len(labels):
        raise UserError(
            f"{len(rows)} rows of {len(labels.unique())} classes; a probe needs rows of two classes or more."
        )
    if not l2 > 0:
        raise UserError(f"l2={l2} must be above 0: classes that a plane can part would have no best plane.")
    mean = rows.double().mean(0)
    scale = (rows.double() - mean).square().mean().sqrt().clamp(min=1e-12)
    x = (rows.double() - mean) / scale
    own = one_hot(labels, classes).double()
    first = torch.zeros(classes, x.shape[1] + 1).double()
    if start is not None:
        first = torch.cat([start.weight, start.bias[:, None]], 1)
    found = minimize(_objective, first.flatten().numpy(), (x, own, l2), jac=True, method="L-BFGS-B", options=SEARCH)
    weight, bias = torch.from_numpy(found.x).view(classes, -1).split([x.shape[1], 1], 1)
    return Probe(weight.contiguous(), bias[:, 0].clone(), mean, scale, l2)


def _objective(flat: np.ndarray, x: Tensor, own: Tensor, l2: float) -> tuple[float, np.ndarray]:
    """The loss, and its slope, of weights and biases (K, E + 1) on rows (N, E) of classes (N, K)."""
    weight, bias = torch.from_numpy(flat).view(own.shape[1], -1).split([x.shape[1], 1], 1)
    told = linear(x, weight, bias[:, 0]).log_softmax(1)
    loss = -(own * told).sum(1).mean() + l2 / 2 * weight.square().sum()
    error = (told.exp() - own) / len(x)
    slope = torch.cat([error.T @ x + l2 * weight, error.sum(0)[:, None]], 1)
    return float(loss), slope.flatten().numpy()


@dataclass(frozen=True)
class Chosen:
    """A probe with the regularisation that did best on the validation rows.

    Attributes:
        validation: mean cross entropy of the validation rows by l2, of fits without them.
    """

    probe: Probe
    validation: dict[float, float]


def choose_probe(
    train: tuple[Tensor, Tensor],
    validation: tuple[Tensor, Tensor],
    classes: int,
    grid: Sequence[float] = L2_GRID,
) -> Chosen:
    """Fit for each l2 on the training rows, keep the one of least validation loss, and fit that one on both.

    Args:
        train, validation: rows (N, E) and labels (N,); the test rows are no part of this.

    Raises:
        UserError: no validation row.
    """
    if not len(validation[1]):
        raise UserError("no validation clip to choose the regularisation on; raise --val-share.")
    losses, probe, best = {}, None, None
    for l2 in sorted(grid, reverse=True):
        probe = fit_probe(*train, classes, l2, start=probe)
        losses[l2] = float(cross_entropy(probe(validation[0]), validation[1]))
        if losses[l2] == min(losses.values()):
            best = probe
    both = tuple(torch.cat(pair) for pair in zip(train, validation, strict=True))
    return Chosen(fit_probe(*both, classes, best.l2, start=best), losses)
