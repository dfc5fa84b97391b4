"""Embeddings in clip-retrieval's layout: numbered .npy parts, each beside a parquet whose row i is vector i."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from ode_vgan.errors import UserError
from ode_vgan.laion.parts import read_model

KINDS = ("video", "img")  # ours, and clip-retrieval's own name for the visual side
BLOCK_ROWS = 8_192  # 16 MB at 512 numbers each
UNIT_SLACK = 2e-3  # float16 rounds the length of a unit vector by less


@dataclass(frozen=True)
class Part:
    """One .npy file (N, E), memory-mapped, and the parquet of its N rows."""

    number: int
    path: Path
    rows: np.ndarray
    metadata: Path


class Vectors:
    """The vectors of a folder as one tall matrix that is never wholly in memory.

    Attributes:
        count, dim: N and E.
        model: what model.json says of the embedder; {} where clip-retrieval wrote the folder.
        rescaled: rows read so far by `blocks` whose length was not 1; they come back at unit length.
    """

    def __init__(self, parts: list[Part], model: dict):
        self.parts, self.model = parts, model
        self.starts = np.cumsum([0, *(len(part.rows) for part in parts)])
        self.count, self.dim = int(self.starts[-1]), int(parts[0].rows.shape[1])
        self.rescaled = 0

    def blocks(self) -> Iterator[tuple[int, np.ndarray]]:
        """(first row, float32 (n, E) at unit length), in order.

        Raises:
            UserError: a row is zero or not finite.
        """
        self.rescaled = 0
        for part, start in zip(self.parts, self.starts, strict=False):
            for offset in range(0, len(part.rows), BLOCK_ROWS):
                block = np.asarray(part.rows[offset : offset + BLOCK_ROWS], dtype=np.float32)
                unit, rescaled = unit_rows(block, part.path, offset)
                self.rescaled += rescaled
                yield int(start) + offset, unit

    def take(self, chosen: np.ndarray) -> np.ndarray:
        """(n, E) float32 at unit length: the chosen rows, in that order."""
        out = np.empty((len(chosen), self.dim), dtype=np.float32)
        owner = np.searchsorted(self.starts, chosen, side="right") - 1
        for i in np.unique(owner):
            mine = owner == i
            out[mine] = self.parts[i].rows[np.asarray(chosen)[mine] - self.starts[i]]
        return unit_rows(out, self.parts[0].path.parent, 0)[0]

    def metadata(self, columns: list[str] | None = None) -> pa.Table:
        """The rows' metadata, row i beside vector i; columns that a part lacks are null there."""
        tables = []
        for part in self.parts:
            have = pq.read_schema(part.metadata).names
            tables.append(pq.read_table(part.metadata, columns=[name for name in columns or have if name in have]))
        return pa.concat_tables(tables, promote_options="permissive")


def unit_rows(block: np.ndarray, path: Path | str, offset: int) -> tuple[np.ndarray, int]:
    """The rows at unit length, and how many were not.

    Raises:
        UserError: a row is zero or not finite, with its number and file.
    """
    lengths = np.linalg.norm(block.astype(np.float32, copy=False), axis=1)
    broken = np.flatnonzero(~(np.isfinite(lengths) & (lengths > 0)))
    if len(broken):
        kind = "zero" if lengths[broken[0]] == 0 else "not finite"
        more = f" and {len(broken) - 1} more" if len(broken) > 1 else ""
        raise UserError(f"{path}: vector {offset + int(broken[0])}{more} is {kind}. Embed that shard again.")
    return block / lengths[:, None], int((np.abs(lengths - 1) > UNIT_SLACK).sum())


def open_vectors(folder: str | Path, kind: str | None = None) -> Vectors:
    """The embeddings of a folder: DIR, DIR/emb, or what clip-retrieval's `inference` wrote.

    Args:
        kind: "video", "img" or "text"; None takes the visual side that is there.

    Raises:
        UserError: none there, a part without its parquet, widths that differ, or rows that do not match.
    """
    folder = Path(folder)
    for root in (folder / "emb", folder):
        for name in KINDS if kind is None else (kind,):
            paths = sorted((root / f"{name}_emb").glob(f"{name}_emb_*.npy"), key=_number)
            if paths:
                return Vectors(_parts(paths, root / "metadata"), read_model(root / "model.json"))
    wanted = " or ".join(f"{name}_emb/{name}_emb_0.npy" for name in (KINDS if kind is None else (kind,)))
    raise UserError(f"no embeddings in {folder}: expected {wanted}. Make them with `ode-vgan laion embed {folder}`.")


def _parts(paths: list[Path], metadata: Path) -> list[Part]:
    tables = {_number(path): path for path in metadata.glob("metadata_*.parquet")}
    parts = []
    for path in paths:
        try:
            rows = np.load(path, mmap_mode="r", allow_pickle=False)
        except (ValueError, EOFError) as error:
            raise UserError(f"{path} is not a whole .npy of numbers ({error}). Embed that shard again.") from error
        if rows.ndim != 2 or rows.dtype.kind != "f" or (parts and rows.shape[1] != parts[0].rows.shape[1]):
            raise UserError(f"{path} is {rows.dtype} {rows.shape}; every part is float (N, E) of one width E.")
        number = _number(path)
        if number not in tables:
            raise UserError(f"{path} has no metadata_{number}.parquet in {metadata}. Embed that shard again.")
        described = pq.read_metadata(tables[number]).num_rows
        if described != len(rows):
            raise UserError(
                f"{path} has {len(rows)} vectors, {tables[number].name} has {described} rows. Embed that shard again."
            )
        parts.append(Part(number, path, rows, tables[number]))
    if not sum(len(part.rows) for part in parts):
        raise UserError(f"{paths[0].parent} holds no vector. Embed at least one clip.")
    return parts


def _number(path: Path) -> int:
    found = re.search(r"_(\d+)$", path.stem)
    if not found:
        raise UserError(f"{path.name} has no number at its end. Name it as clip-retrieval does: img_emb_0.npy.")
    return int(found.group(1))
