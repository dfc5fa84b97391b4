"""What the pixels of one clip tell, in one pass over its frames and a bounded memory."""

from dataclasses import asdict

import numpy as np
from PIL import Image

from ode_vgan.data.clips import stream_frames
from ode_vgan.laion.phash import HashMeter
from ode_vgan.laion.stillness import StillnessMeter, luma
from ode_vgan.laion.watermark import WatermarkDetector, spread_frames

VERSION = "pixels-1"  # of all that is measured here; another one scores every clip again
LARGE_PX = 256  # a longer side is scaled to it before frames are kept for the detector
HELD = 4  # frames held for each one that the detector sees
DIGITS = 6  # of a score; what is beyond may depend on the number of threads


class SpreadFrames:
    """Frames spread over a clip whose length is not known until it ends; holds at most 4 x count, and the last."""

    def __init__(self, count: int):
        self.count, self.seen, self.step, self.held = count, 0, 1, []
        self.last: tuple[np.ndarray, float] | None = None

    def add(self, frame: np.ndarray, seconds: float) -> None:
        """The next frame, uint8 (H, W, 3)."""
        if self.seen % self.step == 0:
            self.held.append((shrunk(frame), seconds))
            if len(self.held) == HELD * self.count:
                self.held, self.step = self.held[::2], 2 * self.step
        self.seen, self.last = self.seen + 1, (frame, seconds)

    def read(self) -> np.ndarray:
        """uint8 (K, H, W, 3), K <= count, shown at about even times from the first to the last."""
        frame, seconds = self.last
        held = [*self.held, (shrunk(frame), seconds)] if seconds > self.held[-1][1] else self.held
        times = np.array([seconds for _, seconds in held])
        return np.stack([held[i][0] for i in spread_frames(times, self.count)])


def measure_pixels(content: bytes, detector: WatermarkDetector, frames: int) -> dict:
    """pwatermark, watermark_persistence, motion, static_share and phash of a clip's file.

    Args:
        frames: that the detector sees; all are looked at for the rest.

    Raises:
        CorruptClip: the file does not decode to its end.
    """
    stillness, look, spread = StillnessMeter(), HashMeter(), SpreadFrames(frames)
    for frame, seconds in stream_frames(content):
        grey = luma(frame)
        stillness.add(grey, seconds)
        look.add(grey)
        spread.add(frame, seconds)
    probability, persistence = detector.score(spread.read())
    found = {"pwatermark": probability, "watermark_persistence": persistence} | asdict(stillness.read())
    return {name: round(value, DIGITS) for name, value in found.items()} | {"phash": f"{look.read():016x}"}


def shrunk(frame: np.ndarray) -> np.ndarray:
    """The frame, its longer side at most 256 px."""
    height, width = frame.shape[:2]
    if max(height, width) <= LARGE_PX:
        return frame
    scale = LARGE_PX / max(height, width)
    size = max(1, round(width * scale)), max(1, round(height * scale))
    return np.asarray(Image.fromarray(frame).resize(size, Image.Resampling.BOX))
