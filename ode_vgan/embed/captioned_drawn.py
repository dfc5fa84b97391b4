"""Drawn clips for an evaluation: as many as are asked for, their attributes known, none of them trained on."""

import numpy as np
import torch

from ode_vgan.data.drawn import ATTRIBUTES, World, draw_clips, draw_labels
from ode_vgan.data.drawn_captions import Curated
from ode_vgan.embed.captioned import CaptionedClips, Sides
from ode_vgan.errors import UserError

CLIPS, SIZE, NOISE = 1024, 32, 12.0
HELD_SEED = 20_260_725  # of the sets that every run is judged on, as in data/drawn_loader.py
PROBE_SEED = HELD_SEED + 1  # of the clips that probes learn; no training run has it


def drawn_clips(world: World, clips: int, *, frames: int, size: int) -> CaptionedClips:
    """The first clips of a world with captions that say everything; those of one caption are one concept.

    Args:
        frames: T, evenly over a second. size: px.
    """
    index = np.arange(clips)
    times = np.linspace(0, 1, frames, dtype=np.float32) if frames > 1 else np.zeros(1, np.float32)
    labels = draw_labels(world, index)
    meta = [{name: ATTRIBUTES[name][i] for name, i in zip(ATTRIBUTES, row, strict=True)} for row in labels.tolist()]
    captions = Curated().captions(world, index)
    return CaptionedClips(
        torch.from_numpy(draw_clips(world, index, times, size)),
        torch.from_numpy(np.tile(times, (clips, 1))),
        captions,
        [f"{world.split}-{i}" for i in range(clips)],
        meta,
        torch.from_numpy(np.ravel_multi_index(labels.T, [len(words) for words in ATTRIBUTES.values()])),
    )


def drawn_sides(
    split: str, *, frames: int, size: int | None = None, limit: int | None = None, training: bool = True
) -> Sides:
    """The held clips of `data: drawn`, "test" or "val", and curated ones for probes to learn and to choose on.

    Every side has clips of the same concepts: what is held out is the clip.
    """
    if split not in ("test", "val"):
        raise UserError(f"split {split!r} of drawn clips: give test, or val to develop on.")
    count, px = limit or CLIPS, size or SIZE
    held = drawn_clips(World(HELD_SEED, split, 0.0, NOISE), count, frames=frames, size=px)
    if not training:
        return Sides(held)
    worlds = [World(PROBE_SEED, name, 0.0, NOISE) for name in ("train", "val")]
    train, choose = (drawn_clips(world, count, frames=frames, size=px) for world in worlds)
    return Sides(held, train, choose, train.meta)
