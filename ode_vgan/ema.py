"""An exponential moving average of the generator, with its horizon in clips."""

import copy

import torch
from torch import nn


class GeneratorEma(nn.Module):
    """Keeps a frozen copy of a generator that follows it with a half-life counted in clips.

    Early on the half-life is at most `ramp` times the clips seen so far, so that the copy forgets its random start.

    Source: Karras et al. (2020), StyleGAN2-ADA's half-life and ramp-up, restated per clip.
    """

    def __init__(self, generator: nn.Module, halflife_clips: float, ramp: float = 0.05):
        super().__init__()
        self.copy = copy.deepcopy(generator).eval().requires_grad_(False)
        self.halflife_clips, self.ramp = halflife_clips, ramp

    @torch.no_grad()
    def update(self, generator: nn.Module, batch: int, clips_seen: int) -> None:
        """Move the copy towards the generator after a batch of clips."""
        halflife = max(min(self.halflife_clips, clips_seen * self.ramp), 1e-8)
        weight = 1 - 0.5 ** (batch / halflife)
        torch._foreach_lerp_(list(self.copy.parameters()), list(generator.parameters()), weight)
        for kept, new in zip(self.copy.buffers(), generator.buffers(), strict=True):
            kept.copy_(new)
