"""The latent path as the motion of oscillators that a learned energy couples, with or without friction.

The state is [q, p] and the output q. Without friction the energy is kept for ever, so that motion neither dies nor
runs away however long the path is; with friction it only falls. The energy's gradient is written out, not found by
autograd, so an evaluation costs two matrix products and training needs no second derivative.
"""

import math

import torch
from torch import Tensor, nn

from ode_vgan.errors import UserError
from ode_vgan.temporal.fields import Field
from ode_vgan.temporal.ode import SolvedPath


class HamiltonianField(Field):
    """q' = dH/dp, p' = -dH/dq - (damping / rate) dH/dp, so that dH/dt = -sum (damping / rate) (dH/dp)^2 <= 0.

    H(q, p, c) = sum_i rate_i (q_i^2 + p_i^2) / 2 + sum_h height_h log cosh(a_h . [q, p] + b_h + text_h(c)), in 1/s.
    The learned part grows linearly and the rest as a square, so H has a floor and the motion stays bounded. Without
    the learned part each coordinate is an oscillator: q'' + damping q' + rate^2 q = 0.

    Args:
        hidden: number of terms in the learned part.
        text_input: let the energy and the initial momentum see c.
        rate: rad/s, initial value, learnable per coordinate.
        damping: 1/s, initial value, learnable per coordinate and never negative; 0: none, and none is learned.

    Source: Greydanus et al. (2019), "Hamiltonian Neural Networks", section 2. Differs: friction, text, and an energy
    whose gradient is known in closed form.
    """

    def __init__(self, dim: int, embed_dim: int, *, hidden: int, text_input: bool, rate: float, damping: float):
        super().__init__()
        self.state_dim = 2 * dim
        self.log_rate = nn.Parameter(torch.full((dim,), math.log(rate)))
        self.log_damping = nn.Parameter(torch.full((dim,), math.log(damping))) if damping else None
        self.enter = nn.Linear(2 * dim, hidden)
        self.text = nn.Linear(embed_dim, hidden, bias=False) if text_input else None
        self.heights = nn.Parameter(0.5 * rate * math.sqrt(2 * dim / hidden) * torch.randn(hidden))
        self.momentum = nn.Linear(dim + (embed_dim if text_input else 0), dim)
        for layer, size in ((self.enter, 1.0), (self.text, 1.0), (self.momentum, 0.5)):
            if layer is not None:
                nn.init.normal_(layer.weight, std=size / math.sqrt(layer.in_features))
        nn.init.normal_(self.enter.bias)
        nn.init.zeros_(self.momentum.bias)

    def context(self, c: Tensor) -> Tensor:
        if self.text is None:
            return c.new_zeros(c.shape[0], 1)
        return self.text(c * math.sqrt(c.shape[1]))  # entries of a unit row are about 1 / sqrt(E)

    def start(self, z0: Tensor, c: Tensor) -> Tensor:
        given = z0 if self.text is None else torch.cat([z0, c * math.sqrt(c.shape[1])], 1)
        return torch.cat([z0, self.momentum(given)], 1)

    def energy(self, state: Tensor, context: Tensor) -> Tensor:
        """H, (B,) in 1/s, of states (B, 2Z)."""
        rate = self.log_rate.exp().repeat(2)
        inside = self.enter(state) + context
        log_cosh = inside.abs() + nn.functional.softplus(-2 * inside.abs()) - math.log(2)
        return (rate * state.square()).sum(1) / 2 + log_cosh @ self.heights

    def at(self, t: Tensor, state: Tensor, context: Tensor) -> Tensor:
        rate = self.log_rate.exp()
        slope = (self.heights * (self.enter(state) + context).tanh()) @ self.enter.weight
        by_q, by_p = (slope + rate.repeat(2) * state).chunk(2, 1)
        force = -by_q
        if self.log_damping is not None:
            force = force - self.log_damping.exp() / rate * by_p
        return torch.cat([by_p, force], 1)


class OscillatorPath(SolvedPath):
    """The path q of `HamiltonianField`.

    Args:
        hidden, text_input, rate, damping: see `HamiltonianField`.
        solver, rtol, atol, steps_per_frame, step_seconds, adjoint: see `SolvedPath`.
    """

    def __init__(
        self, dim: int, embed_dim: int, *, hidden: int, text_input: bool, rate: float, damping: float, solver: str,
        rtol: float = 1e-3, atol: float = 1e-4, steps_per_frame: int = 1, step_seconds: float | None = None,
        adjoint: bool = False,
    ):  # fmt: skip
        if rate <= 0 or damping < 0:
            raise UserError(f"rate={rate}, damping={damping}; give a rate > 0 rad/s and a damping >= 0 in 1/s.")
        field = HamiltonianField(dim, embed_dim, hidden=hidden, text_input=text_input, rate=rate, damping=damping)
        super().__init__(
            dim, embed_dim, field, solver=solver, rtol=rtol, atol=atol, steps_per_frame=steps_per_frame,
            step_seconds=step_seconds, adjoint=adjoint,
        )  # fmt: skip
