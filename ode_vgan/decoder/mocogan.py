"""The frame generator of MoCoGAN: content and motion in, a DCGAN frame out."""

import torch
from torch import Tensor, nn

from ode_vgan.errors import UserError

SIDES_PX = (16, 32, 64)


def transposed(channels_in: int, channels_out: int, stride: int) -> nn.Module:
    """A 4 x 4 transposed convolution that makes a 4 x 4 map of one point (stride 1), or doubles the side (stride 2)."""
    return nn.ConvTranspose2d(channels_in, channels_out, 4, stride=stride, padding=stride - 1, bias=False)


class MocoganDecoder(nn.Module):
    """Every frame alone from its clip's content joined to its own motion state: (content, motion_t) -> frame t.

    At 64 px: a 4 x 4 map of 8 * channels, then sides 8, 16, 32 with half the channels each time, batch normalised and
    rectified, then three colours and tanh. Batch statistics run over all frames of a batch. Weights start as PyTorch's.

    Args:
        size: side of a frame, px: 64 as published; 32 and 16 leave out the last normalised layer, or two.
        content_dim: W, 50 as published. motion_dim: Z, 16 as published.
        channels: of the last normalised layer at 64 px, 64 as published; those before have 128, 256 and 512.

    Source: Tulyakov et al. (2018), "MoCoGAN: Decomposing Motion and Content for Video Generation", section 3: frame k
    is G_I of the clip's content and the k-th motion state. The layers are those of the authors' and of Gordon and
    Parde's code, which is DCGAN's generator without biases; the paper's supplement has LeakyReLU in place of ReLU.
    No category, as in Gordon and Parde (2020).
    """

    def __init__(self, size: int, content_dim: int, motion_dim: int, *, channels: int):
        super().__init__()
        if size not in SIDES_PX:
            raise UserError(f"size={size} px is not a side this decoder can make; choose one of {SIDES_PX}.")
        self.size = size
        widths = [8 * channels // 2**i for i in range(SIDES_PX.index(size) + 2)]
        layers: list[nn.Module] = [transposed(content_dim + motion_dim, widths[0], 1)]
        for width, after in zip(widths, [*widths[1:], 3], strict=True):
            layers += [nn.BatchNorm2d(width), nn.ReLU(), transposed(width, after, 2)]
        self.layers = nn.Sequential(*layers, nn.Tanh())

    def forward(self, w: Tensor, z: Tensor, c: Tensor | None = None) -> Tensor:
        """Frames (B, T, 3, size, size) of content w (B, W) and motion path z (B, T, Z); text c is not seen."""
        clips, frames = z.shape[:2]
        joined = torch.cat([w[:, None].expand(-1, frames, -1), z], -1).flatten(0, 1)
        return self.layers(joined[..., None, None]).float().unflatten(0, (clips, frames))
