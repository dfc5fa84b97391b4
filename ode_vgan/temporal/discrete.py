"""The latent path as transposed convolutions over time, of a fixed number of frames."""

import math

import torch
from torch import Tensor, nn

from ode_vgan.errors import UserError
from ode_vgan.temporal.path import TemporalModel

GAP_TOLERANCE = 0.1  # real timestamps are rounded to milliseconds: 2 % of a 42 ms gap, 6 % of a 16 ms one


class DiscretePath(TemporalModel):
    """TGAN's temporal generator: one vector to `frames` vectors at once, without a state and without time.

    Lengths double from 1 to the next power of two; surplus frames at the end are cut off. Gaps are not an input, so
    times (T,) that somebody asks for must be uniform, within 10 % because files round them. Times per clip (B, T) are
    those of real clips, some with a held frame: there frame i is frame i, whatever the gaps. z[:, 0] is not z0.

    Args:
        text_dim: width of the text's projection, joined to z0.
        widths: channels after the first layer and after each doubling but the last; the last entry repeats.
        frames: T, the only length the model makes.
        gap_seconds: the trained gap, the only one that may be asked for, within 10 %. None: any uniform gap.

    Source: Saito, Matsumoto and Saito (2017), TGAN, table 1. Differs: narrower, sees the text, and normalises each
    clip by groups, not the batch, so that a clip does not depend on its company.
    """

    continuous = False
    any_gap = False
    backward = False
    extrapolates = False
    step_noise = False
    starts_at_z0 = False

    def __init__(
        self, dim: int, embed_dim: int, *, text_dim: int, widths: list[int], frames: int,
        gap_seconds: float | None = None,
    ):  # fmt: skip
        super().__init__(dim, embed_dim)
        if frames < 2:
            raise UserError(f"frames={frames}; transposed convolutions make 2 frames or more.")
        if not widths or any(width % 8 for width in widths):
            raise UserError(f"widths={list(widths)}; give at least one, each a multiple of 8 (eight norm groups).")
        self.frames, self.gap_seconds = frames, gap_seconds
        self.text = nn.Linear(embed_dim, text_dim)
        nn.init.normal_(self.text.weight, std=1 / math.sqrt(embed_dim))
        doublings = math.ceil(math.log2(frames))
        sizes = [widths[min(i, len(widths) - 1)] for i in range(doublings)] + [dim]
        layers: list[nn.Module] = [nn.ConvTranspose1d(dim + text_dim, sizes[0], 1)]
        for size, after in zip(sizes[:-1], sizes[1:], strict=True):
            layers += [nn.GroupNorm(8, size), nn.ReLU(), nn.ConvTranspose1d(size, after, 4, stride=2, padding=1)]
        nn.init.normal_(layers[-1].weight, std=0.7 / math.sqrt(sizes[-2]))  # two taps meet: z starts near rms 0.5
        self.layers = nn.Sequential(*layers, nn.Tanh())

    def check_times(self, times: Tensor, batch: int | None = None) -> None:
        super().check_times(times, batch)
        if times.shape[-1] != self.frames:
            raise UserError(
                f"{times.shape[-1]} frames asked; DiscretePath makes exactly {self.frames}. "
                "Ask for that or choose temporal=ode, sde or rnn."
            )
        if times.ndim == 2:
            return
        gaps = times.diff(dim=-1)
        low, high, mean = (value.reshape(-1) for value in (gaps.amin(-1), gaps.amax(-1), gaps.mean(-1)))
        uneven = torch.maximum(high - mean, mean - low) > GAP_TOLERANCE * mean
        if bool(uneven.any()):
            raise UserError(
                f"frame gaps run from {float(low[uneven][0]):.4g} to {float(high[uneven][0]):.4g} s; DiscretePath "
                "needs uniform ones (within 10 %). Sample uniformly or choose temporal=ode, sde or rnn."
            )
        if self.gap_seconds is None:
            return
        wrong = (mean / self.gap_seconds - 1).abs() > GAP_TOLERANCE
        if bool(wrong.any()):
            raise UserError(
                f"frame gap {float(mean[wrong][0]):.4g} s; DiscretePath was trained at {self.gap_seconds:.4g} s "
                "and knows no other. Ask for that gap or choose temporal=ode, sde or rnn."
            )

    def path(self, z0: Tensor, times: Tensor, c: Tensor, seeds: Tensor | None) -> Tensor:
        self.nfe = 1
        given = torch.cat([z0, self.text(c * math.sqrt(self.embed_dim))], 1)
        return self.layers(given.unsqueeze(-1))[..., : self.frames].transpose(1, 2)  # convolutions are channels-first
