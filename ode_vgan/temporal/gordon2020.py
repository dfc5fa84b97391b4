"""The latent ODEs of Gordon and Parde (2020) as published, each beside a corrected version where one is due.

These and the SDEs of `gordon2020_sde` run on a horizon of [0, 1] over one trained window, are autonomous and do not
see the text. Named differences from the published code: gradients go straight through the solver, equal to its
adjoint's and some three times cheaper; a clip's Brownian path comes from the clip's seed; time runs in seconds outside,
so that any frame times may be asked.
"""

import torch
from torch import Tensor, nn
from torchdiffeq import odeint

from ode_vgan.errors import UserError
from ode_vgan.temporal.gordon2020_fields import dense
from ode_vgan.temporal.path import TemporalModel

RK4_STAGES = 4


class PublishedPath(TemporalModel):
    """A path that starts from noise z0 (B, start_dim), whose width may differ from the path's.

    Attributes:
        start_dim: width of the noise.
    """

    start_dim: int

    def forward(self, z0: Tensor, times: Tensor, c: Tensor, seeds: Tensor | None = None) -> Tensor:
        if z0.shape[1] != self.start_dim:
            raise UserError(
                f"{z0.shape[1]} numbers of noise given, {type(self).__name__} starts from {self.start_dim}; set "
                "noise_dim to what the generator gives."
            )
        return super().forward(z0, times, c, seeds)


class UnitHorizon(PublishedPath):
    """A path that starts from a map of the noise and runs on [0, 1] over the trained window.

    Args:
        frames, gap_seconds: of the trained window, (frames - 1) * gap_seconds long. None or 0: 1 s.
        start: maps the noise to the initial state and has `inputs`, the noise's width. None: the noise is the state.

    Attributes:
        window_seconds: length of the trained window.
    """

    continuous = False
    any_gap = True
    backward = False
    extrapolates = True
    step_noise = False

    def __init__(
        self, dim: int, embed_dim: int, *, frames: int, gap_seconds: float | None, start: nn.Module | None = None
    ):
        super().__init__(dim, embed_dim)
        if frames < 2:
            raise UserError(f"frames={frames}; a trained window has 2 frames or more.")
        self.window_seconds = (frames - 1) * gap_seconds if gap_seconds else 1.0
        self.start = start
        self.starts_at_z0 = start is None
        self.start_dim = dim if start is None else start.inputs

    def begin(self, z0: Tensor) -> Tensor:
        """The state (B, S) at the first time from noise (B, start_dim)."""
        return z0 if self.start is None else self.start(z0)

    def unit(self, times: Tensor) -> Tensor:
        """Times since the first one in windows, (1, T) or (B, T), from seconds (T,) or (B, T)."""
        return (times - times[..., :1]).reshape(-1, times.shape[-1]) / self.window_seconds


class LatentOde(UnitHorizon):
    """dz/dt = field(z), by one step of the 3/8 rule of Kutta (order 4) a frame gap.

    Args:
        frames, gap_seconds, start: see `UnitHorizon`.
        field: maps states (B, Z) to speeds (B, Z) per window.

    Source: Gordon and Parde (2020), TGAN-ODE, MoCoGAN-ODE and TGANv2-ODE, and their code.
    """

    continuous = True
    backward = True

    def __init__(
        self, dim: int, embed_dim: int, *, frames: int, gap_seconds: float | None, start: nn.Module | None,
        field: nn.Module,
    ):  # fmt: skip
        super().__init__(dim, embed_dim, frames=frames, gap_seconds=gap_seconds, start=start)
        self.field = field

    def speed(self, state: Tensor) -> Tensor:
        """d state / dt, (B, S) per window."""
        return self.field(state)

    def path(self, z0: Tensor, times: Tensor, c: Tensor, seeds: Tensor | None) -> Tensor:
        return self.flow(self.begin(z0), times)[..., -self.dim :]

    def flow(self, state: Tensor, times: Tensor) -> Tensor:
        """The full state (B, T, S) at times (T,) or (B, T) seconds from state (B, S) at the first."""
        self.nfe = 0
        if times.shape[-1] == 1:
            return state.unsqueeze(1)
        gaps = self.unit(times).diff(dim=1)
        knots = torch.arange(times.shape[-1], dtype=times.dtype, device=times.device)

        def per_frame(s: Tensor, now: Tensor) -> Tensor:  # in s, frames passed, all clips step together
            frame = self.nfe // RK4_STAGES
            self.nfe += 1
            return self.speed(now) * gaps[:, frame : frame + 1]

        return odeint(per_frame, state, knots, method="rk4").transpose(0, 1)  # torchdiffeq is time-first


class HigherOrderOde(LatentOde):
    """The order-th derivative of z is field(the derivative below it): as published, it sees nothing else.

    So a path moved by d is the same path moved by d: no force ever pulls it back. The state is
    [z^(order-1), ..., z', z], each entry a linear map of its own of the start.

    Args:
        frames, gap_seconds, start, field: see `LatentOde`; the field sees `field.derivatives` entries of the state.
        order: 2 or more.
        gain: of Xavier's law for the maps; None: torch's own law.

    Source: Gordon and Parde (2020), their code: 2nd and 3rd order.
    """

    def __init__(
        self, dim: int, embed_dim: int, *, frames: int, gap_seconds: float | None, start: nn.Module | None,
        field: nn.Module, order: int, gain: float | None,
    ):  # fmt: skip
        super().__init__(dim, embed_dim, frames=frames, gap_seconds=gap_seconds, start=start, field=field)
        if order < 2:
            raise UserError(f"order={order}; give 2 or more, or choose LatentOde.")
        if field.derivatives != self.seen(order):
            raise UserError(
                f"field.derivatives={field.derivatives}; the field of {type(self).__name__} of order {order} sees "
                f"{self.seen(order)}."
            )
        self.starts_at_z0 = False
        self.derivatives = nn.ModuleList(dense(dim, dim, gain) for _ in range(order))

    @staticmethod
    def seen(order: int) -> int:
        """How many entries of the state the field sees."""
        return 1

    def begin(self, z0: Tensor) -> Tensor:
        start = super().begin(z0)
        return torch.cat([layer(start) for layer in self.derivatives], 1)

    def speed(self, state: Tensor) -> Tensor:
        highest = self.field(state[:, : self.field.derivatives * self.dim])
        return torch.cat([highest, state[:, : -self.dim]], 1)


class HigherOrderOdeCorrected(HigherOrderOde):
    """As `HigherOrderOde`, but the field sees the whole state, so that it can pull back what has moved."""

    @staticmethod
    def seen(order: int) -> int:
        return order
