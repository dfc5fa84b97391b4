"""Layers whose gradient is itself to be differentiated, at the price that takes and no more.

What autograd records for a gradient penalty costs half again what it need. It carries zeros from the second derivative
of a leaky ReLU, and of an average, back through the whole critic, and finds a kernel's gradient by a convolution whose
kernel is a feature map. Inside `for_penalty` these layers have gradients of their own: the same numbers, without that.
"""

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.overrides import TorchFunctionMode

aten = torch.ops.aten


class for_penalty(TorchFunctionMode):  # noqa: N801  a context, as torch.no_grad
    """Inside it, convolutions, leaky ReLUs and means of squares pass the first gradient on to their input alone, never
    to weights or bias, and the second one to weights and to the first one. That is what a penalty on the gradient at
    x asks.
    """

    def __torch_function__(self, function, types, arguments=(), options=None):
        options = options or {}
        if function in (torch.conv1d, torch.conv2d, torch.conv3d):
            return _convolve(function, *arguments, **options)
        if function is torch.nn.functional.leaky_relu:
            return _leaky(*arguments, **options)
        if function is torch.nn.functional.avg_pool2d:
            return _average(*arguments, **options)
        return function(*arguments, **options)


def _convolve(
    function,
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: int | tuple = 1,
    padding: int | tuple | str = 0,
    dilation: int | tuple = 1,
    groups: int = 1,
) -> Tensor:
    if isinstance(padding, str) or input.ndim != weight.ndim:
        return function(input, weight, bias, stride, padding, dilation, groups)
    spread = weight.ndim - 2
    stride, padding, dilation = (
        [value] * spread if isinstance(value, int) else list(value) for value in (stride, padding, dilation)
    )
    options = (stride, padding, dilation, False, [0] * spread, groups)
    return Convolution.apply(input, weight, bias, options)


def _leaky(input: Tensor, negative_slope: float = 0.01, inplace: bool = False) -> Tensor:
    return LeakyRelu.apply(input, negative_slope)


def _average(
    input: Tensor,
    kernel_size: int,
    stride: int | None = None,
    padding: int = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
    divisor_override: int | None = None,
) -> Tensor:
    spread = (kernel_size, kernel_size if stride is None else stride, padding)
    spread = ([value] * 2 if isinstance(value, int) else list(value) for value in spread)
    return AveragePool.apply(input, (*spread, ceil_mode, count_include_pad, divisor_override))


class Convolution(torch.autograd.Function):
    """`apply(x, weight, bias, options)`, options those of aten.convolution."""

    @staticmethod
    def forward(ctx, x: Tensor, weight: Tensor, bias: Tensor | None, options: tuple) -> Tensor:
        ctx.save_for_backward(x, weight)
        ctx.options = options
        ctx.set_materialize_grads(False)
        return aten.convolution(x, weight, bias, *options)

    @staticmethod
    def backward(ctx, above: Tensor | None):
        if above is None:  # the second derivative does not come this way
            return None, None, None, None
        x, weight = ctx.saved_tensors
        below = ConvolutionSlope.apply(above, weight, x.detach(), ctx.options) if ctx.needs_input_grad[0] else None
        return below, None, None, None


class ConvolutionSlope(torch.autograd.Function):
    """The gradient at a convolution's input, linear in the one above and in the weight."""

    @staticmethod
    def forward(ctx, above: Tensor, weight: Tensor, x: Tensor, options: tuple) -> Tensor:
        ctx.save_for_backward(above, weight)
        ctx.options = options
        return aten.convolution_backward(above, x, weight, None, *options, (True, False, False))[0]

    @staticmethod
    @once_differentiable
    def backward(ctx, slope: Tensor):
        above, weight = ctx.saved_tensors
        at_above = aten.convolution(slope, weight, None, *ctx.options) if ctx.needs_input_grad[0] else None
        at_weight = None
        if ctx.needs_input_grad[1]:
            at_weight = aten.convolution_backward(above, slope, weight, None, *ctx.options, (False, True, False))[1]
        return at_above, at_weight, None, None


class LeakyRelu(torch.autograd.Function):
    """`apply(x, slope)`; its second derivative is zero, and not carried on."""

    @staticmethod
    def forward(ctx, x: Tensor, slope: float) -> Tensor:
        ctx.save_for_backward(x)
        ctx.slope = slope
        ctx.set_materialize_grads(False)
        return aten.leaky_relu(x, slope)

    @staticmethod
    def backward(ctx, above: Tensor | None):
        if above is None:
            return None, None
        return LeakyReluSlope.apply(above, ctx.saved_tensors[0].detach(), ctx.slope), None


class LeakyReluSlope(torch.autograd.Function):
    """The gradient at a leaky ReLU's input, linear in the one above."""

    @staticmethod
    def forward(ctx, above: Tensor, x: Tensor, slope: float) -> Tensor:
        ctx.save_for_backward(x)
        ctx.slope = slope
        return aten.leaky_relu_backward(above, x, slope, False)

    @staticmethod
    @once_differentiable
    def backward(ctx, slope: Tensor):
        return aten.leaky_relu_backward(slope, ctx.saved_tensors[0], ctx.slope, False), None, None


class AveragePool(torch.autograd.Function):
    """`apply(x, options)`, options those of aten.avg_pool2d."""

    @staticmethod
    def forward(ctx, x: Tensor, options: tuple) -> Tensor:
        ctx.save_for_backward(x)
        ctx.options = options
        ctx.set_materialize_grads(False)
        return aten.avg_pool2d(x, *options)

    @staticmethod
    def backward(ctx, above: Tensor | None):
        if above is None:
            return None, None
        return AveragePoolSlope.apply(above, ctx.saved_tensors[0].detach(), ctx.options), None


class AveragePoolSlope(torch.autograd.Function):
    """The gradient at an average's input, linear in the one above."""

    @staticmethod
    def forward(ctx, above: Tensor, x: Tensor, options: tuple) -> Tensor:
        ctx.options = options
        return aten.avg_pool2d_backward(above, x, *options)

    @staticmethod
    @once_differentiable
    def backward(ctx, slope: Tensor):
        return aten.avg_pool2d(slope, *ctx.options), None, None
