"""The latent path as a sample of a stochastic differential equation with diagonal noise."""

from abc import abstractmethod
from collections.abc import Callable

import torch
from torch import Tensor, nn

from ode_vgan.errors import UserError
from ode_vgan.temporal.fields import ConditionedMlp, MlpField
from ode_vgan.temporal.fused_sde import MlpEuler
from ode_vgan.temporal.noise import clip_noise
from ode_vgan.temporal.path import TemporalModel

Coefficients = Callable[[Tensor, Tensor], tuple[Tensor, ...]]  # (t (B,), z (B, Z)) -> drift, diffusion
State = tuple[Tensor, ...]  # what a stepper carries from step to step, z (B, Z) first
Step = tuple[Tensor, Tensor, Tensor]


def euler_maruyama(coefficients: Coefficients, t: Tensor, dt: Tensor, z: Tensor, dw: Tensor) -> Tensor:
    """One Ito step from t (B,) over dt (B, 1) seconds with Brownian increment dw (B, Z); strong order 1/2."""
    drift, diffusion = coefficients(t, z)
    return z + drift * dt + diffusion * dw


def heun(coefficients: Coefficients, t: Tensor, dt: Tensor, z: Tensor, dw: Tensor) -> Tensor:
    """One Stratonovich step, as `euler_maruyama`; strong order 1 for diagonal noise."""
    drift, diffusion = coefficients(t, z)
    drift_after, diffusion_after = coefficients(t + dt[:, 0], z + drift * dt + diffusion * dw)
    return z + 0.5 * ((drift + drift_after) * dt + (diffusion + diffusion_after) * dw)


STEPS = {"ito": euler_maruyama, "stratonovich": heun}


class Diffusion(nn.Module):
    """g(t, z, c) = gate * 2 * sigmoid(mlp(t, z, c)), (B, Z) per square root of a second.

    The gate is learnable per coordinate and starts small: noise as large as the drift from the first step made the
    2020 model flicker. The sigmoid bounds g, so that noise cannot run away with the state.
    """

    def __init__(self, dim: int, embed_dim: int, *, hidden: int, time_input: bool, text_input: bool, gate: float):
        super().__init__()
        self.gate = nn.Parameter(torch.full((dim,), gate))
        self.mlp = ConditionedMlp(
            dim, dim, embed_dim, hidden=hidden, depth=1, time_input=time_input, text_input=text_input
        )

    def context(self, c: Tensor) -> Tensor:
        return self.mlp.context(c)

    def at(self, t: Tensor, z: Tensor, context: Tensor) -> Tensor:
        return 2 * self.gate * self.mlp(t, z, context).sigmoid()

    def forward(self, t: Tensor, z: Tensor, c: Tensor) -> Tensor:
        return self.at(t, z, self.context(c))


class StochasticPath(TemporalModel):
    """dz = f(t, z, c) dt + g(t, z, c) dW with diagonal noise, stepped by whatever a subclass calls `advance`.

    The stepper is our own because torchsde interpolates linearly between its steps, which loses up to half of the
    variance when dt does not divide the frame gap, takes one dt for the whole batch where frame gaps differ between
    clips, and seeds a batch, not a clip. At 16 frames plain increments cost 0.4 ms against 8 ms for its Brownian
    interval (`torchsde` 0.2.6, 2 threads), and Euler and Heun steps are no slower than its own.

    `continuous` is False: the law of the path has no grid but a drawn path belongs to the times it was drawn for.

    Args:
        drift, diffusion: f and g, each with `context(c)` and `at(t, z, context)`.
        steps_per_frame: steps in each frame gap.
    """

    continuous = False
    any_gap = True
    backward = False
    extrapolates = True
    step_noise = True
    starts_at_z0 = True

    def __init__(self, dim: int, embed_dim: int, drift: nn.Module, diffusion: nn.Module, *, steps_per_frame: int):
        super().__init__(dim, embed_dim)
        if steps_per_frame < 1:
            raise UserError(f"steps_per_frame={steps_per_frame}; give 1 or more.")
        self.drift, self.diffusion = drift, diffusion
        self.steps_per_frame = steps_per_frame

    def path(self, z0: Tensor, times: Tensor, c: Tensor, seeds: Tensor | None) -> Tensor:
        count = (times.shape[-1] - 1) * self.steps_per_frame
        return self.driven_by(clip_noise(seeds, z0, count), z0, times, c)

    def driven_by(self, noise: Tensor, z0: Tensor, times: Tensor, c: Tensor) -> Tensor:
        """The path (B, T, Z) driven by standard normal noise (B, (T - 1) * steps_per_frame, Z)."""
        self.nfe = 0
        return self.follow(noise, z0, times, self.drift.context(c), self.diffusion.context(c))

    def follow(self, noise: Tensor, z0: Tensor, times: Tensor, drift: Tensor, diffusion: Tensor) -> Tensor:
        """As `driven_by`, from the contexts of drift and diffusion."""
        coefficients = self.coefficients(drift, diffusion)
        state, states = self.begin(coefficients, times.expand(z0.shape[0], -1)[:, 0], z0), [z0]
        for t, dt, dw in self.grid(noise, times):
            state = self.advance(coefficients, t, dt, state, dw)
            states.append(state[0])
        return torch.stack(states[:: self.steps_per_frame], 1)

    def grid(self, noise: Tensor, times: Tensor) -> list[Step]:
        """Each step's begin t (B,), length dt (B, 1) in seconds and Brownian increment dw (B, Z)."""
        times = times.expand(noise.shape[0], -1)
        substep = times.diff(dim=1) / self.steps_per_frame
        dt = substep.repeat_interleave(self.steps_per_frame, 1)
        inside = torch.arange(self.steps_per_frame, dtype=times.dtype, device=times.device)
        t = (times[:, :-1, None] + inside * substep[..., None]).flatten(1)
        increments = (noise * dt.sqrt().unsqueeze(-1)).unbind(1)
        return [(t[:, i], dt[:, i : i + 1], dw) for i, dw in enumerate(increments)]

    def coefficients(self, drift_context: Tensor, diffusion_context: Tensor) -> Coefficients:
        """(t, z) -> (f, g) of one path, counted in `nfe`."""

        def both(t: Tensor, z: Tensor) -> tuple[Tensor, Tensor]:
            self.nfe += 1
            return self.drift.at(t, z, drift_context), self.diffusion.at(t, z, diffusion_context)

        return both

    def begin(self, coefficients: Coefficients, t: Tensor, z0: Tensor) -> State:
        """What the stepper carries at the first time, z first."""
        return (z0,)

    @abstractmethod
    def advance(self, coefficients: Coefficients, t: Tensor, dt: Tensor, state: State, dw: Tensor) -> State:
        """What the stepper carries one step later."""


