"""Decoded clips by number, and which clips of a source belong to which split."""

import hashlib
from collections.abc import Callable, Sequence
from itertools import islice
from pathlib import Path

import numpy as np

from ode_vgan.data.arena import ClipArena
from ode_vgan.data.clips import Clip, decode_clip
from ode_vgan.data.excerpt import Excerpt, open_excerpt
from ode_vgan.data.shards import Entry, read_index
from ode_vgan.data.soundness import CorruptClip
from ode_vgan.errors import UserError

TEST_SHARE = 0.1


class ClipStore:
    """Clips of one split at one size, decoded when first asked for and kept while they fit.

    Args:
        max_frames: frames read from the start of a clip, at most.
        cache_mb: decoded megabytes kept in memory, which this process and its loader processes share.

    Attributes:
        kept: clips put here by number, which win over what would be decoded.
        bad: reason by clip number, for clips found unusable so far.
        whole: clips decoded so far in this process because only that tells their times.
    """

    def __init__(self, entries: list[Entry], size: int, *, max_frames: int | None = None, cache_mb: int = 0):
        self.entries, self.size, self.max_frames = entries, size, max_frames
        self.arena = ClipArena(len(entries), cache_mb * 2**20)
        self.kept: dict[int, Clip] = {}
        self.bad: dict[int, str] = {}
        self.whole = 0

    def __len__(self) -> int:
        return len(self.entries)

    def window(
        self, i: int, draw: Callable[[np.ndarray], tuple[Sequence[int], np.ndarray]], out: np.ndarray | None = None
    ) -> tuple[np.ndarray, np.ndarray]:
        """Some frames of clip i, and what `draw` says of them; all of it is decoded where memory takes it, else these.

        What comes does not depend on the memory.

        Args:
            draw: (T,) seconds of its frames -> numbers of those wanted, and anything.
            out: where to put the frames.

        Returns:
            (len(numbers), H, W, 3) uint8, and the anything.

        Raises:
            UserError, OSError: it cannot be read, breaks off, or a frame wanted does not decode.
        """
        clip = self._found(i) or self._opened(i)
        if isinstance(clip, Clip):
            index, told = draw(clip.times)
            return clip.take(index, out), told
        with clip as excerpt:
            index, told = draw(excerpt.times)
            return (self._kept(i, excerpt) or excerpt).take(index, out), told

    def clip(self, i: int) -> Clip:
        """All of clip i.

        Raises:
            UserError, OSError: as `window`.
        """
        return Clip(*self.window(i, lambda times: (range(len(times)), times)))

    def times(self, i: int) -> np.ndarray:
        """(T,) seconds of clip i's frames, which are not decoded where its packets tell.

        Raises:
            UserError, OSError: it cannot be read, or breaks off.
        """
        clip = self._found(i) or self._opened(i)
        if isinstance(clip, Excerpt):
            clip.close()
        return clip.times

    @property
    def full(self) -> bool:
        """Whether memory takes no further clip."""
        return self.arena.full

    def duration_seconds(self, i: int, times: np.ndarray) -> float | None:
        """The clip's own duration, where its meta says so and all of it was read."""
        stated = self.entries[i].meta.get("duration_seconds")
        return stated if isinstance(stated, int | float) and len(times) != self.max_frames else None

    def loops(self, i: int, times: np.ndarray) -> bool:
        """Whether the last frame may lead back to the first: nothing was cut, and meta `loop` is not false."""
        return bool(self.entries[i].meta.get("loop", True)) and len(times) != self.max_frames

    def _found(self, i: int) -> Clip | None:
        if i in self.bad:
            raise UserError(self.bad[i])
        return self.kept.get(i) or self.arena.find(i)

    def _opened(self, i: int) -> Clip | Excerpt:
        """Clip i as an excerpt, or whole where only decoding tells its times."""
        try:
            source = self.entries[i].content()
            excerpt = open_excerpt(source, size=self.size, max_frames=self.max_frames)
            if excerpt is not None:
                return excerpt
            clip = decode_clip(source, size=self.size, max_frames=self.max_frames)
        except (UserError, OSError) as error:
            self.bad[i] = str(error)
            raise
        self.whole += 1
        if (place := self.arena.claim(i, *clip.frames.shape[:3])) is not None:
            place.frames[:], place.times[:] = clip.frames, clip.times
            self.arena.publish(i, place)
        return clip

    def _kept(self, i: int, excerpt: Excerpt) -> Clip | None:
        """All of it in memory; None where there is no room, or not all of it decodes."""
        place = self.arena.claim(i, len(excerpt.times), *excerpt.shape[:2])
        if place is None:
            return None
        try:
            excerpt.take(range(len(excerpt.times)), out=place.frames)
        except CorruptClip:
            return None
        place.times[:] = excerpt.times
        self.arena.publish(i, place)
        return place


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
