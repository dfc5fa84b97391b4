"""Runge-Kutta steps of a small MLP field without autograd's bookkeeping: the same numbers, a hand-written gradient.

Autograd keeps a node for each of some twelve operations of an evaluation, which at latent sizes costs more than the
matrix products. Here a whole solve is one node: states and activations go to buffers made once, the state's gradient
is carried back evaluation by evaluation, and the weights' gradients are one product each over all evaluations.

Buffers hold KEPT_STEPS steps at most. A longer solve keeps its states alone and goes through its steps once more on
the way back, stretch by stretch, so that its memory grows with the path and not with the activations.
"""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

KEPT_STEPS = 128  # whose activations are kept: 20 s of steps of 0.16 s, 46 MB for 32 clips of the default width


@dataclass(frozen=True)
class Law:
    """dz/dt = rate * tanh(mlp(z)) - decay * z, the first layer's bias being `entry` (B, H)."""

    entry: Tensor
    rate: Tensor
    decay: float
    matrices: tuple[Tensor, ...]
    biases: tuple[Tensor, ...]


@dataclass(frozen=True)
class Stretch:
    """Some steps from one state: what each evaluation was given, made on the way, and found.

    Attributes:
        inputs, outs: (4 steps + 1, B, Z): states, and tanh of the last layer.
        before, after: activations of each hidden layer before and after SiLU.
    """

    law: Law
    inputs: Tensor
    outs: Tensor
    before: tuple[Tensor, ...]
    after: tuple[Tensor, ...]

    @staticmethod
    def empty(law: Law, z: Tensor, steps: int) -> "Stretch":
        """Buffers for so many steps of states like z (B, Z)."""
        count, widths = 4 * steps + 1, [matrix.shape[0] for matrix in law.matrices[:-1]]
        states = [z.new_empty(count, *z.shape) for _ in range(2)]
        hidden = [tuple(z.new_empty(count, z.shape[0], width) for width in widths) for _ in range(2)]
        return Stretch(law, *states, *hidden)

    @property
    def count(self) -> int:
        """Evaluations."""
        return len(self.inputs)

    def solve(self, z: Tensor, step: float) -> Tensor:
        """Fill the buffers from state z on; the speeds, (4 steps + 1, B, Z)."""
        slopes = torch.empty_like(self.outs)
        # one view of each evaluation, taken once: a view costs as much as a sum of this size
        at, slope, out = self.inputs.unbind(), slopes.unbind(), self.outs.unbind()
        low, high = [one.unbind() for one in self.before], [one.unbind() for one in self.after]
        law, turned = self.law, [matrix.t() for matrix in self.law.matrices]

        def evaluate(i: int) -> Tensor:
            torch.addmm(law.entry, at[i], turned[0], out=low[0][i])
            torch.ops.aten.silu.out(low[0][i], out=high[0][i])
            for layer in range(1, len(low)):
                torch.addmm(law.biases[layer], high[layer - 1][i], turned[layer], out=low[layer][i])
                torch.ops.aten.silu.out(low[layer][i], out=high[layer][i])
            torch.addmm(law.biases[-1], high[-1][i], turned[-1], out=out[i])
            torch.mul(out[i].tanh_(), law.rate, out=slope[i])
            return slope[i].sub_(at[i], alpha=law.decay)

        at[0].copy_(z)
        for i in range(0, self.count - 1, 4):
            torch.add(at[i], evaluate(i), alpha=step / 2, out=at[i + 1])
            torch.add(at[i], evaluate(i + 1), alpha=step / 2, out=at[i + 2])
            torch.add(at[i], evaluate(i + 2), alpha=step, out=at[i + 3])
            total = evaluate(i + 3) + slope[i]
            total.add_(slope[i + 1], alpha=2).add_(slope[i + 2], alpha=2)
            torch.add(at[i], total, alpha=step / 6, out=at[i + 4])
        evaluate(self.count - 1)
        return slopes

    def pull(self, state: Tensor, of_states: Tensor, of_slopes: Tensor, step: float) -> tuple[Tensor, list[Tensor]]:
        """From the gradient at the last state, and at all states but it and all speeds, those at the first state and
        at entry, rate and each layer's weight and bias."""
        law, hidden = self.law, len(self.before)
        at_slopes, at_outs = torch.empty_like(self.outs), torch.empty_like(self.outs)
        at_before = [torch.empty_like(one) for one in self.before]
        slope, at_out, out = at_slopes.unbind(), at_outs.unbind(), self.outs.unbind()
        low, at_low = [one.unbind() for one in self.before], [one.unbind() for one in at_before]
        node_state, node_slope = of_states.unbind(), of_slopes.unbind()

        def at_input(i: int) -> Tensor:
            torch.mul(slope[i], law.rate, out=at_out[i])
            grad = torch.ops.aten.tanh_backward.grad_input(at_out[i], out[i], grad_input=at_out[i])
            for layer in range(hidden - 1, -1, -1):
                here = at_low[layer][i]
                torch.mm(grad, law.matrices[layer + 1], out=here)
                grad = torch.ops.aten.silu_backward.grad_input(here, low[layer][i], grad_input=here)
            return torch.addmm(slope[i], grad, law.matrices[0], beta=-law.decay)

        slope[-1].copy_(node_slope[-1])
        state = state + at_input(self.count - 1)
        for k in range(len(node_state) - 1, -1, -1):
            i = 4 * k
            torch.mul(state, step / 6, out=slope[i + 3])
            at_3 = at_input(i + 3)
            torch.add(at_3 * step, state, alpha=step / 3, out=slope[i + 2])
            at_2 = at_input(i + 2)
            torch.add(at_2 * (step / 2), state, alpha=step / 3, out=slope[i + 1])
            at_1 = at_input(i + 1)
            torch.add(node_slope[k], state, alpha=step / 6, out=slope[i])
            slope[i].add_(at_1, alpha=step / 2)
            state = state + at_input(i)
            state.add_(at_1).add_(at_2).add_(at_3).add_(node_state[k])
        return state, self.of_weights(at_slopes, at_outs, at_before)

    def of_weights(self, at_slopes: Tensor, at_outs: Tensor, at_before: list[Tensor]) -> list[Tensor]:
        """Gradients at entry, rate and each layer's weight and bias: one product each over all evaluations."""
        found = [at_before[0].sum(0), (at_slopes * self.outs).sum((0, 1))]
        for at_layer, given in zip([*at_before, at_outs], [self.inputs, *self.after], strict=True):
            grad = at_layer.flatten(0, 1)
            found += [grad.t() @ given.flatten(0, 1), grad.sum(0)]
        return found