class SdePath(StochasticPath):
    """The ODE's field as drift and a small learned diffusion.

    Args:
        hidden, depth, time_input, text_input, rate, decay: of the drift, see `fields`.
        noise_hidden: width of the diffusion's one hidden layer.
        gate: initial diffusion per square root of a second.
        calculus: "ito", stepped by Euler-Maruyama, or "stratonovich", by Heun (two evaluations a step).
        steps_per_frame: steps in each frame gap.
    """

    def __init__(
        self, dim: int, embed_dim: int, *, hidden: int, depth: int, noise_hidden: int, time_input: bool,
        text_input: bool, rate: float, decay: float, gate: float, calculus: str, steps_per_frame: int,
    ):  # fmt: skip
        if calculus not in STEPS:
            raise UserError(f"calculus={calculus!r} is unknown; choose one of {', '.join(STEPS)}.")
        inputs = {"time_input": time_input, "text_input": text_input}
        drift = MlpField(dim, embed_dim, hidden=hidden, depth=depth, rate=rate, decay=decay, **inputs)
        diffusion = Diffusion(dim, embed_dim, hidden=noise_hidden, gate=gate, **inputs)
        super().__init__(dim, embed_dim, drift, diffusion, steps_per_frame=steps_per_frame)
        self.step = STEPS[calculus]

    def follow(self, noise: Tensor, z0: Tensor, times: Tensor, drift: Tensor, diffusion: Tensor) -> Tensor:
        small = type(self.drift) is MlpField and type(self.diffusion) is Diffusion and self.drift.mlp.time is None
        if self.step is not euler_maruyama or not small or torch.jit.is_tracing():  # an export holds no such function
            return super().follow(noise, z0, times, drift, diffusion)
        return self._fused(noise, z0, times, drift, diffusion)

    def _fused(self, noise: Tensor, z0: Tensor, times: Tensor, drift: Tensor, diffusion: Tensor) -> Tensor:
        """The same steps as one autograd node."""
        dt = times.expand(len(z0), -1).diff(dim=1).div(self.steps_per_frame).repeat_interleave(self.steps_per_frame, 1)
        dt = dt.t().unsqueeze(-1).contiguous()
        dw = noise.transpose(0, 1) * dt.sqrt()
        move, shake = self.drift.mlp, self.diffusion.mlp
        entry = torch.cat(
            [(drift + move.enter.bias).expand(len(z0), -1), (diffusion + shake.enter.bias).expand(len(z0), -1)], 1
        )
        later = [tensor for layer in (*move.middle, move.leave) for tensor in (layer.weight, layer.bias)]
        states = MlpEuler.apply(
            z0, entry, self.drift.log_rate.exp(), self.drift.decay, 2 * self.diffusion.gate, dt, dw,
            torch.cat([move.enter.weight, shake.enter.weight]), shake.leave.weight, shake.leave.bias, *later,
        )  # fmt: skip
        self.nfe += len(dw)
        return states[:: self.steps_per_frame].transpose(0, 1)

    def advance(self, coefficients: Coefficients, t: Tensor, dt: Tensor, state: State, dw: Tensor) -> State:
        return (self.step(coefficients, t, dt, state[0], dw),)
