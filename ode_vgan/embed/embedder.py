"""The contract of every embedder: text or frames in, unit vectors out."""

import hashlib
from abc import ABC, abstractmethod
from pathlib import Path

import numpy as np
from torch import Tensor

from ode_vgan.errors import UserError


class Embedder(ABC):
    """A frozen map into one space of unit vectors.

    `dim` and `fingerprint` are known without loading the model, so that a warm cache never loads it.
    """

    dim: int
    fingerprint: str  # changes whenever the vectors could: weights, tokenizer, pooling

    @abstractmethod
    def encode_text(self, texts: list[str]) -> Tensor:
        """(N, E) float32 rows of unit length, on the CPU."""

    def encode_frames(self, clips: np.ndarray) -> Tensor:
        """(N, E) float32 rows of unit length from (N, T, H, W, 3) uint8 clips.

        Raises:
            UserError: the model reads text only.
        """
        raise UserError(f"{type(self).__name__} reads text, not frames. Use embed=openclip to embed clips.")


def file_sha256(path: Path | str) -> str:
    """Hexadecimal sha256 of a file's bytes."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def encodable(text: str) -> str:
    """The text with "?" for half characters, which a command line that is not UTF-8 brings."""
    return text.encode("utf-8", "replace").decode()
