"""The latent path as a sample of a Stratonovich SDE, by a solver that can be run back exactly.

Going back needs no memory of the way: each step is undone by algebra from its end, so the gradient takes the memory
of one step however long the path is, and it is the gradient of the very path that was drawn.
"""

import torch
from torch import Tensor

from ode_vgan.errors import UserError
from ode_vgan.temporal.fields import MlpField
from ode_vgan.temporal.sde import Coefficients, Diffusion, State, StochasticPath


class ReversiblePath(StochasticPath):
    """The equation of `SdePath` in Stratonovich's sense, stepped by reversible Heun: one evaluation a step.

    Beside z the solver carries a shadow y, with y = z at the start, where f and g are evaluated:
    y' = 2 z - y + f(t, y) dt + g(t, y) dW; z' = z + (f(t, y) + f(t', y')) dt / 2 + (g(t, y) + g(t', y')) dW / 2.

    Args:
        hidden, depth, time_input, text_input, rate, decay: of the drift, see `fields`.
        noise_hidden: width of the diffusion's one hidden layer.
        gate: initial diffusion per square root of a second.
        steps_per_frame: steps in each frame gap.
        restart_frames: gaps after which y is set to z again, for one evaluation more. Where f contracts, the distance
            of y from z grows like its inverse, whatever the step: without restarts a path is wrong after 2 to 5 s.
        adjoint: undo the steps for the gradient. Memory of one step, about twice the time.

    Source: Kidger et al. (2021), "Efficient and Accurate Gradients for Neural SDEs", section 3, the algorithms of
    the forward and the backward pass.
    """

    def __init__(
        self, dim: int, embed_dim: int, *, hidden: int, depth: int, noise_hidden: int, time_input: bool,
        text_input: bool, rate: float, decay: float, gate: float, steps_per_frame: int, restart_frames: int,
        adjoint: bool = False,
    ):  # fmt: skip
        if restart_frames < 1:
            raise UserError(f"restart_frames={restart_frames}; give 1 or more.")
        inputs = {"time_input": time_input, "text_input": text_input}
        drift = MlpField(dim, embed_dim, hidden=hidden, depth=depth, rate=rate, decay=decay, **inputs)
        diffusion = Diffusion(dim, embed_dim, hidden=noise_hidden, gate=gate, **inputs)
        super().__init__(dim, embed_dim, drift, diffusion, steps_per_frame=steps_per_frame)
        self.restart_frames, self.adjoint = restart_frames, adjoint

    def begin(self, coefficients: Coefficients, t: Tensor, z0: Tensor) -> State:
        return z0, z0, *coefficients(t, z0)

    def advance(self, coefficients: Coefficients, t: Tensor, dt: Tensor, state: State, dw: Tensor) -> State:
        z, shadow, f, g = state
        shadow = 2 * z - shadow + f * dt + g * dw
        f_after, g_after = coefficients(t + dt[:, 0], shadow)
        return z + 0.5 * ((f + f_after) * dt + (g + g_after) * dw), shadow, f_after, g_after

    def retreat(self, coefficients: Coefficients, t: Tensor, dt: Tensor, state: State, dw: Tensor) -> State:
        """What the stepper carried one step earlier, at t (B,): the inverse of `advance`."""
        z, shadow, f, g = state
        shadow = 2 * z - shadow - f * dt - g * dw
        f_before, g_before = coefficients(t, shadow)
        return z - 0.5 * ((f + f_before) * dt + (g + g_before) * dw), shadow, f_before, g_before

    def follow(self, noise: Tensor, z0: Tensor, times: Tensor, drift: Tensor, diffusion: Tensor) -> Tensor:
        times = times.expand(z0.shape[0], -1)
        undo = self.adjoint and torch.is_grad_enabled()
        pieces = [z0.unsqueeze(1)]
        for i in range(0, times.shape[1] - 1, self.restart_frames):
            end = i + self.restart_frames
            part = noise[:, i * self.steps_per_frame : end * self.steps_per_frame]
            given = part, pieces[-1][:, -1], times[:, i : end + 1], drift, diffusion
            piece = _Undone.apply(self, *given, *self._weights()) if undo else super().follow(*given)
            pieces.append(piece[:, 1:])
        return torch.cat(pieces, 1)

    def _weights(self) -> list[Tensor]:
        return [weight for weight in self.parameters() if weight.requires_grad]


class _Undone(torch.autograd.Function):
    """The path between two restarts, with a backward pass that undoes its steps instead of remembering them."""

    @staticmethod
    def forward(
        ctx, model: ReversiblePath, noise: Tensor, z0: Tensor, times: Tensor, drift_context: Tensor,
        diffusion_context: Tensor, *weights: Tensor,
    ) -> Tensor:  # fmt: skip
        coefficients = model.coefficients(drift_context, diffusion_context)
        state, states = model.begin(coefficients, times[:, 0], z0), [z0]
        ctx.model, ctx.t0, ctx.grid = model, times[:, 0], model.grid(noise, times)
        for t, dt, dw in ctx.grid:
            state = model.advance(coefficients, t, dt, state, dw)
            states.append(state[0])
        ctx.save_for_backward(*state, drift_context, diffusion_context)
        return torch.stack(states[:: model.steps_per_frame], 1)

    @staticmethod
    def backward(ctx, by_path: Tensor) -> tuple[Tensor | None, ...]:
        *state, drift_context, diffusion_context = ctx.saved_tensors
        model, counted = ctx.model, ctx.model.nfe
        contexts = [context.detach().requires_grad_() for context in (drift_context, diffusion_context)]
        coefficients = model.coefficients(*contexts)
        shared = [*contexts, *model._weights()]
        total = [torch.zeros_like(each) for each in shared]
        by_state = [torch.zeros_like(state[0]) for _ in state]  # of what the stepper carries
        by_state[0] = by_path[:, -1]
        for i, (t, dt, dw) in reversed(list(enumerate(ctx.grid))):
            with torch.no_grad():
                state = model.retreat(coefficients, t, dt, state, dw)
            with torch.enable_grad():
                given = [each.detach().requires_grad_() for each in state]
                after = model.advance(coefficients, t, dt, given, dw)
            found = torch.autograd.grad(after, [*given, *shared], by_state, allow_unused=True)
            by_state = [_or_zeros(each, given[0]) for each in found[:4]]
            _add(total, found[4:])
            if i % model.steps_per_frame == 0:
                by_state[0] = by_state[0] + by_path[:, i // model.steps_per_frame]
        with torch.enable_grad():
            z0 = state[0].detach().requires_grad_()
            begun = model.begin(coefficients, ctx.t0, z0)
        found = torch.autograd.grad(begun, [z0, *shared], by_state, allow_unused=True)
        _add(total, found[1:])
        model.nfe = counted  # of the last forward alone
        return None, None, found[0], None, *total


def _or_zeros(gradient: Tensor | None, like: Tensor) -> Tensor:
    return torch.zeros_like(like) if gradient is None else gradient


def _add(total: list[Tensor], found: tuple[Tensor | None, ...]) -> None:
    for each, more in zip(total, found, strict=True):
        if more is not None:
            each += more
