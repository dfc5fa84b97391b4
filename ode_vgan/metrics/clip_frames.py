"""CLIP embeddings of frames, by any OpenCLIP model: for text alignment, frame distances and clip statistics."""

from functools import cached_property

import torch
from torch import Tensor

from ode_vgan.embed.embedder import file_sha256
from ode_vgan.embed.openclip import OpenClipEmbedder, check_model
from ode_vgan.metrics.embedded_frames import EmbeddedFrames
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


class ClipFrames(EmbeddedFrames):
    """The unit embedding of each frame.

    Args:
        path: of the checkpoint; None looks in the usual places.
        variant: a name of `open_clip.list_models()`. OpenAI's weights need one that ends in -quickgelu: without it
            they load and run with another activation.

    Raises:
        UserError: OpenCLIP is not installed or knows no such model, or the file is missing or another model's.
    """

    name = "clip_frames"
    weights = (clip_weights("ViT-B-32"),)
    preprocessing = "as the OpenCLIP model's configuration says: centre crop, bicubic antialiased resize, mean and std"

    def __init__(self, path: str | None = None, variant: str = "ViT-B-32"):
        check_model(variant)  # a wrong name is told before a missing file
        self.variant, self.weights = variant, (clip_weights(variant),)
        self.file = self.weights[0].locate(path)
        super().__init__(OpenClipEmbedder(variant, checkpoint=str(self.file)), self.name)
        self.id, self.net = f"{self.name}_{variant}_v1", self.embed.model

    @cached_property
    def sha256(self) -> str:
        return file_sha256(self.file)

    @property
    def parameters(self) -> dict:
        return {"model": self.variant, "weights": self.sha256}


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
