"""How well texts find their clips among others, and clips their texts."""

from collections.abc import Sequence

import torch
from torch import Tensor

from ode_vgan.embed.score import Score
from ode_vgan.errors import UserError

PLACES = (1, 5, 10)
TIE = 1e-6  # cosines closer than this are one: the same clip in another batch is as far from itself


def retrieval(
    text: Tensor, clips: Tensor, captions: Sequence[str], concepts: Tensor, at: tuple[int, ...] = PLACES
) -> list[Score]:
    """Recall in both directions, by cosine; every clip with the query's caption is right, every other one is not.

    Texts that several clips share are asked once. A tie counts against the right answer.

    Args:
        text: (N, E) unit rows of the clips' own captions. clips: (N, E) unit rows.
        captions: N. concepts: (N,) int64.

    Raises:
        UserError: fewer than two different captions, or shapes that disagree.
    """
    if text.shape != clips.shape or len(captions) != len(clips) or len(concepts) != len(clips):
        shapes = f"texts {tuple(text.shape)}, clips {tuple(clips.shape)}, {len(captions)} captions"
        raise UserError(f"{shapes} and {len(concepts)} concepts do not match; give one of each a clip.")
    first = list({caption: i for i, caption in reversed(list(enumerate(captions)))}.values())[::-1]
    row = {captions[i]: place for place, i in enumerate(first)}
    if len(first) < 2:
        raise UserError(f"{len(first)} different captions; retrieval needs two or more to choose from.")
    own = torch.tensor([row[caption] for caption in captions])
    cosines = text[first].double() @ clips.double().T
    right = own == torch.arange(len(first))[:, None]
    found = {
        "text to clip": (first_right(cosines, right), right.sum(1), concepts[first]),
        "clip to text": (first_right(cosines.T, right.T), right.sum(0), concepts),
    }
    scores = []
    for task, (places, rights, asked) in found.items():
        candidates = right.shape[1 if task == "text to clip" else 0]
        scores += recalls(task, places, asked, rights, candidates, at)
    return scores


def recalls(
    task: str, places: Tensor, concepts: Tensor, rights: Tensor, candidates: int, at: tuple[int, ...]
) -> list[Score]:
    """R@K and the mean reciprocal rank of places (N,), with what a random order of the candidates gives."""
    guess = "a random order"
    scores = []
    for k in at:
        if k < candidates:
            chance = float((1 - missed(rights, candidates)[:, k]).mean())
            scores.append(Score(task, f"R@{k}", (places <= k).double(), concepts, chance, guess))
    met = missed(rights, candidates)
    reciprocal = ((met[:, :-1] - met[:, 1:]) / torch.arange(1, candidates + 1)).sum(1)
    scores.append(Score(task, "MRR", 1 / places.double(), concepts, float(reciprocal.mean()), guess))
    return scores


def first_right(cosines: Tensor, right: Tensor) -> Tensor:
    """(Q,) int64 place, from 1, of each query's best right candidate; wrong ones as near are before it.

    Args:
        cosines: (Q, N). right: (Q, N) bool, at least one a query.
    """
    best = cosines.masked_fill(~right, -torch.inf).amax(1)
    return 1 + ((cosines >= best[:, None] - TIE) & ~right).sum(1)


def missed(rights: Tensor, candidates: int) -> Tensor:
    """(Q, N + 1) float64: the chance that none of a query's right candidates is among the first k of a random order."""
    places = torch.arange(candidates, dtype=torch.float64)
    wrong = (candidates - rights)[:, None].double()
    still = ((wrong - places) / (candidates - places)).clamp(min=0)
    return torch.cat([torch.ones(len(rights), 1, dtype=torch.float64), still.cumprod(1)], 1)
