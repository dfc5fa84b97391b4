"""Differentiable augmentation of what the critics see: drawn once per clip, the same for all its frames."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ode_vgan.processes import share
from ode_vgan.transfer import sent


class ClipAugment(nn.Module):
    """Flip, move, scale, recolour and cut out whole clips, each with probability p.

    One draw serves all frames of a clip: a draw per frame would teach the generator to flicker. p adapts: it
    rises while the critic tells real from fake more surely than `target` and falls otherwise.

    Source: Zhao et al. (2020), "Differentiable Augmentation"; Karras et al. (2020), "Training GANs with Limited
    Data", section 3, for the adaptation. Differs: the signal is the mean sign of D(real) - D(fake), because a
    relativistic critic's own zero has no meaning.

    Args:
        p: probability at the start. p_max: the limit of adaptation; p = p_max means fixed.
        target: mean sign in [-1, 1] that adaptation aims at. ramp_clips: clips in which p can go from 0 to 1.
        translate, scale, colour: largest change, as fractions of the side or of the range.
        cutout: side of the cut-out square as a fraction of the frame's.
    """

    def __init__(
        self,
        *,
        p: float,
        p_max: float,
        target: float,
        ramp_clips: float,
        translate: float,
        scale: float,
        colour: float,
        cutout: float,
    ):
        super().__init__()
        self.p_max, self.target, self.ramp_clips = p_max, target, ramp_clips
        self.translate, self.scale, self.colour, self.cutout = translate, scale, colour, cutout
        self.register_buffer("p", torch.tensor(float(p)))

    @torch.no_grad()
    def adapt(self, sign: Tensor, clips: int) -> None:
        """Move p by what `clips` clips with a mean sign say."""
        step = torch.sign(sign - self.target) * clips / self.ramp_clips
        self.p.add_(step).clamp_(0, self.p_max)

    def forward(self, x: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Augmented clips, (B, T, C, H, W), with gradients."""
        total, own = share(x.shape[0], generator)
        draws = sent(torch.rand(total, 12, generator=generator)[own], x.device)
        applied = (draws[:, :4] < self.p).float()
        x = self._recolour(x, draws[:, 4:7] * 2 - 1, applied[:, 0])
        x = self._move(x, draws[:, 7:10] * 2 - 1, applied[:, 1], applied[:, 2] * (draws[:, 4] < 0.5))
        return self._cut(x, draws[:, 10:12], applied[:, 3])

    def _recolour(self, x: Tensor, amount: Tensor, applied: Tensor) -> Tensor:
        shift, saturation, contrast = (amount * self.colour * applied[:, None]).T[..., None, None, None, None]
        x = x + shift
        grey = x.mean(2, keepdim=True)
        x = grey + (x - grey) * (1 + 2 * saturation)
        mean = x.mean((1, 2, 3, 4), keepdim=True)
        return mean + (x - mean) * (1 + contrast)

    def _move(self, x: Tensor, amount: Tensor, applied: Tensor, flipped: Tensor) -> Tensor:
        zoom = torch.exp2(amount[:, 2] * self.scale * applied)
        theta = x.new_zeros(x.shape[0], 2, 3)
        theta[:, 0, 0] = zoom * (1 - 2 * flipped)
        theta[:, 1, 1] = zoom
        theta[:, :, 2] = amount[:, :2] * (2 * self.translate * applied[:, None])
        frames = x.flatten(0, 1)
        grid = F.affine_grid(theta.repeat_interleave(x.shape[1], 0), list(frames.shape), align_corners=False)
        return F.grid_sample(frames, grid, padding_mode="border", align_corners=False).view_as(x)

    def _cut(self, x: Tensor, centre: Tensor, applied: Tensor) -> Tensor:
        rows, columns = (torch.linspace(0, 1, side, device=x.device) for side in x.shape[-2:])
        inside = (rows - centre[:, :1]).abs()[:, :, None] < self.cutout / 2
        inside = inside & ((columns - centre[:, 1:]).abs()[:, None, :] < self.cutout / 2)
        return x * (1 - (inside * applied[:, None, None])[:, None, None].to(x.dtype))
