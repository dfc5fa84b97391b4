"""The latent path as a gated recurrence, with or without fresh noise at each step."""

import torch
from torch import Tensor, nn

from ode_vgan.temporal.steps import SteppedPath


class RnnPath(SteppedPath):
    """z_i = GRU([noise_i, log gap_i, text], z_{i-1}), the state being the path itself.

    Each step is a convex combination of the old state and a candidate in (-1, 1), so the path starts exactly at z0,
    however large, and stays bounded at any length.

    Args:
        noise_dim, text_dim: see `SteppedPath`.

    Source: Tulyakov et al. (2018), MoCoGAN, section 3 (a GRU driven by noise). Differs: sees the gap and the text.
    """

    def __init__(self, dim: int, embed_dim: int, *, noise_dim: int, text_dim: int):
        super().__init__(dim, embed_dim, noise_dim=noise_dim, text_dim=text_dim)
        self.cell = nn.GRUCell(self.given_dim, dim)

    def path(self, z0: Tensor, times: Tensor, c: Tensor, seeds: Tensor | None) -> Tensor:
        given = self.given(z0, times, c, seeds)
        z, states = z0, [z0]
        for step in given.unbind(1):
            z = self.cell(step, z)
            states.append(z)
        self.nfe = given.shape[1]
        return torch.stack(states, 1)
