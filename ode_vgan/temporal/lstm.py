"""The latent path as the running sum of what a long short-term memory says, with or without noise at each step."""

import math

import torch
from torch import Tensor, nn

from ode_vgan.temporal.steps import SteppedPath


class LstmPath(SteppedPath):
    """z_i = z_{i-1} + step * tanh(W h_i + b), where h_i is the output of an LSTM on [noise_i, log gap_i, text].

    z0 sets the memory before the first step and is the first sum. An LSTM's output lies in (-1, 1), so a path that
    were the output itself could not start at any z0. No step is longer than `step`, but nothing pulls the sum back:
    the path may wander away with its length.

    Args:
        noise_dim, text_dim: see `SteppedPath`.
        hidden: width of the LSTM.
        step: initial value of the learnable bound on each coordinate's step.

    Source: Tian et al. (2021), MoCoGAN-HD, section 3.1 (residuals from an LSTM driven by noise). Differs: the
    residual's scale is learnable for each coordinate, where principal components and 0.2 are given there; a linear
    map, not a second LSTM cell, sets the memory from z0; sees the gap and the text.
    """

    def __init__(self, dim: int, embed_dim: int, *, noise_dim: int, text_dim: int, hidden: int, step: float):
        super().__init__(dim, embed_dim, noise_dim=noise_dim, text_dim=text_dim)
        self.start = nn.Linear(dim, 2 * hidden)
        self.cell = nn.LSTMCell(self.given_dim, hidden)
        self.leave = nn.Linear(hidden, dim)
        nn.init.normal_(self.leave.weight, std=1 / math.sqrt(hidden))
        nn.init.zeros_(self.leave.bias)
        self.log_step = nn.Parameter(torch.full((dim,), math.log(step)))

    def path(self, z0: Tensor, times: Tensor, c: Tensor, seeds: Tensor | None) -> Tensor:
        given = self.given(z0, times, c, seeds)
        hidden, memory = self.start(z0).chunk(2, 1)
        hidden, reach = hidden.tanh(), self.log_step.exp()
        z, states = z0, [z0]
        for step in given.unbind(1):
            hidden, memory = self.cell(step, (hidden, memory))
            z = z + reach * self.leave(hidden).tanh()
            states.append(z)
        self.nfe = given.shape[1]
        return torch.stack(states, 1)
