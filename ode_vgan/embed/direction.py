"""Does an embedding know which way a clip runs? One that averages frames cannot."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from ode_vgan.embed.probe import Chosen, choose_probe
from ode_vgan.embed.score import Score

REVERSED = "{}, in reverse"  # how a caption says that its clip is played backwards
TIE = 1e-6


def told_apart(
    encode_text: Callable[[list[str]], Tensor],
    captions: Sequence[str],
    forward: Tensor,
    backward: Tensor,
    concepts: Tensor,
) -> list[Score]:
    """Each clip is played both ways, and each way chooses between its caption and "CAPTION, in reverse".

    An embedder that is blind to order chooses the same words twice, and is right once: exactly one half.

    Args:
        forward, backward: (N, E) unit rows of the two ways. concepts: (N,) int64.

    Returns:
        The share of right choices, and the mean cosine of the two ways (1: they are the same to the embedder).
    """
    plain = encode_text(list(captions))
    reverse = encode_text([REVERSED.format(caption) for caption in captions])
    leaning = reverse - plain
    right = (_sided(-(forward * leaning).sum(1)) + _sided((backward * leaning).sum(1))) / 2
    likeness = (forward.double() * backward.double()).sum(1)
    return [
        Score("direction", "own words", right, concepts, 0.5, "blind to order"),
        Score("direction", "cosine of both ways", likeness, concepts, 1.0, "blind to order", better="lower"),
    ]


def probed(train: tuple[Tensor, Tensor], choose: tuple[Tensor, Tensor], held: tuple[Tensor, Tensor, Tensor]):
    """A linear probe of forward against backward, learned on other concepts.

    Args:
        train, choose: (N, E) unit rows of clips played forward and of the same ones played backward.
        held: the same of the clips judged, and their concepts (N,).

    Returns:
        The share of playbacks put right, and the probe.
    """
    chosen: Chosen = choose_probe(_labelled(*train), _labelled(*choose), 2)
    forward, backward, concepts = held
    lean = [logits[:, 1] - logits[:, 0] for logits in (chosen.probe(forward), chosen.probe(backward))]
    right = (_sided(-lean[0]) + _sided(lean[1])) / 2
    return Score("direction", "linear probe", right, concepts, 0.5, "blind to order"), chosen


def _labelled(forward: Tensor, backward: Tensor) -> tuple[Tensor, Tensor]:
    return torch.cat([forward, backward]), torch.cat([torch.zeros(len(forward)), torch.ones(len(backward))]).long()


def _sided(margin: Tensor) -> Tensor:
    """1 where a margin is above 0, 0 below, one half where it is neither: float64."""
    return ((margin > TIE).double() + (margin >= -TIE).double()) / 2
