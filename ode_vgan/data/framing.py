"""Frames as the package wants them: RGB, and square where a size is asked."""

import av
import numpy as np
from av.video.reformatter import VideoReformatter
from PIL import Image

THREADLESS_PX = 256 * 256  # a thread pool costs more than frames up to here
WHOLE_COLOUR = {"yuv444p"}  # whose planes FFmpeg converts to the same values whatever their order is


def to_rgb(frame: av.VideoFrame, converter: VideoReformatter) -> np.ndarray:
    """uint8 (H, W, 3).

    Args:
        converter: one for a clip: a frame's own would be set up anew, at 4x the time.
    """
    return converter.reformat(frame, format="rgb24", threads=1).to_ndarray()


def to_square(frame: av.VideoFrame, converter: VideoReformatter, size: int | None) -> np.ndarray:
    """`square(to_rgb(frame, converter), size)`, in half the time where the frame has twice that size."""
    height, width = frame.height, frame.width
    if size is None or not height == width == 2 * size or frame.format.name not in WHOLE_COLOUR:
        return square(to_rgb(frame, converter), size)
    planes = np.empty((3, height, width), dtype=np.uint8)
    found = converter.reformat(frame, format="gbrp", threads=1).planes
    for i, plane in zip((1, 2, 0), found, strict=True):
        planes[i] = np.frombuffer(plane, dtype=np.uint8).reshape(height, -1)[:, :width]
    return halved(planes).transpose(1, 2, 0)


def halved(planes: np.ndarray) -> np.ndarray:
    """uint8 (..., H, W), even sides, to half the size: means of pairs along, then across, as Pillow's box rounds."""
    pairs = planes.view("<u2")
    along = pairs & 255
    along += pairs >> 8
    along += 1
    along >>= 1
    both = along[..., ::2, :] + along[..., 1::2, :]
    both += 1
    both >>= 1
    return both.astype(np.uint8)


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
