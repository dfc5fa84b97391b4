"""Clips that belong together stay together: sides by source, and training clips that a test set must not meet."""

from collections.abc import Iterable
from typing import TYPE_CHECKING

import numpy as np

from ode_vgan.data.store import key_share
from ode_vgan.errors import UserError

if TYPE_CHECKING:
    import pyarrow as pa

REASONS = ("source_sha256", "clip_sha256", "dup_of", "phash")


def testing_side(clips: "pa.Table", share: float, seed: int = 0) -> np.ndarray:
    """Which clips are for testing, bool (N,).

    All clips of one source (its SHA-256 or its url) and all near-duplicates (dup_of) are on one side. Where one of
    them says `split` = test, all are; else where one says train, none is; else the hash of the seed and of the first
    one's source decides. Added clips, whose keys come later, move no clip, unless one joins two groups that were apart.

    Args:
        clips: a table as `ode_vgan.laion.dataset.read_clips` gives it, of the whole dataset.
        share: of the sources, 0 to 1.
    """
    if not 0 <= share <= 1:
        raise UserError(f"test_share={share} must be 0 to 1. Choose a share such as 0.1.")
    groups = linked_groups(clips)
    names = [source or url or uid for source, url, uid in _rows(clips, "source_sha256", "url", "uid")]
    stated = np.array([{"test": 1, "train": 0}.get(split, -1) for (split,) in _rows(clips, "split")], dtype=np.int64)
    highest, trained = np.full(len(groups), -1), np.zeros(len(groups), dtype=bool)
    np.maximum.at(highest, groups, stated)
    trained[groups[stated == 0]] = True
    sides = {
        int(group): highest[group] == 1 or (not trained[group] and key_share(f"test {seed} of {names[group]}") < share)
        for group in np.unique(groups)
    }
    return np.array([sides[int(group)] for group in groups], dtype=bool)


def linked_groups(clips: "pa.Table") -> np.ndarray:
    """For each clip the first one of its group, int64 (N,): joined by source, url, near-duplicate or the same bytes."""
    from ode_vgan.laion.duplicates import group_rows

    pairs, first = [], {}
    for i, (uid, source, url, near) in enumerate(_rows(clips, "uid", "source_sha256", "url", "dup_of")):
        for kind, value in (("uid", uid), ("source", source), ("url", url), ("uid", near)):
            if value is not None:
                pairs.append((first.setdefault((kind, value), i), i))
    a, b = np.array(pairs, dtype=np.int64).reshape(-1, 2).T
    return group_rows(len(clips), [(a, b)])


def decontaminate(train: "pa.Table", test: "pa.Table", *, max_bits: int | None = None) -> dict[str, np.ndarray]:
    """Which training clips share something with a test clip, by what they share; the rest may be trained on.

    Args:
        train, test: tables as `ode_vgan.laion.dataset.read_clips` gives them, of one dataset or of two.
        max_bits: perceptual hashes that differ in at most so many of 64 bits are the same; None compares none.

    Returns:
        source_sha256, clip_sha256, dup_of (one group of near-duplicates) and phash: bool (N,) each.
    """
    found = {name: _shared(train, test, (name,)) for name in ("source_sha256", "clip_sha256")}
    found["clip_sha256"] |= _shared(train, test, ("uid",))
    found["dup_of"] = _shared(train, test, ("dup_of", "uid"))
    found["phash"] = np.zeros(len(train), dtype=bool)
    if max_bits is not None:
        found["phash"] = _near(_hashes(train), _hashes(test), max_bits)
    return found


def _shared(train: "pa.Table", test: "pa.Table", columns: tuple[str, ...]) -> np.ndarray:
    """Training clips whose first known value of the columns a test clip has too."""
    values = [[next(filter(None, row), None) for row in _rows(side, *columns)] for side in (train, test)]
    tested = set(values[1]) - {None}
    return np.array([value in tested for value in values[0]], dtype=bool)


def _near(train: list[int | None], test: list[int | None], max_bits: int) -> np.ndarray:
    from ode_vgan.laion.duplicates import near_hashes

    tested, trained = set(test) - {None}, set(train) - {None}
    unique = np.array(sorted(tested | trained), dtype=np.uint64)
    in_test = np.array([value in tested for value in unique.tolist()], dtype=bool)
    bad = in_test.copy()
    for a, b in near_hashes(unique, max_bits):
        bad[a[in_test[b]]] = bad[b[in_test[a]]] = True
    bad_hashes = set(unique[bad].tolist())
    return np.array([value in bad_hashes for value in train], dtype=bool)


def _hashes(clips: "pa.Table") -> list[int | None]:
    return [None if text is None else int(text, 16) for (text,) in _rows(clips, "phash")]


def _rows(clips: "pa.Table", *columns: str) -> Iterable[tuple]:
    return zip(*(clips[name].to_pylist() for name in columns), strict=True)
