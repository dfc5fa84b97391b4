"""The latent path frame by frame, each made by causal attention to the frames before it."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ode_vgan.errors import UserError
from ode_vgan.temporal.steps import TYPICAL_GAP_SECONDS, SteppedPath

ROTARY_BASE = 100.0  # wavelengths from 0.6 s to that times this, nearly: windows have tens of frames, not thousands
ROUNDING_SECONDS = 1e-3  # of timestamps: a frame as old as the memory is always in it


class Block(nn.Module):
    """Attention of one frame to those before it and to itself, then an MLP, each added to what went in.

    Source: Vaswani et al. (2017), section 3, with the norm before each part (Xiong et al. 2020).
    """

    def __init__(self, width: int, heads: int, hidden: int):
        super().__init__()
        self.heads = heads
        self.norm, self.attend, self.joined = nn.LayerNorm(width), nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.mlp = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, hidden), nn.GELU(), nn.Linear(hidden, width))

    def forward(
        self, x: Tensor, turn: Tensor, seen: Tensor, keys: list[Tensor], values: list[Tensor], oldest: int
    ) -> Tensor:
        """One frame (B, width); its own key and value are added to those of the frames before it.

        Args:
            turn: (B, width / heads / 2) rotary angles of this frame.
            seen: (B, i + 1 - oldest) bool, which frames from the oldest to this one may be attended to.
            keys, values: of the i frames before, (B, heads, width / heads) each.
            oldest: no clip of the batch sees a frame before this one.
        """
        query, key, value = self.attend(self.norm(x)).unflatten(1, (3, self.heads, -1)).unbind(1)
        keys.append(rotate(key, turn))
        values.append(value)
        found = F.scaled_dot_product_attention(
            rotate(query, turn).unsqueeze(2), torch.stack(keys[oldest:], 2), torch.stack(values[oldest:], 2),
            attn_mask=seen[:, None, None],
        )  # fmt: skip
        x = x + self.joined(found.flatten(1))
        return x + self.mlp(x)


def rotate(x: Tensor, turn: Tensor) -> Tensor:
    """Turn the pairs (x_k, x_{k + D/2}) of x (B, heads, D) by the angles (B, D / 2).

    Source: Su et al. (2021), RoFormer. Differs: pairs are taken half a vector apart.
    """
    cos, sin = turn.cos().unsqueeze(1), turn.sin().unsqueeze(1)
    first, second = x.chunk(2, -1)
    return torch.cat([first * cos - second * sin, first * sin + second * cos], -1)


class TransformerPath(SteppedPath):
    """z_i = exp(-decay * gap_i) z_{i-1} + step * tanh(W y_{i-1} + b), with y a causal transformer's output.

    Token i - 1 holds z_{i-1} and the noise, gap and text of the step to frame i, and attends to itself and to the
    tokens before it. Where a token stands is told by rotary angles in seconds, so attention sees elapsed time, not
    frame numbers, and no more than `memory_seconds` of it: a clip longer than those trained on asks for no age that
    training did not show. The decay, the ODE's own, keeps long paths within step / (1 - exp(-decay * gap)).

    Args:
        noise_dim, text_dim: see `SteppedPath`.
        width, heads, layers, hidden: of the transformer and its MLPs; width / heads is even.
        step: initial value of the learnable bound on each coordinate's step.
        decay: 1/s, fixed.
        memory_seconds: age of the oldest frame that is attended to.

    Source: Vaswani et al. (2017), section 3; Su et al. (2021) for the rotary angles.
    """

    def __init__(
        self, dim: int, embed_dim: int, *, noise_dim: int, text_dim: int, width: int, heads: int, layers: int,
        hidden: int, step: float, decay: float, memory_seconds: float,
    ):  # fmt: skip
        super().__init__(dim, embed_dim, noise_dim=noise_dim, text_dim=text_dim)
        if heads < 1 or width % (2 * heads):
            raise UserError(f"width={width}, heads={heads}; the width must be an even number for each head.")
        if memory_seconds <= 0:
            raise UserError(f"memory_seconds={memory_seconds}; give more than 0 s.")
        self.decay, self.memory_seconds = decay, memory_seconds
        self.enter = nn.Linear(dim + self.given_dim, width)
        self.blocks = nn.ModuleList(Block(width, heads, hidden) for _ in range(layers))
        self.norm = nn.LayerNorm(width)
        self.leave = nn.Linear(width, dim)
        nn.init.normal_(self.leave.weight, std=0.25 / math.sqrt(width))
        nn.init.zeros_(self.leave.bias)
        self.log_step = nn.Parameter(torch.full((dim,), math.log(step)))
        waves = torch.arange(width // heads // 2) / (width // heads // 2)
        self.register_buffer("frequencies", ROTARY_BASE**-waves / TYPICAL_GAP_SECONDS, persistent=False)  # rad/s

    def path(self, z0: Tensor, times: Tensor, c: Tensor, seeds: Tensor | None) -> Tensor:
        given = self.given(z0, times, c, seeds)
        elapsed = (times - times[..., :1]).expand(z0.shape[0], -1)
        seen = elapsed[:, :, None] - elapsed[:, None] <= self.memory_seconds + ROUNDING_SECONDS  # or later
        oldest = seen.any(0).int().argmax(1).tolist()  # one transfer from the device
        turns = elapsed.unsqueeze(-1) * self.frequencies
        kept = (-self.decay * elapsed.diff(dim=1)).exp()
        past = [([], []) for _ in self.blocks]
        reach = self.log_step.exp()
        z, states = z0, [z0]
        for i, step in enumerate(given.unbind(1)):
            y, since = self.enter(torch.cat([z, step], 1)), oldest[i]
            for block, (keys, values) in zip(self.blocks, past, strict=True):
                y = block(y, turns[:, i], seen[:, i, since : i + 1], keys, values, since)
            z = kept[:, i : i + 1] * z + reach * self.leave(self.norm(y)).tanh()
            states.append(z)
        self.nfe = given.shape[1]
        return torch.stack(states, 1)
