"""A clip at several levels, each with fewer and larger frames: how TGANv2's critic is shown clips."""

import torch
import torch.nn.functional as F
from torch import Tensor

from ode_vgan.generator import Latents
from ode_vgan.unconditional import UnconditionalGenerator


def sparse_frames(x: Tensor, stride: int, draw: torch.Generator | None = None) -> Tensor:
    """Every stride-th frame of x (B, T, ...), from a first frame drawn once for the batch.

    The first frame is below min(stride, T), so that at least one is left: ceil((T - first) / stride) of them.

    Source: Saito et al. (2020), "Train Sparsely, Generate Densely" (TGANv2), the sub-sampling layer.
    """
    first = int(torch.randint(min(stride, x.shape[1]), (), generator=draw))
    return x[:, first::stride]


def pyramid(x: Tensor, levels: int, frame_stride: int, draw: torch.Generator | None = None) -> list[Tensor]:
    """Clips at each level: every level fewer frames, the last at full size, those before it averaged 2 x 2 and again.

    Args:
        x: (B, T, C, H, W), H and W multiples of 2^(levels - 1).
        draw: for the first frame of each level.

    Returns:
        `levels` batches of clips, the one with the smallest pictures and all frames first.

    Source: as `sparse_frames`.
    """
    views = [x]
    for _ in range(levels - 1):
        views.append(sparse_frames(views[-1], frame_stride, draw))
    shrinks = [2**i for i in reversed(range(levels))]
    return [F.avg_pool3d(view, (1, px, px)) for view, px in zip(views, shrinks, strict=True)]  # frames as channels


class PyramidGenerator(UnconditionalGenerator):
    """A generator whose critics are shown a pyramid, rendered level by level; whole clips are made for sampling only.

    Args:
        decoder: with `pyramid(z, draw)` beside its `(w, z, c) -> frames`. The rest as `UnconditionalGenerator`.
    """

    def shown(self, latents: Latents, times: Tensor, c: Tensor, draw: torch.Generator) -> list[Tensor]:
        """One batch of clips a level, (B, T_l, 3, side_l, side_l); which frames a level has comes from draw."""
        _, z = self.path(latents, times, c)
        return self.decoder.pyramid(z, draw)
