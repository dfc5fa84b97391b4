"""The latent path as a sample of an Ito SDE whose noise is diagonal in truth, stepped with strong order 1."""

import math

import torch
from torch import Tensor, nn

from ode_vgan.temporal.fields import MlpField
from ode_vgan.temporal.sde import Coefficients, State, StochasticPath

CURVES = 4  # of z_i in the logarithm of a coordinate's diffusion


class OwnDiffusion(nn.Module):
    """g_i = gate_i * 2 * sigmoid(sum_k height_ik tanh(slope_ik z_i + shift_ik) + text_i(c)), (B, Z).

    Each coordinate's diffusion sees that coordinate and the text. If it saw the others too, order 1 would need the
    Brownian motions' mutual areas, and Milstein's method without them has order 1/2, no more than Euler's.

    Args:
        hidden: width of the text's one hidden layer.
        gate: initial diffusion per square root of a second, learnable per coordinate.
    """

    def __init__(self, dim: int, embed_dim: int, *, hidden: int, text_input: bool, gate: float):
        super().__init__()
        self.gate = nn.Parameter(torch.full((dim,), gate))
        self.slopes, self.shifts = (nn.Parameter(torch.randn(dim, CURVES)) for _ in range(2))
        self.heights = nn.Parameter(0.2 / math.sqrt(CURVES) * torch.randn(dim, CURVES))
        self.text = nn.Linear(embed_dim, hidden) if text_input else None
        self.leave = nn.Linear(hidden, dim) if text_input else None
        if text_input:
            nn.init.normal_(self.text.weight, std=1 / math.sqrt(embed_dim))
            nn.init.normal_(self.leave.weight, std=0.34 / math.sqrt(hidden))
            nn.init.zeros_(self.text.bias)
            nn.init.zeros_(self.leave.bias)

    def context(self, c: Tensor) -> Tensor:
        """(B, Z), the text's part, or (B, 1) zeros without text input."""
        if self.text is None:
            return c.new_zeros(c.shape[0], 1)
        return self.leave(nn.functional.silu(self.text(c * math.sqrt(c.shape[1]))))

    def at(self, t: Tensor, z: Tensor, context: Tensor) -> Tensor:
        return self.with_slope(t, z, context)[0]

    def with_slope(self, t: Tensor, z: Tensor, context: Tensor) -> tuple[Tensor, Tensor]:
        """g and dg_i/dz_i, both (B, Z)."""
        curve = (self.slopes * z.unsqueeze(-1) + self.shifts).tanh()
        open_ = ((self.heights * curve).sum(-1) + context).sigmoid()
        slope = (self.heights * self.slopes * (1 - curve.square())).sum(-1)
        g = 2 * self.gate * open_
        return g, g * (1 - open_) * slope


class MilsteinPath(StochasticPath):
    """dz = f dt + g dW (Ito), stepped by z + f dt + g dW + g g' (dW^2 - dt) / 2: strong order 1, one evaluation a step.

    Args:
        hidden, depth, time_input, text_input, rate, decay: of the drift, see `fields`.
        noise_hidden, gate: of the diffusion, see `OwnDiffusion`.
        steps_per_frame: steps in each frame gap.

    Source: Kloeden and Platen (1992), "Numerical Solution of Stochastic Differential Equations", section 10.3, the
    scheme for diagonal noise.
    """

    def __init__(
        self, dim: int, embed_dim: int, *, hidden: int, depth: int, noise_hidden: int, time_input: bool,
        text_input: bool, rate: float, decay: float, gate: float, steps_per_frame: int,
    ):  # fmt: skip
        drift = MlpField(
            dim, embed_dim, hidden=hidden, depth=depth, time_input=time_input, text_input=text_input, rate=rate,
            decay=decay,
        )  # fmt: skip
        diffusion = OwnDiffusion(dim, embed_dim, hidden=noise_hidden, text_input=text_input, gate=gate)
        super().__init__(dim, embed_dim, drift, diffusion, steps_per_frame=steps_per_frame)

    def coefficients(self, drift_context: Tensor, diffusion_context: Tensor) -> Coefficients:
        def three(t: Tensor, z: Tensor) -> tuple[Tensor, Tensor, Tensor]:
            self.nfe += 1
            return self.drift.at(t, z, drift_context), *self.diffusion.with_slope(t, z, diffusion_context)

        return three

    def advance(self, coefficients: Coefficients, t: Tensor, dt: Tensor, state: State, dw: Tensor) -> State:
        drift, g, slope = coefficients(t, state[0])
        return (state[0] + drift * dt + g * dw + 0.5 * g * slope * (dw.square() - dt),)
