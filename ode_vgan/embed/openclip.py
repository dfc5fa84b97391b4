"""CLIP embeddings of text and frames, with any OpenCLIP model, frozen."""

import difflib
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import getproxies

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import interpolate, normalize

from ode_vgan.embed.embedder import Embedder, file_sha256
from ode_vgan.errors import UserError


class OpenClipEmbedder(Embedder):
    """One CLIP model for both sides.

    A clip is the mean of its frames' embeddings, at unit length: it cannot tell a clip from its reversal.

    Args:
        model: a name of `open_clip.list_models()`.
        checkpoint: a local weights file; None fetches `pretrained` from the hub, once.
        pretrained: a tag of `open_clip.list_pretrained_tags_by_model(model)`.
        batch: texts or frames encoded together.

    Raises:
        UserError: OpenCLIP is not installed, or it has no such model, tag or file, or the hub cannot be reached.
    """

    def __init__(
        self,
        model: str = "ViT-B-32",
        checkpoint: str | None = None,
        *,
        pretrained: str | None = None,
        batch: int = 64,
        device: str = "cpu",
    ):
        check_model(model)
        if checkpoint is not None and not Path(checkpoint).is_file():
            raise UserError(f"embed.checkpoint={checkpoint} is not a file. Give the path of {model}'s weights.")
        tags = open_clip().list_pretrained_tags_by_model(model)
        if checkpoint is None and pretrained not in tags:
            known = ", ".join(tags) or "none, give embed.checkpoint=FILE"
            raise UserError(f"{model} has no weights {pretrained!r} on the hub. Choose embed.pretrained of: {known}.")
        self.name, self.checkpoint, self.pretrained = model, checkpoint, None if checkpoint else pretrained
        self.batch, self.device = batch, torch.device(device)
        self.dim = open_clip().get_model_config(model)["embed_dim"]

    @cached_property
    def weights(self) -> str:
        """Path of the weights file, fetched if need be."""
        if self.checkpoint is not None:
            return str(self.checkpoint)
        config = open_clip().get_pretrained_cfg(self.name, self.pretrained)
        try:
            with no_waiting_for_the_hub():
                return open_clip().download_pretrained(config)
        except Exception as error:  # the hub client's own errors have no common class
            raise UserError(
                f"cannot fetch {self.name} {self.pretrained} from the hub ({type(error).__name__}). "
                "Copy its weights file here and give embed.checkpoint=FILE, or use embed=sentence."
            ) from error

    @cached_property
    def fingerprint(self) -> str:
        return f"openclip-{self.name}-{file_sha256(self.weights)[:16]}-mean"

    @cached_property
    def model(self) -> torch.nn.Module:
        tag = open_clip().get_pretrained_cfg(self.name, self.pretrained) if self.pretrained else {}
        try:
            model = open_clip().create_model(
                self.name,
                pretrained=self.pretrained or self.weights,
                force_quick_gelu=bool(tag.get("quick_gelu")),  # else a tag's weights run with the wrong activation
            )
        except Exception as error:  # a broken pickle, a zip error or missing keys
            reason = " ".join(str(error).split())[:120]
            raise UserError(f"{self.weights} does not load as {self.name} ({reason}). Give its own weights.") from error
        return model.to(self.device).eval().requires_grad_(False)

    @cached_property
    def tokenizer(self):
        try:
            with no_waiting_for_the_hub():
                return open_clip().get_tokenizer(self.name)
        except Exception as error:  # models with a text tower from the hub fetch its tokenizer
            raise UserError(
                f"cannot fetch the tokenizer of {self.name} ({type(error).__name__}). Use a model such as ViT-B-32."
            ) from error

    @torch.inference_mode()
    def encode_text(self, texts: list[str]) -> Tensor:
        rows = torch.zeros(len(texts), self.dim)
        for start in range(0, len(texts), self.batch):
            tokens = self.tokenizer(texts[start : start + self.batch]).to(self.device)
            rows[start : start + self.batch] = self.model.encode_text(tokens, normalize=True).float().cpu()
        return rows

    def encode_frames(self, clips: np.ndarray) -> Tensor:
        return normalize(self.encode_each_frame(clips).mean(1), dim=-1)

    @torch.inference_mode()
    def encode_each_frame(self, clips: np.ndarray | Tensor) -> Tensor:
        """(N, T, E) float32 rows of unit length, on the CPU, from (N, T, H, W, 3) uint8 clips."""
        count, frames = clips.shape[:2]
        flat = torch.as_tensor(clips if isinstance(clips, Tensor) else np.ascontiguousarray(clips)).flatten(0, 1)
        rows = torch.zeros(len(flat), self.dim)
        for start in range(0, len(flat), self.batch):
            images = self._prepare(flat[start : start + self.batch].to(self.device))
            rows[start : start + self.batch] = self.model.encode_image(images, normalize=True).float().cpu()
        return rows.unflatten(0, (count, frames))

    def _prepare(self, images: Tensor) -> Tensor:
        """(N, H, W, 3) uint8 to the model's input: resized and cropped to a square, standardised per colour."""
        settings = self.model.visual.preprocess_cfg
        size = settings["size"] if isinstance(settings["size"], int) else settings["size"][0]
        height, width = images.shape[1:3]
        x = images.permute(0, 3, 1, 2).float()
        if settings["resize_mode"] == "shortest":
            side = min(height, width)
            top, left = (height - side) // 2, (width - side) // 2
            x = x[..., top : top + side, left : left + side]
        x = interpolate(x, (size, size), mode="bicubic", antialias=True).round().clamp(0, 255)  # as an 8-bit image
        mean, std = (x.new_tensor(settings[name]).view(3, 1, 1) for name in ("mean", "std"))
        return (x / 255 - mean) / std


def check_model(name: str) -> None:
    """Refuse a name that is not one of OpenCLIP's models, with those close to it.

    Raises:
        UserError: it has no such model, or is not installed.
    """
    names = open_clip().list_models()
    if name not in names:
        close = ", ".join(difflib.get_close_matches(name, names, n=4, cutoff=0.4)) or "ViT-B-32"
        raise UserError(f"OpenCLIP has no model {name!r} among {len(names)}. Close names: {close}.")


def open_clip():
    """The optional package, imported when it is first needed.

    Raises:
        UserError: it is not installed.
    """
    try:
        import open_clip as module
    except ImportError as error:
        raise UserError("embed=openclip needs open-clip-torch. Run: pip install open-clip-torch") from error
    return module


@contextmanager
def no_waiting_for_the_hub(seconds: float = 3.0) -> Iterator[None]:
    """Without a route to the hub, look in its local cache only; its client would first retry for a minute."""
    from huggingface_hub import constants

    before = constants.HF_HUB_OFFLINE
    constants.HF_HUB_OFFLINE = before or not (getproxies() or answers(constants.ENDPOINT, seconds))
    try:
        yield
    finally:
        constants.HF_HUB_OFFLINE = before


def answers(address: str, seconds: float) -> bool:
    """Whether a web address accepts a connection within the time."""
    place = urlsplit(address)
    try:
        socket.create_connection((place.hostname, place.port or 443), timeout=seconds).close()
    except OSError:
        return False
    return True
