"""What bad generators would make, built from real clips: a score that does not rank them below reality is no score."""

import torch
from torch import Tensor


def frozen(clips: Tensor, generator: torch.Generator) -> Tensor:
    """Each clip (N, T, ...) as one of its own frames, held: perfect pictures, no motion."""
    count, frames = clips.shape[:2]
    picks = torch.randint(frames, (count,), generator=generator)
    return clips[torch.arange(count), picks].unsqueeze(1).expand_as(clips)


def shuffled(clips: Tensor, generator: torch.Generator) -> Tensor:
    """Each clip's frames (N, T, ...) in an order of its own, never the true one: perfect pictures, false motion."""
    count, frames = clips.shape[:2]
    order = torch.rand(count, frames, generator=generator).argsort(1)
    in_order = (order == torch.arange(frames)).all(1, keepdim=True)
    order = torch.where(in_order, order.roll(1, 1), order)
    return clips[torch.arange(count)[:, None], order]


def backwards(clips: Tensor) -> Tensor:
    """Each clip (N, T, ...) from its last frame to its first."""
    return clips.flip(1)


def noisy(clips: Tensor, generator: torch.Generator, deviation: float = 16.0) -> Tensor:
    """Clips, uint8, with independent Gaussian noise of some grey levels on every value."""
    noise = torch.randn(clips.shape, generator=generator) * deviation
    return (clips.float() + noise).round().clamp(0, 255).to(torch.uint8)


CONTROLS = {"frozen": frozen, "shuffled": shuffled}
