"""The folder that a fetch writes: one writer at a time, one table and one set of options, shards whole or absent."""

import fcntl
import json
import re
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ode_vgan.data.clips import write_atomic
from ode_vgan.errors import UserError

MEMORY = "_fetch.json"
LOCK = "_fetch.lock"
LEFT_OVER = re.compile(r"\.(\d{5}(\.tar|\.parquet|_stats\.json)|_fetch\.json)\..+")  # write_atomic's temporary names
SHOWN = 5


@contextmanager
def one_writer(shards: Path) -> Iterator[None]:
    """Hold the folder; another process that wants it is refused, and one that died has let go of it.

    Raises:
        UserError: another process holds it.
    """
    shards.mkdir(parents=True, exist_ok=True)
    with open(shards / LOCK, "w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise UserError(
                f"{shards} is being written by another fetch. Wait for it, or choose another folder."
            ) from error
        yield


def remember(shards: Path, asked: dict) -> None:
    """Write down what the folder is made from, or check that it is the same as before.

    Raises:
        UserError: it is another table or another option, each named.
    """
    path = shards / MEMORY
    if not path.exists():
        if any(shards.glob("*.tar")):
            raise UserError(f"{shards} holds shards that no fetch wrote. Choose an empty folder.")
        write_atomic(path, (json.dumps(asked, indent=2, sort_keys=True, ensure_ascii=False) + "\n").encode())
        return
    try:
        before = json.loads(path.read_text())
    except ValueError as error:
        raise UserError(f"{path} does not parse ({error}). Choose another folder.") from error
    asked = json.loads(json.dumps(asked))  # tuples become lists, as they did in the file
    names = [name for name in sorted({*before, *asked}) if before.get(name) != asked.get(name)]
    if names:
        differing = [f"{name}={before.get(name)!r}, now {asked.get(name)!r}" for name in names[:SHOWN]]
        further = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
        raise UserError(f"{shards} was begun with {'; '.join(differing)}{further}. Use the same, or another folder.")


def clear_left_overs(shards: Path) -> None:
    """Remove the temporary files of a fetch that was killed."""
    for path in shards.iterdir():
        if LEFT_OVER.fullmatch(path.name):
            path.unlink()


def missing_shards(shards: Path, count: int) -> list[int]:
    """Numbers of the shards that are not whole yet: those without a tar, which comes last."""
    return [number for number in range(count) if not (shards / f"{number:05d}.tar").exists()]


def read_counts(shards: Path) -> dict[str, int]:
    """Rows by status over all whole shards, with their "count", and the number of "shards"."""
    counts: Counter = Counter(shards=0, count=0, success=0)
    for tar in sorted(shards.glob("*.tar")):
        stats = json.loads((shards / f"{tar.stem}_stats.json").read_text())
        counts["shards"] += 1
        counts["count"] += stats["count"]
        counts["success"] += stats["successes"]
        for status in ("failed_to_download", "failed_to_decode", "filtered"):
            if stats.get(status):
                counts[status] += stats[status]
    return dict(counts)
