"""A convolution whose output is averaged over squares of two by two, as one convolution of twice the stride."""

import torch.nn.functional as F
from torch import Tensor, nn


def halve_space(x: Tensor, stride: int = 2, padding: int = 0) -> Tensor:
    """The mean of each 2 x 2 of (B, C, T, H, W), frame by frame: fast in channels-last and in bf16, as 3-D pooling is
    not."""
    frames = x.transpose(1, 2)
    halved = F.avg_pool2d(frames.flatten(0, 1), 2, stride, padding)
    return halved.unflatten(0, frames.shape[:2]).transpose(1, 2)


def averaging_kernel(weight: Tensor, stride: int) -> Tensor:
    """The kernel (out, in, ..., k + s, k + s) whose outputs are means of 2 x 2 outputs of one (out, in, ..., k, k)."""
    if stride == 1 and weight.ndim == 4:
        return F.avg_pool2d(weight, 2, 1, 1)
    if stride == 1:
        return halve_space(weight, 1, 1)
    wide = F.pad(weight, (stride,) * 4)
    wide = wide[..., :-stride] + wide[..., stride:]
    return (wide[..., :-stride, :] + wide[..., stride:, :]) / 4


class HalvingConv2d(nn.Conv2d):
    """(N, in, H, W) to (N, out, H / 2s, W / 2s): nn.Conv2d with a square kernel and stride s, then the mean of 2 x 2.

    A 3 x 3 kernel becomes one of 4 x 4 at a quarter of the places: 4/9 of the multiplications, and no map at the full
    side is written or kept for the gradient. Weights are those of the convolution before averaging, so the function,
    its gradients and a checkpoint are those of `avg_pool2d(conv(x), 2)`, but for rounding.
    """

    def forward(self, x: Tensor) -> Tensor:
        stride = self.stride[-1]
        return F.conv2d(x, averaging_kernel(self.weight, stride), self.bias, 2 * stride, self.padding)


class HalvingConv3d(nn.Conv3d):
    """(B, in, T, H, W) to (B, out, T, H / 2s, W / 2s), as `HalvingConv2d` in space; time is not averaged."""

    def forward(self, x: Tensor) -> Tensor:
        stride = self.stride[-1]
        kernel = averaging_kernel(self.weight, stride)
        return F.conv3d(x, kernel, self.bias, (self.stride[0], 2 * stride, 2 * stride), self.padding)
