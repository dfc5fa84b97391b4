"""How much a clip moves, and for how much of its time nothing visibly does, by its own timestamps."""

from dataclasses import dataclass

import numpy as np
from PIL import Image

from ode_vgan.data.clips import Clip
from ode_vgan.errors import UserError

GRID = 16  # cells on each axis; of a 64 px clip 4x4 px each
VISIBLE_LEVELS = 6.0  # change of a cell's mean luma, of 255; an encoder's noise on a still picture stays below


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


class StillnessMeter:
    """Stillness of frames that come one by one; holds one frame."""

    def __init__(self):
        self.change, self.static_seconds, self.first, self.seconds = 0.0, 0.0, 0.0, None
        self.grey = self.shown = None  # the frame before, and the cells of the last that differed visibly

    def add(self, grey: np.ndarray, seconds: float) -> None:
        """The next frame's luma, float32 (H, W), 0 to 255, and when it is shown."""
        grid = cells(grey)
        if self.seconds is None:
            self.first, self.shown = seconds, grid
        else:
            self.change += float(np.abs(grey - self.grey).mean(dtype=np.float64))
            if np.abs(grid - self.shown).max() > VISIBLE_LEVELS:
                self.shown = grid
            else:
                self.static_seconds += seconds - self.seconds
        self.grey, self.seconds = grey, seconds

    def read(self) -> Stillness:
        """The stillness of the frames so far, one at the least."""
        whole = self.seconds - self.first
        return Stillness(self.change / whole, min(1.0, self.static_seconds / whole)) if whole else Stillness(0.0, 1.0)


def stillness(clip: Clip) -> Stillness:
    """Motion and static share of a clip.

    Raises:
        UserError: frames are not uint8 (T, H, W, 3), or there are none.
    """
    frames = clip.frames
    if frames.dtype != np.uint8 or frames.ndim != 4 or frames.shape[-1] != 3 or not len(frames):
        raise UserError(f"frames are {frames.dtype} {frames.shape}; a clip is uint8 (T, H, W, 3), T >= 1.")
    meter = StillnessMeter()
    for frame, seconds in zip(frames, clip.times, strict=True):
        meter.add(luma(frame), float(seconds))
    return meter.read()


def luma(frames: np.ndarray) -> np.ndarray:
    """uint8 (..., 3) to float32 (...), 0 to 255, by the weights of BT.601."""
    return frames.astype(np.float32) @ np.array([0.299, 0.587, 0.114], np.float32)


def cells(picture: np.ndarray, side: int = GRID) -> np.ndarray:
    """Mean of float32 (H, W) in side x side cells."""
    height, width = picture.shape
    if height % side == width % side == 0:
        return picture.reshape(side, height // side, side, width // side).mean((1, 3))
    return np.asarray(Image.fromarray(picture).resize((side, side), Image.Resampling.BOX))
