"""A generator whose path is known at any time, on synthetic clips: for tests of what happens between frames."""

import math
from collections.abc import Callable
from pathlib import Path

import torch
from torch import nn

from ode_vgan.data.loader import ClipData
from ode_vgan.data.shapes import write_shapes
from ode_vgan.data.windows import Sampling
from ode_vgan.embed.none import NoEmbedder
from ode_vgan.generator import Generator
from ode_vgan.metrics.continuous import Answer, Subject
from ode_vgan.runs import Trained
from ode_vgan.temporal.noise import clip_noise
from ode_vgan.temporal.ode import OdePath
from ode_vgan.temporal.path import TemporalModel
from ode_vgan.temporal.sde import SdePath

FRAMES, PX, WIDTH, FPS, STRIDE = 4, 16, 8, 24.0, 2
GAP = STRIDE / FPS
FIELD = {"hidden": 16, "depth": 1, "time_input": False, "text_input": False, "rate": 6.0, "decay": 0.5}


class Known(TemporalModel):
    """z(t) = z0 cos(2 pi t / period): a path whose value at any time is known."""

    continuous = any_gap = backward = extrapolates = starts_at_z0 = True
    step_noise = False

    def __init__(self, period: float = FRAMES * GAP):
        super().__init__(WIDTH, 1)
        self.period = period

    def path(self, z0, times, c, seeds):
        phase = times.expand(len(z0), -1) * (2 * math.pi / self.period)
        return z0[:, None] * phase.cos()[..., None]


class Counting(Known):
    """A path that depends on how many times were asked before."""

    continuous = False

    def path(self, z0, times, c, seeds):
        return z0[:, None] * (1 + 0.2 * torch.arange(times.shape[-1]))[None, :, None]


class Walk(Known):
    """z0 and a Brownian path, whose law has no grid; `power` 0 gives every step the same noise instead."""

    continuous = backward = False
    step_noise = True

    def __init__(self, size: float = 2.0, power: float = 0.5):
        super().__init__()
        self.size, self.power = size, power

    def path(self, z0, times, c, seeds):
        gaps = times.expand(len(z0), -1).diff(dim=1)
        noise = clip_noise(seeds, z0, gaps.shape[1]) * gaps[..., None] ** self.power * self.size
        return torch.cat([z0[:, None], z0[:, None] + noise.cumsum(1)], 1)


class Windowed(Known):
    """A model that makes the window it was trained on and no other."""

    continuous = any_gap = backward = extrapolates = starts_at_z0 = False


class Pattern(nn.Module):
    """A frame is a fixed smooth map of the latent state."""

    def __init__(self):
        super().__init__()
        wave = torch.linspace(0, 3, PX)
        drawn = torch.randn(WIDTH, 3, generator=torch.Generator().manual_seed(0))
        self.register_buffer("map", torch.einsum("zc,zy,zx->zcyx", drawn, *self.waves(wave)) / 3)

    @staticmethod
    def waves(wave):
        number = torch.arange(1, WIDTH + 1)[:, None]
        return (number * wave).sin(), (number * wave.flip(0) + number).cos()

    def forward(self, w, z, c):
        return torch.einsum("btz,zcyx->btcyx", z, self.map).tanh()


def generator_of(temporal) -> Generator:
    torch.manual_seed(0)
    made = Generator(temporal, Pattern(), noise_dim=WIDTH, style_dim=WIDTH, embed_dim=1)
    return made.eval().requires_grad_(False)


def ode(**more) -> OdePath:
    torch.manual_seed(1)
    return OdePath(WIDTH, 1, **FIELD, **({"order": 1, "solver": "euler", "steps_per_frame": 1} | more))


def sde(gate: float = 1.0, steps: int = 1) -> SdePath:
    torch.manual_seed(1)
    return SdePath(WIDTH, 1, **FIELD, noise_hidden=8, gate=gate, calculus="ito", steps_per_frame=steps)


def shapes_data(folder: Path) -> ClipData:
    """Short synthetic clips of 24 frames a second, in windows of every second frame."""
    write_shapes(folder, 16, frames=20, size=PX, fps=FPS)
    return ClipData(folder, NoEmbedder(), frames=FRAMES, size=PX, batch=4, sampling=Sampling(strides=(STRIDE,)))


def trained(temporal: TemporalModel) -> Trained:
    """A run around a model of time."""
    return Trained(generator_of(temporal), {}, 0, Path("none"))


def subjects(folder: Path) -> Callable[..., Subject]:
    """(temporal, clips=24) -> a subject on one set of clips, which lies in the folder."""
    data = shapes_data(folder)
    return lambda temporal, clips=24: Subject(trained(temporal), data, clips=clips)


def by(answers: list[Answer], key: str) -> dict[object, Answer]:
    """Answers by what was asked."""
    return {answer.asked[key]: answer for answer in answers}
