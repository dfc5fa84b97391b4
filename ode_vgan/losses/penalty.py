"""Gradient penalties on the critics."""

from collections.abc import Callable

import torch
from torch import Tensor

from ode_vgan.losses.twice import for_penalty


def gradient_penalties(judge: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    """Half the squared norm of the gradient of the critic's output at each clip of x, (B,).

    At real clips this is R1, at generated ones R2. It is computed in fp32 whatever the autocast, and keeps the
    graph, so that its own gradient reaches the critic's weights; a clip's logits must not depend on other clips.

    Args:
        judge: x -> logits, (B,) or (B * k,); a clip's k logits are averaged.
        x: (B, T, C, H, W).

    Source: Mescheder et al. (2018), "Which Training Methods for GANs do actually Converge?", equation 9.
    """
    with torch.autocast(x.device.type, enabled=False), for_penalty():
        x = x.detach().float().requires_grad_(True)
        logits = judge(x)
        total = logits.sum() * (x.shape[0] / logits.shape[0])
        (gradient,) = torch.autograd.grad(total, x, create_graph=True)
        return gradient.square().flatten(1).sum(1) / 2


def gradient_penalty(judge: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    """`gradient_penalties` averaged over clips, ()."""
    return gradient_penalties(judge, x).mean()
