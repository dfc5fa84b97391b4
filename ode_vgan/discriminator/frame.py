"""The frame critic: is this a real frame of a clip with this caption?"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ode_vgan.decoder.layers import channels_at
from ode_vgan.discriminator.halving import HalvingConv2d


class TextProjection(nn.Module):
    """Scores features h (B, F) alone and against a caption c (B, E): v.h + <h, Pc>.

    Source: Miyato and Koyama (2018), "cGANs with Projection Discriminator", equation 3.
    """

    def __init__(self, features: int, embed_dim: int):
        super().__init__()
        self.plain = nn.Linear(features, 1)
        self.text = nn.Linear(embed_dim, features)
        self.text_scale = math.sqrt(embed_dim)
        self.scale = 1 / math.sqrt(features)

    def forward(self, features: Tensor, c: Tensor) -> Tensor:
        """Logits (B,)."""
        return self.plain(features)[:, 0] + (features * self.text(c * self.text_scale)).sum(-1) * self.scale


class ResidualBlock2d(nn.Module):
    """Two 3 x 3 convolutions beside a 1 x 1 skip, then average pooling by two; no normalisation.

    Pooling is part of the second convolution, and comes before the skip, with which it commutes.
    """

    def __init__(self, in_channels: int, out_channels: int):
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, in_channels, 3, padding=1)
        self.conv2 = HalvingConv2d(in_channels, out_channels, 3, padding=1)
        self.skip = nn.Conv2d(in_channels, out_channels, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, in, H, W) to (N, out, H / 2, W / 2)."""
        residual = self.conv2(F.leaky_relu(self.conv1(F.leaky_relu(x, 0.2)), 0.2))
        return (self.skip(F.avg_pool2d(x, 2)) + residual) * math.sqrt(0.5)


class FrameCritic(nn.Module):
    """A 2-D residual critic over single frames, conditioned on the caption by projection.

    Args:
        size: side of a frame in px. embed_dim: E.
        channel_base, channel_max: as in the decoder.
        features: F, width of the last layer.

    Attributes:
        layout: of weights and feature maps in memory; convolutions are faster channels-last.
    """

    layout = torch.channels_last

    def __init__(self, size: int, embed_dim: int, channel_base: int, channel_max: int, features: int):
        super().__init__()
        sides = [size // 2**i for i in range(int(math.log2(size // 4)) + 1)]
        widths = [channels_at(side, channel_base, channel_max) for side in sides]
        self.stem = nn.Conv2d(3, widths[0], 3, padding=1)
        self.blocks = nn.ModuleList(ResidualBlock2d(a, b) for a, b in zip(widths[:-1], widths[1:], strict=True))
        self.last = nn.Linear(widths[-1] * 16, features)
        self.project = TextProjection(features, embed_dim)
        self.to(memory_format=self.layout)

    def features(self, x: Tensor, times: Tensor) -> Tensor:
        """Features (B * T, F) of frames x, (B, T, 3, H, W); times do not matter to a single frame."""
        hidden = self.stem(x.flatten(0, 1).contiguous(memory_format=self.layout))
        for block in self.blocks:
            hidden = block(hidden)
        return F.leaky_relu(self.last(F.leaky_relu(hidden, 0.2).flatten(1)), 0.2)

    def judge(self, features: Tensor, c: Tensor) -> Tensor:
        """Logits (B * T,) of features under captions c, (B, E)."""
        return self.project(features, c.repeat_interleave(features.shape[0] // c.shape[0], 0))

    def forward(self, x: Tensor, times: Tensor, c: Tensor) -> Tensor:
        """Logits (B * T,), one a frame."""
        return self.judge(self.features(x, times), c)
