"""Parts of embeddings on disk: two .npy files and the parquet of their rows, bound to each other by digests."""

import hashlib
import io
import json
import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from ode_vgan.data.clips import write_atomic
from ode_vgan.embed.embedder import file_sha256
from ode_vgan.errors import UserError

SIDES = ("video", "text")
SCHEMA = pa.schema(
    [("key", pa.string()), ("uid", pa.string()), ("caption", pa.string()), ("url", pa.string())]
    + [(name, pa.float32()) for name in ("similarity", "similarity_min", "similarity_std")]
)


@dataclass(frozen=True)
class Block:
    """One part: video and text are float16 (N, E), memory-mapped; row i of the metadata is theirs."""

    number: int
    video: np.ndarray
    text: np.ndarray | None
    metadata: pa.Table


def part_path(root: Path, kind: str, number: int) -> Path:
    """Where the vectors of a kind ("video", "img", "text") or the "metadata" of a part lie."""
    folder, suffix = ("metadata", "parquet") if kind == "metadata" else (f"{kind}_emb", "npy")
    return root / folder / f"{folder}_{number:04d}.{suffix}"


def part_number(path: Path) -> int:
    """The number at the end of a part's name.

    Raises:
        UserError: there is none.
    """
    found = re.search(r"_(\d+)$", path.stem)
    if not found:
        raise UserError(f"{path} has no number at its end. Name it as clip-retrieval does: img_emb_0.npy.")
    return int(found.group(1))


def uids_digest(uids: list[str]) -> str:
    """sha256 over the ids, one a line."""
    return hashlib.sha256("".join(f"{uid}\n" for uid in uids).encode()).hexdigest()


def write_part(root: Path, number: int, vectors: dict[str, np.ndarray], rows: list[dict], made_from: dict) -> None:
    """Write a part as float16, its parquet last, and forget what a killed writer left of it."""
    digests = {}
    for kind in (*SIDES, "metadata"):
        path = part_path(root, kind, number)
        for left in path.parent.glob(f".{path.name}.*"):  # write_atomic's temporary names
            left.unlink(missing_ok=True)
    for kind, matrix in vectors.items():
        buffer = io.BytesIO()
        np.save(buffer, matrix.astype(np.float16), allow_pickle=False)
        write_atomic(part_path(root, kind, number), buffer.getvalue())
        digests[f"{kind}_sha256"] = hashlib.sha256(buffer.getvalue()).hexdigest()
    told = made_from | digests | {"uids_sha256": uids_digest([row["uid"] for row in rows])}
    buffer = io.BytesIO()
    table = pa.Table.from_pylist(rows, schema=SCHEMA).replace_schema_metadata(told)
    pq.write_table(table, buffer, compression="zstd")
    write_atomic(part_path(root, "metadata", number), buffer.getvalue())


def is_right(root: Path, number: int, made_from: dict) -> bool:
    """Whether a part is whole and was made from this."""
    try:
        table = pq.read_table(part_path(root, "metadata", number), columns=["uid"])
        told = _told(table.schema)
        whole = uids_digest(_uids(table)) == told["uids_sha256"] and all(
            file_sha256(part_path(root, kind, number)) == told[f"{kind}_sha256"] for kind in SIDES
        )
    except (OSError, KeyError, pa.ArrowInvalid):
        return False
    return whole and made_from.items() <= told.items()


def read_block(root: Path, path: Path, fingerprint: str | None = None) -> Block:
    """The part whose visual vectors are at the path.

    Args:
        fingerprint: of the embedder that the folder is of; None takes any.

    Raises:
        UserError: no metadata, a file that is not whole, or vectors or ids that are not those described; where
            clip-retrieval wrote the part there are no digests, and the numbers of rows must agree.
    """
    number = part_number(path)
    found = [table for table in (root / "metadata").glob("metadata_*.parquet") if part_number(table) == number]
    if not found:
        raise UserError(f"{path} has no metadata_{number:04d}.parquet beside it. Embed that shard again.")
    try:
        table = pq.read_table(found[0])
    except (OSError, pa.ArrowInvalid) as error:
        raise UserError(f"{found[0]} is no whole parquet ({_line(error)}). Embed that shard again.") from error
    told = _told(table.schema)
    if fingerprint is not None and told.get("fingerprint", fingerprint) != fingerprint:
        raise UserError(f"{path} is of {told['fingerprint']}, its folder of {fingerprint}. Embed that shard again.")
    if "uids_sha256" in told and uids_digest(_uids(table)) != told["uids_sha256"]:
        raise UserError(f"{found[0]}: its uids are not those that were embedded. Embed that shard again.")
    text = root / "text_emb" / path.name.replace(path.parent.name, "text_emb")
    video = _rows(path, table, told.get("video_sha256"))
    there = text.is_file() or "text_sha256" in told
    return Block(number, video, _rows(text, table, told.get("text_sha256")) if there else None, table)


def read_model(path: Path) -> dict:
    """What model.json says of the embedder; {} where there is none.

    Raises:
        UserError: it does not parse.
    """
    if not path.is_file():
        return {}
    try:
        return dict(json.loads(path.read_text()))
    except (ValueError, TypeError) as error:
        raise UserError(f"{path} does not parse ({error}). Embed again.") from error


def _rows(path: Path, table: pa.Table, digest: str | None) -> np.ndarray:
    """The vectors of one file, if they are those that its metadata describes."""
    try:
        rows = np.load(path, mmap_mode="r" if table.num_rows else None, allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise UserError(f"{path} is no whole .npy of numbers ({_line(error)}). Embed that shard again.") from error
    if rows.ndim != 2 or rows.dtype.kind != "f" or len(rows) != table.num_rows:
        raise UserError(f"{path} is {rows.dtype} {rows.shape}, its metadata has {table.num_rows} rows. Embed it again.")
    if digest is not None and file_sha256(path) != digest:
        raise UserError(f"{path} is not the file that its metadata describes: another sha256. Embed that shard again.")
    return rows


def _uids(table: pa.Table) -> list[str]:
    return [str(uid) for uid in table["uid"].to_pylist()] if "uid" in table.column_names else []


def _told(schema: pa.Schema) -> dict[str, str]:
    return {key.decode(): value.decode(errors="replace") for key, value in (schema.metadata or {}).items()}


def _line(error: Exception) -> str:
    return " ".join(str(error).split())[:160]
