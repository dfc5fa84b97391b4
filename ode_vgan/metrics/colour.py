"""Colour layout: what hog3d is blind to."""

import torch
from torch import Tensor
from torch.nn import functional

from ode_vgan.metrics.features import Extractor, known_distance


class ColourLayout(Extractor):
    """Mean and temporal standard deviation of each colour channel in 2x2 cells, in grey levels."""

    name, id, dim, min_frames, min_px = "colour", "colour_v1", 24, 2, 2

    def describe(self, x: Tensor) -> Tensor:
        maps = torch.cat([x.mean(1), x.std(1, correction=0)], 1)
        return functional.adaptive_avg_pool2d(maps, 2).flatten(1)

    def self_test(self) -> None:
        known_distance(self, 18703.8, 1e-5)
