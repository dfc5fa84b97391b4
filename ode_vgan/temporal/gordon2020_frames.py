"""The temporal models Gordon and Parde (2020) compare with, which know frames and no time: TGAN's and MoCoGAN's."""

import math

import torch
from torch import Tensor, nn

from ode_vgan.errors import UserError
from ode_vgan.temporal.discrete import GAP_TOLERANCE
from ode_vgan.temporal.gordon2020 import PublishedPath
from ode_vgan.temporal.noise import clip_noise

REMEDY = "or choose a temporal model that sees time, such as gordon2020/tgan_ode_lin or ode."


class FramePath(PublishedPath):
    """A path whose i-th value belongs to frame i, whatever the time.

    So times (T,) that somebody asks for must be uniform and at the trained gap, within 10 % because files round them.
    Times per clip (B, T) are those of real clips, some with a held frame: there frame i is frame i.

    Args:
        gap_seconds: the trained gap. None or 0: any uniform gap.
        start_dim: width of the noise z0; None: dim.
    """

    continuous = False
    any_gap = False
    backward = False
    extrapolates = True
    step_noise = False
    starts_at_z0 = False

    def __init__(self, dim: int, embed_dim: int, *, gap_seconds: float | None, start_dim: int | None = None):
        super().__init__(dim, embed_dim)
        self.gap_seconds = gap_seconds
        self.start_dim = start_dim or dim

    def check_times(self, times: Tensor, batch: int | None = None) -> None:
        super().check_times(times, batch)
        if times.ndim == 2 or len(times) == 1:
            return
        gaps, name = times.diff(), type(self).__name__
        low, high, mean = gaps.min().item(), gaps.max().item(), gaps.mean().item()
        if max(high - mean, mean - low) > GAP_TOLERANCE * mean:
            raise UserError(
                f"frame gaps run from {low:.4g} to {high:.4g} s; {name} needs uniform ones (within 10 %). "
                f"Sample uniformly {REMEDY}"
            )
        if self.gap_seconds and abs(mean / self.gap_seconds - 1) > GAP_TOLERANCE:
            raise UserError(
                f"frame gap {mean:.4g} s; {name} was trained at {self.gap_seconds:.4g} s and knows no other. "
                f"Ask for that gap {REMEDY}"
            )


class DeconvPath(FramePath):
    """TGAN's transposed convolutions over time: one vector of noise to all frames at once.

    Lengths double from 1 and frames beyond those wanted are cut off: four doublings for 16 frames as published. Batch
    normalisation makes a clip depend on its batch in training.

    Args:
        widths: channels after the first layer and after each doubling but the last. The last entry repeats; a
            surplus is not used.
        frames: T, the only length the model makes.
        gap_seconds: see `FramePath`.

    Source: Saito, Matsumoto and Saito (2017), TGAN, table 1, as in the code of Gordon and Parde (2020).
    """

    extrapolates = False

    def __init__(self, dim: int, embed_dim: int, *, widths: list[int], frames: int, gap_seconds: float | None):
        super().__init__(dim, embed_dim, gap_seconds=gap_seconds)
        if frames < 2 or not widths:
            raise UserError(f"frames={frames}, widths={list(widths)}; give 2 frames or more and at least one width.")
        self.frames = frames
        sizes = [widths[min(i, len(widths) - 1)] for i in range(math.ceil(math.log2(frames)))] + [dim]
        layers: list[nn.Module] = [nn.ConvTranspose1d(dim, sizes[0], 1)]
        for size, after in zip(sizes[:-1], sizes[1:], strict=True):
            layers += [nn.BatchNorm1d(size), nn.ReLU(), nn.ConvTranspose1d(size, after, 4, stride=2, padding=1)]
        for layer in layers[::3]:
            nn.init.xavier_uniform_(layer.weight, math.sqrt(2))
        self.layers = nn.Sequential(*layers, nn.Tanh())

    def check_times(self, times: Tensor, batch: int | None = None) -> None:
        super().check_times(times, batch)
        if times.shape[-1] != self.frames:
            raise UserError(
                f"{times.shape[-1]} frames asked; DeconvPath makes exactly {self.frames}. Ask for that {REMEDY}"
            )

    def path(self, z0: Tensor, times: Tensor, c: Tensor, seeds: Tensor | None) -> Tensor:
        self.nfe = 1
        return self.layers(z0.unsqueeze(-1))[..., : self.frames].transpose(1, 2)  # convolutions are channels-first


class GruPath(FramePath):
    """MoCoGAN's recurrence: z_i = GRU(noise_i, z_{i-1}) with fresh normal noise for every frame, the first one too.

    z0 is the state before the first frame.

    Source: Tulyakov et al. (2018), MoCoGAN, section 3, as in the code of Gordon and Parde (2020).
    """

    step_noise = True

    def __init__(self, dim: int, embed_dim: int, *, gap_seconds: float | None):
        super().__init__(dim, embed_dim, gap_seconds=gap_seconds)
        self.cell = nn.GRUCell(dim, dim)

    def path(self, z0: Tensor, times: Tensor, c: Tensor, seeds: Tensor | None) -> Tensor:
        return self.driven_by(clip_noise(seeds, z0, times.shape[-1]), z0)

    def driven_by(self, noise: Tensor, state: Tensor) -> Tensor:
        """The path (B, T, Z) from the state before it, (B, Z), and noise (B, T, Z)."""
        states = []
        for xi in noise.unbind(1):
            state = self.cell(xi, state)
            states.append(state)
        self.nfe = len(states)
        return torch.stack(states, 1)
