"""Euler-Maruyama steps of a small drift and diffusion as one autograd node; see `fused_ode` for why."""

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

aten = torch.ops.aten


class MlpEuler(torch.autograd.Function):
    """States of dz = (rate * tanh(drift(z)) - decay * z) dt + gain * sigmoid(diffusion(z)) dW after each step.

    `apply(z0, entry, rate, decay, gain, dt, dw, first, *weights)`: z0 (B, Z); entry (B, H + G), what is added before
    the first activation of drift and diffusion side by side, biases included; rate, gain (Z,); decay a number; dt
    (N, B, 1) seconds and dw (N, B, Z), which get no gradient; first (H + G, Z), both first layers' matrices; then the
    diffusion's last matrix and bias, and matrices and biases of the drift's layers after its first. It returns
    (N + 1, B, Z). The gradient is exact for the discrete path; it has no second one.
    """

    @staticmethod
    def forward(ctx, z0: Tensor, entry: Tensor, rate: Tensor, decay: float, gain: Tensor, dt: Tensor, dw: Tensor,
                first: Tensor, *weights: Tensor) -> Tensor:  # fmt: skip
        out_of_noise, noise_bias, *drift = weights
        matrices, biases = drift[::2], drift[1::2]
        steps, (batch, dim), width = len(dw), z0.shape, matrices[0].shape[1]
        states = z0.new_empty(steps + 1, batch, dim)
        tanh, sigmoid = (z0.new_empty(steps, batch, dim) for _ in range(2))
        widths = [len(first), *(len(matrix) for matrix in matrices[:-1])]
        before = [z0.new_empty(steps, batch, one) for one in widths]
        after = [z0.new_empty(steps, batch, one) for one in widths]
        states[0] = z0
        for i in range(steps):
            z = states[i]
            torch.addmm(entry, z, first.t(), out=before[0][i])
            aten.silu.out(before[0][i], out=after[0][i])
            torch.addmm(noise_bias, after[0][i, :, width:], out_of_noise.t(), out=sigmoid[i])
            given = after[0][i, :, :width]
            for layer, matrix in enumerate(matrices[:-1], 1):
                torch.addmm(biases[layer - 1], given, matrix.t(), out=before[layer][i])
                aten.silu.out(before[layer][i], out=after[layer][i])
                given = after[layer][i]
            torch.addmm(biases[-1], given, matrices[-1].t(), out=tanh[i])
            drift_here = torch.mul(tanh[i].tanh_(), rate).sub_(z, alpha=decay)
            torch.addcmul(z, drift_here, dt[i], out=states[i + 1])
            states[i + 1].addcmul_(sigmoid[i].sigmoid_() * gain, dw[i])
        kept = (rate, gain, dt, dw, first, states, tanh, sigmoid, out_of_noise, *matrices, *before, *after)
        ctx.save_for_backward(*kept)
        ctx.decay, ctx.layers = decay, len(matrices)
        return states.clone()

    @staticmethod
    @once_differentiable
    def backward(ctx, grad_states: Tensor):
        rate, gain, dt, dw, first, states, tanh, sigmoid, out_of_noise, *rest = ctx.saved_tensors
        layers = ctx.layers
        matrices, before, after = rest[:layers], rest[layers : 2 * layers], rest[2 * layers :]
        width = matrices[0].shape[1]
        at_drift, at_gain, at_tanh, at_sigmoid = (torch.empty_like(tanh) for _ in range(4))
        at_before = [torch.empty_like(one) for one in before]
        state = grad_states[-1]
        for i in range(len(dw) - 1, -1, -1):
            torch.mul(state, dt[i], out=at_drift[i])
            torch.mul(state, dw[i], out=at_gain[i])
            torch.mul(at_drift[i], rate, out=at_tanh[i])
            aten.tanh_backward.grad_input(at_tanh[i], tanh[i], grad_input=at_tanh[i])
            torch.mul(at_gain[i], gain, out=at_sigmoid[i])
            aten.sigmoid_backward.grad_input(at_sigmoid[i], sigmoid[i], grad_input=at_sigmoid[i])
            grad = at_tanh[i]
            for layer in range(layers - 1, 0, -1):
                torch.mm(grad, matrices[layer], out=at_before[layer][i])
                grad = at_before[layer][i]
                aten.silu_backward.grad_input(grad, before[layer][i], grad_input=grad)
            torch.mm(grad, matrices[0], out=at_before[0][i, :, :width])
            torch.mm(at_sigmoid[i], out_of_noise, out=at_before[0][i, :, width:])
            grad = at_before[0][i]
            aten.silu_backward.grad_input(grad, before[0][i], grad_input=grad)
            state = torch.addmm(state, grad, first).sub_(at_drift[i], alpha=ctx.decay).add_(grad_states[i])
        of_drift = []
        for layer in range(layers):
            given = after[layer][..., :width] if layer == 0 else after[layer]
            grad = (at_before[layer + 1] if layer + 1 < layers else at_tanh).flatten(0, 1)
            of_drift += [grad.t() @ given.flatten(0, 1), grad.sum(0)]
        noise = at_sigmoid.flatten(0, 1)
        return (
            state, at_before[0].sum(0), (at_drift * tanh).sum((0, 1)), None, (at_gain * sigmoid).sum((0, 1)), None,
            None, at_before[0].flatten(0, 1).t() @ states[:-1].flatten(0, 1),
            noise.t() @ after[0][..., width:].flatten(0, 1), noise.sum(0), *of_drift,
        )  # fmt: skip
