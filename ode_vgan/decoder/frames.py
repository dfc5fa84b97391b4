"""The style-modulated frame decoder: content style and motion state in, one frame out."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ode_vgan.decoder.layers import StyleBlock, channels_at
from ode_vgan.errors import UserError

SIDES_PX = (16, 32, 64, 128, 256)


class FrameDecoder(nn.Module):
    """Decode every frame of a clip on its own from what stays (w, text) and what moves (z_t).

    Motion enters twice: as a learned 4 x 4 map, which can move things about, and in the style of every layer,
    which can change how they look. Because a frame needs only its own z_t, any set of times can be rendered,
    in chunks of any length.

    Args:
        size: side of a frame in px, a power of two in [16, 256].
        style_dim: W. motion_dim: Z. embed_dim: E.
        channel_base, channel_max: a layer at side s has min(channel_max, channel_base / s) channels.
        headroom: frames are headroom * tanh(sum of the layers' colours). Slightly above 1, so that flat black and white
            are reached at a finite sum and stay flat: on graphics a decoder without limits never stills its background.

    Attributes:
        layout: of weights and feature maps in memory; convolutions are faster channels-last.
    """

    layout = torch.channels_last

    def __init__(
        self,
        size: int,
        style_dim: int,
        motion_dim: int,
        embed_dim: int,
        *,
        channel_base: int,
        channel_max: int,
        headroom: float,
    ):
        super().__init__()
        if size not in SIDES_PX:
            raise UserError(f"size={size} px is not a side this decoder can make; choose one of {SIDES_PX}.")
        if not headroom >= 1:
            raise UserError(
                f"headroom={headroom} keeps frames from black and white; use 1 or a little more, such as 1.02."
            )
        self.size, self.headroom = size, headroom
        sides = [4 * 2**i for i in range(int(math.log2(size // 4)) + 1)]
        widths = [channels_at(side, channel_base, channel_max) for side in sides]
        self.motion = nn.Linear(motion_dim, style_dim)
        self.text = nn.Linear(embed_dim, style_dim)
        self.text_scale = math.sqrt(embed_dim)
        self.start = nn.Linear(2 * style_dim, widths[0] * 16)
        self.blocks = nn.ModuleList()
        self.to_rgb = nn.ModuleList()
        for i, width in enumerate(widths):
            self.blocks.append(StyleBlock(widths[max(i - 1, 0)], width, 2 * style_dim, upsample=i > 0))
            self.to_rgb.append(nn.Conv2d(width, 3, 1))
        for layer in self.to_rgb:
            nn.init.normal_(layer.weight, std=0.5 / math.sqrt(layer.in_channels))
            nn.init.zeros_(layer.bias)
        self.to(memory_format=self.layout)

    def forward(self, w: Tensor, z: Tensor, c: Tensor) -> Tensor:
        """Frames (B, T, 3, size, size) for styles w (B, W), path z (B, T, Z) and text c (B, E)."""
        clips, frames = z.shape[:2]
        content = w + self.text(c * self.text_scale)
        style = torch.cat([content[:, None].expand(-1, frames, -1), self.motion(z)], -1).flatten(0, 1)
        x = self.start(style).unflatten(1, (-1, 4, 4)).contiguous(memory_format=self.layout)
        rgb = x.new_zeros(())
        for block, to_rgb in zip(self.blocks, self.to_rgb, strict=True):
            x = block(x, style)
            if rgb.dim():
                rgb = F.interpolate(rgb, scale_factor=2, mode="bilinear", align_corners=False)
            rgb = rgb + to_rgb(x)
        return (self.headroom * torch.tanh(rgb.float())).unflatten(0, (clips, frames))
