"""A perceptual hash of a clip: 64 bits of what it shows and of where it moves."""

from functools import lru_cache

import numpy as np

from ode_vgan.laion.stillness import cells, luma

SIDE_PX = 32
MEAN_BITS, CHANGE_BITS = 40, 24  # of the mean picture, and of where pixels change
CHANGE_FLOOR = 3.0  # grey levels of deviation over time that an encoder makes of a still picture
COEFFICIENT_FLOOR = 1e-3  # below it a coefficient is rounding, and its bit 0


class HashMeter:
    """The hash of frames that come one by one; holds two pictures of 32x32."""

    def __init__(self):
        self.count, self.sum, self.squares = 0, 0.0, 0.0

    def add(self, grey: np.ndarray) -> None:
        """The next frame's luma, float32 (H, W), 0 to 255."""
        small = cells(grey, SIDE_PX).astype(np.float64)
        self.count, self.sum, self.squares = self.count + 1, self.sum + small, self.squares + small**2

    def read(self) -> int:
        """The hash of the frames so far, one at the least."""
        mean = self.sum / self.count
        deviation = np.sqrt(np.maximum(self.squares / self.count - mean**2, 0))
        moving = np.maximum(deviation - CHANGE_FLOOR, 0)
        bits = np.concatenate([_signs(mean, MEAN_BITS), _signs(moving, CHANGE_BITS)])
        return int.from_bytes(np.packbits(bits).tobytes(), "big")


def clip_hash(frames: np.ndarray) -> int:
    """64 bits that stay nearly the same when a clip is encoded, scaled, recoloured or shifted in time.

    Signs of the lowest DCT coefficients, without the constant one: 40 of the mean over time of luma at 32x32, and 24
    of its deviation over time, less 3 levels. Two clips of one thing that move differently differ in the second part;
    clips of one flat colour all hash to 0.

    Args:
        frames: uint8 (T, H, W, 3), T >= 1.
    """
    meter = HashMeter()
    for frame in frames:
        meter.add(luma(frame))
    return meter.read()


def _signs(picture: np.ndarray, count: int) -> np.ndarray:
    """Whether each of the lowest coefficients is positive, diagonal after diagonal."""
    from scipy.fft import dctn

    return dctn(picture, norm="ortho")[_diagonals(count)] > COEFFICIENT_FLOOR


@lru_cache
def _diagonals(count: int) -> tuple[np.ndarray, np.ndarray]:
    """Rows and columns of the lowest coefficients, without the first."""
    places = sorted(((i, j) for i in range(12) for j in range(12)), key=lambda place: (sum(place), place[0]))
    return tuple(np.array(places[1 : count + 1]).T)
