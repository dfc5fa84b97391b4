"""Features of single frames by EfficientNet-Lite0, whose ImageNet weights come with a package."""

from functools import cached_property

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import interpolate

from ode_vgan.errors import UserError

FRAMES_NET, FEATURES = "efficientnet-lite0", 1280


class FrameFeatures:
    """The 1280 averaged features before EfficientNet-Lite0's classifier, frame by frame.

    Args:
        side_px: to which a frame's central square is scaled; ImageNet's own is 224, at three times the cost of 128.

    Raises:
        UserError: the net's package is not installed.
    """

    def __init__(self, side_px: int, *, batch: int = 4, device: str | torch.device = "cpu"):
        from ode_vgan.metrics.efficientnet import EfficientNetFrames

        self.extractor = EfficientNetFrames().to(device)
        self.side_px, self.batch, self.device = side_px, batch, torch.device(device)

    @cached_property
    def fingerprint(self) -> str:
        return f"{FRAMES_NET}-{self.extractor.sha256[:16]}"

    @torch.inference_mode()
    def __call__(self, clips: np.ndarray | Tensor) -> Tensor:
        """(N, T, H, W, 3) uint8 -> (N, T, 1280) float32 on the CPU."""
        clips = torch.as_tensor(clips if isinstance(clips, Tensor) else np.ascontiguousarray(clips))
        if clips.ndim != 5 or clips.shape[-1] != 3 or clips.dtype != torch.uint8:
            raise UserError(f"clips are {clips.dtype} {tuple(clips.shape)}; give uint8 (N, T, H, W, 3).")
        flat = clips.flatten(0, 1)
        rows = torch.zeros(len(flat), FEATURES)
        for start in range(0, len(flat), self.batch):
            x = self._prepare(flat[start : start + self.batch].to(self.device))
            rows[start : start + self.batch] = self.extractor.frame_rows(x).cpu()
        return rows.unflatten(0, clips.shape[:2])

    def _prepare(self, images: Tensor) -> Tensor:
        """(N, H, W, 3) uint8 to the net's input: the central square, scaled, in the net's own grey levels."""
        from ode_vgan.metrics.efficientnet import DEVIATION, MEAN

        height, width = images.shape[1:3]
        side = min(height, width)
        top, left = (height - side) // 2, (width - side) // 2
        x = images[:, top : top + side, left : left + side].permute(0, 3, 1, 2).float()
        if side != self.side_px:
            x = interpolate(x, (self.side_px, self.side_px), mode="bilinear", antialias=True)
        return ((x - MEAN) / DEVIATION).contiguous(memory_format=torch.channels_last)


def even_frames(frames: np.ndarray, count: int) -> np.ndarray:
    """`count` frames of a clip (T, H, W, 3), evenly from the first to the last; a shorter clip repeats some."""
    return frames[np.rint(np.linspace(0, len(frames) - 1, count)).astype(int)]
