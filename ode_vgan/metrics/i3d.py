"""I3D features, on which FVD is published: 400 logits of a clip, averaged over time."""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import cached_property

import torch
from torch import Tensor

from ode_vgan.errors import UserError
from ode_vgan.metrics.features import Extractor
from ode_vgan.metrics.i3d_fast import FastI3d
from ode_vgan.metrics.i3d_net import I3dNet
from ode_vgan.metrics.i3d_weights import WEIGHTS, find_weights, fold, load_weights
from ode_vgan.metrics.upsampled import Axis, UpsampledConv

SIDE_PX = 224
FRAMES_AT_ONCE = 256  # in a batch
BLACK_WHITE_30 = 151.39  # squared distance of the logits of 30 black and 30 white frames, in TensorFlow
TOLERANCE, TOLERANCE_OTHERS = 0.05, 0.2  # i3d_torchscript.pt is reported to answer 151.26


@dataclass(frozen=True)
class Protocol:
    """How a published code feeds its I3D.

    Attributes:
        resize: "tf1" samples at dst * scale; "half_pixel" at (dst + 0.5) * scale - 0.5; both ignore the aspect.
            "centre_crop" is half_pixel of the shorter side, then the centre. None of them smooths before it shrinks.
        span: black is at -span / 2, white at span / 2.
        eps: added to the variances.
        black_white: squared distance of the logits of 15 black and 15 white frames.
    """

    resize: str
    span: float = 2.0
    eps: float = 1e-3
    black_white: float = 133.91


PROTOCOLS = {
    "tf1": Protocol("tf1"),  # google-research/frechet_video_distance, the first
    "half_pixel": Protocol("half_pixel"),  # as StyleGAN-V's torchscript, as far as it can be seen
    "tats": Protocol("half_pixel", eps=1e-5, black_white=134.21),
    "videogpt": Protocol("centre_crop", span=1.0, eps=1e-5, black_white=66.30),
}


