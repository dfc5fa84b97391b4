"""CLIP embeddings of frames, by any OpenCLIP model: for text alignment, frame distances and clip statistics."""

from functools import cached_property

import torch
from torch import Tensor

from ode_vgan.embed.embedder import file_sha256
from ode_vgan.embed.openclip import OpenClipEmbedder, check_model
from ode_vgan.errors import UserError
from ode_vgan.metrics.features import Extractor
from ode_vgan.metrics.weights import WeightFile


def clip_weights(model: str) -> WeightFile:
    """The checkpoint of an OpenCLIP model; any file of its weights will do."""
    return WeightFile(
        name=f"clip:{model}",
        file=f"{model}.safetensors",
        sha256="",
        source="the model hub, a repository that `open_clip.pretrained` lists for this model",
        licence="MIT for OpenAI's and LAION's",
        get=(
            "Put its open_clip_model.safetensors under this name in $ODE_VGAN_WEIGHTS, or give a checkpoint's path. "
            "OpenAI's weights need the model's -quickgelu variant."
        ),
        instead="hog3d and colour run without it.",
    )


class ClipFrames(Extractor):
    """The unit embedding of each frame.

    Args:
        path: of the checkpoint; None looks in the usual places.
        variant: a name of `open_clip.list_models()`. OpenAI's weights need one that ends in -quickgelu: without it
            they load and run with another activation.

    Raises:
        UserError: OpenCLIP is not installed or knows no such model, or the file is missing or another model's.
    """

    name, min_frames, min_px = "clip_frames", 1, 1
    per_frame, standardised = True, False
    chunk_pixels = 1 << 22  # the embedder batches frames by itself
    weights = (clip_weights("ViT-B-32"),)
    preprocessing = "as the OpenCLIP model's configuration says: centre crop, bicubic antialiased resize, mean and std"

    def __init__(self, path: str | None = None, variant: str = "ViT-B-32"):
        check_model(variant)  # a wrong name is told before a missing file
        self.id, self.variant, self.weights = f"{self.name}_{variant}_v1", variant, (clip_weights(variant),)
        self.file = self.weights[0].locate(path)
        self.embed = OpenClipEmbedder(variant, checkpoint=str(self.file))
        self.net, self.dim = self.embed.model, self.embed.dim

    @cached_property
    def sha256(self) -> str:
        return file_sha256(self.file)

    @property
    def parameters(self) -> dict:
        return {"model": self.variant, "weights": self.sha256}

    def to(self, device: str | torch.device) -> "ClipFrames":
        self.embed.device = torch.device(device)
        return super().to(device)

    def preprocess(self, clips: Tensor) -> Tensor:
        """The clips as they are: the embedder resizes, so that these rows are those that condition a generator."""
        return clips

    def describe(self, x: Tensor) -> Tensor:
        return self.embed.encode_each_frame(x)

    def encode_text(self, texts: list[str]) -> Tensor:
        """(N, E) float64 unit rows in the frames' space."""
        return self.embed.encode_text(texts).double()

    def self_test(self) -> None:
        """Laws that hold for any weights; no answer is known for weights that the user chooses."""
        drawn = torch.randint(0, 256, (3, 32, 32, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
        first, again = ClipFrames.describe(self, torch.stack([drawn, drawn.roll(1, 0)]))
        if not (first.norm(dim=-1) - 1).abs().max() < 1e-3:
            raise UserError(f"{self.id} fails its self test: rows are not unit. Its weights are broken; give others.")
        if (first.roll(1, 0) - again).abs().max() > 1e-3 or (first - again).abs().max() < 1e-6:
            raise UserError(f"{self.id} fails its self test: a frame's row follows its place, or never changes.")
        if self.encode_text(["a ball"]).shape != first[:1].shape:
            raise UserError(f"{self.id} fails its self test: texts and frames differ in width. Give another model.")


class ClipClips(ClipFrames):
    """Three statistics over time of the frames' embeddings: mean, deviation, mean |step|.

    Ours; no distance on these rows is an FVD. Blind to time reversal.
    """

    name, min_frames = "clip", 2
    per_frame, standardised = False, True

    def __init__(self, path: str | None = None, variant: str = "ViT-B-32"):
        super().__init__(path, variant)
        self.dim *= 3

    def describe(self, x: Tensor) -> Tensor:
        rows = super().describe(x).double()
        return torch.cat([rows.mean(1), rows.std(1, correction=0), rows.diff(dim=1).abs().mean(1)], 1)
