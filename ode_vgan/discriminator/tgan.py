"""TGAN's critic: the whole clip, halved in space and time by each layer."""

import math

import torch
from torch import Tensor, nn

from ode_vgan.decoder.tgan import check_side
from ode_vgan.errors import UserError


class TganCritic(nn.Module):
    """One number for a clip: 4 x 4 x 4 convolutions of stride two down to 4 x 4 px, then one over what is left.

    All but the first of them are batch normalised; LeakyReLU 0.2. At 64 px, 16 frames become one and the last layer is
    a plain 4 x 4 convolution, as published. Longer clips, or smaller ones with a layer or two less, leave more frames
    to the last layer, which covers them all.

    Args:
        size: side of a frame, px: 64 as published; 32 and 16 leave out the last strided layer, or two.
        frames: T, 16 as published; a multiple of 16 at 64 px, of 8 at 32 px, of 4 at 16 px.
        widths: channels of the strided layers, 64-128-256-512 as published; the first ones are used at smaller sides.

    Raises:
        UserError: a side or a number of frames that the layers do not divide.

    Source: Saito et al. (2017), "Temporal Generative Adversarial Nets with Singular Value Clipping", figure 1; layers,
    biases and starting weights (Glorot's normal ones times the root of two) as in Gordon and Parde's code of 2021.
    Differs: any batch, not 32 alone; frames in [-1, 1] by 127.5, not by 128.

    Attributes:
        layout: of weights and feature maps in memory; convolutions are faster channels-last.
    """

    layout = torch.channels_last_3d

    def __init__(self, size: int, frames: int, *, widths: list[int]):
        super().__init__()
        halvings = check_side(size)
        left, rest = divmod(frames, 2**halvings)
        if rest or not left:
            raise UserError(
                f"frames={frames}; TGAN's critic halves time {halvings} times at {size} px: set data.frames to 16 "
                f"as published, or to another multiple of {2**halvings}."
            )
        if len(widths) < halvings:
            raise UserError(f"widths={list(widths)}; {size} px needs {halvings}, one for each halving down to 4 px.")
        sizes = [3, *widths[:halvings]]
        layers: list[nn.Module] = []
        for before, after in zip(sizes, sizes[1:], strict=False):
            layers.append(nn.Conv3d(before, after, 4, stride=2, padding=1))
            layers += [nn.BatchNorm3d(after)] if before != 3 else []
            layers.append(nn.LeakyReLU(0.2))
        self.layers = nn.Sequential(*layers, nn.Conv3d(sizes[-1], 1, (left, 4, 4)))
        for layer in self.layers:
            if isinstance(layer, nn.Conv3d):
                nn.init.xavier_normal_(layer.weight, gain=math.sqrt(2))
        self.to(memory_format=self.layout)

    def views(self, shown: Tensor, draw: torch.Generator) -> dict[str, Tensor]:
        """The clips (B, T, 3, size, size) as they are."""
        return {"clip": shown}

    def forward(self, views: dict[str, Tensor]) -> dict[str, Tensor]:
        """Values (B,) without a bound, by the name `clip`."""
        clips = views["clip"].transpose(1, 2)  # channels before time, as Conv3d wants
        return {"clip": self.layers(clips.contiguous(memory_format=self.layout)).flatten()}
