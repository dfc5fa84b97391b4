"""What a path that goes from frame to frame is given at each step: fresh noise, the gap and the text."""

import math

import torch
from torch import Tensor, nn

from ode_vgan.errors import UserError
from ode_vgan.temporal.noise import clip_noise
from ode_vgan.temporal.path import TemporalModel

TYPICAL_GAP_SECONDS = 0.1


class TextProjection(nn.Linear):
    """A linear map of the text whose outputs have about unit size at the start."""

    def __init__(self, embed_dim: int, text_dim: int):
        super().__init__(embed_dim, text_dim)
        nn.init.normal_(self.weight, std=1 / math.sqrt(embed_dim))

    def forward(self, c: Tensor) -> Tensor:
        """(B, text_dim) from (B, E) unit rows."""
        return super().forward(c * math.sqrt(self.in_features))  # entries of a unit row are about 1 / sqrt(E)


class SteppedPath(TemporalModel):
    """A path of which frame i is made from what came before it and from noise, gap and text of its own step.

    The gap is an input, so any gap may be asked for, but nothing makes two half gaps equal to one whole: a path asked
    at other times is another path.

    Args:
        noise_dim: width of the noise drawn at each step; 0 for a path that z0, the times and the text determine.
        text_dim: width of the text's projection.

    Attributes:
        given_dim: width of what a step is given.
    """

    continuous = False
    any_gap = True
    backward = False
    extrapolates = True
    starts_at_z0 = True

    def __init__(self, dim: int, embed_dim: int, *, noise_dim: int, text_dim: int):
        super().__init__(dim, embed_dim)
        if noise_dim < 0:
            raise UserError(f"noise_dim={noise_dim}; give 0 for no noise, or its width.")
        self.noise_dim = noise_dim
        self.step_noise = noise_dim > 0
        self.given_dim = noise_dim + 1 + text_dim
        self.text = TextProjection(embed_dim, text_dim)

    def given(self, z0: Tensor, times: Tensor, c: Tensor, seeds: Tensor | None) -> Tensor:
        """(B, T - 1, given_dim): noise, log gap and text of each step; arguments as in `TemporalModel.forward`."""
        gaps = times.expand(z0.shape[0], -1).diff(dim=1)
        steps = gaps.shape[1]
        noise = clip_noise(seeds, z0.new_empty(len(z0), self.noise_dim), steps)
        text = self.text(c).unsqueeze(1).expand(-1, steps, -1)
        return torch.cat([noise, (gaps / TYPICAL_GAP_SECONDS).log().unsqueeze(-1), text], -1)
