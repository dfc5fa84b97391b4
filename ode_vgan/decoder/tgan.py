"""TGAN's frame generator: a clip's content beside its motion state, up-sampled by transposed convolutions."""

import torch
from torch import Tensor, nn

from ode_vgan.errors import UserError

SIDES_PX = (16, 32, 64)


def check_side(size: int) -> int:
    """How many layers of factor two lie between 4 px and a side.

    Raises:
        UserError: a side these networks do not make.
    """
    if size not in SIDES_PX:
        raise UserError(f"size={size} px is not a side of the published TGAN; choose one of {SIDES_PX}.")
    return 2 + SIDES_PX.index(size)


class TganDecoder(nn.Module):
    """Each frame alone, from the content x0 and the motion state z_t: 4 x 4 maps of both, then doublings to `size`.

    Both vectors pass Linear, batch norm and ReLU to a 4 x 4 map of `width` channels. Joined, they pass 4 x 4 transposed
    convolutions of stride two with batch norm and ReLU, and a 3 x 3 one with tanh. Batch statistics run over clips for
    the content and over all frames of all clips for the rest.

    Args:
        size: side of a frame, px: 64 as published; 32 and 16 leave out the last doubling, or two.
        content_dim: W, 100 as published. motion_dim: Z, 100 as published.
        width: channels of each 4 x 4 map, 256 as published.
        widths: channels after each doubling, 256-128-64-32 as published; the first ones are used at smaller sides.

    Source: Saito et al. (2017), "Temporal Generative Adversarial Nets with Singular Value Clipping", the image
    generator; layers, biases and starting weights (uniform within 0.01) as in Gordon and Parde's code of 2021.

    Attributes:
        layout: of feature maps in memory; on a CPU, transposed convolutions are twice as fast channels-last.
    """

    layout = torch.channels_last

    def __init__(self, size: int, content_dim: int, motion_dim: int, *, width: int, widths: list[int]):
        super().__init__()
        doublings = check_side(size)
        if len(widths) < doublings:
            raise UserError(f"widths={list(widths)}; {size} px needs {doublings}, one for each doubling from 4 px.")
        self.size, sizes = size, [2 * width, *widths[:doublings]]
        self.motion = first_map(motion_dim, width)
        self.content = first_map(content_dim, width)
        layers: list[nn.Module] = []
        for before, after in zip(sizes, sizes[1:], strict=False):
            layers += [nn.ConvTranspose2d(before, after, 4, stride=2, padding=1, bias=False)]
            layers += [nn.BatchNorm2d(after), nn.ReLU()]
        self.layers = nn.Sequential(*layers, nn.ConvTranspose2d(sizes[-1], 3, 3, padding=1), nn.Tanh())
        for layer in self.modules():
            if isinstance(layer, nn.Linear | nn.ConvTranspose2d):
                nn.init.uniform_(layer.weight, -0.01, 0.01)

    def forward(self, w: Tensor, z: Tensor, c: Tensor | None = None) -> Tensor:
        """Frames (B, T, 3, size, size) of content w (B, W) and path z (B, T, Z); the text c is not seen."""
        clips, frames = z.shape[:2]
        content = self.content(w).repeat_interleave(frames, 0)
        x = torch.cat([content, self.motion(z.flatten(0, 1))], 1).unflatten(1, (-1, 4, 4))
        x = x.contiguous(memory_format=self.layout)
        return self.layers(x).float().unflatten(0, (clips, frames))


def first_map(dim: int, width: int) -> nn.Module:
    """A vector (N, dim) to the numbers of a 4 x 4 map, (N, 16 * width), channels first, normalised over N."""
    return nn.Sequential(nn.Linear(dim, 16 * width, bias=False), nn.BatchNorm1d(16 * width), nn.ReLU())
