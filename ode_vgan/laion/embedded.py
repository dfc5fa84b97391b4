"""Scores that come from embeddings: how well clip and caption match, and what heads say of the clip."""

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ode_vgan.embed.embedder import file_sha256
from ode_vgan.errors import UserError

if TYPE_CHECKING:
    from ode_vgan.laion.embeddings import Block

SIMILARITIES = ("similarity", "similarity_min", "similarity_std")
HEADS = ("aesthetic", "punsafe", "pviolence")


def fingerprint_of(folder: Path, number: int, heads: dict[str, str]) -> str:
    """What a shard's columns here are made from: its part of the embeddings, and the files of the heads."""
    metadata = _metadata_path(folder, number)
    told = [file_sha256(metadata)[:16] if metadata.is_file() else "none"]
    for name, file in sorted(heads.items()):
        if not Path(file).exists():
            raise UserError(f"no head for {name} at {file}. Check the path, or leave the score out.")
        told.append(f"{name} {_head_sha256(Path(file))[:16]}")
    return " ".join(told)


def why_missing(folder: Path, number: int, heads: dict[str, str]) -> dict[str, str]:
    """Why columns of one shard are null for all its clips, by column."""
    missing = {name: "no head is given" for name in HEADS if name not in heads}
    if not _metadata_path(folder, number).is_file():
        reason = f"shard {number:05d} is not embedded. Run: ode-vgan laion embed DIR, then score again"
        missing |= dict.fromkeys((*SIMILARITIES, *heads), reason)
    return missing


def embedded_scores(
    folder: Path, number: int, keys: list[str], uids: list[str | None], heads: dict[str, str]
) -> dict[str, list]:
    """Columns of similarity and heads for the clips of one shard; null where `why_missing` says why.

    A clip whose uid is not the one that was embedded under its key has nulls.

    Raises:
        UserError: the part's vectors are not those that its metadata describes, or a head does not load.
    """
    columns = {name: [None] * len(keys) for name in (*SIMILARITIES, *HEADS)}
    block = _block(folder, number)
    if block is None:
        return columns
    names = (block.metadata[name].to_pylist() for name in ("key", "uid"))
    row_of = {pair: i for i, pair in enumerate(zip(*names, strict=True))}
    rows = [row_of.get(pair) for pair in zip(keys, uids, strict=True)]
    found = {name: block.metadata[name].to_pylist() for name in SIMILARITIES if name in block.metadata.column_names}
    found |= {name: _head_scores(file, block) for name, file in heads.items()}
    for name, values in found.items():
        columns[name] = [None if row is None else values[row] for row in rows]
    return columns


def _head_scores(file: str, block: "Block") -> list[float]:
    from ode_vgan.laion.heads import load_head

    made_by = (block.metadata.schema.metadata or {}).get(b"fingerprint")
    scores = load_head(file).score(np.asarray(block.video, np.float32), made_by and made_by.decode())
    return [float(score) for score in scores]


def _block(folder: Path, number: int) -> "Block | None":
    from ode_vgan.laion.embeddings import Embeddings, read_embeddings

    if not _metadata_path(folder, number).is_file():
        return None
    found = read_embeddings(folder)
    paths = [path for path in found.paths if int(path.stem.rpartition("_")[2]) == number]
    return next(iter(Embeddings(found.folder, paths, found.model)), None)


def _metadata_path(folder: Path, number: int) -> Path:
    return folder / "emb" / "metadata" / f"metadata_{number:04d}.parquet"


def _head_sha256(path: Path) -> str:
    """Of a file, or of every file of a folder."""
    if path.is_file():
        return file_sha256(path)
    files = sorted(one for one in path.rglob("*") if one.is_file())
    names = (f"{one.relative_to(path)} {file_sha256(one)}\n" for one in files)
    return hashlib.sha256("".join(names).encode()).hexdigest()
