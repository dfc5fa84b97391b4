"""Losses that tie a clip to its caption."""

import torch.nn.functional as F
from torch import Tensor


def mismatched_caption(right: Tensor, wrong: Tensor) -> Tensor:
    """Mean softplus(D(x, wrong caption) - D(x, its caption)) over real clips, ().

    Source: Reed et al. (2016), "Generative Adversarial Text to Image Synthesis", section 4.2 (GAN-CLS): real
    clips with wrong captions are a third kind of input. Differs: written relativistically.
    """
    return F.softplus(wrong - right).mean()


def mean_frame_distance(real: Tensor, fake: Tensor) -> Tensor:
    """Mean absolute difference between the two clips' frames averaged over time, ().

    It says what a caption looks like without saying how it moves: any motion with the same mean frame is free. For
    data whose captions name one clip each; where many clips share a caption it pulls towards their average.

    Args:
        real, fake: (B, T, C, H, W), pairs with the same caption.

    Source: Isola et al. (2017), "Image-to-Image Translation with Conditional Adversarial Networks", equation 3.
    Differs: on the mean over time.
    """
    return (real.mean(1) - fake.mean(1)).abs().mean()
