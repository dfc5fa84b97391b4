"""The latent path as the solution of an ordinary differential equation driven by a smooth random path of the clip.

It has the noise of an SDE and the continuity of an ODE: the noise is a function of the clip's seed and of time
alone, so a value does not depend on which other times are asked, and the path can be followed backward. With the
field and the diffusion of `sde.SdePath` the two models differ in nothing but the memory of their noise.
"""

import torch
from torch import Tensor, nn

from ode_vgan.errors import UserError
from ode_vgan.temporal.fields import MlpField
from ode_vgan.temporal.noise import smooth_noise
from ode_vgan.temporal.ode import Motion, SolvedPath
from ode_vgan.temporal.sde import Diffusion


class DrivenField(nn.Module):
    """A drift and a diagonal diffusion of one state, as of an SDE.

    Args:
        hidden, depth, time_input, text_input, rate, decay: of the drift, see `fields`.
        noise_hidden: width of the diffusion's one hidden layer.
        gate: initial diffusion per square root of a second.
    """

    def __init__(
        self, dim: int, embed_dim: int, *, hidden: int, depth: int, noise_hidden: int, time_input: bool,
        text_input: bool, rate: float, decay: float, gate: float,
    ):  # fmt: skip
        super().__init__()
        inputs = {"time_input": time_input, "text_input": text_input}
        self.drift = MlpField(dim, embed_dim, hidden=hidden, depth=depth, rate=rate, decay=decay, **inputs)
        self.diffusion = Diffusion(dim, embed_dim, hidden=noise_hidden, gate=gate, **inputs)
        self.drift_context = hidden if text_input else 1

    def start(self, z0: Tensor, c: Tensor) -> Tensor:
        return z0

    def context(self, c: Tensor) -> Tensor:
        """The text's part of drift and diffusion, side by side, computed once per path."""
        return torch.cat([self.drift.context(c), self.diffusion.context(c)], 1)

    def at(self, t: Tensor, state: Tensor, context: Tensor, noise: Tensor) -> Tensor:
        """d state / dt, (B, Z) in 1/s, under noise (B, Z) per square root of a second."""
        drift, diffusion = context.tensor_split([self.drift_context], 1)
        return self.drift.at(t, state, drift) + self.diffusion.at(t, state, diffusion) * noise


class DrivenPath(SolvedPath):
    """dz = f(t, z, c) dt + g(t, z, c) dX, where X'(t) is the clip's own smooth noise: see `noise.smooth_noise`.

    X is Brownian motion seen through a window of about `correlation_seconds`: as that time goes to 0 the path
    becomes the Stratonovich SDE's (Wong and Zakai 1965, "On the Convergence of Ordinary Integrals to Stochastic
    Integrals"), and the gate means the same in both. Without seeds each call draws another noise, also the two
    calls of a path that is anchored between its times.

    Args:
        hidden, depth, noise_hidden, time_input, text_input, rate, decay, gate: see `DrivenField`.
        correlation_seconds: memory of the noise. A solver's steps should not be longer than half of it.
        solver, rtol, atol, steps_per_frame, step_seconds, adjoint: see `SolvedPath`.

    Source: Kidger et al. (2020), "Neural Controlled Differential Equations for Irregular Time Series", section 3.
    Differs: the control is noise, not data, and each coordinate has its own.
    """

    step_noise = True

    def __init__(
        self, dim: int, embed_dim: int, *, hidden: int, depth: int, noise_hidden: int, time_input: bool,
        text_input: bool, rate: float, decay: float, gate: float, correlation_seconds: float, solver: str,
        rtol: float = 1e-3, atol: float = 1e-4, steps_per_frame: int = 1, step_seconds: float | None = None,
        adjoint: bool = False,
    ):  # fmt: skip
        if correlation_seconds <= 0:
            raise UserError(f"correlation_seconds={correlation_seconds}; give more than 0 s.")
        field = DrivenField(
            dim, embed_dim, hidden=hidden, depth=depth, noise_hidden=noise_hidden, time_input=time_input,
            text_input=text_input, rate=rate, decay=decay, gate=gate,
        )  # fmt: skip
        super().__init__(
            dim, embed_dim, field, solver=solver, rtol=rtol, atol=atol, steps_per_frame=steps_per_frame,
            step_seconds=step_seconds, adjoint=adjoint,
        )  # fmt: skip
        self.correlation_seconds = correlation_seconds

    def motion(self, state: Tensor, seeds: Tensor | None) -> Motion:
        noise = smooth_noise(seeds, state, self.correlation_seconds)
        return lambda t, z, context: self.field.at(t, z, context, noise.at(t))
