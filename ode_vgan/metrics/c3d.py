"""C3D fine-tuned on UCF-101: the net behind the Inception Score of videos, and behind "FID" on its features."""

import zipfile
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from ode_vgan.embed.embedder import file_sha256
from ode_vgan.errors import UserError
from ode_vgan.metrics.features import Extractor
from ode_vgan.metrics.states import fill
from ode_vgan.metrics.weights import WeightFile

FRAMES, SIDE_PX, CLASSES = 16, 112, 101
WIDTHS = {"conv1a": 1, "conv2a": 2, "conv3a": 4, "conv3b": 4, "conv4a": 8, "conv4b": 8, "conv5a": 8, "conv5b": 8}
POOLED = {"conv1a": (1, 2, 2), "conv2a": 2, "conv3b": 2, "conv4b": 2, "conv5b": 2}  # by which kernel, after which layer
MEAN_SHAPE = (3, FRAMES, 128, 171)
CROP_PX = 8  # the published code cuts the 112x112 mean out at (8, 8), which is not its middle; scores rest on it


def _file(name: str) -> WeightFile:
    return WeightFile(
        name="c3d",
        file=name,
        sha256="",  # never seen here; the fingerprint of each row has the sha256 of the file in use
        source="the releases of github.com/rezoo/tgan2, v1.0",
        licence="not stated; code MIT",
        get="Put both npz files in $ODE_VGAN_WEIGHTS, or side by side and give the first's path.",
        instead="hog3d and colour run without them; no Inception Score does.",
    )


class C3dNet(nn.Module):
    """Eight 3x3x3 convolutions and three full layers: (N, 3, 16, 112, 112) -> (N, hidden), after fc7 and its ReLU.

    Args:
        width: channels of the first convolution. hidden: width of the full layers.
    """

    def __init__(self, width: int = 64, hidden: int = 4096):
        super().__init__()
        inputs = 3
        for name, times in WIDTHS.items():
            self.add_module(name, nn.Conv3d(inputs, times * width, 3, padding=1))
            inputs = times * width
        self.fc6 = nn.Linear(inputs * 4 * 4, hidden)
        self.fc7 = nn.Linear(hidden, hidden)
        self.fc8 = nn.Linear(hidden, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        for name in WIDTHS:
            x = self.get_submodule(name)(x).relu_()
            if name in POOLED:  # windows may overhang: 7 px become 4, which fc6 expects
                x = functional.max_pool3d(x, POOLED[name], ceil_mode=True)
        return self.fc7(self.fc6(x.flatten(1)).relu_()).relu_()


class C3d(Extractor):
    """fc7 of C3D, 4096 numbers, and the probabilities of the 101 classes of UCF-101.

    Args:
        path: of conv3d_deepnetA_ucf.npz, with mean2.npz beside it; None looks in the usual places.
        width, hidden: of the net in the file.

    Raises:
        UserError: a file is missing, or is not this net's.
    """

    name, id, dim = "c3d", "c3d_ucf101_v1", 4096
    min_frames, max_frames, min_px = FRAMES, FRAMES, 1
    standardised, comparable = False, "C3D-FID"
    chunk_pixels = 1 << 18
    weights = (_file("conv3d_deepnetA_ucf.npz"), _file("mean2.npz"))
    preprocessing = "bilinear resize to 112x112, corners aligned, not antialiased; BGR; grey levels minus the mean clip"

    def __init__(self, path: str | None = None, *, width: int = 64, hidden: int = 4096):
        net_file, mean_file = self.weights
        self.file = net_file.locate(path)
        beside = self.file.parent / mean_file.file
        self.mean_file = mean_file.locate(beside if path or beside.is_file() else None)
        self.dim = hidden
        self.net = fill(C3dNet(width, hidden), net_state(self.file), self.file)
        self.net.register_buffer("mean", mean_clip(self.mean_file))

    @cached_property
    def sha256(self) -> list[str]:
        return [file_sha256(file) for file in (self.file, self.mean_file)]

    @property
    def parameters(self) -> dict:
        return {"weights": self.sha256, "side_px": SIDE_PX, "crop_px": CROP_PX}

    def preprocess(self, clips: Tensor) -> Tensor:
        x = clips.flatten(0, 1).movedim(-1, 1).flip(1).float()
        x = functional.interpolate(x, (SIDE_PX, SIDE_PX), mode="bilinear", align_corners=True)
        return x.unflatten(0, clips.shape[:2]).transpose(1, 2) - self.net.mean

    def describe(self, x: Tensor) -> Tensor:
        return self.net(x)

    def classify(self, rows: Tensor) -> Tensor:
        """Features (N, 4096) -> (N, 101) float64 probabilities, on the CPU."""
        weight, bias = (part.double().cpu() for part in (self.net.fc8.weight, self.net.fc8.bias))
        return (rows.double().cpu() @ weight.T + bias).softmax(1)

    def probabilities(self, clips: Tensor | np.ndarray) -> Tensor:
        """uint8 clips (N, 16, H, W, 3) -> (N, 101) float64: what an Inception Score is made of."""
        return self.classify(self(clips))

    def self_test(self) -> None:
        """Laws that hold for these weights; their answers are not known, as the file was never seen here."""
        draw = torch.Generator().manual_seed(0)
        noise = torch.randint(0, 256, (1, FRAMES, 32, 32, 3), generator=draw)
        rows = self(torch.cat([noise, torch.zeros_like(noise)]).to(torch.uint8))
        if not rows.isfinite().all() or torch.allclose(rows[0], rows[1]):
            raise UserError(f"{self.id} fails its self test: its rows are not finite, or are all one. Fetch its files.")


def net_state(path: Path) -> dict[str, Tensor]:
    """The arrays that Chainer saved, `conv1a/W` and `conv1a/b` to `fc8/b`, as `conv1a.weight` and so on.

    Raises:
        UserError: it is no such file.
    """
    return {
        name.replace("/W", ".weight").replace("/b", ".bias"): torch.from_numpy(array).float()
        for name, array in _arrays(path).items()
    }


def mean_clip(path: Path) -> Tensor:
    """(3, 16, 112, 112), BGR grey levels: the part of the file's mean clip that the published code subtracts.

    Raises:
        UserError: it is no such file.
    """
    mean = _arrays(path).get("mean")
    if mean is None or mean.size != np.prod(MEAN_SHAPE):
        found = "none" if mean is None else mean.shape
        raise UserError(f"{path} must hold an array `mean` of {MEAN_SHAPE}, has {found}. Fetch mean2.npz again.")
    inner = slice(CROP_PX, CROP_PX + SIDE_PX)
    return torch.from_numpy(mean).float().reshape(MEAN_SHAPE)[..., inner, inner].clone()


def _arrays(path: Path) -> dict[str, np.ndarray]:
    try:
        with np.load(path, allow_pickle=False) as file:
            return {name: file[name] for name in file.files}
    except (OSError, ValueError, EOFError, TypeError, zipfile.BadZipFile) as error:
        reason = " ".join(str(error).split())[:80]
        raise UserError(f"{path} is not a plain npz file ({reason}). Fetch it again.") from error
