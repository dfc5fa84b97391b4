"""Classes of clips by a field of their meta, the same ones on every side."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ode_vgan.embed.captioned import Sides
from ode_vgan.errors import UserError


@dataclass(frozen=True)
class Labels:
    """Which clips belong to which class of one meta field, on each side.

    Attributes:
        names: K, sorted. held, train, choose: (index of the clips kept, their class).
        left_out: clips of the held side in no class that is kept, by value.
    """

    names: list[str]
    held: tuple[Tensor, Tensor]
    train: tuple[Tensor, Tensor] | None
    choose: tuple[Tensor, Tensor] | None
    left_out: dict[str, int]


def labels_of(name: str, sides: Sides, least: int) -> Labels:
    """Classes by a meta field; those with too few training clips are left out of every side.

    Raises:
        UserError: clips without the field, or fewer than two classes.
    """
    found = {side: getattr(sides, side) for side in ("held", "train", "choose")}
    values = {side: clips.values(name) for side, clips in found.items() if clips is not None}
    if any(one is None for one in values.values()):
        known = sorted({key for clip in sides.held.meta for key in clip})
        raise UserError(f"clips have no {name!r} to make classes of. Give --classes of: {', '.join(known) or 'none'}.")
    known = sides.learnable or sides.held.meta
    counts = Counter(str(clip[name]) for clip in known if clip.get(name) not in (None, ""))
    names = sorted(value for value, count in counts.items() if count >= (least if sides.learnable else 1))
    kept = {side: labelled(one, names) for side, one in values.items()}
    if len(names) < 2 or not len(kept["held"][0]):
        few = f"{name} has {len(names)} classes of {least} training clips or more"
        raise UserError(f"{few}; two are needed. Lower --least.")
    left_out = dict(Counter(value or "none" for value in values["held"] if value not in names))
    return Labels(names, kept["held"], kept.get("train"), kept.get("choose"), left_out)


def labelled(values: Sequence[str | None], names: list[str]) -> tuple[Tensor, Tensor]:
    """Which values are among the names, (n,) int64, and the place of each of those, (n,) int64."""
    place = {name: i for i, name in enumerate(names)}
    index = [i for i, value in enumerate(values) if value in place]
    return torch.tensor(index, dtype=torch.int64), torch.tensor([place[values[i]] for i in index], dtype=torch.int64)


def commonest(labels: Labels) -> float:
    """The share of held clips that the training clips' commonest class would get right."""
    return float((labels.held[1] == labels.train[1].mode().values).double().mean())
