"""Does a clip fit its own caption better than the captions of others? CLIPSIM with own and with shuffled captions."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import one_hot

from ode_vgan.errors import UserError
from ode_vgan.metrics.alignment import clipsim

LEVEL = 0.90
DRAWS = 2000  # of the bootstrap


@dataclass(frozen=True)
class Gap:
    """CLIPSIM with own captions, with those of others, and the first less the second.

    Attributes:
        own, shuffled, above: each (value, low, high), the ends of its 90 % interval over captions.
        captions: how many different ones there were.
    """

    own: tuple[float, float, float]
    shuffled: tuple[float, float, float]
    above: tuple[float, float, float]
    captions: int


def shuffled_gap(
    frame_rows: Tensor, text_rows: Tensor, groups: Tensor | None = None, *, draws: int = DRAWS, seed: int = 0
) -> Gap:
    """CLIPSIM of clips with their own captions against the captions of the others.

    The shuffled value is the mean over every pair of a clip and another group's caption: what random shuffles that
    leave no clip a caption of its group give on average. The interval is the percentile bootstrap over groups, drawn
    with all their clips and captions, the three numbers on the same draws.

    Args:
        frame_rows: (N, T, E), unit rows.
        text_rows: (N, E), unit rows; row i is the text of clip i.
        groups: (N,) int64, clips that belong together, such as those of one concept; None: those of equal text rows.

    Raises:
        UserError: the shapes disagree, rows are not unit, or all clips are of one group.
    """
    own = clipsim(frame_rows, text_rows)
    if groups is None:
        groups = text_rows.unique(dim=0, return_inverse=True)[1]
    kinds, place = groups.unique(return_inverse=True)
    if len(kinds) < 2:
        raise UserError("all clips have one caption, so there is none to shuffle; give two or more different ones.")
    member = one_hot(place, len(kinds)).double()  # (N, K)
    pairs = 100 * frame_rows.double().mean(1) @ text_rows.double().T
    between = (member.T @ pairs @ member).fill_diagonal_(0)
    counts = member.sum(0)
    numbers = torch.outer(counts, counts).fill_diagonal_(0)

    def values(weights: Tensor) -> Tensor:
        """(D, 3) own, shuffled and above under weights (D, K) of the groups."""
        mine = weights @ (member.T @ own) / (weights @ counts)
        others = ((weights @ between) * weights).sum(1) / ((weights @ numbers) * weights).sum(1)
        return torch.stack([mine, others, mine - others], 1)

    drawn = np.random.default_rng(seed).multinomial(len(kinds), np.full(len(kinds), 1 / len(kinds)), size=draws)
    weights = torch.from_numpy(drawn[(drawn > 0).sum(1) > 1]).double()  # of one group alone there is nothing to shuffle
    ends = values(weights).quantile(torch.tensor([(1 - LEVEL) / 2, (1 + LEVEL) / 2]).double(), dim=0)
    found = torch.cat([values(torch.ones(1, len(kinds)).double()), ends]).T.tolist()
    return Gap(*(tuple(each) for each in found), captions=len(kinds))
