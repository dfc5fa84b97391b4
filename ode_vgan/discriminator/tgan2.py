"""TGANv2's critic: a 3-D residual network for each level of the pyramid, their logits side by side."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ode_vgan.errors import UserError
from ode_vgan.pyramid import pyramid


def halve(x: Tensor) -> Tensor:
    """Mean over 2 x 2 x 2 blocks of (N, C, T, H, W); an odd side is first padded with a zero before and after.

    A side of one is padded and not halved, so it becomes three: the published codes do so too.
    """
    sides = x.shape[2:]
    pads = [side % 2 for side in reversed(sides) for _ in range(2)]  # last axis first, as pad wants
    return F.avg_pool3d(F.pad(x, pads), [2 if side > 1 else 1 for side in sides])


def started(conv: nn.Conv3d, gain: float) -> nn.Conv3d:
    nn.init.xavier_uniform_(conv.weight, gain=gain)
    return conv


class FirstBlock(nn.Module):
    """Two 3 x 3 x 3 convolutions of the pixels beside a 1 x 1 x 1 skip; space is halved, time is kept."""

    def __init__(self, channels_out: int):
        super().__init__()
        self.conv1 = started(nn.Conv3d(3, channels_out, 3, padding=1), math.sqrt(2))
        self.conv2 = started(nn.Conv3d(channels_out, channels_out, 3, padding=1), math.sqrt(2))
        self.skip = started(nn.Conv3d(3, channels_out, 1), 1)

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, 3, T, H, W) to (N, out, T, H / 2, W / 2)."""
        residual = F.avg_pool3d(self.conv2(F.relu(self.conv1(x))), (1, 2, 2))
        return residual + self.skip(F.avg_pool3d(x, (1, 2, 2)))


class DownBlock(nn.Module):
    """Two rectified 3 x 3 x 3 convolutions beside a 1 x 1 x 1 skip, both halved in time and space."""

    def __init__(self, channels_in: int, channels_out: int):
        super().__init__()
        self.conv1 = started(nn.Conv3d(channels_in, channels_in, 3, padding=1), math.sqrt(2))
        self.conv2 = started(nn.Conv3d(channels_in, channels_out, 3, padding=1), math.sqrt(2))
        self.skip = started(nn.Conv3d(channels_in, channels_out, 1), 1)

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, in, T, H, W) to (N, out, ...) halved as `halve` does."""
        residual = self.conv2(F.relu(self.conv1(F.relu(x))))
        return halve(residual) + halve(self.skip(x))


class LevelCritic(nn.Module):
    """Is this clip of one level real? Five residual blocks, a sum over time and space, one linear unit; no norms.

    Args:
        widths: channels after each block; [64, 128, 256, 512, 1024] as published.
        rectified: rectify the last map before the sum, as TGANv2's code does; that of Gordon and Parde (2020) does not.

    Source: as `PyramidCritics`.
    """

    def __init__(self, widths: list[int], *, rectified: bool):
        super().__init__()
        self.rectified = rectified
        downs = (DownBlock(a, b) for a, b in zip(widths[:-1], widths[1:], strict=True))
        self.blocks = nn.Sequential(FirstBlock(widths[0]), *downs)
        self.last = nn.Linear(widths[-1], 1)
        nn.init.xavier_uniform_(self.last.weight)

    def forward(self, x: Tensor) -> Tensor:
        """Logits (B,) of clips x (B, T, 3, H, W)."""
        hidden = self.blocks(x.transpose(1, 2))  # channels before time, as Conv3d wants
        hidden = F.relu(hidden) if self.rectified else hidden
        return self.last(hidden.sum((2, 3, 4)))[:, 0]


class PyramidCritics(nn.Module):
    """A critic for each level of the pyramid, their logits joined, so that their mean is one over clips and levels.

    Args:
        size, first_size: sides of the last and the first level, px: 192 and 24 as published; powers of two apart.
        frame_stride: frames per frame kept from one level of a real clip to the next, as in the decoder.
        widths, rectified: as `LevelCritic`.

    Source: Saito et al. (2020), "Train Sparsely, Generate Densely" (TGANv2), and the authors' code.
    """

    def __init__(self, size: int, *, first_size: int, frame_stride: int, widths: list[int], rectified: bool):
        super().__init__()
        sides = [first_size * 2**i for i in range(8)]
        if size not in sides:
            raise UserError(f"size={size} px is not first_size={first_size} px doubled; choose one of {sides[:4]}.")
        self.frame_stride = frame_stride
        count = sides.index(size) + 1
        self.levels = nn.ModuleList(LevelCritic(widths, rectified=rectified) for _ in range(count))

    def views(self, shown: Tensor | list[Tensor], draw: torch.Generator) -> dict[str, Tensor]:
        """Levels by the names `level0`, `level1`, ..., of a generator's pyramid or of real clips (B, T, 3, H, W)."""
        if isinstance(shown, Tensor):
            shown = pyramid(shown, len(self.levels), self.frame_stride, draw)
        return {f"level{i}": view for i, view in enumerate(shown)}

    def forward(self, views: dict[str, Tensor]) -> dict[str, Tensor]:
        """Logits (levels * B,) by the name `pyramid`, level by level."""
        pairs = zip(self.levels, views.values(), strict=True)
        return {"pyramid": torch.cat([critic(view) for critic, view in pairs])}
