"""Adversarial losses on logits of paired real and generated clips: pure functions behind small frozen objects."""

import torch.nn.functional as F
from torch import Tensor


def relativistic_critic(real: Tensor, fake: Tensor) -> Tensor:
    """Mean softplus(D(fake) - D(real)) over pairs, ().

    Source: Huang et al. (2024), "The GAN is dead; long live the GAN!" (R3GAN), equation 2 with f(t) = -log(1 + e^-t).
    """
    return F.softplus(fake - real).mean()


def relativistic_generator(real: Tensor, fake: Tensor) -> Tensor:
    """Mean softplus(D(real) - D(fake)) over pairs, (); source as `relativistic_critic`."""
    return F.softplus(real - fake).mean()


def nonsaturating_critic(real: Tensor, fake: Tensor) -> Tensor:
    """Mean softplus(-D(real)) + softplus(D(fake)), (); source: Goodfellow et al. (2014), section 3."""
    return F.softplus(-real).mean() + F.softplus(fake).mean()


def nonsaturating_generator(real: Tensor, fake: Tensor) -> Tensor:
    """Mean softplus(-D(fake)), (); real logits are not used."""
    return F.softplus(-fake).mean()


def hinge_critic(real: Tensor, fake: Tensor) -> Tensor:
    """Mean relu(1 - D(real)) + relu(1 + D(fake)), (); source: Lim and Ye (2017), "Geometric GAN", equations 12-13."""
    return F.relu(1 - real).mean() + F.relu(1 + fake).mean()


def hinge_generator(real: Tensor, fake: Tensor) -> Tensor:
    """Mean -D(fake), (); real logits are not used."""
    return -fake.mean()


class Relativistic:
    """The pairing loss of R3GAN."""

    critic = staticmethod(relativistic_critic)
    generator = staticmethod(relativistic_generator)


class NonSaturating:
    """The classical loss."""

    critic = staticmethod(nonsaturating_critic)
    generator = staticmethod(nonsaturating_generator)


class Hinge:
    """The hinge loss."""

    critic = staticmethod(hinge_critic)
    generator = staticmethod(hinge_generator)
