"""The clip critic: does this sequence of frames, with these gaps, move as a real clip with this caption?"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ode_vgan.decoder.layers import channels_at
from ode_vgan.discriminator.frame import TextProjection
from ode_vgan.discriminator.halving import HalvingConv3d, halve_space


class GapEmbedding(nn.Module):
    """Fourier features of the logarithm of the gap before each frame, (B, T) seconds -> (B, T, out).

    The logarithm makes equal ratios of frame rate equally far apart; the first frame repeats the second's gap.
    """

    def __init__(self, out: int, octaves: int = 4):
        super().__init__()
        self.register_buffer("frequencies", 2.0 ** torch.arange(octaves) * (math.pi / 8), persistent=False)
        self.linear = nn.Linear(2 * octaves, out)

    def forward(self, times: Tensor) -> Tensor:
        gaps = torch.diff(times.float(), dim=1).abs().clamp_min(1e-3)
        gaps = torch.cat([gaps[:, :1], gaps], 1)
        phase = torch.log2(gaps)[..., None] * self.frequencies
        return self.linear(torch.cat([phase.sin(), phase.cos()], -1))


class ResidualBlock3d(nn.Module):
    """A 3 x 3 convolution in space, then one in space and time, beside a skip.

    Args:
        halve: average the output over 2 x 2 px; that is part of the second convolution.
    """

    def __init__(self, in_channels: int, out_channels: int, *, halve: bool):
        super().__init__()
        self.halve = halve
        self.conv1 = nn.Conv3d(in_channels, out_channels, (1, 3, 3), padding=(0, 1, 1))
        second = HalvingConv3d if halve else nn.Conv3d
        self.conv2 = second(out_channels, out_channels, (3, 3, 3), padding=(1, 1, 1))
        self.skip = nn.Conv3d(in_channels, out_channels, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, in, T, H, W) to (B, out, T, H, W), or half the side."""
        residual = self.conv2(F.leaky_relu(self.conv1(F.leaky_relu(x, 0.2)), 0.2))
        return (self.skip(halve_space(x) if self.halve else x) + residual) * math.sqrt(0.5)


class ClipCritic(nn.Module):
    """A space-time critic over whole clips, conditioned on the caption (projection) and on the frame gaps.

    Every layer keeps the time axis and the last features are averaged over it, so any T >= 2 is judged.

    Args:
        size: side of a frame in px. embed_dim: E.
        channel_base, channel_max: as in the decoder.
        features: F, width of the last layer.

    Attributes:
        layout: of weights and feature maps in memory; convolutions are faster channels-last.
    """

    layout = torch.channels_last_3d

    def __init__(self, size: int, embed_dim: int, channel_base: int, channel_max: int, features: int):
        super().__init__()
        sides = [size // 2**i for i in range(1, int(math.log2(size // 4)) + 1)]
        widths = [channels_at(side, channel_base, channel_max) for side in sides]
        blocks = len(widths) - 1
        stem = HalvingConv3d if blocks else nn.Conv3d  # space is halved before each block
        self.stem = stem(6, widths[0], (1, 4, 4), stride=(1, 2, 2), padding=(0, 1, 1))
        self.gaps = GapEmbedding(widths[0])
        self.blocks = nn.ModuleList(
            ResidualBlock3d(widths[i], widths[i + 1], halve=i + 1 < blocks) for i in range(blocks)
        )
        self.mix = nn.Conv1d(widths[-1] * 16, features, 3, padding=1)
        self.project = TextProjection(features, embed_dim)
        self.to(memory_format=self.layout)

    def features(self, x: Tensor, times: Tensor) -> Tensor:
        """Features (B, F) of clips x, (B, T, 3, H, W), whose frames stand at times, (B, T) seconds."""
        change = torch.cat([torch.zeros_like(x[:, :1]), x[:, 1:] - x[:, :-1]], 1)
        seen = torch.cat([x, change], 2).transpose(1, 2)  # channels before time, as Conv3d wants
        hidden = self.stem(seen.contiguous(memory_format=self.layout))
        hidden = hidden + self.gaps(times).transpose(1, 2)[..., None, None]
        for block in self.blocks:
            hidden = block(hidden)
        hidden = F.leaky_relu(hidden, 0.2).permute(0, 1, 3, 4, 2).flatten(1, 3)
        return F.leaky_relu(self.mix(hidden), 0.2).mean(-1)

    def judge(self, features: Tensor, c: Tensor) -> Tensor:
        """Logits (B,) of features under captions c, (B, E)."""
        return self.project(features, c)

    def forward(self, x: Tensor, times: Tensor, c: Tensor) -> Tensor:
        """Logits (B,), one a clip."""
        return self.judge(self.features(x, times), c)
