"""Runge-Kutta steps of a small MLP field without autograd's bookkeeping: the same numbers, a hand-written gradient.

Autograd keeps a node for each of some twelve operations of an evaluation, which at latent sizes costs more than the
matrix products. Here a whole solve is one node: states and activations go to buffers made once, the state's gradient
is carried back evaluation by evaluation, and the weights' gradients are one product each over all evaluations.
"""

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable


class MlpRk4(torch.autograd.Function):
    """Nodes of dz/dt = rate * tanh(mlp(z)) - decay * z by the classical Runge-Kutta method, K equal steps.

    `apply(z0, context, rate, decay, step, steps, *weights)` with z0 (B, Z), context (B, H) added before the first
    activation, rate (Z,), decay a number, step a signed length in seconds, and weights and biases of each layer from
    the first to the last, (out, in) and (out,). It returns states and speeds, (K + 1, B, Z) each.

    The gradient is exact for the discrete solution; it has no second one.
    """

    @staticmethod
    def forward(ctx, z0: Tensor, context: Tensor, rate: Tensor, decay: float, step: float, steps: int, *weights):
        matrices, biases = weights[::2], weights[1::2]
        entry = context + biases[0]
        count, (batch, dim) = 4 * steps + 1, z0.shape
        inputs = z0.new_empty(count, batch, dim)
        outs = z0.new_empty(count, batch, dim)
        widths = [matrix.shape[0] for matrix in matrices[:-1]]
        before = [z0.new_empty(count, batch, width) for width in widths]  # activations, before and after SiLU
        after = [z0.new_empty(count, batch, width) for width in widths]
        slopes = z0.new_empty(count, batch, dim)
        turned = [matrix.t() for matrix in matrices]

        def evaluate(i: int) -> Tensor:
            torch.addmm(entry, inputs[i], turned[0], out=before[0][i])
            torch.ops.aten.silu.out(before[0][i], out=after[0][i])
            for layer in range(1, len(widths)):
                torch.addmm(biases[layer], after[layer - 1][i], turned[layer], out=before[layer][i])
                torch.ops.aten.silu.out(before[layer][i], out=after[layer][i])
            torch.addmm(biases[-1], after[-1][i], turned[-1], out=outs[i])
            outs[i].tanh_()
            torch.mul(outs[i], rate, out=slopes[i])
            return slopes[i].sub_(inputs[i], alpha=decay)

        inputs[0] = z0
        for k in range(steps):
            i = 4 * k
            z = inputs[i]
            torch.add(z, evaluate(i), alpha=step / 2, out=inputs[i + 1])
            torch.add(z, evaluate(i + 1), alpha=step / 2, out=inputs[i + 2])
            torch.add(z, evaluate(i + 2), alpha=step, out=inputs[i + 3])
            total = evaluate(i + 3) + slopes[i]
            total.add_(slopes[i + 1], alpha=2).add_(slopes[i + 2], alpha=2)
            torch.add(z, total, alpha=step / 6, out=inputs[i + 4])
        evaluate(count - 1)
        ctx.save_for_backward(rate, inputs, outs, *before, *after, *matrices)
        ctx.layers, ctx.decay, ctx.step, ctx.steps = len(matrices), decay, step, steps
        return inputs[::4].clone(), slopes[::4].clone()

    @staticmethod
    @once_differentiable
    def backward(ctx, grad_states: Tensor, grad_slopes: Tensor):
        rate, inputs, outs, *rest = ctx.saved_tensors
        hidden = ctx.layers - 1
        before, after, matrices = rest[:hidden], rest[hidden : 2 * hidden], rest[2 * hidden :]
        step, steps, decay = ctx.step, ctx.steps, ctx.decay
        at_slopes = torch.empty_like(outs)  # gradient at each evaluation's speed
        at_outs = torch.empty_like(outs)  # at the last layer's output
        at_before = [torch.empty_like(one) for one in before]

        def pull(i: int) -> Tensor:
            """The gradient at evaluation i's input, from that at its speed."""
            torch.mul(at_slopes[i], rate, out=at_outs[i])
            torch.ops.aten.tanh_backward.grad_input(at_outs[i], outs[i], grad_input=at_outs[i])
            grad = at_outs[i]
            for layer in range(hidden - 1, -1, -1):
                torch.mm(grad, matrices[layer + 1], out=at_before[layer][i])
                torch.ops.aten.silu_backward.grad_input(
                    at_before[layer][i], before[layer][i], grad_input=at_before[layer][i]
                )
                grad = at_before[layer][i]
            return torch.addmm(at_slopes[i], grad, matrices[0], beta=-decay)

        at_slopes[-1] = grad_slopes[-1]
        state = grad_states[-1] + pull(len(inputs) - 1)
        for k in range(steps - 1, -1, -1):
            i = 4 * k
            torch.mul(state, step / 6, out=at_slopes[i + 3])
            at_3 = pull(i + 3)
            torch.add(at_3 * step, state, alpha=step / 3, out=at_slopes[i + 2])
            at_2 = pull(i + 2)
            torch.add(at_2 * (step / 2), state, alpha=step / 3, out=at_slopes[i + 1])
            at_1 = pull(i + 1)
            torch.add(grad_slopes[k], state, alpha=step / 6, out=at_slopes[i])
            at_slopes[i].add_(at_1, alpha=step / 2)
            at_0 = pull(i)
            state = state + at_0
            state.add_(at_1).add_(at_2).add_(at_3).add_(grad_states[k])
        grads = [at_before[0].sum(0)]
        grads.append((at_slopes * outs).sum((0, 1)))
        layered = []
        for layer in range(ctx.layers):
            given = inputs if layer == 0 else after[layer - 1]
            grad = (at_before[layer] if layer < hidden else at_outs).flatten(0, 1)
            layered += [grad.t() @ given.flatten(0, 1), grad.sum(0)]
        return state, grads[0], grads[1], None, None, None, *layered
