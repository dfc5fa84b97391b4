"""The critics of a run, side by side: each looks at its own view of the clip and is trained by the same loss."""

import torch
from torch import Tensor, nn

from ode_vgan.processes import share


def choose_frames(clips: int, frames: int, count: int, generator: torch.Generator | None = None) -> Tensor:
    """Which frames of each clip are looked at, (B, count) rising, all of them where there are no more than `count`."""
    total, own = share(clips, generator)
    return torch.rand(total, frames, generator=generator)[own].argsort(1)[:, :count].sort(1).values


class Critics(nn.Module):
    """A clip critic that sees every frame and a frame critic that sees a few, chosen anew each step.

    Args:
        frame, clip: critics with `features(x, times)` and `judge(features, c)`.
        frames_per_clip: k, frames of a clip that the frame critic sees.
    """

    def __init__(self, frame: nn.Module, clip: nn.Module, frames_per_clip: int):
        super().__init__()
        self.frame, self.clip, self.frames_per_clip = frame, clip, frames_per_clip

    def choose(self, clips: int, frames: int, generator: torch.Generator | None = None) -> Tensor:
        """Which frames the frame critic sees, (B, k), without repetition within a clip."""
        return choose_frames(clips, frames, self.frames_per_clip, generator)

    def features(self, x: Tensor, times: Tensor, picks: Tensor) -> dict[str, Tensor]:
        """Features of clips x (B, T, C, H, W) at times (B, T) by critic: frame (B * k, F), clip (B, F)."""
        rows = torch.arange(x.shape[0], device=x.device)[:, None]
        picks = picks.to(x.device)
        return {
            "frame": self.frame.features(x[rows, picks], times[rows, picks]),
            "clip": self.clip.features(x, times),
        }

    def judge(self, features: dict[str, Tensor], c: Tensor) -> dict[str, Tensor]:
        """Logits of features under captions c (B, E), by critic."""
        return {"frame": self.frame.judge(features["frame"], c), "clip": self.clip.judge(features["clip"], c)}

    def forward(self, x: Tensor, times: Tensor, c: Tensor, picks: Tensor) -> dict[str, Tensor]:
        """Logits by critic: frame (B * k,), clip (B,)."""
        return self.judge(self.features(x, times, picks), c)
