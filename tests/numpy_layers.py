"""Layers a second time, in numpy from their definitions, in double precision; axes after the channels may be any."""

from itertools import product

import numpy as np
import torch
from torch import nn


def drawn(module: nn.Module) -> nn.Module:
    """The module in float64 with every weight drawn anew, so that no gain is 1 and no shift 0."""
    draw = torch.Generator().manual_seed(1)
    for parameter in module.double().parameters():
        values = torch.rand(parameter.shape, generator=draw, dtype=torch.float64) - 0.4
        parameter.data.copy_(values * 4 / max(1, parameter[0].numel()) ** 0.5)
    return module


def weights(layer: nn.Module) -> list[np.ndarray]:
    """Weight and bias, if any."""
    return [parameter.detach().numpy() for parameter in layer.parameters()]


def spread(values: np.ndarray, x: np.ndarray) -> np.ndarray:
    """(C,) against (N, C, ...)."""
    return values.reshape(-1, *[1] * (x.ndim - 2))


def relu(x: np.ndarray) -> np.ndarray:
    return np.maximum(x, 0)


def leaky(x: np.ndarray) -> np.ndarray:
    return np.where(x > 0, x, 0.2 * x)


def norm(x: np.ndarray, layer: nn.Module) -> np.ndarray:
    """Batch norm in training: over all axes but the second, with the biased variance."""
    others = tuple(i for i in range(x.ndim) if i != 1)
    mean, var = x.mean(others, keepdims=True), x.var(others, keepdims=True)
    gain, shift = weights(layer)
    return (x - mean) / np.sqrt(var + 1e-5) * spread(gain, x) + spread(shift, x)


def convolve(x: np.ndarray, layer: nn.Module, strides: tuple[int, ...], pads: tuple[int, ...]) -> np.ndarray:
    """Convolution (cross-correlation) of (N, C, ...) by the layer's (out, C, ...) and bias, if any."""
    kernel, *bias = weights(layer)
    x = np.pad(x, [(0, 0), (0, 0), *((pad, pad) for pad in pads)])
    taps = kernel.shape[2:]
    sides = [(side - tap) // step + 1 for side, tap, step in zip(x.shape[2:], taps, strides, strict=True)]
    out = np.zeros((len(x), len(kernel), *sides))
    for at in product(*map(range, taps)):
        ends = [slice(p, p + step * (n - 1) + 1, step) for p, step, n in zip(at, strides, sides, strict=True)]
        out += np.einsum("nc...,oc->no...", x[:, :, *ends], kernel[:, :, *at])
    return out + spread(bias[0], out) if bias else out


def convolve_back(x: np.ndarray, layer: nn.Module, stride: int, pad: int) -> np.ndarray:
    """Transposed convolution of (N, C, H, W) by (C, out, k, k): every pixel adds its kernel; edges are cut by pad."""
    (kernel,) = weights(layer)
    k, (height, width) = kernel.shape[-1], x.shape[2:]
    out = np.zeros((len(x), kernel.shape[1], (height - 1) * stride + k, (width - 1) * stride + k))
    for i, j in product(range(height), range(width)):
        rows, columns = slice(i * stride, i * stride + k), slice(j * stride, j * stride + k)
        out[:, :, rows, columns] += np.einsum("nc,coxy->noxy", x[:, :, i, j], kernel)
    return out[:, :, pad : out.shape[2] - pad, pad : out.shape[3] - pad]


def pooled(x: np.ndarray, blocks: tuple[int, ...]) -> np.ndarray:
    """Mean over blocks of (N, C, ...); what does not fill a block is left out."""
    for axis, block in enumerate(blocks, start=2):
        count = x.shape[axis] // block
        x = x.take(range(count * block), axis)
        x = x.reshape(*x.shape[:axis], count, block, *x.shape[axis + 1 :]).mean(axis + 1)
    return x
