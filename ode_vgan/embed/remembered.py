"""What locked towers say of frames and texts, computed once for each content."""

import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from ode_vgan.embed.cache import add_vectors, cache_folder, read_vectors

if TYPE_CHECKING:
    from ode_vgan.embed.clip_model import ClipModel

TEXTS = 64  # read at once


class Remembered:
    """Rows by the digest of what they describe; the oldest leave when there are too many.

    Args:
        limit: rows kept, at most.
        path: a file that rows of earlier runs are read from and `save` adds to; None for no file.
        dim: length of a row.
    """

    def __init__(self, limit: int, path: Path | None, dim: int):
        self.limit, self.path, self.dim = limit, path, dim
        found = {} if path is None else read_vectors(path, dim)
        self.rows = {key: torch.from_numpy(row) for key, row in list(found.items())[-limit:]} if limit else {}
        self.fresh: dict[bytes, Tensor] = {}

    def __call__(self, keys: Sequence[bytes], compute: Callable[[list[int]], Tensor]) -> Tensor:
        """(N, dim) rows of N contents.

        Args:
            keys: their digests. compute: gives the rows (M, dim) of those at M places.
        """
        missing = sorted({key: i for i, key in reversed(list(enumerate(keys))) if key not in self.rows}.values())
        found = dict(zip([keys[i] for i in missing], compute(missing).cpu(), strict=True)) if missing else {}
        rows = torch.stack([self.rows[key] if key in self.rows else found[key] for key in keys])
        self._keep(found)
        return rows

    def _keep(self, found: dict[bytes, Tensor]) -> None:
        for key, row in found.items() if self.limit else ():
            self.rows[key] = row.clone()
            if self.path is not None:
                self.fresh[key] = self.rows[key]
        for key in list(self.rows)[: max(0, len(self.rows) - self.limit)]:
            del self.rows[key]
            self.fresh.pop(key, None)

    def save(self) -> None:
        """Add the rows that are new to the file."""
        if self.fresh:
            add_vectors(self.path, {key: row.numpy() for key, row in self.fresh.items()}, self.dim)
            self.fresh = {}


class LockedFeatures:
    """Features of a model's locked towers before their projections.

    Args:
        limit: frames, and texts, that are kept in memory and on disk, at most; 0 computes each when it is asked for.
    """

    def __init__(self, clip: "ClipModel", limit: int):
        self.clip, self.kept = clip, {}
        towers = {"image": clip.towers.visual, "text": clip.towers.text if clip.locks["text"] else None}
        for side, locked in clip.locks.items():
            if locked:
                trunk = towers[side].trunk if side == "image" else towers[side].transformer
                dim = trunk.num_features if side == "image" else trunk.config.hidden_size
                told = f"{side} {clip.name} {clip.image_size} {digest_of(trunk)}"
                name = hashlib.sha256(told.encode()).hexdigest()[:16]
                path = cache_folder() / "embed" / f"{clip.name}-{side}-{name}-features.npz" if limit else None
                self.kept[side] = Remembered(limit, path, dim)

    def frames(self, frames: Tensor) -> Tensor:
        """(B, T, F) float32 of uint8 frames (B, T, H, W, C), on their device."""
        flat = frames.flatten(0, 1)
        shape = repr(tuple(flat.shape[1:])).encode()
        keys = [hashlib.blake2b(shape + frame.numpy().tobytes(), digest_size=32).digest() for frame in flat.cpu()]
        rows = self.kept["image"](keys, lambda missing: self.clip.image_features(flat[missing].unsqueeze(0))[0])
        return rows.to(frames.device).unflatten(0, frames.shape[:2])

    def texts(self, texts: Sequence[str]) -> Tensor:
        """(N, F) float32 of N texts, on the model's device."""
        keys = [hashlib.sha256(text.encode()).digest() for text in texts]

        def compute(missing: list[int]) -> Tensor:
            parts = [missing[start : start + TEXTS] for start in range(0, len(missing), TEXTS)]
            return torch.cat([self.clip.text_features(self.clip.tokenize([texts[i] for i in part])) for part in parts])

        return self.kept["text"](keys, compute).to(self.clip.logit_scale.device)

    def save(self) -> None:
        """Keep what is new for later runs."""
        for kept in self.kept.values():
            kept.save()


def digest_of(module: torch.nn.Module) -> str:
    """Hexadecimal sha256 of a module's weights and statistics, by name."""
    digest = hashlib.sha256()
    for name, tensor in module.state_dict().items():
        digest.update(name.encode() + tensor.cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()
