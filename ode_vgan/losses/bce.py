"""Binary cross-entropy on logits, in which the generator asks for the label of real clips."""

import torch.nn.functional as F
from torch import Tensor


def cross_entropy_critic(real: Tensor, fake: Tensor) -> Tensor:
    """Mean softplus(-D(real)) + mean softplus(D(fake)), (): cross-entropy with label 1 and with label 0.

    Source: Goodfellow et al. (2014), "Generative Adversarial Networks", equation 1, negated, on logits.
    """
    return F.softplus(-real).mean() + F.softplus(fake).mean()


def cross_entropy_generator(fake: Tensor) -> Tensor:
    """Mean softplus(-D(fake)), (): cross-entropy with label 1; source: Goodfellow et al. (2014), section 3."""
    return F.softplus(-fake).mean()


class CrossEntropy:
    """The loss of MoCoGAN, on the mean over patches, and of TGANv2, on the mean over levels."""

    critic = staticmethod(cross_entropy_critic)
    generator = staticmethod(cross_entropy_generator)
