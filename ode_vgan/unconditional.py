"""The generator of the published systems: noise in, a clip out; the text is not seen."""

import math

import torch
from torch import Tensor, nn

from ode_vgan.errors import UserError
from ode_vgan.generator import Generator, Latents
from ode_vgan.temporal.path import TemporalModel, anchored_path

NOISES = ("uniform", "normal")


class Noise(nn.Module):
    """The first `dim` standard normal numbers of a row under the paper's law.

    Args:
        law: "normal" as they are; "uniform" through the normal distribution function, exactly uniform on (-1, 1).
    """

    def __init__(self, law: str, dim: int):
        super().__init__()
        if law not in NOISES:
            raise UserError(f"noise={law} is no law of noise; choose one of {', '.join(NOISES)}.")
        self.law, self.dim = law, dim

    def forward(self, normal: Tensor, c: Tensor) -> Tensor:
        """Map (B, >= dim) to (B, dim); the text c is not seen."""
        normal = normal[:, : self.dim]
        return normal if self.law == "normal" else torch.erf(normal / math.sqrt(2))


class UnconditionalGenerator(Generator):
    """Noise x -> latent path -> frames, without text and without networks of its own.

    The temporal model gets the noise itself and maps it to its initial state; the decoder gets content noise as its
    style. Latents are standard normal, as everywhere; `noise_dim`, the size of both their vectors, is the larger size.

    Args:
        temporal: (x, times, c, seeds) -> z with x (B, noise_dim). decoder: (w, z, c) -> frames, w the content.
        noise: law of both vectors, "uniform" on (-1, 1) or "normal".
        noise_dim: numbers the temporal model starts from.
        content_dim: numbers of the content; None gives the decoder the temporal model's own, as TGAN does.

    Source: Saito et al. (2017), TGAN, which gives both one x; Tulyakov et al. (2018), MoCoGAN, section 3.1, two.
    """

    def __init__(
        self, temporal: TemporalModel, decoder: nn.Module, *, noise: str, noise_dim: int, content_dim: int | None
    ):
        nn.Module.__init__(self)  # not Generator's, which makes networks that see the text
        self.temporal, self.decoder = temporal, decoder
        self.shares_noise = content_dim is None
        self.to_start = Noise(noise, noise_dim)
        self.to_style = Noise(noise, noise_dim if content_dim is None else content_dim)
        self.noise_dim = max(self.to_start.dim, self.to_style.dim)

    def path(self, latents: Latents, times: Tensor, c: Tensor) -> tuple[Tensor, Tensor]:
        """Content (B, W) and latent path (B, T, Z) at times (T,) or (B, T), seconds, where the clip starts at 0 s."""
        z = anchored_path(self.temporal, self.to_start(latents.motion, c).float(), times, c, latents.seeds)
        return self.to_style(latents.motion if self.shares_noise else latents.content, c), z

    def shown(self, latents: Latents, times: Tensor, c: Tensor, draw: torch.Generator) -> Tensor:
        """What critics are shown of these clips in training: the clips. A subclass may show something else.

        Args:
            draw: on the CPU, for random choices of what is shown.
        """
        return self(latents, times, c)
