"""The I3D network: Inception-v1 with 3-D kernels, batch normalisation folded into the convolutions."""

import torch
from torch import Tensor, nn
from torch.nn import functional

CLASSES = 400
HEAD = (2, 7, 7)  # averaged before the logits
BRANCHES = {  # inputs; channels of b0, b1a, b1b, b2a, b2b, b3
    "Mixed_3b": (192, 64, 96, 128, 16, 32, 32),
    "Mixed_3c": (256, 128, 128, 192, 32, 96, 64),
    "Mixed_4b": (480, 192, 96, 208, 16, 48, 64),
    "Mixed_4c": (512, 160, 112, 224, 24, 64, 64),
    "Mixed_4d": (512, 128, 128, 256, 24, 64, 64),
    "Mixed_4e": (512, 112, 144, 288, 32, 64, 64),
    "Mixed_4f": (528, 256, 160, 320, 32, 128, 128),
    "Mixed_5b": (832, 256, 160, 320, 32, 128, 128),
    "Mixed_5c": (832, 384, 192, 384, 48, 128, 128),
}
POOLS = {  # kernel, stride
    "MaxPool3d_2a_3x3": ((1, 3, 3), (1, 2, 2)),
    "MaxPool3d_3a_3x3": ((1, 3, 3), (1, 2, 2)),
    "MaxPool3d_4a_3x3": ((3, 3, 3), (2, 2, 2)),
    "MaxPool3d_5a_2x2": ((2, 2, 2), (2, 2, 2)),
}
ENDPOINTS = (
    *("Conv3d_1a_7x7", "MaxPool3d_2a_3x3", "Conv3d_2b_1x1", "Conv3d_2c_3x3", "MaxPool3d_3a_3x3"),
    *("Mixed_3b", "Mixed_3c", "MaxPool3d_4a_3x3", "Mixed_4b", "Mixed_4c", "Mixed_4d", "Mixed_4e", "Mixed_4f"),
    *("MaxPool3d_5a_2x2", "Mixed_5b", "Mixed_5c"),
)


def same_padding(size: int, kernel: int, stride: int) -> tuple[int, int]:
    """Padding before and after that gives ceil(size / stride) outputs; an odd one is after, as in TensorFlow."""
    total = max((-(-size // stride) - 1) * stride + kernel - size, 0)
    return total // 2, total - total // 2


class Unit(nn.Conv3d):
    """A convolution with a bias and a ReLU, padded so that the stride alone sets the output's size."""

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int = 1):
        super().__init__(inputs, outputs, kernel, stride)

    def forward(self, x: Tensor) -> Tensor:
        sides = zip(x.shape[:1:-1], self.kernel_size, self.stride, strict=True)
        x = functional.pad(x, [amount for side in sides for amount in same_padding(*side)])
        return super().forward(x).relu_()


class Pool(nn.Module):
    """A maximum over windows that counts nothing beyond the border."""

    def __init__(self, kernel: tuple[int, int, int], stride: tuple[int, int, int]):
        super().__init__()
        self.kernel, self.stride = kernel, stride

    def forward(self, x: Tensor) -> Tensor:
        before = [same_padding(*side)[0] for side in zip(x.shape[2:], self.kernel, self.stride, strict=True)]
        # the rest of the padding, which is after, is what ceil_mode adds
        return functional.max_pool3d(x, self.kernel, self.stride, before, ceil_mode=True)


class Mixed(nn.Module):
    """Four branches side by side: 1x1x1; 1x1x1 then 3x3x3, twice; a 3x3x3 maximum, then 1x1x1."""

    def __init__(self, inputs: int, *channels: int):
        super().__init__()
        self.b0 = Unit(inputs, channels[0], 1)
        self.b1a, self.b1b = Unit(inputs, channels[1], 1), Unit(channels[1], channels[2], 3)
        self.b2a, self.b2b = Unit(inputs, channels[3], 1), Unit(channels[3], channels[4], 3)
        self.pool = Pool((3, 3, 3), (1, 1, 1))
        self.b3 = Unit(inputs, channels[5], 1)

    def forward(self, x: Tensor) -> Tensor:
        branches = self.b0(x), self.b1b(self.b1a(x)), self.b2b(self.b2a(x)), self.b3(self.pool(x))
        return torch.cat(branches, 1)


class I3dNet(nn.Module):
    """(N, 3, T, H, W) in [-1, 1] -> (N, 400) logits averaged over time.

    At 224x224 it needs T >= 9: three strides of 2 in time, then an average over two.
    """

    def __init__(self):
        super().__init__()
        self.stages = nn.ModuleDict()
        for name in ENDPOINTS:
            self.stages[name] = self._stage(name)
        self.logits = nn.Conv3d(1024, CLASSES, 1)

    def units(self) -> dict[str, nn.Conv3d]:
        """Every convolution by its name in a weights file, such as `Mixed_3b.b1a`, in order."""
        found = {name: unit for name, unit in self.named_modules() if isinstance(unit, nn.Conv3d)}
        return {name.removeprefix("stages."): unit for name, unit in found.items()}

    @staticmethod
    def _stage(name: str) -> nn.Module:
        if name in BRANCHES:
            return Mixed(*BRANCHES[name])
        if name in POOLS:
            return Pool(*POOLS[name])
        inputs, outputs, kernel, stride = {"1a": (3, 64, 7, 2), "2b": (64, 64, 1, 1), "2c": (64, 192, 3, 1)}[name[7:9]]
        return Unit(inputs, outputs, kernel, stride)

    def endpoints(self, x: Tensor) -> dict[str, Tensor]:
        """What each stage gives, by its published name, and "Logits" where the last is large enough for their mean."""
        found = {}
        for name, stage in self.stages.items():
            x = found[name] = stage(x)
        large = all(size >= least for size, least in zip(x.shape[2:], HEAD, strict=True))
        return found | ({"Logits": self.head(x)} if large else {})

    def head(self, x: Tensor) -> Tensor:
        """(N, 1024, T, H, W) of the last stage -> (N, 400); a [2, 7, 7] average, and then one over what is left."""
        return self.logits(functional.avg_pool3d(x, HEAD, 1)).mean((2, 3, 4))

    def forward(self, x: Tensor) -> Tensor:
        for stage in self.stages.values():
            x = stage(x)
        return self.head(x)
