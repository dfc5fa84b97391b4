"""Names and ids of the metadata: canonical columns, the join key of LAION's tables, the ids of clips."""

import hashlib
import re
from collections.abc import Iterable
from glob import glob, has_magic
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ode_vgan.errors import UserError

if TYPE_CHECKING:
    import pyarrow as pa

UID_TYPE = np.dtype("u8,u8")
UID_PATTERN = re.compile(r"[0-9a-f]{32}")
# canonical name -> what files call it, lower case, the first that is there; LAION-400M, LAION-5B, Re-LAION, DataComp
ALIASES = {
    "url": ("url", "image_url", "video_url"),
    "text": ("text", "caption", "txt", "alt", "alt_text"),
    "width": ("width", "original_width"),
    "height": ("height", "original_height"),
    "bytes": ("bytes", "file_size", "content_length"),
    "language": ("language", "lang"),
    "license": ("license",),
    "nsfw": ("nsfw",),
    "sample_id": ("sample_id",),
    "similarity": ("similarity", "clip_b32_similarity_score"),
    "hash": ("hash",),
    "punsafe": ("punsafe",),
    "pwatermark": ("pwatermark",),
    "aesthetic": ("aesthetic", "aesthetic_score"),
    "md5": ("md5",),
}
# what each is in SQL; LAION-5B's own types. What does not fit its type is null
TYPES = {
    "url": "VARCHAR",
    "text": "VARCHAR",
    "width": "INTEGER",
    "height": "INTEGER",
    "bytes": "BIGINT",
    "language": "VARCHAR",
    "license": "VARCHAR",
    "nsfw": "VARCHAR",
    "similarity": "DOUBLE",
    "hash": "BIGINT",
    "punsafe": "FLOAT",
    "pwatermark": "FLOAT",
    "aesthetic": "FLOAT",
    "md5": "VARCHAR",
}


def laion_hash(url: str | None, text: str | None) -> int:
    """The key that joins LAION's tables: signed 64 bits of the url followed by the alt text.

    None counts as the empty string. A changed caption changes the key, and so loses the tags.

    Source: LAION's laion-prepro, big_join.py: the first half of MurmurHash3 x64 128, seed 0.
    """
    return laion_hashes([url], [text])[0]


def laion_hashes(urls: Iterable[str | None], texts: Iterable[str | None]) -> list[int]:
    """`laion_hash` of each pair.

    Raises:
        UserError: mmh3 is not installed.
    """
    try:
        from mmh3 import hash64
    except ImportError as error:
        raise UserError("mmh3 is not installed, which LAION's hash needs: pip install 'ode_vgan[laion]'.") from error
    return [hash64((url or "") + (text or ""))[0] for url, text in zip(urls, texts, strict=True)]


def clip_uid(content: bytes) -> str:
    """32 hex digits: the first 16 bytes of the SHA-256 of a clip's file."""
    return hashlib.sha256(content).hexdigest()[:32]


def uid_array(uids: Iterable[str]) -> np.ndarray:
    """Ids as DataComp holds them, in the order given: structured "u8,u8" (N,), the high half first.

    Raises:
        UserError: an id that is not 32 lower-case hex digits.
    """
    uids = list(uids)
    for i, uid in enumerate(uids):
        if not isinstance(uid, str) or not UID_PATTERN.fullmatch(uid):
            raise UserError(
                f"uid number {i} is {str(uid)[:50]!r}; an id is 32 hex digits 0-9a-f. Remove or correct it."
            )
    halves = np.frombuffer(bytes.fromhex("".join(uids)), dtype=">u8").astype(np.uint64)
    return halves.view(UID_TYPE)


def uids_of(array: np.ndarray) -> list[str]:
    """The ids of a "u8,u8" array as 32 hex digits each; inverse of `uid_array`."""
    return [f"{high:016x}{low:016x}" for high, low in array.tolist()]


def canonical_names(columns: Iterable[str], *, url: str | None = None, text: str | None = None) -> dict[str, str]:
    """Canonical name -> the file's own, for every column in the file's order.

    Case does not matter. Columns that LAION does not know keep their name in lower case; pandas' index is dropped.

    Args:
        url, text: the file's names of these two, where they are not LAION's.

    Raises:
        UserError: a named column is not there, or two columns differ by case only.
    """
    own = {}
    for column in columns:
        if own.setdefault(column.lower(), column) != column:
            raise UserError(f"columns {own[column.lower()]!r} and {column!r} differ by case only. Rename one.")
    named = {"url": url, "text": text}
    for role, name in named.items():
        if name is not None and name.lower() not in own:
            raise UserError(f"no column {name!r} for the {role}; there are {', '.join(own.values())}. Name another.")
    taken = {}
    for canonical, aliases in ALIASES.items():
        wanted = (named.get(canonical) or "").lower()
        found = wanted or next((alias for alias in aliases if alias in own), None)
        if found and found not in taken:
            taken[found] = canonical
    others = {name for name in own if name not in taken and not name.startswith("__index_level_")}
    names = [(taken.get(name) or _free(name, taken), own[name]) for name in own if name in taken or name in others]
    return dict(names)


def parquet_files(paths: str | Path | Iterable[str | Path]) -> list[Path]:
    """The parquet files of files, folders (at any depth) and globs, sorted, each once.

    Raises:
        UserError: a path that leads to none.
    """
    found = set()
    for path in [paths] if isinstance(paths, str | Path) else list(paths):
        here = Path(path)
        if here.is_dir():
            files = [file for file in here.rglob("*.parquet") if not file.name.startswith((".", "_"))]
        elif here.is_file() or not has_magic(str(path)):
            files = [here] if here.is_file() else []
        else:
            files = [Path(file) for file in glob(str(path), recursive=True) if Path(file).is_file()]
        if not files:
            raise UserError(f"no parquet file at {path}. Give a file, a folder or a glob such as 'laion/*.parquet'.")
        found.update(files)
    if not found:
        raise UserError("no parquet file given. Name a file, a folder or a glob such as 'laion/*.parquet'.")
    return sorted(found)


def read_columns(
    paths: str | Path | Iterable[str | Path], *, url: str | None = None, text: str | None = None
) -> dict[Path, dict[str, str]]:
    """For each parquet file of the paths, its columns: canonical name -> its own. Reads footers only.

    Raises:
        UserError: no files, a file that is not a whole parquet, or a named column that is absent.
    """
    columns = {}
    for path in parquet_files(paths):
        names = read_schema(path).names
        try:
            columns[path] = canonical_names(names, url=url, text=text)
        except UserError as error:
            raise UserError(f"{path}: {error}") from error
    return columns


def read_schema(path: Path) -> "pa.Schema":
    """The Arrow schema of a parquet file, from its footer.

    Raises:
        UserError: it is not a whole parquet file.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        return pq.read_schema(path)
    except (pa.ArrowException, OSError, ValueError) as error:
        reason = " ".join(str(error).split())
        raise UserError(f"{path} is not a whole parquet file ({reason}). Fetch it again or leave it out.") from error


def _free(name: str, taken: dict[str, str]) -> str:
    """The name, or with "source_" before it where a canonical column has it."""
    return f"source_{name}" if name in taken.values() else name
