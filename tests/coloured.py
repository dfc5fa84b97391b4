"""A small true embedder for tests: a clip is what colours it has, a text is what colours it names."""

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import normalize

from ode_vgan.data.clips import encode_clip
from ode_vgan.data.shards import Sample, write_shards
from ode_vgan.embed.embedder import Embedder

COLOURS = {"red": (200, 30, 30), "green": (30, 200, 30), "blue": (30, 30, 200), "white": (230, 230, 230)}
SHADES = ("dark", "plain", "bright")


class ColourEmbedder(Embedder):
    """Mean colour of a frame against the sum of the colours that a text names; blind to order."""

    dim = 3
    fingerprint = "colours"

    def encode_text(self, texts: list[str]) -> Tensor:
        rows = [sum((np.array(rgb) for name, rgb in COLOURS.items() if name in text), np.ones(3)) for text in texts]
        return normalize(torch.tensor(np.array(rows)).float(), dim=-1)

    def encode_each_frame(self, clips: Tensor) -> Tensor:
        return normalize(torch.as_tensor(clips).float().mean((2, 3)), dim=-1)


def write_coloured(folder, each: int = 6, sizes: tuple[int, ...] = (16,)) -> None:
    """Shards of clips that brighten, `each` of every colour and shade; a concept is a colour, a shade and a number."""
    samples = []
    for colour, rgb in COLOURS.items():
        for number in range(each * len(SHADES)):
            shade, side = SHADES[number % 3], sizes[len(samples) % len(sizes)]
            draw = np.random.default_rng(len(samples))
            frames = np.linspace(0.6, 1, 6)[:, None, None, None] * np.array(rgb) * np.ones((1, side, side, 1))
            frames = np.clip(frames + 8 * draw.standard_normal(frames.shape), 0, 255).astype(np.uint8)
            split = ("train", "train", "train", "test")[number % 4]
            meta = {"concept": f"{colour} {number}", "colour": colour, "shade": shade, "split": split}
            clip = encode_clip(None, frames, 24.0, crf=20, options={"preset": "ultrafast"})
            samples.append(Sample(f"{len(samples):03d}", clip, f"a {colour} clip, number {number}", meta))
    write_shards(folder, samples)
