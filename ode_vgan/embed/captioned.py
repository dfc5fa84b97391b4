"""Captioned clips read for an evaluation: frames with their times, and sides that share no concept."""

import hashlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from ode_vgan.data.clips import decode_clip
from ode_vgan.data.shards import Entry
from ode_vgan.data.store import describe, open_source, set_aside, split_entries
from ode_vgan.embed.frames import even_frames
from ode_vgan.errors import UserError

SPLITS = ("test", "val", "train")


@dataclass(frozen=True)
class CaptionedClips:
    """N clips of T frames each.

    Attributes:
        frames: (N, T, H, W, 3) uint8. times: (N, T) float32 seconds from the first frame.
        captions, keys: N each. meta: N dicts. concepts: (N,) int64, the same number for the same concept.
        skipped: reason by key of the clips left out.
    """

    frames: Tensor
    times: Tensor
    captions: list[str]
    keys: list[str]
    meta: list[dict]
    concepts: Tensor
    skipped: dict[str, str] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.keys)

    @property
    def digest(self) -> str:
        """Of every pixel, time and caption."""
        digest = hashlib.sha256(repr(tuple(self.frames.shape)).encode())
        for key, caption, frames, times in zip(self.keys, self.captions, self.frames, self.times, strict=True):
            digest.update(f"{key}\n{caption}\n".encode() + frames.numpy().tobytes() + times.numpy().tobytes())
        return digest.hexdigest()

    def concept_names(self) -> list[str] | None:
        """The clips' meta `concept`; None where a clip has none."""
        names = [clip.get("concept") for clip in self.meta]
        return None if not all(names) else [str(name) for name in names]

    def values(self, name: str) -> list[str | None] | None:
        """Each clip's meta of this name, as text; None for a clip without it, and for all where none has it."""
        found = [clip.get(name) for clip in self.meta]
        told = [None if one is None or one == "" else str(one) for one in found]
        return told if any(one is not None for one in told) else None

    def reversed(self) -> "CaptionedClips":
        """The same clips played backwards, their gaps in time reversed too."""
        times = self.times[:, -1:] - self.times.flip(1)
        parts = (self.captions, self.keys, self.meta, self.concepts, self.skipped)
        return CaptionedClips(self.frames.flip(1), times, *parts)


@dataclass(frozen=True)
class Sides:
    """What an evaluation needs of a source.

    Attributes:
        held: clips that the numbers are of. train: those that a probe learns. choose: those that decide its settings.
        learnable: meta of what could be in `train`, whether it was read or not.
    """

    held: CaptionedClips
    train: CaptionedClips | None = None
    choose: CaptionedClips | None = None
    learnable: list[dict] = field(default_factory=list)

    @property
    def disjoint(self) -> bool:
        """Whether no concept of the held clips is on another side."""
        others = [clips.concepts for clips in (self.train, self.choose) if clips is not None]
        return not any(torch.isin(self.held.concepts, concepts).any() for concepts in others)


def read_sides(
    source: str,
    split: str = "test",
    *,
    frames: int = 8,
    size: int | None = None,
    val_share: float = 0.1,
    limit: int | None = None,
    training: bool = True,
    bar: Callable[[Iterable], Iterable] = lambda clips: clips,
) -> Sides:
    """Read one split of a source, and what is left of its training split without that one's concepts.

    Args:
        source: `drawn`, or what `open_source` takes. split: "test"; "val", a share of the training concepts, to develop
            on; or "train", what "val" leaves of it.
        frames: T, evenly from a clip's first to its last. size: side of a central square, px; None keeps the clip's.
        val_share: of the training concepts (meta `concept`, else the key). limit: clips a side, at most.
        training: whether `train` and `choose` are read too.

    Raises:
        UserError: no such split, nothing in it, or clips of different sizes without `size`.
    """
    if split not in SPLITS or frames < 1:
        raise UserError(f"split {split!r} of {frames} frames: give one of {', '.join(SPLITS)}, and a frame or more.")
    if source == "drawn":
        from ode_vgan.embed.captioned_drawn import drawn_sides

        return drawn_sides(split, frames=frames, size=size, limit=limit, training=training)
    held, rest, choose = (part[:limit] for part in _parted(open_source(source), split, val_share))
    names = sorted({concept_of(entry) for entry in [*held, *rest, *choose]})
    concepts = {name: i for i, name in enumerate(names)}
    parts = (held, rest, choose) if training else (held, [], [])
    sides = [read_clips(bar(part), concepts, frames=frames, size=size) for part in parts]
    if not len(sides[0]):
        why = describe(sides[0].skipped)
        raise UserError(f"{source}: no clip in split {split!r} to judge by: {why}. Choose another.")
    return Sides(*(side if len(side) else None for side in sides), [entry.meta for entry in rest])


