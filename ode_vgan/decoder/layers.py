"""Style-modulated convolutions, the building blocks of the frame decoder."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class ModulatedConv(nn.Module):
    """A convolution whose input channels are scaled by a style, and whose output is rescaled to unit variance.

    The scale is applied to the activations, not to the weights, so that every frame may carry its own style
    in one ordinary convolution; the result is the same.

    Source: Karras et al. (2020), "Analyzing and Improving the Image Quality of StyleGAN", section 2.2.
    """

    def __init__(self, in_channels: int, out_channels: int, style_dim: int, kernel_px: int = 3):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(out_channels, in_channels, kernel_px, kernel_px))
        self.bias = nn.Parameter(torch.zeros(out_channels))
        self.style = nn.Linear(style_dim, in_channels)
        self.padding = kernel_px // 2
        nn.init.ones_(self.style.bias)
        nn.init.normal_(self.style.weight, std=1 / math.sqrt(style_dim))

    def forward(self, x: Tensor, style: Tensor) -> Tensor:
        """Convolve x, (N, in, H, W), under style, (N, style_dim)."""
        scale = self.style(style)
        energy = self.weight.float().square().sum((2, 3))
        with torch.autocast(x.device.type, enabled=False):
            gain = torch.rsqrt(scale.float().square() @ energy.T + 1e-8)
        x = F.conv2d(x * scale[:, :, None, None].to(x.dtype), self.weight.to(x.dtype), padding=self.padding)
        return x * gain[:, :, None, None].to(x.dtype) + self.bias[:, None, None].to(x.dtype)


class StyleBlock(nn.Module):
    """Optional doubling of the side, then two modulated convolutions with leaky ReLU."""

    def __init__(self, in_channels: int, out_channels: int, style_dim: int, upsample: bool):
        super().__init__()
        self.upsample = upsample
        self.conv1 = ModulatedConv(in_channels, out_channels, style_dim)
        self.conv2 = ModulatedConv(out_channels, out_channels, style_dim)

    def forward(self, x: Tensor, style: Tensor) -> Tensor:
        """Map (N, in, H, W) to (N, out, H or 2H, W or 2W)."""
        if self.upsample:
            x = F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False)
        for conv in (self.conv1, self.conv2):
            x = F.leaky_relu(conv(x, style), 0.2) * math.sqrt(2)
        return x


def channels_at(side_px: int, channel_base: int, channel_max: int) -> int:
    """Width of a layer that works at side_px: channel_base / side_px, at most channel_max."""
    return min(channel_max, max(8, channel_base // side_px))
