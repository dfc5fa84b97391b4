"""The bounds that losses and gradients keep where training is sound."""

import math

import torch
from torch import nn

from ode_vgan.errors import DivergedError


def check_bounds(module: nn.Module, losses: dict[str, float], limits: dict) -> None:
    """Refuse to go on from losses by name, or from the gradients of a module, that are not finite or too large.

    Args:
        limits: `max_loss` and `max_gradient`, where there are such limits.

    Raises:
        DivergedError: naming what is beyond its limit.
    """
    clips = f"after {module.clips_seen:,} clips. Lower the step sizes."
    if not all(map(math.isfinite, losses.values())):
        raise DivergedError(f"a loss is {losses} {clips}")
    limit = limits.get("max_loss") or math.inf
    if any(abs(value) > limit for value in losses.values()):
        raise DivergedError(f"a loss is {losses}, beyond diverged.max_loss={limit:g}, {clips}")
    gradients = [parameter.grad for parameter in module.parameters() if parameter.grad is not None]
    norm = float(torch.stack(torch._foreach_norm(gradients)).norm()) if gradients else 0.0
    limit = limits.get("max_gradient") or math.inf
    if not math.isfinite(norm) or norm > limit:
        raise DivergedError(f"the gradients' norm is {norm:g}, beyond diverged.max_gradient={limit:g}, {clips}")
