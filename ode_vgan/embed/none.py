"""No conditioning: every text and every clip is the same point."""

import numpy as np
import torch
from torch import Tensor

from ode_vgan.embed.embedder import Embedder


class NoEmbedder(Embedder):
    """The constant 1 in one dimension, which a conditional model learns to ignore."""

    dim = 1
    fingerprint = "none"

    def encode_text(self, texts: list[str]) -> Tensor:
        return torch.ones(len(texts), 1)

    def encode_frames(self, clips: np.ndarray) -> Tensor:
        return torch.ones(len(clips), 1)
