"""Classification by words alone: a clip belongs to the class whose name, in sentences, is nearest."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from torch.nn.functional import normalize

from ode_vgan.embed.retrieval import first_right
from ode_vgan.embed.score import Score
from ode_vgan.errors import UserError

NAME_ALONE = ("{}",)
TEMPLATES = (
    "{}",
    "a clip of {}",
    "a short video of {}",
    "an animation of {}",
    "a looping animation of {}",
    "an animated picture of {}",
    "{} in motion",
    "{}, moving",
)


def class_rows(
    encode_text: Callable[[list[str]], Tensor], names: Sequence[str], templates: Sequence[str] = TEMPLATES
) -> Tensor:
    """(K, E) unit rows: the mean over sentences of each name's unit rows.

    Args:
        encode_text: N texts to (N, E) unit rows.
        templates: each with one {} for the name.

    Raises:
        UserError: no name, or a template without exactly one {}.

    Source: open_clip's build_zero_shot_classifier, after Radford et al. (2021). Differs: the sentences are of clips.
    """
    wrong = [template for template in templates if template.count("{}") != 1]
    if wrong or not templates or not names:
        raise UserError(
            f"templates {wrong or list(templates)} for {len(names)} names; each needs one {{}} for the name."
        )
    rows = encode_text([template.replace("{}", name) for name in names for template in templates])
    return normalize(normalize(rows, dim=-1).unflatten(0, (len(names), len(templates))).mean(1), dim=-1)


def classified(
    task: str, nearness: Tensor, labels: Tensor, concepts: Tensor, *, chance: float | None = None, guess: str = ""
) -> list[Score]:
    """Accuracy, accuracy within five classes, and the mean over classes of their recall.

    A tie counts against the right class.

    Args:
        nearness: (N, K) cosines or logits. labels: (N,) int64 in [0, K). concepts: (N,) int64.
        chance: of the accuracy; None is that of a class drawn at random. guess: which guess the chance is.
    """
    classes = nearness.shape[1]
    right = torch.nn.functional.one_hot(labels, classes).bool()
    places = first_right(nearness.double(), right)
    drawn = "a class at random"
    hits, told = (places <= 1).double(), (1 / classes, drawn) if chance is None else (chance, guess)
    scores = [Score(task, "accuracy", hits, concepts, *told)]
    if classes > 5:
        scores.append(Score(task, "top 5", (places <= 5).double(), concepts, 5 / classes, drawn))
    scores.append(Score(task, "mean class recall", hits, concepts, 1 / classes, drawn, strata=labels))
    return scores
