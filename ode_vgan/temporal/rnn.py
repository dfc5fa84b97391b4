"""The latent path as a gated recurrence with fresh noise at each step."""

import math

import torch
from torch import Tensor, nn

from ode_vgan.temporal.noise import clip_noise
from ode_vgan.temporal.path import TemporalModel

TYPICAL_GAP_SECONDS = 0.1


class RnnPath(TemporalModel):
    """z_i = GRU([noise_i, log gap_i, text], z_{i-1}), the state being the path itself.

    Each step is a convex combination of the old state and a candidate in (-1, 1), so the path starts exactly at z0,
    however large, and stays bounded at any length. The gap tells the cell how far to move, but nothing makes two
    half gaps equal to one whole: a path asked at other times is another path.

    Args:
        noise_dim: width of the noise drawn at each step.
        text_dim: width of the text's projection.

    Source: Tulyakov et al. (2018), MoCoGAN, section 3 (a GRU driven by noise). Differs: sees the gap and the text.
    """

    continuous = False
    any_gap = True
    backward = False
    extrapolates = True
    step_noise = True
    starts_at_z0 = True

    def __init__(self, dim: int, embed_dim: int, *, noise_dim: int, text_dim: int):
        super().__init__(dim, embed_dim)
        self.noise_dim = noise_dim
        self.text = nn.Linear(embed_dim, text_dim)
        nn.init.normal_(self.text.weight, std=1 / math.sqrt(embed_dim))
        self.cell = nn.GRUCell(noise_dim + 1 + text_dim, dim)

    def path(self, z0: Tensor, times: Tensor, c: Tensor, seeds: Tensor | None) -> Tensor:
        gaps = times.expand(len(z0), -1).diff(dim=1)
        steps = gaps.shape[1]
        noise = clip_noise(seeds, z0.new_empty(len(z0), self.noise_dim), steps)
        text = self.text(c * math.sqrt(self.embed_dim)).unsqueeze(1).expand(-1, steps, -1)
        inputs = torch.cat([noise, (gaps / TYPICAL_GAP_SECONDS).log().unsqueeze(-1), text], -1)
        z, states = z0, [z0]
        for given in inputs.unbind(1):
            z = self.cell(given, z)
            states.append(z)
        self.nfe = steps
        return torch.stack(states, 1)
