"""What bad generators would make, built from real clips: a score that does not rank them below reality is no score.

Corruptions take (clips, generator, level): clips (N, T, H, W, 3) uint8, a source of draws, and how much. They give
clips of the same shape, and leave what they are given as it is.
"""

import math
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

WAVES = 4  # cells of a random warp on each axis, between whose corners it is smooth

Corrupt = Callable[[Tensor, torch.Generator, float], Tensor]


class Corruption(NamedTuple):
    """One way to spoil clips, and levels of it from barely to grossly."""

    corrupt: Corrupt
    levels: tuple[float, ...]


def frozen(clips: Tensor, generator: torch.Generator) -> Tensor:
    """Each clip (N, T, ...) as one of its own frames, held: perfect pictures, no motion."""
    count, frames = clips.shape[:2]
    picks = torch.randint(frames, (count,), generator=generator)
    return clips[torch.arange(count), picks].unsqueeze(1).expand_as(clips)


def shuffled(clips: Tensor, generator: torch.Generator) -> Tensor:
    """Each clip's frames (N, T, ...) in an order of its own, never the true one: perfect pictures, false motion."""
    count, frames = clips.shape[:2]
    order = torch.rand(count, frames, generator=generator).argsort(1)
    in_order = (order == torch.arange(frames)).all(1, keepdim=True)
    order = torch.where(in_order, order.roll(1, 1), order)
    return clips[torch.arange(count)[:, None], order]


def backwards(clips: Tensor) -> Tensor:
    """Each clip (N, T, ...) from its last frame to its first."""
    return clips.flip(1)


def noisy(clips: Tensor, generator: torch.Generator, deviation: float = 16.0) -> Tensor:
    """Clips, uint8, with independent Gaussian noise of some grey levels on every value."""
    noise = torch.randn(clips.shape, generator=generator) * deviation
    return (clips.float() + noise).round().clamp(0, 255).to(torch.uint8)


def grained(clips: Tensor, generator: torch.Generator, deviation: float) -> Tensor:
    """Gaussian noise of some grey levels, drawn once a clip: each frame as noisy as by `noisy`, and none flickers."""
    noise = torch.randn(len(clips), 1, *clips.shape[2:], generator=generator) * deviation
    return (clips.float() + noise).round().clamp(0, 255).to(torch.uint8)


def blurred(clips: Tensor, generator: torch.Generator, deviation_px: float) -> Tensor:
    """Every frame under the same Gaussian blur; edges are repeated."""
    reach = max(1, math.ceil(3 * deviation_px))
    kernel = torch.exp(-torch.arange(-reach, reach + 1).float().square() / (2 * deviation_px**2))
    kernel = (kernel / kernel.sum()).view(1, 1, -1, 1)
    parts = []
    for clip in clips:
        planes = clip.movedim(-1, 1).flatten(0, 1).float().unsqueeze(1)
        padded = functional.pad(planes, (reach,) * 4, mode="replicate")
        planes = functional.conv2d(functional.conv2d(padded, kernel), kernel.transpose(2, 3))
        parts.append(planes.view(len(clip), 3, *clip.shape[1:3]).movedim(1, -1).round().to(torch.uint8))
    return torch.stack(parts)


def held(clips: Tensor, generator: torch.Generator, share: float) -> Tensor:
    """That share of each clip's frames after the first, drawn anew for each clip, repeat the frame before them."""
    count, frames = clips.shape[:2]
    rank = torch.rand(count, frames - 1, generator=generator).argsort(1).argsort(1)
    shown = torch.where(rank < round(share * (frames - 1)), 0, torch.arange(1, frames))
    source = torch.cat([torch.zeros(count, 1, dtype=torch.int64), shown], 1).cummax(1).values
    return clips[torch.arange(count)[:, None], source]


def mixed(clips: Tensor, generator: torch.Generator, window: float) -> Tensor:
    """Frames in random order inside each run of `window` frames; the runs stay in order."""
    count, frames = clips.shape[:2]
    run = torch.arange(frames) // int(window)
    order = (run + torch.rand(count, frames, generator=generator, dtype=torch.float64)).argsort(1)
    return clips[torch.arange(count)[:, None], order]


def reversed_share(clips: Tensor, generator: torch.Generator, share: float) -> Tensor:
    """That share of the clips from their last frame to their first."""
    chosen = _chosen(len(clips), share, generator)
    return torch.where(chosen.view(-1, 1, 1, 1, 1), clips.flip(1), clips)


