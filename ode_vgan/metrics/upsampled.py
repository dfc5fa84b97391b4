"""The first convolution of enlarged frames, computed on the frames before they are enlarged."""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

LONGEST_PERIOD = 8  # of outputs along an axis, after which the kernels repeat


@dataclass(frozen=True)
class Axis:
    """Linear resampling of one side: output pixel i shows the frame at scale * i + shift, px of the frame.

    Positions before the first and after the last pixel show these.
    """

    size: int
    side: int
    scale: float
    shift: float

    def resample(self, x: Tensor, dim: int, start: int = 0, stop: int | None = None) -> Tensor:
        """Output pixels start to stop of the dimension `dim`, which has `size` pixels."""
        index = torch.arange(start, self.side if stop is None else stop, dtype=torch.float64)
        position = (index * self.scale + self.shift).clamp(0, self.size - 1)
        before = position.floor().long()
        share = (position - before).to(x).view(-1, *[1] * (x.ndim - 1 - dim))
        low = x.index_select(dim, before.to(x.device))
        return torch.lerp(low, x.index_select(dim, (before + 1).clamp_max(self.size - 1).to(x.device)), share)


@dataclass(frozen=True)
class Phases:
    """What the outputs of a convolution along an axis see of the frame, period by period.

    Attributes:
        step: pixels from one period to the next.
        starts: first pixel of each output of a period.
        matrices: (outputs of a period, taps, pixels), each tap as a mean of the frame's pixels.
    """

    step: int
    starts: tuple[int, ...]
    matrices: Tensor

    @property
    def pixels(self) -> int:
        """Length of the kernels seen from the frame."""
        return self.matrices.shape[2]


def phases(axis: Axis, taps: int, stride: int, before: int) -> Phases | None:
    """The kernels of a convolution of the resampled axis, seen from the frame; None where they do not repeat soon.

    Args:
        taps, stride, before: of the convolution; `before` zeros precede the first pixel.
    """
    steps = {period: period * stride * axis.scale for period in range(1, LONGEST_PERIOD + 1)}
    period = next((period for period, step in steps.items() if abs(step - round(step)) < 1e-9 and round(step)), None)
    if period is None:
        return None
    first = torch.arange(period, dtype=torch.float64)[:, None] * stride - before
    position = (first + torch.arange(taps)) * axis.scale + axis.shift
    position = (position * 2**30).round() / 2**30  # a whole position stays whole
    low = position.floor()
    place = (low - low[:, :1]).long()
    # a kernel shorter than its stride has no fast path in oneDNN
    matrices = torch.zeros(period, taps, max(int(place.max()) + 2, round(steps[period])), dtype=torch.float64)
    matrices.scatter_(2, place[..., None], (1 - (position - low))[..., None])
    matrices.scatter_(2, place[..., None] + 1, (position - low)[..., None])
    used = max(int(matrices.any(0).any(0).nonzero().max()) + 1, round(steps[period]))
    return Phases(round(steps[period]), tuple(int(start) for start in low[:, 0]), matrices[..., :used])