def read_split(
    source: str,
    split: str,
    *,
    frames: int = 8,
    size: int | None = None,
    val_share: float = 0.1,
    limit: int | None = None,
    bar: Callable[[Iterable], Iterable] = lambda clips: clips,
) -> CaptionedClips:
    """Clips of one split alone, or of "all"; see `read_sides`."""
    if split != "all":
        told = {"frames": frames, "size": size, "val_share": val_share, "limit": limit}
        return read_sides(source, split, **told, training=False, bar=bar).held
    entries = open_source(source)[:limit]
    concepts = {name: i for i, name in enumerate(sorted({concept_of(entry) for entry in entries}))}
    return read_clips(bar(entries), concepts, frames=frames, size=size)


def _parted(entries: list[Entry], split: str, share: float) -> tuple[list[Entry], list[Entry], list[Entry]]:
    """Entries held, and those to learn and to choose on, which share no concept with them."""
    train, test = split_entries(entries, ("train", "test"))
    kept, aside = set_aside(train, share)
    held = {"test": test, "val": aside, "train": kept}[split]
    if split == "train":
        return held, [], []
    if split == "val":  # the set that decides is then the next share of the training concepts
        kept, aside = set_aside(kept, 2 * share)
    out = {concept_of(entry) for entry in held}
    return held, *([entry for entry in part if concept_of(entry) not in out] for part in (kept, aside))


def concept_of(entry: Entry) -> str:
    """What an entry shows: meta `concept`, else its key."""
    return str(entry.meta.get("concept") or entry.key)


def read_clips(
    entries: Iterable[Entry], concepts: dict[str, int], *, frames: int, size: int | None = None
) -> CaptionedClips:
    """Decode entries; those without a caption, or that cannot be decoded, are named and left out.

    Args:
        concepts: number by name.

    Raises:
        UserError: the clips differ in size.
    """
    rows, times, usable, skipped = [], [], [], {}
    for entry in entries:
        try:
            if not (entry.caption or "").strip():
                raise UserError("no caption")
            clip = decode_clip(entry.read(), size=size)
        except (UserError, OSError) as error:
            skipped[entry.key] = str(error)
            continue
        rows.append(even_frames(clip.frames, frames))
        times.append(even_frames(clip.times, frames))
        usable.append(entry)
    sizes = {clip.shape for clip in rows}
    if len(sizes) > 1:
        shown = ", ".join(sorted(f"{width}x{height}" for _, height, width, _ in sizes)[:4])
        raise UserError(f"clips are {shown} px; give --size 128, to bring them to one square.")
    shape = sizes.pop() if sizes else (frames, size or 1, size or 1, 3)
    return CaptionedClips(
        torch.from_numpy(np.stack(rows) if rows else np.zeros((0, *shape), np.uint8)),
        torch.from_numpy(np.stack(times) if times else np.zeros((0, frames))).float(),
        [entry.caption for entry in usable],
        [entry.key for entry in usable],
        [entry.meta for entry in usable],
        torch.tensor([concepts[concept_of(entry)] for entry in usable], dtype=torch.int64),
        skipped,
    )