def dropped(clips: Tensor, generator: torch.Generator, share: float) -> Tensor:
    """That share of the clips is lost, and the others repeat in turn in all places: perfect clips, less variety."""
    kept = torch.where(~_chosen(len(clips), share, generator))[0]
    return clips[kept[torch.arange(len(clips)) % len(kept)]]


def warped(clips: Tensor, generator: torch.Generator, px: float) -> Tensor:
    """Each clip under one smooth random displacement of `px` (root mean square): odd shapes, true motion."""
    return _displaced(clips, _fields(len(clips), 1, generator), px)


def wobbling(clips: Tensor, generator: torch.Generator, px: float) -> Tensor:
    """Each frame under a displacement of its own: frames spoiled as much as by `warped`, and none like the next."""
    return _displaced(clips, _fields(len(clips), clips.shape[1], generator), px)


def brightened(clips: Tensor, generator: torch.Generator, shift: float) -> Tensor:
    """Each clip brighter or darker, at random, by some grey levels."""
    return _shifted(clips, torch.rand(len(clips), 1, generator=generator), shift)


def flickering(clips: Tensor, generator: torch.Generator, shift: float) -> Tensor:
    """Each frame brighter or darker, at random, by some grey levels."""
    return _shifted(clips, torch.rand(len(clips), clips.shape[1], generator=generator), shift)


CONTROLS = {"frozen": frozen, "shuffled": shuffled}
CORRUPTIONS = {
    "noise": Corruption(noisy, (2, 8, 32)),  # grey levels
    "noise_still": Corruption(grained, (2, 8, 32)),
    "blur": Corruption(blurred, (0.5, 1, 2)),  # px at 64 px
    "warp": Corruption(wobbling, (0.5, 1, 2)),
    "warp_still": Corruption(warped, (0.5, 1, 2)),
    "brightness": Corruption(flickering, (4, 16, 64)),
    "brightness_still": Corruption(brightened, (4, 16, 64)),
    "freeze": Corruption(held, (0.25, 0.5, 1)),  # share of frames
    "shuffle": Corruption(mixed, (2, 4, 16)),  # frames
    "reverse": Corruption(reversed_share, (0.25, 0.5, 1)),  # share of clips
    "drop": Corruption(dropped, (0.5, 0.75, 0.9)),
}
# Per frame and per clip at equal strength: in how far an extractor reacts more to the first is its sense of time.
PAIRS = {"noise": "noise_still", "warp": "warp_still", "brightness": "brightness_still"}


def _chosen(count: int, share: float, generator: torch.Generator) -> Tensor:
    """(count,) bool: a share of them, at random, leaving one where it is below 1."""
    number = min(round(share * count), count - (share < 1))
    return torch.randperm(count, generator=generator) < number


def _shifted(clips: Tensor, draws: Tensor, shift: float) -> Tensor:
    signs = torch.where(draws < 0.5, -shift, shift).view(*draws.shape, 1, 1, 1)
    return (clips.float() + signs).round().clamp(0, 255).to(torch.uint8)


def _fields(count: int, frames: int, generator: torch.Generator) -> Tensor:
    """(N, frames, 2, WAVES + 1, WAVES + 1) random displacements at the corners of cells."""
    return torch.randn(count, frames, 2, WAVES + 1, WAVES + 1, generator=generator)


def _displaced(clips: Tensor, fields: Tensor, px: float) -> Tensor:
    """Frames looked up where fields, scaled to a root mean square of px, lead; edges are repeated."""
    height, width = clips.shape[2:4]
    y, x = torch.meshgrid(torch.linspace(-1, 1, height), torch.linspace(-1, 1, width), indexing="ij")
    unit = torch.tensor([2 / (width - 1), 2 / (height - 1)])
    parts = []
    for clip, field in zip(clips, fields, strict=True):
        smooth = functional.interpolate(field, size=(height, width), mode="bicubic", align_corners=True)
        smooth = smooth * px / smooth.square().sum(1).mean((1, 2)).sqrt()[:, None, None, None]
        grid = torch.stack([x, y], -1) + smooth.movedim(1, -1) * unit
        planes = functional.grid_sample(
            clip.movedim(-1, 1).float(), grid.expand(len(clip), -1, -1, -1), padding_mode="border", align_corners=True
        )
        parts.append(planes.movedim(1, -1).round().to(torch.uint8))
    return torch.stack(parts)