class UpsampledConv:
    """A 7x7x7 convolution with stride 2 of clips that are resampled first, without the resampled clips.

    Each output is a mean of few pixels of the frame: at 64 px, where 224 are seven for two, a kernel has 3x3 to 4x4
    pixels instead of 7x7. The outputs whose kernel reaches over the border are computed from resampled strips.

    Args:
        weight: (out, in, 7, 7, 7). bias: (out,).
        rows, columns: how the sides are resampled.
    """

    def __init__(self, weight: Tensor, bias: Tensor, rows: Axis, columns: Axis):
        self.weight, self.bias, self.rows, self.columns = weight, bias, rows, columns
        self.down, self.across = phases(rows, 7, 2, 2), phases(columns, 7, 2, 2)
        kernels = torch.einsum("octyx,iyh,jxw->ijocthw", weight.double(), self.down.matrices, self.across.matrices)
        self.kernels = [[_channels_last(kernel.float()) for kernel in own] for own in kernels]
        self.border = (_channels_last(weight), bias), (_channels_last(weight.transpose(3, 4)), bias)

    @staticmethod
    def pays(rows: Axis, columns: Axis) -> bool:
        """Whether it takes clearly fewer products than the plain convolution."""
        down, across = (phases(axis, 7, 2, 2) for axis in (rows, columns))
        return down is not None and across is not None and down.pixels * across.pixels < 0.6 * 49

    def __call__(self, x: Tensor) -> Tensor:
        """(N, T, H, W, in) -> (N, T / 2, side / 2, side / 2, out), before any activation."""
        frames = x.shape[1]
        total = max((-(-frames // 2) - 1) * 2 + 7 - frames, 0)
        x = functional.pad(x, (0, 0, 0, 0, 0, 0, total // 2, total - total // 2))
        times = (x.shape[1] - 7) // 2 + 1
        out = x.new_empty(len(x), times, self.rows.side // 2, self.columns.side // 2, len(self.bias))
        wide, up, left = self._extended(x)
        seen: dict[tuple, Tensor] = {}  # most kernels share what they see with another
        for i, row in enumerate(self.down.starts):
            for j, column in enumerate(self.across.starts):
                place = out[:, :, i :: len(self.down.starts), j :: len(self.across.starts)]
                height = (place.shape[2] - 1) * self.down.step + self.down.pixels
                width = (place.shape[3] - 1) * self.across.step + self.across.pixels
                window = row, column, height, width
                if window not in seen:
                    seen[window] = wide.narrow(2, row + up, height).narrow(3, column + left, width).contiguous()
                place.copy_(_conv(seen[window], self.kernels[i][j], self.bias, (2, self.down.step, self.across.step)))
        self._borders(x, out)
        return out

    def _extended(self, x: Tensor) -> tuple[Tensor, int, int]:
        """Frames with their border pixels repeated as far as any kernel reaches; rows above and columns left."""
        more = []
        for dim, axis, own in ((2, self.rows, self.down), (3, self.columns, self.across)):
            periods = -(-axis.side // (2 * len(own.starts)))
            first, last = min(0, *own.starts), max(own.starts) + (periods - 1) * own.step + own.pixels
            x = x.index_select(dim, torch.arange(first, max(last, axis.size)).clamp(0, axis.size - 1))
            more.append(-first)
        return x, *more

    def _borders(self, x: Tensor, out: Tensor) -> None:
        """The first row and the last two, and the columns alike: there the kernel sees the zeros beyond the border."""
        self._border(x, out, self.rows, self.columns, self.border[0])
        self._border(x.transpose(2, 3), out.transpose(2, 3), self.columns, self.rows, self.border[1])

    @staticmethod
    def _border(x: Tensor, out: Tensor, rows: Axis, columns: Axis, unit: tuple[Tensor, Tensor]) -> None:
        for start, stop, zeros, place in ((0, 5, (2, 0), slice(0, 1)), (-6, 0, (0, 3), slice(-2, None))):
            strip = rows.resample(x, 2, start % rows.side, stop or rows.side)
            strip = columns.resample(strip, 3)
            out[:, :, place] = _conv(functional.pad(strip, (0, 0, 2, 3, *zeros)), *unit, (2, 2, 2))


def _channels_last(weight: Tensor) -> Tensor:
    return weight.contiguous(memory_format=torch.channels_last_3d)


def _conv(x: Tensor, weight: Tensor, bias: Tensor, stride: tuple[int, int, int]) -> Tensor:
    """A convolution of clips that are (N, T, H, W, C) in memory."""
    x = x.contiguous().permute(0, 4, 1, 2, 3)
    return functional.conv3d(x, weight, bias, stride).permute(0, 2, 3, 4, 1)
