"""Motion statistics as rows, so that they are collected, cached and resampled as features are."""

import torch
from torch import Tensor

from ode_vgan.metrics.features import Extractor
from ode_vgan.metrics.motion import SCALARS, FlowHistogram, motion_distances, motion_features

COLUMNS = (*SCALARS, "static")


class MotionRows(Extractor):
    """The flow histogram, then one column a scalar of `motion_features`."""

    name, id = "motion", "motion_v1"
    dim = FlowHistogram.dim + len(COLUMNS)
    min_frames, min_px = FlowHistogram.min_frames, FlowHistogram.min_px
    preprocessing = FlowHistogram.preprocessing
    standardised = False  # motion_distances does it, for the histogram alone
    chunk_pixels = 1 << 18

    @property
    def parameters(self) -> dict:
        return FlowHistogram().parameters | {"columns": COLUMNS}

    def preprocess(self, clips: Tensor) -> Tensor:
        return clips

    def describe(self, x: Tensor) -> Tensor:
        found = motion_features(x)
        return torch.cat([found["flow"], *(found[name].double()[:, None] for name in COLUMNS)], 1)

    def self_test(self) -> None:
        FlowHistogram().self_test()


def distances(real: Tensor, fake: Tensor) -> dict[str, float]:
    """`motion_distances` of two sets of rows."""
    return motion_distances(by_name(real), by_name(fake))


def by_name(rows: Tensor) -> dict[str, Tensor]:
    """Rows as `motion_features` has them."""
    flow, columns = rows[:, : FlowHistogram.dim], rows[:, FlowHistogram.dim :]
    found = {"flow": flow} | dict(zip(COLUMNS, columns.unbind(1), strict=True))
    return found | {"static": found["static"] > 0.5}
