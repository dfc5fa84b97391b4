"""Synthetic clips whose motion is known exactly at any time: for tests, and to see that training works at all.

Lengths are in picture heights, y points up from the floor, time is in seconds.
"""

import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy.special import ellipj

from ode_vgan.data.clips import encode_clip
from ode_vgan.data.shards import Sample, write_shards
from ode_vgan.embed.cache import cache_folder
from ode_vgan.errors import UserError

COLOURS = {
    "red": (220, 50, 47),
    "green": (60, 170, 70),
    "blue": (40, 110, 220),
    "yellow": (240, 190, 40),
    "purple": (140, 80, 200),
}
PAPER = (250, 250, 245)
INK = (70, 70, 80)


@dataclass(frozen=True)
class ShapeClip:
    """frames (T, H, W, 3) uint8; times (T,) s; state (T, K), columns named by `state_names`."""

    frames: np.ndarray
    times: np.ndarray
    caption: str
    state: np.ndarray
    state_names: tuple[str, ...]


def falling_state(times: np.ndarray, start: tuple[float, float], speed: tuple[float, float], gravity: float):
    """(T, 4) x, y, dx, dy of free fall from `start` at `speed`: a parabola."""
    (x, y), (dx, dy) = start, speed
    still = np.ones_like(times)
    return np.stack([x + dx * times, y + dy * times - gravity * times**2 / 2, dx * still, dy - gravity * times], axis=1)


def bouncing_state(times: np.ndarray, height: float, speed: float, gravity: float, floor: float) -> np.ndarray:
    """(T, 2) y, dy of a ball that bounces without loss on a floor.

    Args:
        height, speed: y and dy at time 0; height >= floor.
    """
    landing = np.sqrt(speed**2 + 2 * gravity * (height - floor))  # the same at every bounce: energy is kept
    since = np.mod((landing - speed) / gravity + times, 2 * landing / gravity)
    return np.stack([floor + landing * since - gravity * since**2 / 2, landing - gravity * since], axis=1)


def drifting_state(times: np.ndarray, start: float, speed: float, low: float, high: float) -> np.ndarray:
    """(T, 2) position and speed along one axis, at constant speed between two walls."""
    width = high - low
    phase = np.mod(start - low + speed * times, 2 * width)
    back = phase > width
    return np.stack([low + np.where(back, 2 * width - phase, phase), np.where(back, -speed, speed)], axis=1)


def pendulum_state(times: np.ndarray, angle: float, rate: float) -> np.ndarray:
    """(T, 2) angle and its speed, radians, of angle'' = -rate^2 sin(angle), let go at rest from `angle`.

    The full nonlinear swing in Jacobi elliptic functions, exact to rounding.
    """
    depth = np.sin(angle / 2)
    sn, cn, dn, _ = ellipj(rate * np.asarray(times, dtype=np.float64), depth**2)
    position = 2 * np.arcsin(depth * cn / dn)
    return np.stack([position, -2 * depth * rate * np.cos(angle / 2) * sn / dn], axis=1)


def draw_disc(x: np.ndarray, y: np.ndarray, radius: float, size: int) -> np.ndarray:
    """(T, S, S) share of each pixel inside a disc, edges smooth over one pixel."""
    across, up = _grid(size)
    return _cover(np.hypot(across - x[:, None, None], up - y[:, None, None]) - radius, size)


def draw_square(x: np.ndarray, y: np.ndarray, half: float, size: int) -> np.ndarray:
    """(T, S, S) share of each pixel inside an upright square of side 2 * half."""
    across, up = _grid(size)
    return _cover(np.maximum(abs(across - x[:, None, None]), abs(up - y[:, None, None])) - half, size)


def draw_rod(start: tuple[float, float], x: np.ndarray, y: np.ndarray, half: float, size: int) -> np.ndarray:
    """(T, S, S) share of each pixel inside a rod from `start` to (x, y), 2 * half thick."""
    across, up = _grid(size)
    along_x, along_y = (x - start[0])[:, None, None], (y - start[1])[:, None, None]
    share = ((across - start[0]) * along_x + (up - start[1]) * along_y) / (along_x**2 + along_y**2)
    share = np.clip(share, 0, 1)
    return _cover(np.hypot(across - start[0] - share * along_x, up - start[1] - share * along_y) - half, size)


def paint(layers: list[tuple[np.ndarray, tuple[int, int, int]]]) -> np.ndarray:
    """(T, S, S, 3) uint8: layers of (coverage, colour) over paper, the last on top."""
    picture = np.broadcast_to(np.array(PAPER, dtype=np.float64), (*layers[0][0].shape, 3))
    for cover, colour in layers:
        picture = picture + cover[..., None] * (np.array(colour, dtype=np.float64) - picture)
    return np.rint(picture).astype(np.uint8)


def ball(rng: np.random.Generator, times: np.ndarray, size: int) -> ShapeClip:
    """A ball that is dropped and bounces, drifting sideways between the walls."""
    name, radius, gravity = _colour(rng), rng.uniform(0.07, 0.12), rng.uniform(1.0, 2.5)
    up = bouncing_state(times, rng.uniform(0.6, 0.85), 0.0, gravity, radius)
    across = drifting_state(times, rng.uniform(0.3, 0.7), rng.uniform(-0.4, 0.4), radius, 1 - radius)
    frames = paint([(draw_disc(across[:, 0], up[:, 0], radius, size), COLOURS[name])])
    state = np.stack([across[:, 0], up[:, 0], across[:, 1], up[:, 1]], axis=1)
    return ShapeClip(frames, times, f"a {name} ball bounces on the floor", state, ("x", "y", "dx", "dy"))


