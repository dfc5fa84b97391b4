"""Frames as the package wants them: RGB, and square where a size is asked."""

import av
import numpy as np
from av.video.reformatter import VideoReformatter
from PIL import Image

THREADLESS_PX = 256 * 256  # a thread pool costs more than frames up to here


def to_rgb(frame: av.VideoFrame, converter: VideoReformatter) -> np.ndarray:
    """uint8 (H, W, 3).

    Args:
        converter: one for a clip: a frame's own would be set up anew, at 4x the time.
    """
    return converter.reformat(frame, format="rgb24", threads=1).to_ndarray()


def square(frame: np.ndarray, size: int | None) -> np.ndarray:
    """A centre crop at this size, the mean over each pixel's area where it shrinks; None leaves the frame as it is."""
    height, width = frame.shape[:2]
    if size is None or height == width == size:
        return frame
    side = min(height, width)
    left, top = (width - side) // 2, (height - side) // 2
    image = Image.fromarray(frame[top : top + side, left : left + side])
    shrinking = side >= size
    return np.asarray(image.resize((size, size), Image.Resampling.BOX if shrinking else Image.Resampling.BILINEAR))
