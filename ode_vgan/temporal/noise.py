"""Noise that belongs to a clip: it depends on the clip's seed, not on its place or company in the batch."""

import math
from typing import NamedTuple

import torch
from torch import Tensor

WAVES = 32  # of a smooth noise: at lags far beyond its memory a path's own correlation is some 1 / sqrt(2 WAVES)


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


class SmoothNoise(NamedTuple):
    """A smooth random function of time for each clip: sum_m a_m cos(w_m t) + b_m sin(w_m t).

    Attributes:
        frequencies: (B, M) rad/s, w.
        amplitudes: (B, 2M, Z), a and then b.
    """

    frequencies: Tensor
    amplitudes: Tensor

    def at(self, t: Tensor) -> Tensor:
        """(B, Z) at t () or (B,) seconds, of any sign and size."""
        angle = t.reshape(-1, 1) * self.frequencies
        return (torch.cat([angle.cos(), angle.sin()], 1).unsqueeze(1) @ self.amplitudes).squeeze(1)


def smooth_noise(seeds: Tensor | None, like: Tensor, correlation_seconds: float) -> SmoothNoise:
    """Stationary Gaussian noise xi(t) of covariance exp(-lag^2 / (2 l^2)) / (l sqrt(2 pi)), l = correlation_seconds.

    The covariance integrates to 1 over all lags, so that the integral of xi over times far longer than l is
    Brownian motion, per square root of a second. A wave's frequency has the law |N(0, 1 / l^2)|, the covariance's
    own spectrum, and is drawn from its share of that law, one share for each wave.

    Args:
        seeds, like: as in `clip_noise`.
        correlation_seconds: the lag at which the correlation has fallen to exp(-1/2) = 0.61.

    Source: Rahimi and Recht (2007), "Random Features for Large-Scale Kernel Machines", section 3. Differs: normal
    amplitudes in place of random phases, which makes xi(t) exactly normal, and stratified frequencies.
    """
    spare = -(-WAVES // like.shape[1])  # rows that hold one normal value for each wave's frequency
    drawn = clip_noise(seeds, like, 2 * WAVES + spare)
    place = torch.special.ndtr(drawn[:, 2 * WAVES :].flatten(1)[:, :WAVES])  # uniform on [0, 1]
    share = (torch.arange(WAVES).to(place) + place) / WAVES
    frequencies = math.sqrt(2) * share.clamp(max=1 - 1e-6).erfinv() / correlation_seconds
    deviation = (correlation_seconds * math.sqrt(2 * math.pi)) ** -0.5
    return SmoothNoise(frequencies, drawn[:, : 2 * WAVES] * (deviation / math.sqrt(WAVES)))
