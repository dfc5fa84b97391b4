"""The frame generator of TGANv2: a latent map a frame in, and on the way up a picture at each of several levels."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ode_vgan.errors import UserError
from ode_vgan.pyramid import sparse_frames


def double(x: Tensor) -> Tensor:
    """Each pixel of (N, C, H, W) repeated 2 x 2."""
    return F.interpolate(x, scale_factor=2, mode="nearest")


class UpBlock(nn.Module):
    """Double the side of a map: two normalised 3 x 3 convolutions beside a 1 x 1 skip.

    Source: as `Tgan2Decoder`. The skip is convolved before it is doubled: the same function at a quarter of the cost.
    """

    def __init__(self, channels_in: int, channels_out: int):
        super().__init__()
        self.norm1, self.norm2 = nn.BatchNorm2d(channels_in), nn.BatchNorm2d(channels_out)
        self.conv1 = nn.Conv2d(channels_in, channels_out, 3, padding=1)
        self.conv2 = nn.Conv2d(channels_out, channels_out, 3, padding=1)
        self.skip = nn.Conv2d(channels_in, channels_out, 1)
        nn.init.xavier_uniform_(self.conv1.weight, gain=math.sqrt(2))
        nn.init.xavier_uniform_(self.conv2.weight, gain=math.sqrt(2))
        nn.init.xavier_uniform_(self.skip.weight)

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, in, H, W) to (N, out, 2 H, 2 W)."""
        residual = self.conv1(double(F.relu(self.norm1(x))))
        residual = self.conv2(F.relu(self.norm2(residual)))
        return residual + double(self.skip(x))


class Render(nn.Module):
    """A picture of a map: normalise, rectify, 3 x 3 convolution to three colours, tanh."""

    def __init__(self, channels: int):
        super().__init__()
        self.norm = nn.BatchNorm2d(channels)
        self.conv = nn.Conv2d(channels, 3, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, channels, H, W) to (N, 3, H, W) in [-1, 1]."""
        return torch.tanh(self.conv(F.relu(self.norm(x)))).float()


class Tgan2Decoder(nn.Module):
    """Up-sampling residual blocks with a picture at each level; in training, fewer frames at each larger one.

    A path's state is a map of motion_dim / map_side^2 channels. The trunk doubles its side with every block and ends in
    level 0, which every frame reaches; each further level doubles the side once more. `forward` carries all frames to
    the last level, as for sampling; `pyramid` leaves out frames between levels, as for training.

    Args:
        size: side of a frame at the last level, px: map_side * 2^len(trunk), or that doubled once a further level.
            192 as published (levels of 24, 48, 96, 192 px); 96, 48 and 24 leave out the last one, two or three.
        motion_dim: Z, 9216 as published: 1024 channels of 3 x 3.
        map_side: of a state's map; 3 as published.
        trunk: channels after each block up to level 0; [512, 256, 128] as published.
        levels: channels of the levels after the first; [64, 32, 32] as published. A smaller size leaves out the last.
        frame_stride: frames per frame kept from one level to the next. TGANv2's is 2: 16, 8, 4 and 2 frames. The code
            of Gordon and Parde (2020) has 4: 16, 4, 1 and 1, so that two levels see no motion.

    Source: Saito et al. (2020), "Train Sparsely, Generate Densely", and the authors' code, whose blocks and starting
    weights (Glorot's uniform ones, times the root of two in 3 x 3 layers) these are.
    """

    def __init__(
        self, size: int, motion_dim: int, *, map_side: int, trunk: list[int], levels: list[int], frame_stride: int
    ):
        super().__init__()
        first = map_side * 2 ** len(trunk)
        sides = [first * 2**i for i in range(len(levels) + 1)]
        if size not in sides:
            raise UserError(f"size={size} px is not a side of a level; choose one of {sides}, or another map_side.")
        if frame_stride < 1:
            raise UserError(f"frame_stride={frame_stride}; give 1 or more, 2 as in TGANv2.")
        channels, rest = divmod(motion_dim, map_side**2)
        if rest or not channels:
            raise UserError(f"motion_dim={motion_dim} is no map of {map_side} x {map_side}; give a multiple.")
        self.size, self.frame_stride, self.map_shape = size, frame_stride, (channels, map_side, map_side)
        widths = [channels, *trunk]
        self.trunk = nn.Sequential(*(UpBlock(a, b) for a, b in zip(widths[:-1], widths[1:], strict=True)))
        widths = [trunk[-1], *levels[: sides.index(size)]]
        self.levels = nn.ModuleList(UpBlock(a, b) for a, b in zip(widths[:-1], widths[1:], strict=True))
        self.renders = nn.ModuleList(Render(width) for width in widths)

    def _rise(self, z: Tensor) -> Tensor:
        maps = z.flatten(0, 1).unflatten(1, self.map_shape)
        return self.trunk(maps.contiguous(memory_format=torch.channels_last))

    def forward(self, w: Tensor | None, z: Tensor, c: Tensor | None = None) -> Tensor:
        """Frames (B, T, 3, size, size) of a path z (B, T, Z); content w and text c are not seen."""
        x = self._rise(z)
        for block in self.levels:
            x = block(x)
        return self.renders[-1](x).unflatten(0, z.shape[:2])

    def pyramid(self, z: Tensor, draw: torch.Generator | None = None) -> list[Tensor]:
        """One clip a level, (B, T_l, 3, side_l, side_l), the smallest pictures and all T frames first."""
        clips, x = z.shape[0], self._rise(z)
        views = [self.renders[0](x).unflatten(0, (clips, -1))]
        for block, render in zip(self.levels, self.renders[1:], strict=True):
            x = sparse_frames(x.unflatten(0, (clips, -1)), self.frame_stride, draw)
            x = block(x.flatten(0, 1))
            views.append(render(x).unflatten(0, (clips, -1)))
        return views
