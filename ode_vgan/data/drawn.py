"""Captioned clips drawn on the fly, many at a time: clip i of a set is a function of (seed, i) and nothing else.

One object of a colour and a shape, with a motion, on a ground: 8,000 concepts in all, at any place and size. Two ways
to draw a training set: *curated* has every word equally often and captions that say everything; *web* has words by
Zipf's law and alt-text: attributes left unsaid, captions of other clips, filler. Both are judged on one curated test
set.
Lengths are in picture heights, y points up, time is in seconds; a clip is one second long.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from ode_vgan.data.glyphs import GLYPHS
from ode_vgan.errors import UserError

COLOURS = {  # the commonest on the web first, as in the other lists
    "red": (215, 40, 40),
    "blue": (35, 75, 215),
    "white": (252, 252, 252),
    "black": (12, 12, 12),
    "green": (25, 135, 45),
    "yellow": (245, 215, 30),
    "orange": (245, 135, 20),
    "pink": (250, 130, 185),
    "purple": (135, 35, 165),
    "cyan": (30, 215, 225),
}
MOTIONS = (
    "resting",
    "moving right",
    "moving left",
    "growing",
    "moving up",
    "moving down",
    "shrinking",
    "fading away",
    "appearing",
    "blinking",
)
GROUNDS = {
    "sand": (226, 208, 168),
    "grass": (160, 196, 140),
    "water": (136, 172, 200),
    "clay": (190, 120, 90),
    "dusk": (86, 76, 112),
    "moss": (95, 105, 60),
    "lilac": (205, 180, 225),
    "steel": (150, 150, 155),
}
ATTRIBUTES: dict[str, tuple[str, ...]] = {
    "colour": tuple(COLOURS),
    "shape": tuple(GLYPHS),
    "motion": MOTIONS,
    "ground": tuple(GROUNDS),
}
SPLITS = ("train", "val", "test")
RADIUS = (0.2, 0.3)
TRAVEL = 0.5  # of a moving object in the second
BLINK_SECONDS = 2 / 3
FAINT = 0.12  # opacity of what has faded
NUISANCES = 7  # uniform numbers that a picture takes besides its attributes
CAPTION_STREAM = 16  # the first column of `uniforms` that a caption may take
NOISE_TAPE = 1 << 20
GOLDEN = np.uint64(0x9E3779B97F4A7C15)


@dataclass(frozen=True)
class World:
    """How a set is drawn.

    Args:
        seed: of the set.
        split: "train", "val" or "test"; no two of them share a clip.
        zipf: a word of rank k comes with probability proportional to k^-zipf; 0 has every word equally often.
        noise: standard deviation of the pixel noise, levels of 255.
    """

    seed: int
    split: str = "train"
    zipf: float = 0.0
    noise: float = 12.0

    def __post_init__(self):
        if self.split not in SPLITS:
            raise UserError(f"split {self.split!r} is none of {', '.join(SPLITS)}. Choose one.")
        if self.zipf < 0 or self.noise < 0:
            raise UserError(f"zipf={self.zipf} and noise={self.noise} must be >= 0. Use 0 for none.")


def uniforms(world: World, index: np.ndarray, count: int) -> np.ndarray:
    """(B, count) float64 in [0, 1): row b is a function of the set's seed and split, and of index[b], alone.

    Two different (split, index) pairs of one seed start from different states: the state is an odd multiple of their
    number. Each number is the state and its column through SplitMix64's mixing function.

    Args:
        index: (B,) int64, 0 <= index < 2**48.
    """
    with np.errstate(over="ignore"):
        number = (np.uint64(SPLITS.index(world.split)) << np.uint64(48)) | np.asarray(index).astype(np.uint64)
        state = _mix(np.asarray(world.seed, dtype=np.int64).astype(np.uint64) + GOLDEN) + number * GOLDEN
        columns = np.arange(1, count + 1, dtype=np.uint64) * GOLDEN
        return (_mix(_mix(state)[:, None] + columns) >> np.uint64(11)).astype(np.float64) * 2.0**-53


def _mix(state: np.ndarray) -> np.ndarray:
    state = (state ^ (state >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    state = (state ^ (state >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return state ^ (state >> np.uint64(31))


def draw_labels(world: World, index: np.ndarray) -> np.ndarray:
    """(B, 4) int64: which word of each of `ATTRIBUTES`, in their order."""
    drawn = uniforms(world, index, len(ATTRIBUTES))
    columns = []
    for column, words in zip(drawn.T, ATTRIBUTES.values(), strict=True):
        share = np.arange(1, len(words) + 1) ** -float(world.zipf)
        edges = np.cumsum(share / share.sum())[:-1]
        columns.append(np.searchsorted(edges, column, side="right"))
    return np.stack(columns, axis=1)


def draw_clips(world: World, index: np.ndarray, times: np.ndarray, size: int) -> np.ndarray:
    """(B, T, S, S, 3) uint8 clips.

    Args:
        index: (B,) int64.
        times: (T,) seconds in [0, 1].
        size: S, px.
    """
    labels = draw_labels(world, index)
    draws = uniforms(world, index, len(ATTRIBUTES) + NUISANCES)[:, len(ATTRIBUTES) :].astype(np.float32)
    x, y, radius, opacity = _course(labels, draws, np.asarray(times, dtype=np.float32))
    cover = _cover(labels[:, 1], (x, y, radius, (draws[:, 3] - 0.5) * 0.2), size) * opacity[..., None, None]
    light = 0.9 + 0.2 * draws[:, 4:5]
    colour = np.array(list(COLOURS.values()), dtype=np.float32)[labels[:, 0]] * light
    ground = np.array(list(GROUNDS.values()), dtype=np.float32)[labels[:, 3]] * (0.95 + 0.1 * draws[:, 5:6])
    frames = (colour - ground)[:, None, None, None] * cover[..., None]
    frames += ground[:, None, None, None]
    frames += world.noise * _noise(draws[:, 6], cover.shape)[..., None]
    return np.clip(frames, 0, 255, out=frames).astype(np.uint8)


def _course(labels: np.ndarray, draws: np.ndarray, times: np.ndarray) -> tuple[np.ndarray, ...]:
    """Centre x and y, radius and opacity of each object at each time, all (B, T)."""
    motion = np.array(MOTIONS)[labels[:, 2]]

    def when(**amounts: float) -> np.ndarray:
        named = {key.replace("_", " "): value for key, value in amounts.items()}
        return np.array([named.get(one, 0.0) for one in motion], dtype=np.float32)[:, None]

    gone = times[None] - 0.5  # seconds since the middle of the clip
    start = 0.5 + (draws[:, 0:2] - 0.5) * 0.2
    x = start[:, :1] + TRAVEL * when(moving_right=1.0, moving_left=-1.0) * gone
    y = start[:, 1:] + TRAVEL * when(moving_up=1.0, moving_down=-1.0) * gone
    low, high = RADIUS
    middle = low + (high - low) * draws[:, 2:3]
    radius = middle * np.exp(when(growing=0.9, shrinking=-0.9) * gone)
    shown = 1 - (1 - FAINT) * (when(fading_away=1.0) * (gone + 0.5) + when(appearing=1.0) * (0.5 - gone))
    dark = (1 - np.cos(2 * np.pi * times / BLINK_SECONDS, dtype=np.float32)) / 2
    return x, y, radius, shown - (1 - FAINT) * when(blinking=1.0) * dark


def _cover(shape: np.ndarray, course: tuple[np.ndarray, ...], size: int) -> np.ndarray:
    """(B, T, S, S) share of each pixel inside the object; course is x, y, radius (B, T) and tilt (B,) radians."""
    x, y, radius, tilt = course
    centres = ((np.arange(size) + 0.5) / size).astype(np.float32)
    across = (centres - x[..., None]) / radius[..., None]
    up = (1 - centres - y[..., None]) / radius[..., None]
    cos, sin = np.cos(tilt)[:, None, None], np.sin(tilt)[:, None, None]
    cover = np.empty((*x.shape, size, size), dtype=np.float32)
    u = (cos * across)[..., None, :] + (sin * up)[..., None]
    v = (-sin * across)[..., None, :] + (cos * up)[..., None]
    for number in np.unique(shape):
        of = shape == number
        cover[of] = GLYPHS[ATTRIBUTES["shape"][number]](u[of], v[of])
    cover *= (-radius * size)[..., None, None]
    cover += 0.5
    return np.clip(cover, 0, 1, out=cover)


def _noise(draw: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Standard normal numbers of a shape (B, ...): a stretch of one tape, which starts where `draw` says."""
    tape, length = _tape(), int(np.prod(shape[1:]))
    if length >= len(tape):
        raise UserError(f"a clip of {length:,} pixels is larger than {len(tape):,}; lower data.frames or data.size.")
    starts = (draw * (len(tape) - length)).astype(np.int64)
    return np.stack([tape[start : start + length] for start in starts]).reshape(shape)


@lru_cache(maxsize=1)
def _tape() -> np.ndarray:
    return np.random.default_rng(0).standard_normal(NOISE_TAPE, dtype=np.float32)


def caption_of(labels: Sequence[int], said: Sequence[bool] = (True, True, True, True)) -> str:
    """Words such as "a red circle moving left on sand", with the attributes that are said; "" where none is.

    Args:
        labels: 4 numbers, as `draw_labels` gives them.
        said: which of the four.
    """
    told = zip(ATTRIBUTES.values(), labels, said, strict=True)
    colour, shape, motion, ground = (words[label] if tell else "" for words, label, tell in told)
    thing = shape or ("thing" if colour or motion or ground else "")
    words = ("a" if thing else "", colour, thing, motion, f"on {ground}" if ground else "")
    return " ".join(word for word in words if word)
