"""Feature extraction: I3D and hog3d beside the plain ways to the same rows."""

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional

from ode_vgan.bench.contest import Asked, Contest, Work
from ode_vgan.metrics.features import Extractor
from ode_vgan.metrics.hog3d import (
    CELLS,
    CONTRAST_FLOOR,
    LUMA,
    ORIENTATIONS,
    SCALES,
    SLOWEST,
    SPEEDS,
    Hog3d,
    normal_speeds,
)
from ode_vgan.metrics.hog3d import RATIO as SPEED_RATIO
from ode_vgan.metrics.i3d import PROTOCOLS, I3d
from ode_vgan.metrics.i3d_net import I3dNet

CLIPS, FRAMES, SIZES = 4, 16, (64, 128)


class DrawnI3d(I3d):
    """I3D with drawn weights: its price is that of the real one, and no file is needed."""

    def __init__(self):
        self.protocol, self.sha256 = PROTOCOLS["tf1"], "drawn"
        torch.manual_seed(0)
        self.net = I3dNet().eval().requires_grad_(False)
        for unit in self.net.units().values():  # so that activations neither fade nor grow
            nn.init.normal_(unit.weight, std=math.sqrt(2 / unit.weight[0].numel()))


def contests(asked: Asked) -> list[Contest]:
    """Of clips as large as those that are trained on, and larger."""
    i3d, hog = DrawnI3d().to(asked.device), Hog3d().to(asked.device)
    clips, frames, sizes = (1, 9, (32,)) if asked.quick else (CLIPS, FRAMES, SIZES)
    drawn = {size: clips_of(clips, frames, size) for size in sizes}
    found = [contest(f"i3d {size} px", "plain torch I3D", i3d, plain_i3d(i3d), part) for size, part in drawn.items()]
    found += [
        contest(f"hog3d {size} px", "votes by bincount", hog, counted_hog3d, part) for size, part in drawn.items()
    ]
    return found


def contest(name: str, against: str, ours: Extractor, theirs: Callable[[Tensor], Tensor], clips: Tensor) -> Contest:
    """Both on the same clips."""

    def differ() -> float:
        one, other = ours(clips), plain().double().cpu()
        return float((one - other).norm() / other.norm())

    def plain() -> Tensor:
        return theirs(clips.to(ours.device))

    work = Work(items=len(clips), unit="clips")
    return Contest("features", name, against, lambda: ours(clips), plain, differ, work=work)


def clips_of(clips: int, frames: int, size: int) -> Tensor:
    """Smooth moving patterns, (N, T, H, W, 3) uint8; the same for the same arguments."""
    draw = torch.Generator().manual_seed(0)
    coarse = torch.rand(clips, 3, 4, 6, 6, generator=draw)
    fine = functional.interpolate(coarse, (frames, size, size), mode="trilinear", align_corners=True)
    return (255 * fine).to(torch.uint8).permute(0, 2, 3, 4, 1).contiguous()


def plain_i3d(extractor: I3d) -> Callable[[Tensor], Tensor]:
    """Frames enlarged to 224 px, then the network as written, all clips at once."""

    @torch.no_grad()
    def rows(clips: Tensor) -> Tensor:
        return extractor.net(extractor.preprocess(clips))

    return rows


@torch.no_grad()
def counted_hog3d(clips: Tensor) -> Tensor:
    """hog3d with each pixel's four votes put into their bins one by one."""
    grey = torch.einsum("nthwc,c->nthw", clips.float(), torch.tensor(LUMA, device=clips.device))
    rows = []
    for _ in range(SCALES):
        rows.append(_counted_scale(grey))
        grey = functional.avg_pool2d(grey, 2)
    return torch.cat(rows, 1)


def _counted_scale(grey: Tensor) -> Tensor:
    angle, speed, strength = normal_speeds(grey)
    size = speed.abs() / SLOWEST
    level = torch.where(size < 1, size / 2, 0.5 + size.clamp_min(1).log() / math.log(SPEED_RATIO))
    level = torch.copysign(level.clamp_max((SPEEDS - 1) / 2), speed) + (SPEEDS - 1) / 2
    turns = angle * (ORIENTATIONS / math.tau)
    clip, row, column = (torch.arange(n, device=grey.device) for n in (len(angle), *angle.shape[2:]))
    cell = CELLS * (row >= (len(row) + 1) // 2).long()[:, None] + (column >= (len(column) + 1) // 2).long()
    place = (clip.view(-1, 1, 1, 1) * CELLS**2 + cell).expand_as(angle)
    total = torch.zeros(len(angle) * CELLS**2 * ORIENTATIONS * SPEEDS, dtype=torch.float64, device=grey.device)
    for turn, turned in _neighbours(turns):
        for step, stepped in _neighbours(level):
            bins = (place * ORIENTATIONS + turn % ORIENTATIONS) * SPEEDS + step.clamp(0, SPEEDS - 1)
            votes = (strength * turned * stepped).double().flatten()
            total += torch.bincount(bins.flatten(), votes, minlength=len(total))
    histogram = total.view(len(angle), -1)
    return (histogram / (histogram.sum(1, keepdim=True) + CONTRAST_FLOOR * strength[0].numel())).sqrt()


def _neighbours(value: Tensor) -> list[tuple[Tensor, Tensor]]:
    """The whole numbers on both sides, and the share of each."""
    low = value.floor()
    return [(low.long(), 1 - (value - low)), (low.long() + 1, value - low)]
