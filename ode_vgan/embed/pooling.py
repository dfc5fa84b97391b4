"""From frames' embeddings to one vector of the clip: a mean that is blind to order, and two that see it."""

import torch
from torch import Tensor, nn


class MeanPooling(nn.Module):
    """The mean over frames: any order of the same frames has the same vector.

    Attributes:
        settings: arguments that build it again; every pooling has them.
    """

    def __init__(self):
        super().__init__()
        self.settings = {}

    def forward(self, rows: Tensor, times: Tensor) -> Tensor:
        """(B, E) from frames' rows (B, T, E) at times (B, T) seconds, which it ignores."""
        return rows.mean(1)


class MomentPooling(nn.Module):
    """The mean m plus a linear map of what the mean and the first moment in time say together.

    pooled = m + W LayerNorm([m, sum_t w_t e_t]), with weights w odd about the middle of the clip's span: playing the
    frames backward keeps m and turns the sign of the moment, so that a clip and its reversal can differ.

    Args:
        dim: E.
    """

    def __init__(self, dim: int):
        super().__init__()
        self.settings = {"dim": dim}
        self.norm = nn.LayerNorm(2 * dim)
        self.mix = nn.Linear(2 * dim, dim)
        nn.init.normal_(self.mix.weight, std=0.02)
        nn.init.zeros_(self.mix.bias)

    def forward(self, rows: Tensor, times: Tensor) -> Tensor:
        """(B, E) from frames' rows (B, T, E) at times (B, T) seconds."""
        mean = rows.mean(1)
        moment = (time_weights(times).to(rows.dtype).unsqueeze(-1) * rows).sum(1)
        return mean + self.mix(self.norm(torch.cat([mean, moment], -1)))


class AttentionPooling(nn.Module):
    """The mean of the frames after one transformer layer that is told their place in the clip's span.

    Args:
        dim: E. heads: of the attention; they divide E.
    """

    def __init__(self, dim: int, heads: int = 4):
        super().__init__()
        self.settings = {"dim": dim, "heads": heads}
        self.place = nn.Linear(6, dim)
        self.layer = nn.TransformerEncoderLayer(
            dim, heads, 2 * dim, dropout=0.0, activation="gelu", batch_first=True, norm_first=True
        )

    def forward(self, rows: Tensor, times: Tensor) -> Tensor:
        """(B, E) from frames' rows (B, T, E) at times (B, T) seconds."""
        where = centred(times).to(rows.dtype).unsqueeze(-1)
        angle = where * where.new_tensor([0.5, 1.0, 2.0]) * torch.pi
        return self.layer(rows + self.place(torch.cat([angle.sin(), angle.cos()], -1))).mean(1)


def centred(times: Tensor) -> Tensor:
    """(B, T) in [-1, 1]: the place of each time in its clip's span; 0 where all times are one."""
    first, last = times.min(1, keepdim=True).values, times.max(1, keepdim=True).values
    half = (last - first) / 2
    return torch.where(half > 0, (times - (first + last) / 2) / half.clamp(min=torch.finfo(times.dtype).tiny), 0.0)


def time_weights(times: Tensor) -> Tensor:
    """(B, T) weights of the first moment: `centred`, less its mean, with absolute values that sum to 2."""
    weights = centred(times)
    weights = weights - weights.mean(1, keepdim=True)
    total = weights.abs().sum(1, keepdim=True)
    return torch.where(total > 0, 2 * weights / total.clamp(min=1e-12), 0.0)
