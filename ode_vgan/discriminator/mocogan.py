"""MoCoGAN's two critics: one sees a random frame of each clip, the other the whole clip."""

import torch
from torch import Tensor, nn

from ode_vgan.decoder.mocogan import SIDES_PX
from ode_vgan.errors import UserError
from ode_vgan.processes import share


def hidden_layers(size: int, at_64_px: int) -> int:
    """How many hidden convolutions are left at a side; each smaller side leaves out one, the widest.

    Raises:
        UserError: a side that the critics cannot judge.
    """
    if size not in SIDES_PX:
        raise UserError(f"size={size} px is not a side these critics can judge; choose one of {SIDES_PX}.")
    return at_64_px - len(SIDES_PX) + 1 + SIDES_PX.index(size)


class ImageCritic(nn.Module):
    """Is each patch of this frame real? 4 x 4 convolutions of stride 2, ending in 4 x 4 logits a frame.

    Channels 64-128-256 at 64 px, all but the first batch normalised, LeakyReLU 0.2, no biases.

    Args:
        size: side of a frame, px: 64 as published; 32 and 16 leave out the widest layer, or two.
        channels: of the first layer; 64 as published.

    Source: Tulyakov et al. (2018), "MoCoGAN", section 3, D_I, which the main text leaves open. Layers as the patch
    critic of the authors' and of Gordon and Parde's code, without noise on the inputs as in the latter: DCGAN's
    critic a layer short, so that each logit sees a part of the frame, 46 x 46 px at 64 px.
    """

    def __init__(self, size: int, *, channels: int):
        super().__init__()
        widths = [3] + [channels * 2**i for i in range(hidden_layers(size, 3))]
        layers: list[nn.Module] = []
        for before, width in zip(widths, widths[1:], strict=False):
            layers.append(nn.Conv2d(before, width, 4, stride=2, padding=1, bias=False))
            layers += [nn.BatchNorm2d(width)] if before != 3 else []
            layers.append(nn.LeakyReLU(0.2))
        self.layers = nn.Sequential(*layers, nn.Conv2d(widths[-1], 1, 4, stride=2, padding=1, bias=False))

    def forward(self, frames: Tensor) -> Tensor:
        """Logits (B, 16), one a patch, of frames (B, 3, size, size)."""
        return self.layers(frames).flatten(1)


class VideoCritic(nn.Module):
    """Is this clip real? Convolutions of four frames by 4 x 4 px, ending in one logit for 16 frames of 64 px.

    Channels 64-128-256-512 at 64 px; space is halved by each hidden layer and time shortened by three frames, as no
    frames are padded; the last layer covers what is left of space and four frames. All but the first are batch
    normalised, LeakyReLU 0.2, no biases. Longer clips, or smaller ones with a layer less, have several logits in time.

    Args:
        size: side of a frame, px: 64 as published; 32 and 16 leave out the widest layer, or two.
        frames: T, for the check that it is long enough: 16 at 64 px, 13 at 32 px, 10 at 16 px.
        channels: of the first layer; 64 as published.

    Source: Tulyakov et al. (2018), "MoCoGAN", section 3, D_V, which the main text leaves open. Layers as the video
    critic of the authors' and of Gordon and Parde's code, without a category and noise on the inputs as in the latter.
    Both codes also have a patch critic for clips, without the widest layer, which Gordon and Parde do not train.
    """

    def __init__(self, size: int, frames: int, *, channels: int):
        super().__init__()
        widths = [3] + [channels * 2**i for i in range(hidden_layers(size, 4))]
        needed = 3 * (len(widths) - 1) + 4
        if frames < needed:
            raise UserError(f"frames={frames}; the video critic at {size} px needs {needed}. Raise data.frames.")
        layers: list[nn.Module] = []
        for before, width in zip(widths, widths[1:], strict=False):
            layers.append(nn.Conv3d(before, width, 4, stride=(1, 2, 2), padding=(0, 1, 1), bias=False))
            layers += [nn.BatchNorm3d(width)] if before != 3 else []
            layers.append(nn.LeakyReLU(0.2))
        self.layers = nn.Sequential(*layers, nn.Conv3d(widths[-1], 1, 4, bias=False))

    def forward(self, x: Tensor) -> Tensor:
        """Logits (B, L) of clips x (B, T, 3, size, size); L = T - 3 * layers, 1 as published."""
        return self.layers(x.transpose(1, 2)).flatten(1)  # channels before time, as Conv3d wants


class MocoganCritics(nn.Module):
    """An image critic that sees one frame of each clip, drawn anew each time, and a video critic that sees all.

    Args:
        image: `ImageCritic`. video: `VideoCritic`.

    Source: Tulyakov et al. (2018), "MoCoGAN", section 3: S_1 samples one frame of a clip, S_T consecutive ones.
    Differs: the frames are of the same clips that the video critic sees; the published codes draw others for them.
    """

    def __init__(self, image: ImageCritic, video: VideoCritic):
        super().__init__()
        self.image, self.video = image, video

    def views(self, shown: Tensor, draw: torch.Generator) -> dict[str, Tensor]:
        """Of clips (B, T, 3, H, W): `image`, one frame of each, (B, 3, H, W), and `video`, the clips."""
        total, own = share(len(shown), draw)
        picks = torch.randint(shown.shape[1], (total,), generator=draw)[own].to(shown.device)
        return {"image": shown[torch.arange(len(shown), device=shown.device), picks], "video": shown}

    def forward(self, views: dict[str, Tensor]) -> dict[str, Tensor]:
        """Logits by critic: image (B, 16) and video (B, L)."""
        return {"image": self.image(views["image"]), "video": self.video(views["video"])}
