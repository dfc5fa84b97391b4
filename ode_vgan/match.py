"""Temporal models of one size: the width at which a model has as many weights, or costs as much, as asked.

python train.py temporal=sde match.parameters=95000
python train.py temporal=lstm match.macs=2.4e6 match.width=text_dim
"""

import copy
import math
from collections.abc import Callable

import torch

from ode_vgan.build import build
from ode_vgan.errors import UserError
from ode_vgan.scaling.count import temporal_macs
from ode_vgan.temporal.path import TemporalModel

WIDTHS = ("hidden", "field.hidden", "width", "text_dim", "widths")  # the first of them that a model has is moved
TOLERANCE = 0.05
LARGEST = 2**14
SKIPPED = 64  # widths in a row that a model may refuse, as heads do that must divide them


def matched(
    node: dict,
    *,
    frames: int,
    gap_seconds: float | None,
    parameters: float | None = None,
    macs: float | None = None,
    width: str | None = None,
) -> dict:
    """The config of a temporal model, with the width that comes nearest to a size; everything else stays.

    Args:
        node: plain config of a temporal model, with `_target_`, `dim` and `embed_dim` filled in.
        frames: T, and gap_seconds: between frames; what one path is when costs are counted.
        parameters: trainable weights to have. macs: forward multiply-accumulates of a path to cost, with the solver's
            measured evaluations. At most one; with neither, the node comes back as it is.
        width: the argument to move, dotted if nested, an integer or a list of channels; None takes the first of WIDTHS
            that the model has. A list keeps its proportions, in multiples of 8.

    Raises:
        UserError: both sizes, one below 1, no such argument, or no width within 5 % of the size.
    """
    if parameters is None and macs is None:
        return node
    if parameters is not None and macs is not None:
        raise UserError(f"match.parameters={parameters:g} and match.macs={macs:g}; give one of them.")
    what, target = ("parameters", parameters) if macs is None else ("macs", macs)
    if not target >= 1:
        raise UserError(f"match.{what}={target:g}; give 1 or more.")
    name = width or next((name for name in WIDTHS if _find(node, name) is not None), None)
    if name is None or _find(node, name) is None:
        missing = f"no {width}" if width else f"none of {', '.join(WIDTHS)}"
        raise UserError(f"{node['_target_']} has {missing}, so its size stays; name an integer of it: match.width=...")

    def size_at(value: int) -> float | None:
        return _size(resized(node, name, value), what, frames, gap_seconds)

    value, found = nearest_width(size_at, target)
    if abs(found / target - 1) > TOLERANCE:
        raise UserError(
            f"match.{what}={target:,.0f} cannot be met within {TOLERANCE:.0%}: the nearest {node['_target_']} has "
            f"{found:,.0f} at {name}={value}; ask for that, or move another of its arguments with match.width."
        )
    return resized(node, name, value)


def nearest_width(size_at: Callable[[int], float | None], target: float) -> tuple[int, float]:
    """The width whose size is nearest to a target, and that size.

    Args:
        size_at: size of a width; never falls as the width grows; None where a model refuses the width.
    """
    known: dict[int, float | None] = {}

    def size(value: int) -> float | None:
        if value not in known:
            known[value] = size_at(value)
        return known[value]

    def at(value: int, step: int) -> tuple[int, float] | None:
        """The first width from here on, in this direction, that the model takes."""
        tried = range(value, max(0, min(LARGEST + 1, value + step * SKIPPED)), step)
        return next(((one, found) for one in tried if (found := size(one)) is not None), None)

    low, high = 1, 1
    while high < LARGEST and (here := at(high, 1)) is not None and here[1] < target:
        low, high = high, high * 2
    while high - low > 1:
        middle = (low + high) // 2
        here = at(middle, 1)
        low, high = (middle, high) if here is not None and here[1] < target else (low, middle)
    ends = [end for end in (at(low, -1), at(low, 1), at(high, 1)) if end is not None]
    if not ends:
        raise UserError(f"no width near {low} makes a model; name another argument with match.width.")
    return min(ends, key=lambda end: abs(end[1] - target))


def resized(node: dict, name: str, value: int) -> dict:
    """A copy of a config whose width, `name`, is `value`; of a list the first entry is about that."""
    node = copy.deepcopy(node)
    *parents, last = name.split(".")
    inner = node
    for parent in parents:
        inner = inner[parent]
    before = inner[last]
    if isinstance(before, list):
        inner[last] = [8 * max(1, math.floor(width * value / before[0] / 8 + 0.5)) for width in before]
    else:
        inner[last] = value
    return node


def _find(node: dict, name: str) -> int | list[int] | None:
    """The width that a dotted name means, or None if it means no width."""
    inner: object = node
    for part in name.split("."):
        inner = inner.get(part) if isinstance(inner, dict) else None
    counts = inner if isinstance(inner, list) and inner else [inner]
    return inner if all(type(count) is int and count > 0 for count in counts) else None


def _size(node: dict, what: str, frames: int, gap_seconds: float | None) -> float | None:
    """Weights or cost of a model, or None if it refuses its arguments."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)  # an adaptive solver's evaluations depend on the weights
        try:
            model: TemporalModel = build(node, trusted=("",))
        except UserError:
            return None
    if what == "parameters":
        return sum(weight.numel() for weight in model.parameters() if weight.requires_grad)
    return temporal_macs(model, frames, gap_seconds)
