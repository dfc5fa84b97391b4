"""The latent path as a function of time between anchors of noise, as StyleGAN-V makes motion."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ode_vgan.errors import UserError
from ode_vgan.temporal.path import TemporalModel
from ode_vgan.temporal.steps import TextProjection

BLOCK = 16  # anchors whose noise is drawn together


def anchor_noise(seeds: Tensor | None, like: Tensor, first: int, count: int) -> Tensor:
    """Standard normal noise (B, count, N) of the anchors first, first + 1, ..., negative ones too.

    A value depends on the clip's seed and the anchor's number alone, whichever other anchors are asked for.

    Args:
        seeds: (B,) int64, or None for seeds from torch's global generator.
        like: (B, N), for the width, type and device.
    """
    if seeds is None:
        seeds = torch.randint(2**62, (len(like),))
    start, end = first // BLOCK, (first + count - 1) // BLOCK + 1
    rows = [torch.cat([_block(seed, i, like.shape[1]) for i in range(start, end)]) for seed in seeds.tolist()]
    skipped = first - start * BLOCK
    return torch.stack(rows)[:, skipped : skipped + count].to(like)


def _block(seed: int, number: int, width: int) -> Tensor:
    return torch.randn(BLOCK, width, generator=torch.Generator().manual_seed(mixed(seed, number)))


def mixed(seed: int, number: int) -> int:
    """A number in [0, 2^64) of which every bit depends on both: torch's CPU generator looks at the lowest 32 only.

    Source: Steele, Lea and Flood (2014), "Fast Splittable Pseudorandom Number Generators", figure 17 (SplitMix64).
    """
    value = (seed * 0xD1342543DE82EF95 + (number + 1) * 0x9E3779B97F4A7C15) % 2**64
    value = (value ^ (value >> 30)) * 0xBF58476D1CE4E5B9 % 2**64
    value = (value ^ (value >> 27)) * 0x94D049BB133111EB % 2**64
    return value ^ (value >> 31)


class AnchorPath(TemporalModel):
    """z(t) = z0 + v(t) - v(t0), t0 being the first time, where the motion v is made of noise on a grid of anchors.

    Two convolutions over the anchors' noise, without padding, make a code u_l for each anchor l, at l anchor_seconds
    = a l. With left anchor l, tau = t - a l and s = tau / a, the motion is

        e(tau) = [sin, cos](w (1 + tanh(P u_l)) tau + pi Q u_l), w = 2 pi / period,
        v(t) = e(tau) - lerp(e(0), e(a), s) + lerp(A u_l, A u_{l+1}, s).

    It is A u_l at each anchor, so continuous, and never repeats. An anchor's noise depends on the clip's seed and
    the anchor's number alone, so v is one function of all time, negative too: the path continues from any of its own
    states as it would have anyway, forward or backward. v depends on noise and text, not on z0, as motion and
    content are separate in the source; its law is the same for each stretch between anchors. Without seeds every
    call draws another motion.

    Args:
        noise_dim: width of an anchor's noise.
        hidden, code_dim: width of the convolutions; code_dim is that of u.
        kernel: anchors that a convolution sees, odd.
        anchor_seconds: between anchors.
        shortest_seconds, longest_seconds: of dim / 2 periods, spread evenly in their logarithm.

    Source: Skorokhodov et al. (2022), StyleGAN-V, section 3.1. Differs: tau runs from the left anchor, not from the
    clip's start, which makes the law the same at any time; so half a turn is scale enough for a phase, where theirs
    grows with the frequency, and rounding with it; the text enters as a bias of the first convolution, which is what
    a constant input comes to; no equalised learning rates; the values at anchors start at half their size.
    """

    continuous = True
    any_gap = True
    backward = True
    extrapolates = True
    step_noise = True
    starts_at_z0 = True

    def __init__(
        self, dim: int, embed_dim: int, *, noise_dim: int, hidden: int, code_dim: int, kernel: int,
        anchor_seconds: float, shortest_seconds: float, longest_seconds: float,
    ):  # fmt: skip
        super().__init__(dim, embed_dim)
        if dim % 2 or kernel % 2 == 0:
            raise UserError(f"dim={dim}, kernel={kernel}; the first must be even (sine and cosine), the other odd.")
        if anchor_seconds <= 0 or not 0 < shortest_seconds <= longest_seconds:
            raise UserError(
                f"anchor_seconds={anchor_seconds}, periods from {shortest_seconds} to {longest_seconds} s; give "
                "positive seconds, the shortest period first."
            )
        self.noise_dim, self.anchor_seconds = noise_dim, anchor_seconds
        self.margin = kernel - 1  # anchors on each side whose noise reaches a code through both convolutions
        self.text = TextProjection(embed_dim, hidden)
        self.mix = nn.ModuleList([nn.Conv1d(noise_dim, hidden, kernel), nn.Conv1d(hidden, code_dim, kernel)])
        self.pace = nn.Linear(code_dim, dim // 2, bias=False)
        self.phase = nn.Linear(code_dim, dim // 2, bias=False)
        self.level = nn.Linear(code_dim, dim, bias=False)
        for layer, gain in [(mix, 1.0) for mix in self.mix] + [(self.pace, 1.0), (self.phase, 1.0), (self.level, 0.5)]:
            nn.init.normal_(layer.weight, std=gain / math.sqrt(layer.weight[0].numel()))
        periods = torch.logspace(math.log10(shortest_seconds), math.log10(longest_seconds), dim // 2)
        self.register_buffer("frequencies", 2 * math.pi / periods, persistent=False)  # rad/s

    def path(self, z0: Tensor, times: Tensor, c: Tensor, seeds: Tensor | None) -> Tensor:
        times = times.expand(z0.shape[0], -1)
        left = (times / self.anchor_seconds).floor()
        low, high = torch.stack(torch.aminmax(left)).long().tolist()  # one transfer from the device
        count = high - low + 2 + 2 * self.margin
        noise = anchor_noise(seeds, z0.new_empty(len(z0), self.noise_dim), low - self.margin, count)
        v = self.motion(self.codes(noise, c), left.long() - low, times - left * self.anchor_seconds)
        self.nfe = 1
        return z0.unsqueeze(1) + (v - v[:, :1])

    def codes(self, noise: Tensor, c: Tensor) -> Tensor:
        """The anchors' codes u (B, A, code_dim) from noise (B, A + 2 margin, N) and text c (B, E)."""
        first, second = self.mix
        u = first(noise.transpose(1, 2)) + self.text(c).unsqueeze(-1)  # convolutions are channels-first
        u = second(F.leaky_relu(u, 0.2) * math.sqrt(2))
        return (F.leaky_relu(u, 0.2) * math.sqrt(2)).transpose(1, 2)

    def motion(self, codes: Tensor, left: Tensor, tau: Tensor) -> Tensor:
        """v (B, T, Z) from the anchors' codes, the place `left` (B, T) among them and tau (B, T) seconds after it."""
        row = torch.arange(codes.shape[0], device=codes.device)[:, None]
        speed = (self.frequencies * (1 + self.pace(codes).tanh()))[row, left]
        phase = math.pi * self.phase(codes)[row, left]
        level = self.level(codes)

        def waves(seconds: Tensor | float) -> Tensor:
            angle = speed * seconds + phase
            return torch.cat([angle.sin(), angle.cos()], -1)

        tau = tau.unsqueeze(-1)
        share = tau / self.anchor_seconds
        straight = torch.lerp(waves(0.0), waves(self.anchor_seconds), share)
        return waves(tau) - straight + torch.lerp(level[row, left], level[row, left + 1], share)
