"""A subset is a manifest: sorted 128-bit ids, with the SQL, thresholds and digests that made it.

DIR/subsets/NAME.npy        every id, "u8,u8", sorted, each once (DataComp's layout)
DIR/subsets/NAME.test.npy   those to test on; the others are to train on
DIR/subsets/NAME.json       how they came about, and the digests of both files
"""

import hashlib
import io
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ode_vgan.data.clips import write_atomic
from ode_vgan.data.shards import Entry
from ode_vgan.errors import UserError
from ode_vgan.laion.disjoint import decontaminate, testing_side
from ode_vgan.laion.rules import Rule
from ode_vgan.laion.schema import UID_PATTERN, UID_TYPE, clip_uid, uid_array, uids_of
from ode_vgan.laion.sql import Expression, shorten

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["Subset", "decontaminate", "entries_of", "find_subset", "read_subset", "write_subset"]

FORMAT = "ode_vgan subset 1"
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}")
LIMIT_JSON_BYTES = 64 * 2**20


@dataclass(frozen=True)
class Subset:
    """A manifest as it was read.

    Attributes:
        path: its json.
        ids, test_ids: "u8,u8" (N,), sorted; those to test on are among the ids.
        provenance: name, sql, thresholds, sources (digest by file), counts, seed, test_share, removed.
    """

    path: Path
    ids: np.ndarray = field(repr=False)
    test_ids: np.ndarray = field(repr=False)
    provenance: Mapping[str, object] = field(repr=False)

    @cached_property
    def splits(self) -> dict[str, str]:
        """ "train" or "test" by uid."""
        return dict.fromkeys(uids_of(self.ids), "train") | dict.fromkeys(uids_of(self.test_ids), "test")

    @property
    def uids(self) -> set[str]:
        """The ids as 32 hex digits each."""
        return set(self.splits)

    def changed_since(self, folder: str | Path) -> list[str]:
        """The files that made the subset and are not what they were, or are gone, below the dataset folder."""
        from ode_vgan.laion.dataset import file_digests

        made_from = self.provenance["sources"]
        there = [Path(folder) / name for name in made_from if (Path(folder) / name).is_file()]
        now = file_digests(folder, there)
        return sorted(name for name, digest in made_from.items() if now.get(name) != digest)


def write_subset(
    folder: str | Path,
    name: str,
    uids: Iterable[str] | None = None,
    *,
    sql: str | None = None,
    thresholds: Mapping[str, object] | None = None,
    test_share: float = 0.1,
    seed: int = 0,
    apart_from: Sequence[str | Path] = (),
    max_bits: int | None = None,
    memory: str = "2GB",
    threads: int | None = None,
) -> dict:
    """Write a manifest of a dataset's clips: those named, those an expression is true for, or all.

    Sides are chosen over the whole dataset, so that two subsets of it never test on what the other trains on.
    The same call over the same files writes the same bytes; a name that is taken by other clips is refused.

    Args:
        folder: the dataset; the manifest goes to its `subsets`.
        name: 1 to 64 letters, digits, - and _.
        uids: 32 hex digits each, in any order.
        sql: an expression over the columns of shards and scores, with {threshold.NAME} for the thresholds.
        test_share: of the sources; seed: another one chooses others.
        apart_from: manifests or dataset folders whose clips must not be met, in training or testing.
        max_bits: how far a perceptual hash may be from theirs to count as met, of 64; None compares none.

    Returns:
        path, count and the provenance that the json holds.

    Raises:
        UserError: no such clips, a bad name, SQL, share or manifest, or a name that is taken.
    """
    from ode_vgan.laion.dataset import dataset_files, file_digests, read_clips

    folder = Path(folder)
    if not isinstance(name, str) or not NAME.fullmatch(name):
        raise UserError(f"{str(name)[:70]!r} is no name for a subset: 1 to 64 letters, digits, '-' and '_'.")
    named = None if uids is None else set(uids_of(uid_array(uids)))
    clips = read_clips(folder, _expression(sql, thresholds), memory=memory, threads=threads)
    is_test = testing_side(clips, test_share, seed)
    kept = clips["passes"].to_numpy(zero_copy_only=False).astype(bool)
    absent = set() if named is None else named - set(clips["uid"].to_pylist())
    if absent:
        raise UserError(
            f"{len(absent)} of {len(named)} ids are no clips of {folder}, such as {min(absent)}. Remove them."
        )
    if named is not None:
        kept &= np.array([uid in named for uid in clips["uid"].to_pylist()], dtype=bool)
    removed = []
    for other in apart_from:
        theirs, made_from = _clips_apart(other, memory, threads)
        met = decontaminate(clips, theirs, max_bits=max_bits)
        counts = {reason: int((kept & rows).sum()) for reason, rows in met.items()}
        removed.append({"apart_from": Path(other).name, "sha256": made_from, **counts})
        kept &= ~np.any(list(met.values()), axis=0)
    if not kept.any():
        raise UserError(f"no clip of {folder} is in the subset {name}. Loosen its SQL, thresholds or apart_from.")
    provenance = {
        "sql": sql,
        "thresholds": dict(thresholds or {}),
        "named": named is not None,
        "sources": file_digests(folder, [file for files in dataset_files(folder) for file in files]),
        "seed": seed,
        "test_share": test_share,
        "removed": removed,
        "max_bits": max_bits,
    }
    sides = [clips.filter(rows)["uid"].to_pylist() for rows in (kept, kept & is_test)]
    return _publish(folder / "subsets" / f"{name}.json", *sides, provenance)


