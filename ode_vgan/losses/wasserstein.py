"""The Wasserstein loss and what keeps its critic's slope bounded: singular value clipping."""

import torch
from torch import Tensor, nn

from ode_vgan.errors import DivergedError

LAYERS = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d)
NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)


def wasserstein_critic(real: Tensor, fake: Tensor) -> Tensor:
    """Mean D(fake) - mean D(real), (); source: Arjovsky et al. (2017), "Wasserstein GAN", algorithm 1."""
    return fake.mean() - real.mean()


def wasserstein_generator(fake: Tensor) -> Tensor:
    """Mean -D(fake), (); source as `wasserstein_critic`."""
    return -fake.mean()


class Wasserstein:
    """The loss of TGAN with singular value clipping."""

    critic = staticmethod(wasserstein_critic)
    generator = staticmethod(wasserstein_generator)


class SingularValueClip:
    """Every few steps, bring the critic's layers to a slope of at most one.

    The weights of linear and convolutional layers, as matrices of outputs by all else, get singular values of at most
    one. The gain of a batch norm is kept within 0.01 and 1 times its running standard deviation, so that it scales an
    activation by at most one.

    Args:
        every: steps between two clips; step 0 clips.

    Source: Saito et al. (2017), "Temporal Generative Adversarial Nets with Singular Value Clipping"; every fifth step,
    the first one included, as in Gordon and Parde's code of 2021.
    """

    def __init__(self, every: int):
        self.every = every

    @torch.no_grad()
    def __call__(self, critics: nn.Module, step: int) -> None:
        """Clip all layers of the critics in place, if it is time."""
        if step % self.every:
            return
        for layer in critics.modules():
            if isinstance(layer, LAYERS):
                layer.weight.copy_(self.clip(layer.weight))
            elif isinstance(layer, NORMS):
                deviation = layer.running_var.sqrt()
                layer.weight.copy_(layer.weight.clamp(0.01 * deviation, deviation))

    def clip(self, weight: Tensor) -> Tensor:
        """`clip_singular_values`."""
        return clip_singular_values(weight)


def clip_singular_values(weight: Tensor) -> Tensor:
    """The nearest weight, (out, ...), whose singular values as a matrix (out, all else) are at most one.

    With W = U S V', the eigenvectors of W W' are U and its eigenvalues S^2, so the clipped matrix is M W with
    M = I + U (min(1, 1 / S) - 1) U', exactly the identity where nothing exceeds one. M is found in float64, as squaring
    halves the digits; this is many times faster than decomposing W itself.

    Raises:
        DivergedError: a weight that is not finite.
    """
    matrix = weight.flatten(1)
    wide = matrix if matrix.shape[0] <= matrix.shape[1] else matrix.T
    try:
        squares, vectors = torch.linalg.eigh(wide.double() @ wide.T.double())
    except torch.linalg.LinAlgError:  # of finite numbers it always has them
        raise DivergedError(
            "a weight of the critic is not finite; lower the step sizes or take another seed."
        ) from None
    change = vectors @ ((squares.clamp_min(1.0).rsqrt() - 1)[:, None] * vectors.T)
    clipped = (torch.eye(len(change)).to(change) + change).to(weight.dtype) @ wide
    return (clipped if wide is matrix else clipped.T).reshape(weight.shape)
