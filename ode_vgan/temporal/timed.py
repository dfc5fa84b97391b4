"""The latent path of a field that sees how much of a learned horizon has passed."""

import math

import torch
from torch import Tensor, nn

from ode_vgan.errors import UserError
from ode_vgan.temporal.fields import MlpField
from ode_vgan.temporal.ode import SolvedPath


class TimedField(MlpField):
    """dz/dt = rate * tanh(mlp(t / horizon, z, c)) - decay * z, with a learnable horizon > 0.

    The field sees sines and cosines of a quarter, a half, one and two turns in a horizon, so it never leaves what it
    has seen, and repeats after four horizons.

    Args:
        hidden, depth, text_input, rate, decay: as in `MlpField`.
        horizon_seconds: of the start.
    """

    def __init__(
        self, dim: int, embed_dim: int, *, hidden: int, depth: int, text_input: bool, rate: float, decay: float,
        horizon_seconds: float,
    ):  # fmt: skip
        super().__init__(
            dim, embed_dim, hidden=hidden, depth=depth, time_input=True, text_input=text_input, rate=rate, decay=decay
        )
        self.log_horizon = nn.Parameter(torch.tensor(math.log(horizon_seconds)))

    def at(self, t: Tensor, state: Tensor, context: Tensor) -> Tensor:
        return super().at(t / self.log_horizon.exp(), state, context)


class TimedPath(SolvedPath):
    """The path of `TimedField`, whose t counts from the first frame: a window's start is an event of its own.

    Args:
        hidden, depth, text_input, rate, decay, horizon_seconds: see `TimedField`.
        solver, rtol, atol, steps_per_frame, step_seconds, adjoint: see `SolvedPath`.
    """

    def __init__(
        self, dim: int, embed_dim: int, *, hidden: int, depth: int, text_input: bool, rate: float, decay: float,
        horizon_seconds: float, solver: str, rtol: float = 1e-3, atol: float = 1e-4, steps_per_frame: int = 1,
        step_seconds: float | None = None, adjoint: bool = False,
    ):  # fmt: skip
        if not 0 < horizon_seconds < math.inf:
            raise UserError(f"horizon_seconds={horizon_seconds}; give more than 0 s, about the length of a window.")
        field = TimedField(
            dim, embed_dim, hidden=hidden, depth=depth, text_input=text_input, rate=rate, decay=decay,
            horizon_seconds=horizon_seconds,
        )  # fmt: skip
        super().__init__(
            dim, embed_dim, field, solver=solver, rtol=rtol, atol=atol, steps_per_frame=steps_per_frame,
            step_seconds=step_seconds, adjoint=adjoint,
        )  # fmt: skip
