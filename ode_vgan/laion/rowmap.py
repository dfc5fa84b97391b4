"""The row map: which clip is row i of an index, with a digest that other rows do not have."""

import hashlib
from collections import Counter
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from ode_vgan.errors import UserError
from ode_vgan.laion.vectors import Vectors

COLUMNS = ("uid", "key", "shard")


def make_rowmap(vectors: Vectors, shards: Path) -> pa.Table:
    """Columns uid, key, shard; row i is vector i.

    The key is the metadata's `key`, or clip-retrieval's `image_path`, or else the row's number. A row without a uid
    gets the first 16 bytes of the sha256 of its key. `shard` is empty where there is no tar of the part's number.

    Raises:
        UserError: two rows have one key.
    """
    table = vectors.metadata(["uid", "key", "image_path"])
    named = {name: table[name].to_pylist() for name in table.column_names}
    keys = [str(name) for name in named.get("key") or named.get("image_path") or range(vectors.count)]
    if len(set(keys)) < len(keys):
        twice = Counter(keys).most_common(1)[0][0]
        raise UserError(f"key {twice!r} names two vectors among {len(keys)}. Embed those shards again.")
    uids = [uid or hashlib.sha256(key.encode()).hexdigest()[:32] for uid, key in zip(_uids(named), keys, strict=True)]
    names = []
    for part in vectors.parts:
        name = f"{part.number:05d}"
        names += [name if (shards / f"{name}.tar").is_file() else ""] * len(part.rows)
    return pa.table({"uid": uids, "key": keys, "shard": names})


def _uids(named: dict[str, list]) -> list:
    return named.get("uid") or [None] * max(map(len, named.values()), default=0)


def rowmap_digest(table: pa.Table) -> str:
    """sha256 over every row's uid, key and shard, in order."""
    digest = hashlib.sha256()
    for batch in table.select(list(COLUMNS)).to_batches(max_chunksize=65_536):
        uid, key, shard = (pc.cast(column, pa.string()) for column in batch.columns)
        lines = pc.binary_join_element_wise(uid, "\t", key, "\t", shard, "\n", "", null_handling="replace")
        digest.update("".join(lines.to_pylist()).encode())
    return digest.hexdigest()


def write_rowmap(path: Path, table: pa.Table) -> str:
    """Write the map; returns its digest."""
    digest = rowmap_digest(table)
    pq.write_table(table, path, compression="zstd")
    return digest


def read_rowmap(path: Path, info: dict) -> pa.Table:
    """The map of an index whose video.json is `info`.

    Raises:
        UserError: the file is missing or broken, or belongs to other vectors or another order of them.
    """
    remedy = f"Build the index again: `ode-vgan laion index {path.parent.parent}`."
    try:
        table = pq.read_table(path, columns=list(COLUMNS))
    except (OSError, pa.ArrowInvalid, KeyError) as error:
        raise UserError(f"{path} cannot be read ({type(error).__name__}). {remedy}") from error
    if table.num_rows != info["count"]:
        raise UserError(f"{path} maps {table.num_rows} rows, its index has {info['count']}. {remedy}")
    found = rowmap_digest(table)
    if found != info["rowmap_digest"]:
        raise UserError(f"{path} has digest {found[:12]}, its index expects {info['rowmap_digest'][:12]}. {remedy}")
    return table
