"""Embeddings on disk, keyed by what was embedded and by what embedded it."""

import contextlib
import hashlib
import logging
import os
import tempfile
import zipfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ode_vgan.embed.embedder import Embedder, encodable
from ode_vgan.embed.none import NoEmbedder

log = logging.getLogger(__name__)


def cache_folder() -> Path:
    """$ODE_VGAN_CACHE, or ~/.cache/ode_vgan."""
    return Path(os.environ.get("ODE_VGAN_CACHE") or Path.home() / ".cache" / "ode_vgan")


def cached(embed: Embedder, folder: str | Path | None = None) -> Embedder:
    """The embedder behind a disk cache; one that costs nothing, or has a cache, comes back as it is."""
    return embed if isinstance(embed, NoEmbedder | CachedEmbedder) else CachedEmbedder(embed, folder)


class CachedEmbedder(Embedder):
    """An embedder that computes every text or clip once per machine.

    One file per model and kind holds all vectors, which is right up to some 100,000 of them. A file that cannot be
    read is rebuilt; a folder that cannot be written is reported once and the vectors are computed as if uncached.
    """

    def __init__(self, embed: Embedder, folder: str | Path | None = None):
        self.embed = embed
        self.folder = Path(folder) if folder else cache_folder()
        self.dim = embed.dim

    @property
    def fingerprint(self) -> str:
        return self.embed.fingerprint

    def encode_text(self, texts: list[str]) -> Tensor:
        texts = [encodable(text) for text in texts]
        digests = [hashlib.sha256(text.encode()).digest() for text in texts]
        return self._lookup("text", digests, lambda missing: self.embed.encode_text([texts[i] for i in missing]))

    def encode_frames(self, clips: np.ndarray) -> Tensor:
        shape = repr(clips.shape[1:]).encode()
        digests = [hashlib.sha256(shape + np.ascontiguousarray(clip).tobytes()).digest() for clip in clips]
        return self._lookup("frames", digests, lambda missing: self.embed.encode_frames(clips[missing]))

    def path(self, kind: str) -> Path:
        """The file with this model's vectors of `kind` (text or frames)."""
        return self.folder / "embed" / f"{self.fingerprint}-{kind}.npz"

    def _lookup(self, kind: str, digests: Sequence[bytes], compute: Callable[[list[int]], Tensor]) -> Tensor:
        if not digests:
            return torch.zeros(0, self.dim)
        path = self.path(kind)
        known = read_vectors(path, self.dim)
        missing = list({digest: i for i, digest in enumerate(digests) if digest not in known}.values())
        if missing:
            fresh = compute(missing).cpu().float().numpy()
            known |= {digests[i]: row for i, row in zip(missing, fresh, strict=True)}
            add_vectors(path, {digests[i]: known[digests[i]] for i in missing}, self.dim)
        return torch.from_numpy(np.stack([known[digest] for digest in digests]))


def read_vectors(path: Path, dim: int) -> dict[bytes, np.ndarray]:
    """Vectors by content digest; empty where the file is missing, broken or of another width."""
    try:
        with np.load(path, allow_pickle=False) as file:
            keys, vectors = file["keys"], file["vectors"]
        if keys.shape != (len(vectors), 32) or vectors.shape[1:] != (dim,) or not np.isfinite(vectors).all():
            raise ValueError(f"keys {keys.shape}, vectors {vectors.shape}, expected width {dim}")
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        log.warning("embedding cache %s cannot be read (%s); it is rebuilt", path, error)
        return {}
    return {key.tobytes(): vector for key, vector in zip(keys, vectors, strict=True)}


def add_vectors(path: Path, fresh: dict[bytes, np.ndarray], dim: int) -> None:
    """Merge vectors into the file: locked against other writers, and whole at every moment for readers."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with locked(path.with_suffix(".lock")):
            merged = read_vectors(path, dim) | fresh
            keys = np.frombuffer(b"".join(merged), dtype=np.uint8).reshape(-1, 32)
            handle, name = tempfile.mkstemp(dir=path.parent, suffix=".tmp")
            try:
                with os.fdopen(handle, "wb") as file:
                    np.savez(file, keys=keys, vectors=np.stack(list(merged.values())).astype(np.float32))
                os.replace(name, path)
            except BaseException:
                os.unlink(name)
                raise
    except OSError as error:
        log.warning("embedding cache %s cannot be written (%s); set ODE_VGAN_CACHE to a writable folder", path, error)


@contextlib.contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold an exclusive lock on a file; where the platform has no flock, hold nothing."""
    try:
        import fcntl
    except ImportError:
        yield
        return
    with open(path, "w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)  # released when the file closes
        yield