class I3d(Extractor):
    """Inception-v1 I3D trained on Kinetics-400: the logits of FVD.

    Args:
        path: of the converted file; None looks where `ode-vgan weights i3d` puts it.
        variant: whose preprocessing, a key of PROTOCOLS.

    Raises:
        MissingWeights: the file is not here.
        UserError: it is another file, or there is no such variant.
    """

    name, id = "i3d", "i3d_kinetics400_v1"
    dim, min_frames, min_px = 400, 9, 1
    standardised = False
    comparable = "FVD"
    weights = (WEIGHTS,)

    def __init__(self, path: str | None = None, variant: str = "tf1"):
        if variant not in PROTOCOLS:
            raise UserError(f"no i3d:{variant}; there are {', '.join(f'i3d:{name}' for name in PROTOCOLS)}.")
        self.protocol = PROTOCOLS[variant]
        if variant != "tf1":
            self.name, self.id = f"i3d:{variant}", f"i3d_kinetics400_{variant}_v1"
        self.preprocessing = f"{self.protocol.resize} resize to {SIDE_PX}x{SIDE_PX}, no antialias"
        found, self.sha256 = find_weights(path)
        self.net = build_net(load_weights(found), self.protocol.eps)

    @property
    def parameters(self) -> dict:
        return {"weights": self.sha256, "side_px": SIDE_PX, **asdict(self.protocol)}

    def preprocess(self, clips: Tensor) -> Tensor:
        return enlarge(self._scaled(clips), self.axes(*clips.shape[2:4])).permute(0, 4, 1, 2, 3)

    def _scaled(self, clips: Tensor) -> Tensor:
        """The same range as `preprocess`, in the clips' own size and layout."""
        return clips.float().mul_(self.protocol.span / 255).sub_(self.protocol.span / 2)

    def describe(self, x: Tensor) -> Tensor:
        if x.device.type != "cpu":
            with torch.backends.cudnn.flags(enabled=True, deterministic=True, allow_tf32=False):
                return self.net(x)
        x = x.permute(0, 2, 3, 4, 1)
        return self.fast.mixed(torch.cat([self.fast.stem(self.fast.first(clip)) for clip in x.split(1)]))

    @torch.no_grad()
    def endpoints(self, x: Tensor) -> dict[str, Tensor]:
        """What each stage of the plain network gives for preprocessed clips, by its published name."""
        return self.net.endpoints(x)

    def __call__(self, clips: Tensor) -> Tensor:
        clips = torch.as_tensor(clips)
        self.check(clips)
        axes = self.axes(*clips.shape[2:4])
        if self.device.type == "cpu" and UpsampledConv.pays(*axes):
            self.fast.upsampled(*axes)  # made once, before threads share it
        return torch.cat(self.each(self._rows, clips.split(max(1, FRAMES_AT_ONCE // clips.shape[1]))))

    def _rows(self, clips: Tensor) -> Tensor:
        axes = self.axes(*clips.shape[2:4])
        if clips.device.type != "cpu" or not UpsampledConv.pays(*axes):
            return self.describe(self.preprocess(clips))
        first = self.fast.upsampled(*axes)
        return self.fast.mixed(torch.cat([self.fast.stem(first(self._scaled(clip))) for clip in clips.split(1)]))

    def axes(self, height: int, width: int) -> tuple[Axis, Axis]:
        """How the rows and the columns of a frame are resampled to 224."""
        return resampling(height, width, self.protocol.resize)

    @cached_property
    def fast(self) -> FastI3d:
        """The network for the CPU."""
        return FastI3d(self.net)

    def self_test(self) -> None:
        """Compare 15 black with 15 white frames."""
        clips = torch.tensor([0, 255], dtype=torch.uint8).view(2, 1, 1, 1, 1).expand(2, 15, 8, 8, 3)
        black, white = self(clips)
        known = self.sha256 == WEIGHTS.sha256
        compare(float((white - black).square().sum()), self.protocol.black_white, known=known)


def build_net(tensors: Mapping[str, Tensor], eps: float = 1e-3) -> I3dNet:
    """The network with the tensors of a weights file, ready to describe."""
    with torch.device("meta"):  # no weights are drawn only to be replaced
        net = I3dNet()
    net.load_state_dict(fold(tensors, eps), assign=True)
    return net.eval().requires_grad_(False)


def resampling(height: int, width: int, resize: str) -> tuple[Axis, Axis]:
    """The rows and the columns of a frame of that size."""
    if resize == "tf1":
        return Axis(height, SIDE_PX, height / SIDE_PX, 0.0), Axis(width, SIDE_PX, width / SIDE_PX, 0.0)
    axes = []
    for size, other in ((height, width), (width, height)):
        whole = math.ceil(size * SIDE_PX / other) if resize == "centre_crop" and size > other else SIDE_PX
        scale = size / whole
        axes.append(Axis(size, SIDE_PX, scale, ((whole - SIDE_PX) // 2 + 0.5) * scale - 0.5))
    return axes[0], axes[1]


def enlarge(x: Tensor, axes: tuple[Axis, Axis]) -> Tensor:
    """(N, T, H, W, C) -> (N, T, 224, 224, C)."""
    rows, columns = axes
    if rows.size < SIDE_PX:  # the cheaper order
        return rows.resample(columns.resample(x, 3), 2)
    return columns.resample(rows.resample(x, 2), 3)


@torch.no_grad()
def answer(tensors: Mapping[str, Tensor], *, known: bool) -> float:
    """Compare 30 black with 30 white frames, for the tensors of a weights file.

    Returns:
        Their squared distance.

    Raises:
        UserError: it is not the one that is published.
    """
    net, white = build_net(tensors), torch.ones(1, 3, 30, SIDE_PX, SIDE_PX)
    found = float((net(white) - net(-white)).double().square().sum())
    compare(found, BLACK_WHITE_30, known=known)
    return found


def compare(found: float, expected: float, *, known: bool) -> None:
    """Refuse an answer that is not the known one; conversions by others are given more room.

    Raises:
        UserError: it is not.
    """
    if not abs(found - expected) <= (TOLERANCE if known else TOLERANCE_OTHERS):
        raise UserError(
            f"i3d fails its self test: black and white clips are {found:.3f} apart where {expected} is known; "
            f"these are not the weights of TF-Hub i3d-kinetics-400. {WEIGHTS.get}"
        )