class MlpRk4(torch.autograd.Function):
    """Nodes of dz/dt = rate * tanh(mlp(z)) - decay * z by the classical Runge-Kutta method, K equal steps.

    `apply(z0, context, rate, decay, step, steps, *weights)` with z0 (B, Z), context (B, H) added before the first
    activation, rate (Z,), decay a number, step a signed length in seconds, and weights and biases of each layer from
    the first to the last, (out, in) and (out,). It returns states and speeds, (K + 1, B, Z) each.

    The gradient is exact for the discrete solution; it has no second one.
    """

    @staticmethod
    def forward(ctx, z0: Tensor, context: Tensor, rate: Tensor, decay: float, step: float, steps: int, *weights):
        law = Law(context + weights[1], rate, decay, weights[::2], weights[1::2])
        states, slopes = (z0.new_empty(steps + 1, *z0.shape) for _ in range(2))
        states[0] = z0
        for first in range(0, steps, KEPT_STEPS):
            size = min(KEPT_STEPS, steps - first)
            stretch = None  # before the next one is made, so that one is held at a time
            stretch = Stretch.empty(law, z0, size)
            speeds = stretch.solve(states[first], step)
            states[first + 1 : first + size + 1] = stretch.inputs[4::4]
            slopes[first : first + size + 1] = speeds[::4]
        kept = (stretch.inputs, stretch.outs, *stretch.before, *stretch.after) if steps <= KEPT_STEPS else ()
        ctx.save_for_backward(law.entry, rate, states, *weights, *kept)
        ctx.weights, ctx.decay, ctx.step, ctx.steps = len(weights), decay, step, steps
        return states, slopes

    @staticmethod
    @once_differentiable
    def backward(ctx, grad_states: Tensor, grad_slopes: Tensor):
        entry, rate, states, *rest = ctx.saved_tensors
        weights, kept = rest[: ctx.weights], rest[ctx.weights :]
        law = Law(entry, rate, ctx.decay, tuple(weights[::2]), tuple(weights[1::2]))
        hidden = len(law.matrices) - 1
        state, grads = grad_states[-1], None
        for first in reversed(range(0, ctx.steps, KEPT_STEPS)):
            size = min(KEPT_STEPS, ctx.steps - first)
            if kept:
                stretch = Stretch(law, kept[0], kept[1], tuple(kept[2 : 2 + hidden]), tuple(kept[2 + hidden :]))
            else:
                stretch = None  # as above
                stretch = Stretch.empty(law, state, size)
                stretch.solve(states[first], ctx.step)
            ends = grad_slopes[first : first + size + 1]
            if first + size < ctx.steps:  # the speed where two stretches meet is the later one's
                ends = torch.cat([ends[:-1], torch.zeros_like(ends[-1:])])
            state, found = stretch.pull(state, grad_states[first : first + size], ends, ctx.step)
            grads = found if grads is None else [a.add_(b) for a, b in zip(grads, found, strict=True)]
        return state, grads[0], grads[1], None, None, None, *grads[2:]
