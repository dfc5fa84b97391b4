"""The I3D network on a CPU: the same function as `I3dNet`, in channels-last layout with fewer multiplications."""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional

from ode_vgan.metrics.i3d_net import I3dNet, Mixed, Pool, same_padding
from ode_vgan.metrics.upsampled import Axis, UpsampledConv
from ode_vgan.metrics.winograd import WinogradConv


class FastI3d:
    """`I3dNet` for clips that are (N, T, H, W, C) in memory.

    Args:
        net: whose weights are used.
    """

    def __init__(self, net: I3dNet):
        stages = net.stages
        self.kernel = stages["Conv3d_1a_7x7"].weight.contiguous(memory_format=torch.channels_last_3d)
        self.bias = stages["Conv3d_1a_7x7"].bias
        self._upsampled: UpsampledConv | None = None
        self.second = stages["Conv3d_2b_1x1"]
        self.third = WinogradConv(stages["Conv3d_2c_3x3"].weight, stages["Conv3d_2c_3x3"].bias)
        self.pools = stages["MaxPool3d_2a_3x3"], stages["MaxPool3d_3a_3x3"]
        rest = [FastMixed(stage) if isinstance(stage, Mixed) else stage for stage in list(stages.values())[5:]]
        self.middle, self.last = rest[:3], rest[3:]
        self.head = net.head

    def first(self, x: Tensor) -> Tensor:
        """(N, T, H, W, 3) -> (N, T / 2, H / 2, W / 2, 64), the first convolution before its ReLU."""
        pad = [amount for size in x.shape[3:0:-1] for amount in same_padding(size, 7, 2)]
        x = functional.pad(x, (0, 0, *pad)).permute(0, 4, 1, 2, 3)
        return functional.conv3d(x, self.kernel, self.bias, 2).permute(0, 2, 3, 4, 1)

    def upsampled(self, rows: Axis, columns: Axis) -> UpsampledConv:
        """`first` for clips that are resampled so, before they are; the last one asked for is kept."""
        if self._upsampled is None or (self._upsampled.rows, self._upsampled.columns) != (rows, columns):
            self._upsampled = UpsampledConv(self.kernel, self.bias, rows, columns)
        return self._upsampled

    def stem(self, x: Tensor) -> Tensor:
        """(1, T, H, W, 64) of the first convolution, before its ReLU -> what Mixed_3b takes."""
        x = pool(x, self.pools[0]).relu_()  # a maximum and a ReLU may change places
        x = functional.linear(x, self.second.weight.flatten(1), self.second.bias)
        return pool(self.third(x), self.pools[1])

    def mixed(self, x: Tensor) -> Tensor:
        """What `stem` gives, of any number of clips -> (N, 400).

        Clips together share the reading of the weights; as long as frames are large, few of them fit in a cache.
        """
        x = torch.cat([_through(self.middle, few) for few in x.split(2)])
        return self.head(_through(self.last, x).permute(0, 4, 1, 2, 3))


class FastMixed:
    """A `Mixed` for clips that are (N, T, H, W, C) in memory; the 1x1x1 convolutions of one input are one product."""

    def __init__(self, mixed: Mixed):
        shared = mixed.b0, mixed.b1a, mixed.b2a
        self.sizes = [unit.out_channels for unit in shared]
        self.weight = torch.cat([unit.weight.flatten(1) for unit in shared])
        self.bias = torch.cat([unit.bias for unit in shared])
        self.wide = WinogradConv(mixed.b1b.weight, mixed.b1b.bias)
        self.narrow = WinogradConv(mixed.b2b.weight, mixed.b2b.bias)
        self.pooled = mixed.b3
        self.outputs = [unit.out_channels for unit in (mixed.b0, mixed.b1b, mixed.b2b, mixed.b3)]

    def __call__(self, x: Tensor) -> Tensor:
        plain, wide, narrow = functional.linear(x, self.weight, self.bias).split(self.sizes, -1)
        out = x.new_empty(*x.shape[:-1], sum(self.outputs))
        places = out.split(self.outputs, -1)
        torch.clamp_min(plain, 0, out=places[0])
        self.wide(wide, places[1])
        self.narrow(narrow, places[2])
        pooled = functional.linear(widened(x), self.pooled.weight.flatten(1), self.pooled.bias)
        torch.clamp_min(pooled, 0, out=places[3])
        return out


def _through(stages: Sequence[FastMixed | Pool], x: Tensor) -> Tensor:
    for stage in stages:
        x = stage(x) if isinstance(stage, FastMixed) else pool(x, stage)
    return x


def pool(x: Tensor, stage: Pool) -> Tensor:
    """A `Pool` of a clip that is (N, T, H, W, C) in memory."""
    return stage(x.permute(0, 4, 1, 2, 3)).permute(0, 2, 3, 4, 1)


def widened(x: Tensor) -> Tensor:
    """The `Pool` of a `Mixed`, over each 3x3x3 neighbourhood: axis by axis, six maxima instead of twenty-six."""
    for dim, size in enumerate(x.shape[1:4], 1):
        wide, rest = x.clone(), size - 1
        torch.maximum(x.narrow(dim, 0, rest), x.narrow(dim, 1, rest), out=wide.narrow(dim, 0, rest))
        after = wide.narrow(dim, 1, rest)
        torch.maximum(after, x.narrow(dim, 0, rest), out=after)
        x = wide
    return x