def falling_ball(rng: np.random.Generator, times: np.ndarray, size: int) -> ShapeClip:
    """A ball thrown up that falls out of the picture."""
    name, radius = _colour(rng), rng.uniform(0.07, 0.12)
    start, speed = (rng.uniform(0.3, 0.7), rng.uniform(0.5, 0.8)), (rng.uniform(-0.2, 0.2), rng.uniform(0.0, 0.5))
    state = falling_state(times, start, speed, rng.uniform(0.6, 1.2))
    frames = paint([(draw_disc(state[:, 0], state[:, 1], radius, size), COLOURS[name])])
    return ShapeClip(frames, times, f"a {name} ball falls", state, ("x", "y", "dx", "dy"))


def pendulum(rng: np.random.Generator, times: np.ndarray, size: int) -> ShapeClip:
    """A bob on a rod that swings from the top edge."""
    name, radius, length = _colour(rng), rng.uniform(0.06, 0.1), rng.uniform(0.45, 0.7)
    state = pendulum_state(times, rng.choice([-1, 1]) * rng.uniform(0.3, 0.7), rng.uniform(3.0, 7.0))
    x, y = 0.5 + length * np.sin(state[:, 0]), 0.95 - length * np.cos(state[:, 0])
    rod = draw_rod((0.5, 0.95), x, y, 0.012, size)
    frames = paint([(rod, INK), (draw_disc(x, y, radius, size), COLOURS[name])])
    return ShapeClip(frames, times, f"a {name} pendulum swings", state, ("angle", "dangle"))


def square(rng: np.random.Generator, times: np.ndarray, size: int) -> ShapeClip:
    """A square that moves straight and bounces off the four edges."""
    name, half = _colour(rng), rng.uniform(0.08, 0.14)
    speed = rng.choice([-1, 1], size=2) * rng.uniform(0.3, 0.9, size=2)
    across, up = (drifting_state(times, rng.uniform(0.3, 0.7), float(v), half, 1 - half) for v in speed)
    frames = paint([(draw_square(across[:, 0], up[:, 0], half, size), COLOURS[name])])
    state = np.stack([across[:, 0], up[:, 0], across[:, 1], up[:, 1]], axis=1)
    return ShapeClip(frames, times, f"a {name} square bounces off the walls", state, ("x", "y", "dx", "dy"))


KINDS: dict[str, Callable[[np.random.Generator, np.ndarray, int], ShapeClip]] = {
    "ball": ball,
    "falling": falling_ball,
    "pendulum": pendulum,
    "square": square,
}


def shape_clip(kind: str, seed: int, times: np.ndarray, *, size: int = 64) -> ShapeClip:
    """One clip; the seed fixes colour and motion, so that other times or sizes show the same world.

    Args:
        times: (T,) seconds, any, rising or not.
        size: height and width, px.
    """
    if kind not in KINDS:
        raise UserError(f"no shape {kind!r}. Choose one of: {', '.join(KINDS)}.")
    return KINDS[kind](np.random.default_rng(seed), np.asarray(times, dtype=np.float64), size)


def write_shapes(
    folder: str | Path, clips: int, *, seed: int = 0, frames: int = 32, size: int = 64, fps: float = 24.0
) -> Path:
    """Write clips of all kinds in turn as shards; each row's meta names its kind and shape_seed."""
    times = np.arange(frames) / fps

    def samples() -> Iterator[Sample]:
        for i in range(clips):
            kind, shape_seed = list(KINDS)[i % len(KINDS)], seed * 1_000_003 + i
            clip = shape_clip(kind, shape_seed, times, size=size)
            meta = {"kind": kind, "shape_seed": shape_seed, "loop": False, "num_frames": frames}
            meta |= {"duration_seconds": frames / fps, "width": size, "height": size}
            yield Sample(f"{i:05d}", encode_clip(None, clip.frames, times), clip.caption, meta)

    write_shards(folder, samples())
    return Path(folder)


def synthetic_folder(clips: int = 160) -> Path:
    """The default set in the cache folder, written on first use.

    Raises:
        UserError: the cache folder cannot be written.
    """
    folder = cache_folder() / f"shapes-{clips}"
    if folder.is_dir():
        return folder
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        fresh = Path(tempfile.mkdtemp(dir=folder.parent, prefix=".shapes-"))
    except OSError as error:
        raise UserError(f"cannot write to {folder.parent} ({error}). Set ODE_VGAN_CACHE to another folder.") from error
    try:
        os.rename(write_shapes(fresh, clips), folder)
    except OSError:
        if not folder.is_dir():  # else another process was faster, and its set is the same
            raise
    finally:
        shutil.rmtree(fresh, ignore_errors=True)
    return folder


def _colour(rng: np.random.Generator) -> str:
    return str(rng.choice(list(COLOURS)))


def _grid(size: int) -> tuple[np.ndarray, np.ndarray]:
    centres = (np.arange(size) + 0.5) / size
    return centres[None, None, :], 1 - centres[None, :, None]


def _cover(distance: np.ndarray, size: int) -> np.ndarray:
    return np.clip(0.5 - distance * size, 0, 1)
