"""A trained CLIP for clips as an embedder: to condition the generator, to score clips, and for CLIPSIM."""

from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ode_vgan.embed.clip_model import ClipModel, even_times
from ode_vgan.embed.embedder import Embedder
from ode_vgan.embed.saved import Saved, read_saved
from ode_vgan.errors import UserError


class ClipEmbedder(Embedder):
    """Texts and clips in one space; whether a clip differs from its reversal is the model's pooling's affair.

    Args:
        folder: a run of +experiment=clip_tiny or its checkpoint, a folder that `saved.save_learned` or
            `export.export` wrote; None takes the repository's own.
        batch: clips, or texts, encoded together.

    Raises:
        UserError: no model there, a file of it is missing or broken, or the run trained something else.
    """

    def __init__(self, folder: str | Path | None = None, *, batch: int = 16, device: str = "cpu"):
        self.folder = Path(folder) if folder else shipped_clip_folder()
        self.batch, self.device = batch, torch.device(device)
        self.saved: Saved = read_saved(self.folder)
        self.dim = self.saved.dim

    @cached_property
    def fingerprint(self) -> str:
        """Of all weights, the packages' too, and of the pooling."""
        return self.saved.fingerprint()

    @cached_property
    def model(self) -> ClipModel:
        """The model, frozen, in eval mode, loaded when first asked for."""
        return self.saved.build().to(self.device)

    @torch.inference_mode()
    def encode_text(self, texts: list[str]) -> Tensor:
        parts = [texts[start : start + self.batch] for start in range(0, len(texts), self.batch)]
        rows = [self.model.encode_text(self.model.tokenize(part)).float().cpu() for part in parts]
        return torch.cat([torch.zeros(0, self.dim), *rows])

    @torch.inference_mode()
    def encode_frames(self, clips: np.ndarray | Tensor, times: Tensor | None = None) -> Tensor:
        """(N, E) float32 rows of unit length, on the CPU.

        Args:
            clips: (N, T, H, W, 3) uint8. times: (T,) or (N, T), seconds; None: frames evenly apart.
        """
        clips = torch.as_tensor(clips if isinstance(clips, Tensor) else np.ascontiguousarray(clips))
        at = even_times(*clips.shape[:2]) if times is None else times.expand(clips.shape[:2])
        parts = zip(clips.split(self.batch), at.float().split(self.batch), strict=True)
        rows = [self.model.encode_clips(part.to(self.device), when.to(self.device)).cpu() for part, when in parts]
        return torch.cat([torch.zeros(0, self.dim), *rows])

    def encode_each_frame(self, clips: np.ndarray | Tensor) -> Tensor:
        """(N, T, E) float32 rows of unit length, on the CPU: each frame as a clip of itself alone."""
        return self.encode_frames(clips.reshape(-1, 1, *clips.shape[2:])).unflatten(0, tuple(clips.shape[:2]))


def shipped_clip_folder() -> Path:
    """The folder of the learned weights that come with the repository.

    Raises:
        UserError: the package was installed without its repository.
    """
    folder = Path(__file__).resolve().parents[2] / "data" / "clip_tiny"
    if not folder.is_dir():
        raise UserError(
            f"no CLIP at {folder}. Train one (python train.py +experiment=clip_tiny) and give embed.folder=RUN."
        )
    return folder
