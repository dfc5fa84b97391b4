"""The clips nearest to a text."""

from dataclasses import dataclass

import torch
from torch import Tensor

from ode_vgan.errors import UserError


@dataclass(frozen=True)
class Neighbours:
    """The nearest of some clips to each of Q texts, nearest first.

    Attributes:
        index: (Q, K) int64, which clip. cosine: (Q, K) float64.
    """

    index: Tensor
    cosine: Tensor


def nearest(text: Tensor, clips: Tensor, count: int) -> Neighbours:
    """The `count` clips of largest cosine; of equal ones, the first.

    Args:
        text: (Q, E) unit rows. clips: (N, E) unit rows.

    Raises:
        UserError: `count` is not from 1 to N.
    """
    if not 1 <= count <= len(clips):
        raise UserError(f"{count} nearest of {len(clips)} clips; ask for 1 to {len(clips)}.")
    cosines = text.double() @ clips.double().T
    index = torch.argsort(cosines, dim=1, descending=True, stable=True)[:, :count]
    return Neighbours(index, cosines.gather(1, index))
