"""Losses that keep a path easy to solve."""

from collections.abc import Callable

import torch
from torch import Tensor


def kinetic_energy(path: Tensor, times: Tensor) -> Tensor:
    """Mean squared speed of the path over time, clips and coordinates, () in squared units per squared second.

    Between two frames the speed is the secant's: exact for straight motion, and below the true mean square otherwise,
    by less the shorter the gap. It costs no evaluation of the field and works for any model of time.

    Args:
        path: (B, T, Z), T >= 2.
        times: (T,) or (B, T) seconds, strictly rising or falling.

    Source: Finlay et al. (2020), "How to train your neural ODE: the world of Jacobian and kinetic regularization",
    section 3. Differs: averaged over time and coordinates, so that a weight serves any horizon and width.
    """
    gaps = times.diff(dim=-1).abs().expand(len(path), -1)
    speed = path.diff(dim=1) / gaps.unsqueeze(-1)
    return ((speed.square().mean(-1) * gaps).sum(1) / gaps.sum(1)).mean()


def jacobian_norm(speed: Callable[[Tensor], Tensor], state: Tensor, probe: Tensor) -> Tensor:
    """Hutchinson's estimate of the squared Frobenius norm of d speed / d state, per coordinate, (), in 1/s^2.

    With probes of mean 0 and covariance the identity its expectation is the mean over rows of |J|_F^2 / S. The graph
    is kept, so that it can be minimised.

    Args:
        speed: (N, S) -> (N, S), row by row: a field at a fixed time and text.
        state, probe: (N, S); the state is taken as given, no gradient flows into it.

    Source: Finlay et al. (2020), as `kinetic_energy`, section 3.
    """
    state = state.detach().requires_grad_()
    (pulled,) = torch.autograd.grad(speed(state), state, probe, create_graph=True)
    return pulled.square().mean()
