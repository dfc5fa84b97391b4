"""The zero-centred gradient penalty on real clips, as TGANv2's code has it and averaged over the batch."""

import torch
from torch import Tensor

from ode_vgan.processes import world


def squared_slopes(logits: dict[str, Tensor], views: dict[str, Tensor]) -> Tensor:
    """Sum over clips and views of the squared norm of the logits' gradient, (); the graph is kept.

    Args:
        logits: by critic, of any shape; a clip's logits depend on its own views only.
        views: what they were computed from, requiring gradients.
    """
    total = sum(one.float().sum() for one in logits.values())
    gradients = torch.autograd.grad(total, list(views.values()), create_graph=True)
    return sum(gradient.float().square().sum() for gradient in gradients)


class SummedZeroCentred:
    """weight * squared slopes, summed over clips and levels: its strength against the loss, a mean, grows with both.

    Args:
        weight: lambda, 0.5 as published.

    Source: Saito et al. (2020), TGANv2, as in the authors' and in Gordon and Parde's code.
    """

    def __init__(self, weight: float):
        self.weight = weight

    def __call__(self, logits: dict[str, Tensor], views: dict[str, Tensor]) -> Tensor:
        """The penalty, (); its mean over processes is the sum over the clips of all."""
        return self.weight * squared_slopes(logits, views) * world()


class ZeroCentred:
    """weight * squared slopes, summed over levels and averaged over clips: its strength does not depend on the batch.

    Args:
        weight: lambda, half of Mescheder's gamma.

    Source: Mescheder et al. (2018), "Which Training Methods for GANs do actually Converge?", equation 9.
    """

    def __init__(self, weight: float):
        self.weight = weight

    def __call__(self, logits: dict[str, Tensor], views: dict[str, Tensor]) -> Tensor:
        """The penalty, ()."""
        return self.weight * squared_slopes(logits, views) / len(next(iter(views.values())))
