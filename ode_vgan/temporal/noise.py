"""Noise that belongs to a clip: it depends on the clip's seed, not on its place or company in the batch."""

import torch
from torch import Tensor


def clip_noise(seeds: Tensor | None, like: Tensor, steps: int) -> Tensor:
    """Standard normal noise (B, steps, Z) for a state `like` (B, Z).

    Args:
        seeds: (B,) int64, or None for torch's global generator.

    Rows are drawn on the CPU in blocks of 16, torch's own unit, so that a longer draw begins with the shorter one
    and every device sees the same noise.
    """
    if seeds is None:
        return torch.randn(len(like), steps, like.shape[1], dtype=like.dtype, device=like.device)
    width = like.shape[1]
    padded = -(-width // 16) * 16
    rows = [
        torch.randn(steps, padded, generator=torch.Generator().manual_seed(seed))[:, :width] for seed in seeds.tolist()
    ]
    return torch.stack(rows).to(like)