def read_subset(path: str | Path) -> Subset:
    """A manifest, by its .json or .npy.

    Raises:
        FileNotFoundError: there is none.
        UserError: it is not one of ours, or a file of it is not what was written.
    """
    path = Path(path)
    path = path.with_suffix(".json") if path.suffix == ".npy" else path
    if not path.is_file():
        raise FileNotFoundError(f"no subset at {path}. Write one with `ode-vgan laion subset`, or check the path.")
    provenance = _read_json(path)
    ids, test_ids = (_read_ids(path.with_suffix(suffix), provenance) for suffix in (".npy", ".test.npy"))
    subset = Subset(path, ids, test_ids, provenance)
    if not set(uids_of(test_ids)) <= set(uids_of(ids)):
        raise UserError(f"{path}: it tests on clips that are not its own. Write the subset again.")
    return subset


def find_subset(subset: str | Path, source: str | Path) -> Subset:
    """A manifest by its path, or by its name within the `subsets` of the dataset that the clips are read from."""
    source, named = Path(source), Path(subset)
    inside = named.with_name(f"{named.name.removesuffix('.json').removesuffix('.npy')}.json")
    places = [named, *(folder / "subsets" / inside for folder in (source, source.parent))]
    return read_subset(next((place for place in places if place.is_file()), named))


def entries_of(
    entries: Iterable[Entry], subset: Subset, names: tuple[str, str] = ("train", "test")
) -> tuple[list[Entry], list[str]]:
    """The entries that a subset names, each with its side as meta `split`, and the ids that none of them has.

    An entry's id is its meta `uid`, or else half the SHA-256 of its bytes. Of entries with one id the first is taken.

    Args:
        names: what to call the sides to train and to test on.
    """
    sides, found, called = subset.splits, {}, dict(zip(("train", "test"), names, strict=True))
    for entry in entries:
        uid = _uid_of(entry)
        if uid in sides and uid not in found:
            found[uid] = replace(entry, meta={**entry.meta, "split": called[sides[uid]]})
    return list(found.values()), sorted(sides.keys() - found.keys())


def _uid_of(entry: Entry) -> str:
    stated = [entry.meta.get("uid"), *(str(entry.meta.get(name) or "")[:32] for name in ("clip_sha256", "sha256"))]
    known = (uid for uid in stated if isinstance(uid, str) and UID_PATTERN.fullmatch(uid))
    return next(known, None) or clip_uid(entry.read())


def _expression(sql: str | None, thresholds: Mapping[str, object] | None) -> Expression | None:
    if sql is None:
        return None
    return Rule("subset", sql, dict(thresholds) if thresholds else None).expression()


