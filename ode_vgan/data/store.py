"""Decoded clips by number, and which clips of a source belong to which split."""

import hashlib
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from itertools import islice
from pathlib import Path
from threading import Lock

from torch.utils.data import get_worker_info

from ode_vgan.data.clips import Clip, decode_clip
from ode_vgan.data.shards import Entry, read_index
from ode_vgan.errors import UserError

TEST_SHARE = 0.1
PRELOAD_CHUNK = 64


class ClipStore:
    """Clips of one split at one size, decoded once and kept while they fit.

    Args:
        max_frames: frames read from the start of a clip, at most.
        cache_mb: decoded megabytes kept in memory; loader processes share what was there when they started.

    Attributes:
        bad: reason by clip number, for clips found unusable so far.
    """

    def __init__(self, entries: list[Entry], size: int, *, max_frames: int | None = None, cache_mb: int = 0):
        self.entries, self.size, self.max_frames = entries, size, max_frames
        self.free_bytes = cache_mb * 2**20
        self.kept: dict[int, Clip] = {}
        self.bad: dict[int, str] = {}
        self.lock = Lock()

    def __len__(self) -> int:
        return len(self.entries)

    def clip(self, i: int) -> Clip:
        """Clip number i.

        Raises:
            UserError, OSError: it cannot be read or decoded.
        """
        if i in self.bad:
            raise UserError(self.bad[i])
        if i in self.kept:
            return self.kept[i]
        try:
            clip = decode_clip(self.entries[i].read(), size=self.size, max_frames=self.max_frames)
        except (UserError, OSError) as error:
            self.bad[i] = str(error)
            raise
        if get_worker_info() is None:  # a copy per loader process would break the limit
            self._keep(i, clip)
        return clip

    def duration_seconds(self, i: int, clip: Clip) -> float | None:
        """The clip's own duration, where its meta says so and all of it was read."""
        stated = self.entries[i].meta.get("duration_seconds")
        return stated if isinstance(stated, int | float) and len(clip.times) != self.max_frames else None

    def loops(self, i: int, clip: Clip) -> bool:
        """Whether the last frame may lead back to the first: nothing was cut, and meta `loop` is not false."""
        return bool(self.entries[i].meta.get("loop", True)) and len(clip.times) != self.max_frames

    def preload(self, threads: int) -> None:
        """Decode clips until the memory is used up; those that fail are put in `bad`."""
        todo = [i for i in range(len(self)) if i not in self.kept and i not in self.bad]
        with ThreadPoolExecutor(threads) as pool:
            for start in range(0, len(todo), PRELOAD_CHUNK):
                if self.free_bytes <= 0:
                    return
                list(pool.map(self._try, todo[start : start + PRELOAD_CHUNK]))

    def _try(self, i: int) -> None:
        with suppress(UserError, OSError):
            self.clip(i)

    def _keep(self, i: int, clip: Clip) -> None:
        with self.lock:
            if clip.frames.nbytes <= self.free_bytes:
                self.free_bytes -= clip.frames.nbytes
                self.kept[i] = clip
            else:
                self.free_bytes = 0


def open_source(source: str) -> list[Entry]:
    """Entries of a source: the words `emoji` and `shapes`, or a folder.

    Raises:
        UserError: there is no such folder, or it has no clip.
    """
    if source == "emoji":
        from ode_vgan.data.emoji import embedded_folder

        folder = embedded_folder()
    elif source == "shapes":
        from ode_vgan.data.shapes import synthetic_folder

        folder = synthetic_folder()
    else:
        folder = Path(source)
    if not folder.is_dir():
        raise UserError(f"no folder {source!r} to read clips from. Give data.source=FOLDER, or data=emoji.")
    return read_index(folder)


def split_entries(entries: list[Entry], names: tuple[str, str]) -> tuple[list[Entry], list[Entry]]:
    """Training and test entries, in order of their key's hash.

    A clip's meta `split` decides. Clips without one go 90/10 by the hash of their key, so that a clip never changes
    sides when others are added; if a side stays empty, it takes the one clip nearest to it.
    """
    ordered = sorted(entries, key=lambda entry: key_share(entry.key))
    train = [entry for entry in ordered if entry.meta.get("split") == names[0]]
    test = [entry for entry in ordered if entry.meta.get("split") == names[1]]
    free = [entry for entry in ordered if not entry.meta.get("split")]
    cut = sum(key_share(entry.key) < TEST_SHARE for entry in free)
    if len(free) > 1:
        cut = min(max(cut, 1), len(free) - 1)
    else:
        cut = 0
    return train + free[cut:], test + free[:cut]


def set_aside(entries: list[Entry], share: float) -> tuple[list[Entry], list[Entry]]:
    """Entries to train on and to validate on: whole concepts (meta `concept`, else the key), by their own hash.

    The hash is not the one that makes test sets, so that a share of what that one left is a share still.
    """
    kept, aside = [], []
    for entry in entries:
        concept = str(entry.meta.get("concept") or entry.key)
        (aside if key_share(f"validation of {concept}") < share else kept).append(entry)
    return kept, aside


def key_share(key: str) -> float:
    """A number in [0, 1) that the key alone decides."""
    return int.from_bytes(hashlib.sha256(key.encode()).digest()[:6]) / 2**48


def describe(skipped: dict[str, str], names: int = 3) -> str:
    """One line: how many clips were left out, why, and the first names."""
    shown = ", ".join(f"{key}: {reason}" for key, reason in islice(skipped.items(), names))
    return f"{len(skipped)} skipped ({shown}{', ...' if len(skipped) > names else ''})"
