"""How much a clip moves, and for how much of its time nothing visibly does, by its own timestamps."""

from dataclasses import dataclass

import numpy as np
from PIL import Image

from ode_vgan.data.clips import Clip
from ode_vgan.errors import UserError

GRID = 16  # cells on each axis; of a 64 px clip 4x4 px each
VISIBLE_LEVELS = 6.0  # change of a cell's mean luma, of 255; an encoder's noise on a still picture stays below
MAX_CHUNK = 64  # frames reduced together


@dataclass(frozen=True)
class Stillness:
    """What moves in a clip.

    Attributes:
        motion: sum over frame gaps of the mean absolute change of luma, divided by the clip's seconds: grey levels a
            second. A frame shown twice changes nothing of it; a clip played twice as fast has twice of it.
        static_share: share in [0, 1] of the clip's seconds that lie in gaps without visible change. A gap is without
            when no cell of a 16x16 grid differs, in mean luma, by more than 6 of 255 levels from the last frame that
            did; so a slow fade is seen when it has gone 6 levels. A clip of one frame has motion 0 and share 1.
    """

    motion: float
    static_share: float


def stillness(clip: Clip) -> Stillness:
    """Motion and static share of a clip.

    Raises:
        UserError: frames are not uint8 (T, H, W, 3), or there are none.
    """
    frames = clip.frames
    if frames.dtype != np.uint8 or frames.ndim != 4 or frames.shape[-1] != 3 or not len(frames):
        raise UserError(f"frames are {frames.dtype} {frames.shape}; a clip is uint8 (T, H, W, 3), T >= 1.")
    if len(frames) == 1:
        return Stillness(0.0, 1.0)
    grid, total, before = [], 0.0, None
    for start in range(0, len(frames), MAX_CHUNK):
        grey = luma(frames[start : start + MAX_CHUNK])
        row = grey if before is None else np.concatenate([before[None], grey])
        total += float(np.abs(np.diff(row, axis=0)).mean((1, 2), dtype=np.float64).sum())
        before = grey[-1]
        grid.extend(cells(picture) for picture in grey)
    gaps = np.diff(clip.times)
    seen = visible_changes(np.stack(grid))
    return Stillness(total / float(gaps.sum()), float(gaps[~seen].sum() / gaps.sum()))


def visible_changes(grid: np.ndarray) -> np.ndarray:
    """Bool (T-1,) of mean luma (T, h, w): whether frame i+1 differs visibly from the last frame that did."""
    last, seen = grid[0], np.zeros(len(grid) - 1, bool)
    for i, picture in enumerate(grid[1:]):
        if np.abs(picture - last).max() > VISIBLE_LEVELS:
            seen[i], last = True, picture
    return seen


def luma(frames: np.ndarray) -> np.ndarray:
    """uint8 (T, H, W, 3) to float32 (T, H, W), 0 to 255, by the weights of BT.601."""
    return frames.astype(np.float32) @ np.array([0.299, 0.587, 0.114], np.float32)


def cells(picture: np.ndarray) -> np.ndarray:
    """Mean of float32 (H, W) in 16x16 cells."""
    height, width = picture.shape
    if height % GRID == width % GRID == 0:
        return picture.reshape(GRID, height // GRID, GRID, width // GRID).mean((1, 3))
    return np.asarray(Image.fromarray(picture).resize((GRID, GRID), Image.Resampling.BOX))