def _clips_apart(path: str | Path, memory: str, threads: int | None) -> tuple["pa.Table", str]:
    """The clips that a manifest tests on (all, where it tests on none) or a dataset folder has, and a digest of it."""
    from ode_vgan.laion.dataset import dataset_files, file_digests, read_clips

    path = Path(path)
    if path.is_dir():
        digests = file_digests(path, [file for files in dataset_files(path) for file in files])
        return read_clips(path, memory=memory, threads=threads), _sha256(json.dumps(digests).encode())
    subset = read_subset(path)
    wanted = set(uids_of(subset.test_ids if len(subset.test_ids) else subset.ids))
    clips = read_clips(subset.path.parent.parent, memory=memory, threads=threads)
    mask = np.array([uid in wanted for uid in clips["uid"].to_pylist()], dtype=bool)
    if len(wanted - set(clips["uid"].to_pylist())):
        raise UserError(f"{path}: the dataset beside it has not all its clips. Fetch them, or write the subset again.")
    return clips.filter(mask), subset.provenance["digest"]


def _publish(path: Path, uids: list[str], test_uids: list[str], provenance: dict) -> dict:
    contents = {path.with_suffix(".npy"): _npy(uids), path.with_suffix(".test.npy"): _npy(test_uids)}
    count, test = len(set(uids)), len(set(test_uids))
    record = {"format": FORMAT, "name": path.stem, "count": count, "train": count - test, "test": test, **provenance}
    record["files"] = {file.name: _sha256(content) for file, content in contents.items()}
    record["digest"] = _digest(record)
    text = (json.dumps(record, indent=2, ensure_ascii=False, sort_keys=True) + "\n").encode()
    if path.is_file() and path.read_bytes() != text:
        raise UserError(f"{path} is there, and is another subset. Choose another name, or remove it.")
    for file, content in contents.items():
        write_atomic(file, content)
    write_atomic(path, text)
    return {"path": str(path), **record}


def _npy(uids: list[str]) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, uid_array(sorted(set(uids))), allow_pickle=False)
    return buffer.getvalue()


def _read_json(path: Path) -> dict:
    if path.stat().st_size > LIMIT_JSON_BYTES:
        raise UserError(f"{path} has {path.stat().st_size} bytes, at most {LIMIT_JSON_BYTES}. It is no manifest.")
    try:
        record = json.loads(path.read_bytes())
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path} does not parse ({shorten(str(error))}). Write the subset again.") from error
    if not isinstance(record, dict) or record.get("format") != FORMAT:
        raise UserError(f"{path} is no manifest of `ode-vgan laion subset`. Give the NAME.json that it wrote.")
    if record.get("digest") != _digest(record):
        raise UserError(f"{path} was changed after it was written. Write the subset again.")
    return record


def _read_ids(path: Path, provenance: dict) -> np.ndarray:
    content = path.read_bytes() if path.is_file() else b""
    if _sha256(content) != provenance["files"].get(path.name):
        raise UserError(f"{path} is not the file that its manifest names. Write the subset again.")
    try:
        ids = np.load(io.BytesIO(content), allow_pickle=False)
    except (ValueError, EOFError, OSError) as error:
        raise UserError(f"{path} is no .npy of ids ({shorten(str(error))}). Write the subset again.") from error
    if ids.dtype != UID_TYPE or ids.ndim != 1:
        raise UserError(f"{path} holds {ids.dtype} {ids.shape}, not ids of two u8. Write the subset again.")
    high, low = ids["f0"], ids["f1"]
    if not ((high[1:] > high[:-1]) | ((high[1:] == high[:-1]) & (low[1:] > low[:-1]))).all():
        raise UserError(f"{path}: its ids do not rise. Sort them and write the subset again.")
    return ids


def _digest(record: dict) -> str:
    """SHA-256 of a manifest's json without its digest."""
    rest = {name: value for name, value in record.items() if name != "digest"}
    return _sha256(json.dumps(rest, sort_keys=True).encode())


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
