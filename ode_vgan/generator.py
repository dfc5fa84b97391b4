"""The generator: latents and a caption in, a clip at any times out."""

import math
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ode_vgan.processes import share
from ode_vgan.temporal.path import TemporalModel, anchored_path
from ode_vgan.transfer import sent

# decoded at once when sampling; on a CPU, maps above 32 MB are cleared anew at each use, which doubles the time
CHUNK_PIXELS, CHUNK_FEWEST, CHUNK_FRAMES = 2**17, 8, 256


class Latents(NamedTuple):
    """What one clip is drawn from: content (B, N), motion (B, N) and a path seed (B,), int64."""

    content: Tensor
    motion: Tensor
    seeds: Tensor

    def to(self, device: torch.device) -> "Latents":
        """The same latents on a device; seeds stay on the CPU, where noise is drawn."""
        return Latents(sent(self.content, device), sent(self.motion, device), self.seeds)

    def slice(self, part: slice) -> "Latents":
        """The latents of some clips of the batch."""
        return Latents(*(tensor[part] for tensor in self))


def draw_latents(clips: int, noise_dim: int, generator: torch.Generator | None = None) -> Latents:
    """Standard normal content and motion noise and uniform path seeds for a number of clips."""
    total, own = share(clips, generator)
    content, motion = torch.randn(2, total, noise_dim, generator=generator)[:, own]
    return Latents(content, motion, torch.randint(2**62, (total,), generator=generator)[own])


class Mapping(nn.Module):
    """Map noise (B, N) and text (B, E) to a vector (B, out): two hidden layers on normalised inputs."""

    def __init__(self, noise_dim: int, embed_dim: int, hidden: int, out: int):
        super().__init__()
        self.text = nn.Linear(embed_dim, hidden)
        self.text_scale = math.sqrt(embed_dim)
        self.noise = nn.Linear(noise_dim, hidden)
        self.layers = nn.ModuleList([nn.Linear(hidden, hidden), nn.Linear(hidden, out)])

    def forward(self, noise: Tensor, c: Tensor) -> Tensor:
        noise = F.normalize(noise, dim=-1) * math.sqrt(noise.shape[-1])
        hidden = self.noise(noise) + self.text(c * self.text_scale)
        for layer in self.layers:
            hidden = layer(F.leaky_relu(hidden, 0.2) * math.sqrt(2))
        return hidden


class Generator(nn.Module):
    """Latents -> initial motion state and style -> latent path -> frames.

    The only part that knows about time is `temporal`; everything else is the same for every temporal model.

    Args:
        temporal: (z0, times, c) -> z, see `ode_vgan.temporal.path.TemporalModel`.
        decoder: (w, z, c) -> frames.
        noise_dim: N, size of each of the two noise vectors. style_dim: W. embed_dim: E.
    """

    def __init__(self, temporal: TemporalModel, decoder: nn.Module, *, noise_dim: int, style_dim: int, embed_dim: int):
        super().__init__()
        self.temporal = temporal
        self.decoder = decoder
        self.noise_dim = noise_dim
        self.to_style = Mapping(noise_dim, embed_dim, style_dim, style_dim)
        self.to_start = Mapping(noise_dim, embed_dim, style_dim, temporal.dim)

    def path(self, latents: Latents, times: Tensor, c: Tensor) -> tuple[Tensor, Tensor]:
        """Style (B, W) and latent path (B, T, Z) at times (T,) or (B, T), seconds, where the clip starts at 0 s."""
        start = self.to_start(latents.motion, c).float()
        z = anchored_path(self.temporal, start, times, c, latents.seeds)
        return self.to_style(latents.content, c), z

    def forward(self, latents: Latents, times: Tensor, c: Tensor) -> Tensor:
        """Frames (B, T, C, H, W) of the clips that the latents and captions c (B, E) name."""
        w, z = self.path(latents, times, c)
        return self.decoder(w, z, c)

    @torch.no_grad()
    def render(self, latents: Latents, times: Tensor, c: Tensor) -> Tensor:
        """As forward, without gradients, decoded in chunks so that beside the frames memory does not grow with T.

        Returns:
            (B, T, C, H, W) on the CPU, in [-1, 1].
        """
        w, z = self.path(latents, times, c)
        step, frames = self.chunk(len(z)), None
        for i in range(0, z.shape[1], step):
            part = self.frames(w, z[:, i : i + step], c)
            frames = torch.empty(*z.shape[:2], *part.shape[2:]) if frames is None else frames
            frames[:, i : i + step] = part
        return frames

    @torch.no_grad()
    def frames(self, w: Tensor, z: Tensor, c: Tensor) -> Tensor:
        """Frames (B, T, C, H, W), in [-1, 1], of a stretch z of a path from `path`."""
        return self.decoder(w, z, c).clamp(-1, 1)

    def chunk(self, clips: int) -> int:
        """How many frames of each of so many clips are best decoded at once; bounds memory."""
        size, on_cpu = getattr(self.decoder, "size", 64), next(self.parameters()).device.type == "cpu"
        frames = max(CHUNK_FEWEST, CHUNK_PIXELS // size**2) if on_cpu else CHUNK_FRAMES
        return max(1, frames // max(1, clips))
