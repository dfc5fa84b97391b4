"""Shards: captioned clips in webdataset tars, each with a parquet of its rows and a json of its counts."""

import io
import json
import tarfile
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from ode_vgan.data.clips import write_atomic
from ode_vgan.errors import UserError

CLIP_SUFFIXES = {"mp4", "gif", "webm", "avi", "webp", "mkv", "mov", "m4v"}


@dataclass
class Sample:
    """One clip on its way into a shard.

    A meta whose "status" is other than "success" (with an "error_message") reaches the parquet and the counts,
    never the tar.
    """

    key: str
    clip: bytes
    caption: str
    meta: dict = field(default_factory=dict)


@dataclass(frozen=True)
class Source:
    """Where the bytes of a clip lie: size bytes at the offset of a file; size None is to the end."""

    path: Path
    offset: int = 0
    size: int | None = None


@dataclass(frozen=True)
class Entry:
    """One clip that can be read at random; its caption is None where nobody wrote one."""

    key: str
    caption: str | None
    meta: dict
    source: Source

    def content(self) -> bytes | Path:
        """What to decode: the clip's bytes, or the path of a file that is all of it."""
        whole = not self.source.offset and self.source.size is None
        return self.source.path if whole else self.read()

    def read(self) -> bytes:
        """The bytes of the clip's file."""
        with open(self.source.path, "rb") as file:
            file.seek(self.source.offset)
            return file.read(-1 if self.source.size is None else self.source.size)


def write_shards(folder: str | Path, samples: Iterable[Sample], *, per_shard: int = 1000) -> list[Path]:
    """Write 00000.tar, 00000.parquet, 00000_stats.json, 00001.tar ... and return the tars.

    Each file appears whole or not at all, its tar last. Keys are sorted within a shard,
    and the bytes depend on the samples alone.

    Raises:
        UserError: per_shard below 1, a key that is empty, repeated or holds "." or "/", or shards already there.
    """
    folder = Path(folder)
    if per_shard < 1:
        raise UserError(f"per_shard={per_shard} must be at least 1.")
    if any(folder.glob("*.tar")):
        raise UserError(f"{folder} already holds shards. Choose an empty folder or remove them.")
    source, seen, tars = iter(samples), set(), []
    while shard := list(islice(source, per_shard)):
        for sample in shard:
            _check_key(sample.key, seen)
        tars.append(write_shard(folder, f"{len(tars):05d}", sorted(shard, key=lambda sample: sample.key)))
    return tars


def write_shard(folder: Path, name: str, samples: list[Sample], *, schema: pa.Schema | None = None) -> Path:
    """Write one shard, its rows and members in the order given: name.parquet, name_stats.json, then name.tar.

    Each appears whole or not at all; where the tar is, all is.

    Args:
        schema: columns and types of the parquet; None infers them from the samples.
    """
    good = [sample for sample in samples if _status(sample) == "success"]
    for sample in samples:
        _check_caption(sample)
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        for sample in good:
            meta = json.dumps(_row(sample), sort_keys=True, ensure_ascii=False).encode()
            for suffix, content in (("mp4", sample.clip), ("txt", sample.caption.encode()), ("json", meta)):
                member = tarfile.TarInfo(f"{sample.key}.{suffix}")  # its mtime, uid and gid are 0
                member.size = len(content)
                tar.addfile(member, io.BytesIO(content))
    write_atomic(folder / f"{name}.parquet", _parquet([_row(sample) for sample in samples], schema))
    write_atomic(folder / f"{name}_stats.json", _stats(samples, good))
    path = folder / f"{name}.tar"
    write_atomic(path, buffer.getvalue())
    return path


