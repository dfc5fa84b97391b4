"""Contrastive losses on a batch of texts and their clips: OpenCLIP's own, with pairs that are no negatives left out."""

import math

import torch
from torch import Tensor, nn

from ode_vgan.embed.openclip import open_clip

SAME = -1e4  # logit of a pair that is no negative of another
MAX_SCALE = 100.0  # of the logits, CLIP's own bound


class ClipLoss(nn.Module):
    """Symmetric cross entropy of finding each text's clip and each clip's text among the others.

    Attributes:
        scale, bias: of the logits, where they start; None for no bias.

    Source: Radford et al. (2021), "Learning transferable visual models from natural language supervision", figure 3, as
    `open_clip.loss.ClipLoss` has it. Differs: `same`.
    """

    scale, bias = 14.0, None

    def __init__(self):
        super().__init__()
        self.ours = masked(open_clip().loss.ClipLoss)

    def forward(self, text: Tensor, clips: Tensor, scale: Tensor, bias: Tensor | None, same: Tensor) -> Tensor:
        """() loss.

        Args:
            text, clips: (B, E) unit rows, row i of both one pair.
            scale, bias: () of the logits, scale * cosine + bias.
            same: (B, B) bool, symmetric: pairs that are left out, which row i and its own clip never are.
        """
        self.ours.same = same
        return self.ours(clips, text, scale, bias)


class SigLipLoss(nn.Module):
    """Each text and clip judged by themselves: a pair, or none.

    Attributes:
        scale, bias: of the logits, where they start.

    Source: Zhai et al. (2023), "Sigmoid loss for language image pre-training", algorithm 1, as
    `open_clip.loss.SigLipLoss` has it. Differs: `same`.
    """

    scale, bias = 10.0, -10.0

    def __init__(self):
        super().__init__()
        self.ours = masked(open_clip().loss.SigLipLoss)

    def forward(self, text: Tensor, clips: Tensor, scale: Tensor, bias: Tensor | None, same: Tensor) -> Tensor:
        """() loss; arguments as of `ClipLoss`."""
        self.ours.same = same
        return self.ours(clips, text, scale, bias)


def masked(kind: type[nn.Module]) -> nn.Module:
    """One of OpenCLIP's losses whose logits leave out the pairs of its attribute `same`."""

    class Masked(kind):
        same: Tensor

        def get_logits(self, *rows: Tensor, **scales: Tensor | None) -> Tensor | tuple[Tensor, Tensor]:
            logits = super().get_logits(*rows, **scales)
            if isinstance(logits, tuple):
                return tuple(side.masked_fill(self.same, SAME) for side in logits)
            return logits.masked_fill(self.same, SAME)

    return Masked()


def log_scale(scale: float) -> Tensor:
    """The parameter whose exponential is a scale, ()."""
    return torch.tensor(math.log(scale))
