"""hog3d: where edges point and how fast they move, as one histogram a clip. No weights, no training."""

import math

import torch
from torch import Tensor
from torch.nn import functional

from ode_vgan.metrics.features import Extractor, known_distance

ORIENTATIONS, CELLS, SCALES = 8, 2, 2
# Centres of the six speed bins are -1, -0.2, -0.04, 0.04, 0.2, 1 px a frame: a factor of five apart, because speeds of
# real clips spread over decades. Half of the gradient of the embedded clips (12 frames/s) moves slower than 0.04 px a
# frame at 32 px and 0.08 at 64. Slower bins see held frames better and shuffled ones worse; this is between.
SLOWEST, RATIO, SPEEDS = 0.04, 5.0, 6
LUMA = (0.299, 0.587, 0.114)
CONTRAST_FLOOR = 0.25  # grey levels/px: a clip with a weaker mean gradient fades towards the zero row


class Hog3d(Extractor):
    """Histogram over gradient orientation and signed normal speed, on 2x2 cells and 2 scales.

    The normal speed of an edge is -I_t / |grad I|, in px a frame of that scale, positive towards the brighter side.
    Each pixel between two frames votes with its gradient's magnitude, shared linearly between the two nearest bins of
    orientation and of speed. A scale's histogram is divided by its sum and its square root is taken.
    """

    name = "hog3d"
    id = "hog3d_v1"
    dim = ORIENTATIONS * SPEEDS * CELLS * CELLS * SCALES
    min_frames = 2
    min_px = 12

    @property
    def parameters(self) -> dict:
        return {"slowest": SLOWEST, "ratio": RATIO, "luma": LUMA, "contrast_floor": CONTRAST_FLOOR}

    def describe(self, x: Tensor) -> Tensor:
        grey = torch.einsum("ntchw,c->nthw", x, torch.tensor(LUMA, device=x.device))
        rows = []
        for _ in range(SCALES):
            rows.append(_scale_histogram(grey))
            grey = functional.avg_pool2d(grey, 2)
        return torch.cat(rows, 1)

    def self_test(self) -> None:
        known_distance(self, 3.92389, 1e-4)


def hog3d(clips: Tensor) -> Tensor:
    """(N, T, H, W, 3) uint8 -> (N, 384) float64."""
    return Hog3d()(clips)


def normal_speeds(grey: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Orientation, normal speed and gradient magnitude of every inner pixel between each two frames.

    Args:
        grey: (N, T, H, W).

    Returns:
        Three (N, T-1, H-2, W-2): radians in (-pi, pi], px a frame, grey levels a px.
    """
    grey = _blurred(grey)
    middle = (grey[:, 1:] + grey[:, :-1]) / 2  # space and time derivatives then belong to the same instant
    x = (middle[..., 1:-1, 2:] - middle[..., 1:-1, :-2]) / 2
    y = (middle[..., 2:, 1:-1] - middle[..., :-2, 1:-1]) / 2
    change = (grey[:, 1:] - grey[:, :-1])[..., 1:-1, 1:-1]
    strength = torch.hypot(x, y)
    return torch.atan2(y, x), -change / strength.clamp_min(1e-3), strength


def speed_weights(speed: Tensor) -> Tensor:
    """Share of each speed, in px a frame, that falls into each of the six bins: (..., 6), summing to 1."""
    size = speed.abs() / SLOWEST
    level = torch.where(size < 1, size / 2, 0.5 + size.clamp_min(1).log() / math.log(RATIO))
    level = torch.copysign(level.clamp_max((SPEEDS - 1) / 2), speed)
    centres = torch.arange(SPEEDS, device=speed.device) - (SPEEDS - 1) / 2
    return (1 - (level[..., None] - centres).abs()).clamp_min(0)


def orientation_weights(angle: Tensor) -> Tensor:
    """Share of each angle, in radians, that falls into each of the eight bins: (..., 8), summing to 1."""
    turns = angle[..., None] * (ORIENTATIONS / math.tau) - torch.arange(ORIENTATIONS, device=angle.device)
    distance = (turns - ORIENTATIONS * (turns / ORIENTATIONS).round()).abs()
    return (1 - distance).clamp_min(0)


def _scale_histogram(grey: Tensor) -> Tensor:
    """(N, T, H, W) -> (N, cells * orientations * speeds), square roots of shares."""
    angle, speed, strength = normal_speeds(grey)
    votes, speeds = orientation_weights(angle) * strength[..., None], speed_weights(speed)
    half = (strength.shape[-2] + 1) // 2, (strength.shape[-1] + 1) // 2
    cells = []
    for rows in (slice(None, half[0]), slice(half[0], None)):
        for columns in (slice(None, half[1]), slice(half[1], None)):
            vote, share = (part[:, :, rows, columns].flatten(1, 3) for part in (votes, speeds))
            cells.append((vote.transpose(1, 2) @ share).flatten(1))
    histogram = torch.cat(cells, 1)
    pixels = strength[0].numel()
    return (histogram / (histogram.sum(1, keepdim=True) + CONTRAST_FLOOR * pixels)).sqrt()


def _blurred(grey: Tensor) -> Tensor:
    """A [1 2 1] / 4 blur on both axes, edges repeated: derivatives of single-pixel steps are otherwise mostly wrong."""
    padded = functional.pad(grey, (1, 1, 1, 1), mode="replicate")
    across = (padded[..., :-2] + 2 * padded[..., 1:-1] + padded[..., 2:]) / 4
    return (across[..., :-2, :] + 2 * across[..., 1:-1, :] + across[..., 2:, :]) / 4