def read_index(folder: str | Path) -> list[Entry]:
    """Every clip of a folder: from its tars (img2dataset, video2dataset layout), or else its own video files.

    Tars are looked for at any depth; samples without a clip are left out. A clip's caption is its .txt,
    or "caption" of its .json, or None. Entries are in the order of the file names.

    Raises:
        FileNotFoundError: there is no such folder.
        UserError: the folder holds no clips, or a tar breaks off.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise FileNotFoundError(f"no data folder {folder}. Check the path, or build one with `ode-vgan data emoji`.")
    tars = sorted(folder.rglob("*.tar"))
    entries = [entry for tar in tars for entry in read_tar(tar)] or _folder_entries(folder)
    if not entries:
        suffixes = " ".join(f".{suffix}" for suffix in sorted(CLIP_SUFFIXES))
        raise UserError(f"no clips in {folder}: expected tars that hold, or files that end in, {suffixes}.")
    return entries


def _check_key(key: str, seen: set[str]) -> None:
    if not key or "." in key or "/" in key or key in seen:
        raise UserError(f"key {key!r} must be unique, not empty, and without '.' and '/'. Rename it.")
    seen.add(key)


def _check_caption(sample: Sample) -> None:
    if not sample.caption.isascii() and any("\ud800" <= letter <= "\udfff" for letter in sample.caption):
        raise UserError(f"the caption of {sample.key!r} has half a character (a lone surrogate). Decode it anew.")


def _row(sample: Sample) -> dict:
    defaults = {"status": "success", "error_message": None}
    return defaults | sample.meta | {"key": sample.key, "caption": sample.caption}


def _status(sample: Sample) -> str:
    return sample.meta.get("status") or "success"


def _parquet(rows: list[dict], schema: pa.Schema | None) -> bytes:
    columns = sorted({name for row in rows for name in row}, key=lambda name: (name not in ("key", "caption"), name))
    if schema is not None:
        columns = schema.names
    table = pa.table({name: [row.get(name) for row in rows] for name in columns}, schema=schema)
    buffer = io.BytesIO()
    pq.write_table(table, buffer, compression="zstd")
    return buffer.getvalue()


def _stats(samples: list[Sample], good: list[Sample]) -> bytes:
    bad = [sample for sample in samples if _status(sample) != "success"]
    reasons = Counter(sample.meta.get("error_message") or _status(sample) for sample in bad)
    kinds = Counter("failed_to_download" if _status(sample) == "failed" else _status(sample) for sample in bad)
    stats = {
        "count": len(samples),
        "successes": len(good),
        **{"failed_to_download": 0, "failed_to_resize": 0},
        **dict(sorted(kinds.items())),
        "duration": round(sum(float(sample.meta.get("duration_seconds") or 0) for sample in good), 3),
        "bytes": sum(len(sample.clip) for sample in good),
        "status_dict": ({"success": len(good)} if good else {}) | dict(sorted(reasons.items())),
    }
    return (json.dumps(stats, indent=2, ensure_ascii=False) + "\n").encode()


def read_tar(path: Path) -> Iterator[Entry]:
    """Clips of one tar, in its order; the members of a sample share the name up to its first dot.

    Raises:
        UserError: the tar breaks off.
    """
    groups: dict[str, dict[str, Source]] = {}
    end = 0
    with open(path, "rb") as file:
        try:
            with tarfile.open(fileobj=file, mode="r:") as tar:
                for member in tar:
                    end = member.offset_data + -(-member.size // tarfile.BLOCKSIZE) * tarfile.BLOCKSIZE
                    if member.isfile():
                        key, suffix = _split(member.name)
                        groups.setdefault(key, {})[suffix] = Source(path, member.offset_data, member.size)
        except (tarfile.TarError, EOFError) as error:
            raise UserError(f"{path} is not a whole tar ({error}). Fetch it again.") from error
        file.seek(end)
        if file.read(tarfile.BLOCKSIZE) != bytes(tarfile.BLOCKSIZE):  # tarfile passes over a half header
            raise UserError(f"{path} breaks off after {len(groups)} samples. Fetch it again.")
    for key, members in groups.items():
        yield from _entry(key, members)


def _split(name: str) -> tuple[str, str]:
    folder, _, base = name.rpartition("/")
    stem, _, suffix = base.partition(".")
    return f"{folder}/{stem}" if folder else stem, suffix.lower()


def _folder_entries(folder: Path) -> list[Entry]:
    groups: dict[str, dict[str, Source]] = {}
    for path in sorted(path for path in folder.rglob("[!.]*") if path.is_file()):
        key = str(path.relative_to(folder).with_suffix(""))
        groups.setdefault(key, {})[path.suffix.lower().lstrip(".")] = Source(path)
    return [entry for key, members in groups.items() for entry in _entry(key, members)]


def _entry(key: str, members: dict[str, Source]) -> Iterator[Entry]:
    clips = sorted(CLIP_SUFFIXES & members.keys(), key=lambda suffix: (suffix != "mp4", suffix))
    if not clips:
        return
    meta, caption = _meta(key, members), None
    if "txt" in members:
        caption = _content(members["txt"]).decode(errors="replace").strip()
    caption = caption or meta.get("caption") or meta.get("text")
    yield Entry(key, caption if isinstance(caption, str) else None, meta, members[clips[0]])


def _meta(key: str, members: dict[str, Source]) -> dict:
    if "json" not in members:
        return {}
    try:
        meta = json.loads(_content(members["json"]))
    except ValueError as error:
        raise UserError(f"{members['json'].path}: the json of {key} does not parse ({error}). Repair it.") from error
    return meta if isinstance(meta, dict) else {}


def _content(source: Source) -> bytes:
    return Entry("", None, {}, source).read()
