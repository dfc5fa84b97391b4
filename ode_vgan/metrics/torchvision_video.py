"""torchvision's video nets, trained on Kinetics-400, with their published weights by path."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional

from ode_vgan.embed.embedder import file_sha256
from ode_vgan.errors import UserError
from ode_vgan.metrics.features import Extractor
from ode_vgan.metrics.states import fill, read_state
from ode_vgan.metrics.weights import WeightFile

KINETICS = (0.43216, 0.394666, 0.37645), (0.22803, 0.22145, 0.216989)
HALVES = (0.45, 0.45, 0.45), (0.225, 0.225, 0.225)
IMAGENET = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


@dataclass(frozen=True)
class Recipe:
    """How one net is fed and read.

    Attributes:
        file: torchvision's name for the weights; its last part is how the file's sha256 begins.
        head: the attribute that classifies; what it gets are the features.
        dim: their number.
        frames: the least number that the net reads. exact: it reads no other.
        resize: (height, width), or (shorter side,), px. crop: side of the central square, px.
        colours: mean and deviation of each channel, of values in [0, 1].
    """

    file: str
    head: str
    dim: int
    frames: int
    resize: tuple[int, ...]
    crop: int
    colours: tuple[tuple[float, ...], tuple[float, ...]]
    exact: bool = False

    @property
    def prefix(self) -> str:
        """The first 8 hexadecimal digits of the file's sha256."""
        return Path(self.file).stem.rpartition("-")[2]


# frames: torchvision's own minimum, and 2 where it names none but one frame has no motion
RECIPES = {
    "r3d_18": Recipe("r3d_18-b3b3357e.pth", "fc", 512, 2, (128, 171), 112, KINETICS),
    "mc3_18": Recipe("mc3_18-a90a0ba3.pth", "fc", 512, 2, (128, 171), 112, KINETICS),
    "r2plus1d_18": Recipe("r2plus1d_18-91a641e6.pth", "fc", 512, 2, (128, 171), 112, KINETICS),
    "s3d": Recipe("s3d-d76dad2f.pth", "classifier", 1024, 14, (256, 256), 224, KINETICS),
    "mvit_v2_s": Recipe("mvit_v2_s-ae3be167.pth", "head", 768, 16, (256,), 224, HALVES, exact=True),
    "swin3d_t": Recipe("swin3d_t-7615ae03.pth", "head", 768, 2, (256,), 224, IMAGENET),
}


@dataclass(frozen=True)
class HubFile(WeightFile):
    """A file that torchvision fetches by itself, of whose sha256 only the beginning is published, in its name."""

    prefix: str

    def locate(self, path: str | Path | None = None) -> Path:
        """As for any weights, but with torch's hub cache before the usual places.

        Raises:
            UserError: it is nowhere, or its sha256 begins otherwise.
        """
        hub = Path(torch.hub.get_dir()) / "checkpoints" / self.file
        found = super().locate(path or (hub if hub.is_file() else None))
        if not file_sha256(found).startswith(self.prefix):
            raise UserError(f"{found} is not {self.file}: its sha256 does not begin with {self.prefix}. {self.get}")
        return found


def video_weights(variant: str) -> HubFile:
    """The file that torchvision publishes for one of its nets."""
    recipe = RECIPES[variant]
    return HubFile(
        name=f"tv:{variant}",
        file=recipe.file,
        sha256="",
        source=f"torchvision's KINETICS400_V1, whose sha256 begins with {recipe.prefix}",
        licence="BSD-3-Clause; trained on Kinetics-400",
        get=f"Put download.pytorch.org/models/{recipe.file} in $ODE_VGAN_WEIGHTS, or give its path.",
        instead="hog3d and colour run without it.",
        prefix=recipe.prefix,
    )


class TorchvisionVideo(Extractor):
    """The features before the classifier of one of torchvision's video nets.

    Args:
        path: of the weights file; None looks in torch's hub cache and in the usual places.
        variant: a key of RECIPES.

    Raises:
        UserError: no such net, torchvision is not installed, or the file is missing or not torchvision's own.
    """

    name, min_px, standardised = "tv", 8, False
    weights = tuple(map(video_weights, RECIPES))
    chunk_pixels = 1 << 17  # two clips of 16 frames at 64x64: the nets see them at 112 or 224

    def __init__(self, path: str | None = None, variant: str = "r3d_18"):
        if variant not in RECIPES:
            raise UserError(f"no torchvision video net {variant!r}; there are {', '.join(RECIPES)}.")
        self.variant, self.recipe = variant, RECIPES[variant]
        self.id = f"tv_{variant}_v1"
        self.dim, self.min_frames = self.recipe.dim, self.recipe.frames
        self.max_frames = self.recipe.frames if self.recipe.exact else None
        self.weights = (video_weights(variant),)
        build = _builder(variant)
        self.file = self.weights[0].locate(path)
        self.net = fill(build(weights=None), read_state(self.file), self.file)
        setattr(self.net, self.recipe.head, nn.Identity())

    @cached_property
    def sha256(self) -> str:
        return file_sha256(self.file)

    @property
    def preprocessing(self) -> str:
        whole = len(self.recipe.resize) == 2
        size = "x".join(map(str, self.recipe.resize)) if whole else f"shorter side {self.recipe.resize[0]}"
        return f"bilinear resize without antialias, {size}; centre {self.recipe.crop}; torchvision's mean and deviation"

    @property
    def parameters(self) -> dict:
        recipe = self.recipe
        return {
            "weights": self.sha256,
            "resize": list(recipe.resize),
            "crop": recipe.crop,
            "colours": [list(part) for part in recipe.colours],
        }

    def preprocess(self, clips: Tensor) -> Tensor:
        """(N, 3, T, crop, crop) float32, as the weights' own transform makes it, which rounds once it has resized."""
        height, width = clips.shape[2:4]
        size = self.recipe.resize
        if len(size) == 1:
            short = min(height, width)
            size = (size[0] * height // short, size[0] * width // short)
        x = clips.flatten(0, 1).movedim(-1, 1).float()
        x = functional.interpolate(x, size, mode="bilinear").round() / 255
        top, left = (round((side - self.recipe.crop) / 2) for side in size)
        x = x[..., top : top + self.recipe.crop, left : left + self.recipe.crop]
        mean, deviation = (x.new_tensor(part).view(3, 1, 1) for part in self.recipe.colours)
        return ((x - mean) / deviation).unflatten(0, clips.shape[:2]).transpose(1, 2)

    def describe(self, x: Tensor) -> Tensor:
        return self.net(x)

    def self_test(self) -> None:
        """The file's hash is checked when it is read; here, that the net tells motion from rest on finite rows."""
        frames = self.min_frames
        picture = torch.randint(0, 256, (1, 1, 32, 32, 3), generator=torch.Generator().manual_seed(0))
        still = picture.expand(-1, frames, -1, -1, -1)
        moving = torch.stack([picture[:, 0].roll(2 * i, 2) for i in range(frames)], 1)
        rows = self(torch.cat([still, moving]).to(torch.uint8))
        if not rows.isfinite().all() or torch.allclose(rows[0], rows[1], rtol=1e-3):
            raise UserError(f"{self.id} fails its self test: rows are not finite, or blind to motion. Reinstall it.")


def _builder(variant: str) -> Callable[..., nn.Module]:
    try:
        from torchvision.models import video
    except ImportError as error:
        raise UserError("tv needs torchvision. Run: pip install torchvision") from error
    return getattr(video, variant)
