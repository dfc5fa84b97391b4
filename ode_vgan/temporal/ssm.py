"""The latent path as the output of diagonal linear systems in continuous time, driven by noise and text."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ode_vgan.errors import UserError
from ode_vgan.temporal.noise import clip_noise
from ode_vgan.temporal.path import TemporalModel
from ode_vgan.temporal.steps import TYPICAL_GAP_SECONDS, TextProjection

HARMONICS = 8  # modes that share a time scale


class DiagonalSystem(nn.Module):
    """x' = A x + B u, y = Re(C x) + d, with A complex and diagonal; its real part is negative whatever is learnt.

    Solved exactly for an input that is held over each gap (zero-order hold), however long the gap is:
    x(t + gap) = exp(A gap) x(t) + A^-1 (exp(A gap) - 1) B u.

    Args:
        inputs, modes, outputs: widths of u, x and y.
        shortest_seconds, longest_seconds: time scales s, spread evenly in their logarithm; each has `HARMONICS`
            modes of A = (-1/2 + i pi n) / s, n = 0, 1, ... at the start.

    Source: Gu et al. (2022), "On the Parameterization and Initialization of Diagonal State Space Models", its
    zero-order hold and its S4D-Lin. Differs: one system of many inputs and outputs, as in Smith et al. (2023), S5,
    and its step is the clip's own gap in seconds where theirs is learnt.
    """

    def __init__(self, inputs: int, modes: int, outputs: int, *, shortest_seconds: float, longest_seconds: float):
        super().__init__()
        groups = math.ceil(modes / HARMONICS)
        scales = torch.logspace(math.log10(shortest_seconds), math.log10(longest_seconds), groups)
        scale = scales.repeat_interleave(HARMONICS)[:modes]
        self.log_decay = nn.Parameter((0.5 / scale).log())
        self.frequency = nn.Parameter(math.pi * (torch.arange(modes) % HARMONICS) / scale)
        self.drive = nn.Linear(inputs, 2 * modes, bias=False)
        self.read = nn.Linear(2 * modes, outputs)
        nn.init.normal_(self.drive.weight, std=1 / math.sqrt(2 * inputs))
        nn.init.normal_(self.read.weight, std=1 / math.sqrt(modes))

    def forward(self, u: Tensor, gaps: Tensor, start: Tensor) -> Tensor:
        """The output (B, T, outputs) at the ends of the gaps, before the first one too.

        Args:
            u: (B, T - 1, inputs), held over each gap.
            gaps: (B, T - 1) seconds, positive.
            start: (B, 2 * modes), real and imaginary parts in turn.
        """
        rate = torch.complex(-self.log_decay.exp(), self.frequency)
        growth = torch.expm1(rate * gaps.unsqueeze(-1))  # less 1, so that short gaps keep their digits
        push = growth / rate * _complex(self.drive(u))
        x = _complex(start)
        states = [x]
        for grown, pushed in zip(growth.unbind(1), push.unbind(1), strict=True):
            x = x + grown * x + pushed
            states.append(x)
        return self.read(torch.view_as_real(torch.stack(states, 1)).flatten(2))


def _complex(pairs: Tensor) -> Tensor:
    return torch.view_as_complex(pairs.unflatten(-1, (-1, 2)).contiguous())


class SsmPath(TemporalModel):
    """z_i = z0 + W (h_i - h_0), h being the output of diagonal linear systems with a gate on each output.

    z0 sets the first system's state, noise and text drive it, and each further system is driven by the one before.
    The noise is white in seconds: over a gap it is held at a size of 1 / sqrt(gap), so that the law of what is slower
    than the frames hardly depends on the grid it is drawn on, though a drawn path does. States decay, so h keeps its
    law at any length.

    Args:
        noise_dim: width of the noise drawn at each step. text_dim: width of the text's projection.
        modes: complex states of each system. width: of h. layers: number of systems.
        shortest_seconds, longest_seconds: see `DiagonalSystem`.

    Source: Gu et al. (2022), as in `DiagonalSystem`; a layer is a system, a GELU and a gated linear unit (Dauphin et
    al. 2017), added to what went in. Differs: nothing goes round the first system, so that noise reaches the path
    only through states, and there is no norm.
    """

    continuous = False
    any_gap = True
    backward = False
    extrapolates = True
    step_noise = True
    starts_at_z0 = True

    def __init__(
        self, dim: int, embed_dim: int, *, noise_dim: int, text_dim: int, modes: int, width: int, layers: int,
        shortest_seconds: float, longest_seconds: float,
    ):  # fmt: skip
        super().__init__(dim, embed_dim)
        if noise_dim < 1 or layers < 1:
            raise UserError(f"noise_dim={noise_dim}, layers={layers}; give 1 or more of each.")
        if not 0 < shortest_seconds <= longest_seconds:
            raise UserError(f"time scales from {shortest_seconds} to {longest_seconds} s; give rising positive ones.")
        self.noise_dim = noise_dim
        self.text = TextProjection(embed_dim, text_dim)
        self.start = nn.Linear(dim, 2 * modes)
        scales = {"shortest_seconds": shortest_seconds, "longest_seconds": longest_seconds}
        inputs = [noise_dim + text_dim] + [width] * (layers - 1)
        self.systems = nn.ModuleList(DiagonalSystem(given, modes, width, **scales) for given in inputs)
        self.gates = nn.ModuleList(nn.Linear(width, 2 * width) for _ in inputs)
        self.leave = nn.Linear(width, dim, bias=False)  # a bias would cancel
        nn.init.normal_(self.leave.weight, std=3 / math.sqrt(width))  # the gates shrink: starts as fast as ode

    def path(self, z0: Tensor, times: Tensor, c: Tensor, seeds: Tensor | None) -> Tensor:
        gaps = times.expand(z0.shape[0], -1).diff(dim=1)
        steps = gaps.shape[1]
        noise = clip_noise(seeds, z0.new_empty(len(z0), self.noise_dim), steps)
        white = noise * (TYPICAL_GAP_SECONDS / gaps).sqrt().unsqueeze(-1)
        given = torch.cat([white, self.text(c).unsqueeze(1).expand(-1, steps, -1)], -1)
        state, h = self.start(z0), None
        for system, gate in zip(self.systems, self.gates, strict=True):
            found = F.glu(gate(F.gelu(system(given, gaps, state))), -1)
            h = found if h is None else h + found
            given, state = h[:, :-1], torch.zeros_like(state)  # a frame is held until the next
        out = self.leave(h)
        self.nfe = steps
        return z0.unsqueeze(1) + (out - out[:, :1])
