"""Watermarks: how likely a clip carries one, and in what share of its frames it stays in one place.

Our own detector is a small net that marks places; LAION's, which marks whole images, loads by path.
"""

import hashlib
from abc import ABC, abstractmethod
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from ode_vgan.embed.embedder import file_sha256
from ode_vgan.errors import UserError

SIDE_PX, STRIDE = 128, 8
MARKED = 0.5  # a cell above it is marked
DETAIL, AROUND_PX = 4.0, 9
PEAK_CELLS = 6  # of a frame: a mark covers a few cells, a stray edge one
LAION_SIDE_PX = 256
LAION_MEAN, LAION_DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


class MarkNet(nn.Module):
    """Frames to a map of marks: seven convolutions, a cell for each 8x8 px of a frame of 128 px.

    Beside the colours it is given what is left of them without their 9x9 mean, four times as strong, since marks are
    thin and faint. A frame's logit is an affine map of the mean of its six highest cells.
    """

    def __init__(self):
        super().__init__()
        plan = ((6, 16, 2, 1), (16, 32, 2, 1), (32, 32, 1, 1), (32, 64, 2, 1), (64, 64, 1, 1), (64, 64, 1, 2))
        self.body = nn.Sequential(*(part for widths in plan for part in _block(*widths)))
        self.cells = nn.Conv2d(64, 1, 1)
        self.scale, self.shift = nn.Parameter(torch.ones(())), nn.Parameter(torch.zeros(()))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """(N, 3, 128, 128) in [-1, 1] to logits of cells (N, 16, 16) and of frames (N,)."""
        fine = DETAIL * (x - functional.avg_pool2d(x, AROUND_PX, 1, AROUND_PX // 2, count_include_pad=False))
        cells = self.cells(self.body(torch.cat([x, fine.clamp(-2, 2)], 1)))[:, 0]
        peak = cells.flatten(1).topk(PEAK_CELLS).values.mean(1)
        return cells, self.scale * peak + self.shift


class WatermarkDetector(ABC):
    """What scores the frames of a clip; `fingerprint` changes whenever its scores could."""

    fingerprint: str

    @abstractmethod
    def score(self, frames: np.ndarray) -> tuple[float, float]:
        """Probability and persistence of a mark on uint8 frames (T, H, W, 3).

        Returns:
            pwatermark: mean over frames of each frame's probability, in [0, 1].
            persistence: greatest share of frames that are marked at one place, in [0, 1].
        """


class PlacedDetector(WatermarkDetector):
    """Our detector, which says where a mark is.

    Args:
        path: safetensors written by `watermark_training.fit_marks`; None takes the file of this repository.

    Raises:
        UserError: there is no such file, or it holds something else.
    """

    def __init__(self, path: str | Path | None = None):
        self.file = shipped_weights() if path is None else Path(path)
        self.net = read_net(self.file)

    @cached_property
    def fingerprint(self) -> str:
        return f"marks-{file_sha256(self.file)[:16]}"

    @torch.inference_mode()
    def score(self, frames: np.ndarray) -> tuple[float, float]:
        cells, logits = self.net(prepare(frames))
        return float(logits.sigmoid().mean()), persistence(cells.sigmoid())


class LaionDetector(WatermarkDetector):
    """LAION's detector: EfficientNet-B3 with a head of 1536, 625, 256 and 2, class 0 the watermark.

    It says nothing of places: persistence is the share of frames whose probability is above a half.

    Args:
        path: its state dict, as torch or safetensors file; a dict that holds it under "weights" will do.

    Raises:
        UserError: timm is not installed, there is no such file, or it holds something else.
    """

    def __init__(self, path: str | Path):
        self.file = Path(path)
        self.net = _laion_net()
        state = _read_state(self.file)
        _fill(self.net, state.get("weights", state), self.file)

    @cached_property
    def fingerprint(self) -> str:
        return f"laion-b3-{file_sha256(self.file)[:16]}"

    @torch.inference_mode()
    def score(self, frames: np.ndarray) -> tuple[float, float]:
        x = torch.tensor(frames).movedim(-1, 1).float() / 255
        x = functional.interpolate(x, (LAION_SIDE_PX, LAION_SIDE_PX), mode="bilinear", antialias=True)
        mean, deviation = (x.new_tensor(three).view(3, 1, 1) for three in (LAION_MEAN, LAION_DEVIATION))
        p = self.net((x - mean) / deviation).softmax(1)[:, 0]
        return float(p.mean()), float((p > MARKED).double().mean())


def open_detector(path: str | Path | None = None) -> WatermarkDetector:
    """Our detector for a .safetensors that holds one (None: the repository's), else LAION's."""
    if path is None:
        return PlacedDetector()
    if not Path(path).is_file():
        raise UserError(f"no watermark weights at {path}. Check the path, or leave it out for the detector shipped.")
    return PlacedDetector(path) if "body.0.weight" in _read_state(Path(path)) else LaionDetector(path)


def shipped_weights() -> Path:
    """The detector in the repository's data folder.

    Raises:
        UserError: the package was installed without its repository.
    """
    path = Path(__file__).resolve().parents[2] / "data" / "watermark" / "marks.safetensors"
    if not path.is_file():
        raise UserError(f"no watermark weights at {path}. Run: python -m ode_vgan.laion.watermark_training --out FILE.")
    return path


def prepare(frames: np.ndarray) -> Tensor:
    """uint8 (T, H, W, 3) to float32 (T, 3, 128, 128) in [-1, 1], aspect ignored so that every corner is seen."""
    x = torch.tensor(frames).movedim(-1, 1).float()
    return functional.interpolate(x, (SIDE_PX, SIDE_PX), mode="bilinear", antialias=True) / 127.5 - 1


def persistence(cells: Tensor) -> float:
    """Greatest share of frames that are marked in one cell.

    A mark that stays scores 1 whatever moves below it, one that is shown half of the time 0.5, one that wanders
    little more than a frame's share, and a clip without marks 0.

    Args:
        cells: (T, h, w) probabilities.
    """
    return float((cells > MARKED).double().mean(0).max())


def spread_frames(times: np.ndarray, count: int) -> np.ndarray:
    """Numbers of at most `count` frames, those shown at even times from the first to the last; rising, each once."""
    at = np.linspace(times[0], times[-1], count)
    return np.unique(np.searchsorted(times, at + 1e-9, side="right") - 1)


def read_net(path: Path) -> MarkNet:
    """A `MarkNet` in evaluation mode, from its safetensors."""
    net = MarkNet()
    _fill(net, _read_state(path), path)
    return net


def state_digest(net: nn.Module) -> str:
    """Hexadecimal sha256 of a net's numbers."""
    digest = hashlib.sha256()
    for name, value in sorted(net.state_dict().items()):
        digest.update(name.encode() + value.detach().contiguous().numpy().tobytes())
    return digest.hexdigest()


def _block(narrow: int, wide: int, stride: int, dilation: int) -> list[nn.Module]:
    convolution = nn.Conv2d(narrow, wide, 3, stride, padding=dilation, dilation=dilation, bias=False)
    return [convolution, nn.BatchNorm2d(wide), nn.ReLU()]


def _laion_net() -> nn.Module:
    try:
        import timm
    except ImportError as error:
        raise UserError("LAION's watermark detector needs timm. Run: pip install 'ode_vgan[openclip]'") from error
    net = timm.create_model("efficientnet_b3", pretrained=False, num_classes=2)
    layers = nn.Linear(1536, 625), nn.ReLU(), nn.Dropout(0.3), nn.Linear(625, 256), nn.ReLU(), nn.Linear(256, 2)
    net.classifier = nn.Sequential(*layers)
    return net


def _read_state(path: Path) -> dict:
    if not path.is_file():
        raise UserError(f"no watermark weights at {path}. Check the path.")
    try:
        if path.suffix == ".safetensors":
            from safetensors.torch import load_file

            return load_file(path)
        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # safetensors and torch raise their own, of no common class
        reason = " ".join(str(error).split())[:120]
        raise UserError(f"{path} does not load ({reason}). Save its state dict alone, as safetensors.") from error
    if not isinstance(state, dict):
        raise UserError(f"{path} holds a {type(state).__name__}, not a state dict. Save its state dict alone.")
    return state


def _fill(net: nn.Module, state: dict, path: Path) -> None:
    try:
        net.load_state_dict(state)
    except (RuntimeError, TypeError) as error:
        reason = " ".join(str(error).split())[:120]
        raise UserError(f"{path} is not a {type(net).__name__} ({reason}). Give its own weights.") from error
    net.eval().requires_grad_(False)
