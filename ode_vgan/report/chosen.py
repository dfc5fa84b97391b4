"""Which checkpoint of a run is judged: chosen on validation clips, or the last, or the last within a budget."""

import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from ode_vgan.errors import UserError
from ode_vgan.metrics.protocol import METRICS, parse_protocol
from ode_vgan.report.reading import spent_at
from ode_vgan.report.study import Run, read_config
from ode_vgan.runs import CHECKPOINT, find_checkpoint

SPENT = {"clips": "clips", "seconds": "training seconds", "cpu_seconds": "CPU seconds of training", "macs": "MACs"}
WAYS = ("validation", "last")
LOOK = re.compile(r"clips_(\d+)\.ckpt")


@dataclass(frozen=True)
class Budget:
    """Runs are judged as if they had ended when they had spent so much.

    Args:
        column: what is spent, a key of SPENT. limit: in its unit.
    """

    column: str
    limit: float

    def __str__(self) -> str:
        return f"{self.limit:,g} {SPENT[self.column]}"


@dataclass(frozen=True)
class Choice:
    """A checkpoint and why.

    Attributes:
        clips: that it had seen. value, protocol: its validation score; None and "" where none decided.
        by: how it was chosen, in words.
    """

    checkpoint: Path
    clips: int
    value: float | None
    protocol: str
    by: str

    def to_json(self) -> dict:
        """Plain data; the file by its name."""
        return asdict(self) | {"checkpoint": self.checkpoint.name}


def choose(run: Run, way: str | None = None, budget: Budget | None = None) -> Choice:
    """The checkpoint of a run to judge.

    Args:
        way: "validation", the look of the best validation score; "last", the last look. None is validation without a
            budget and last with one. Without validation scores it is the last, and `by` says so.
        budget: looks beyond it are left out.

    Raises:
        UserError: no checkpoint, or none within the budget.
    """
    way = way or ("validation" if budget is None else "last")
    if way not in WAYS:
        raise UserError(f"{way!r} is no way to choose a checkpoint; use {' or '.join(WAYS)}.")
    there = looks(run.folder)
    if budget is not None:
        there = _within(run, there, budget)
    until = f" within {budget}" if budget else ""
    reason = ""
    if way == "validation":
        protocol, values = validation(run)
        scored = {clips: values[clips] for clips in there if clips in values}
        if scored:
            sign = 1 if METRICS[parse_protocol(protocol.partition("/")[0]).metric].better == "lower" else -1
            best = min(scored, key=lambda clips: (sign * scored[clips], clips))
            by = f"best {protocol} on validation clips, of {len(scored)} looks{until}"
            return Choice(there[best], best, scored[best], protocol, by)
        reason = ": no look has a validation score" if values else ": no validation scores"
    if budget is None:
        return Choice(find_checkpoint(run.folder), run.facts.get("clips_seen", 0), None, "", f"last checkpoint{reason}")
    clips = max(there)
    return Choice(there[clips], clips, None, "", f"last look{until}{reason}")


def looks(folder: Path) -> dict[int, Path]:
    """Kept checkpoints by the clips they had seen, rising."""
    named = [(LOOK.fullmatch(path.name), path) for path in (folder / CHECKPOINT.parent).glob("clips_*.ckpt")]
    return dict(sorted((int(parts[1]), path) for parts, path in named if parts))


def validation(run: Run) -> tuple[str, Mapping[int, float]]:
    """The protocol a run was scored under on validation clips, and its values by clips; empty where it was not."""
    asked = read_config(run.folder).get("metrics") or {}
    if not isinstance(asked, dict) or asked.get("split") != "val":
        return "", {}
    for key in asked.get("protocols") or ():
        for column, (clips, values) in run.curves.items():
            name = column.removeprefix("score/")
            if name != column and name.partition("/")[0] == key and not name.endswith("_real"):
                return name, {int(at): value for at, value in zip(clips, values, strict=True)}
    return "", {}


def reached(run: Run, budget: Budget) -> bool:
    """Whether a run went on to the end of a budget, within a hundredth."""
    total = spent_at(run, run.facts.get("clips_seen", 0), budget.column)
    return total is not None and total >= 0.99 * budget.limit


def _within(run: Run, there: Mapping[int, Path], budget: Budget) -> dict[int, Path]:
    last = run.folder / CHECKPOINT
    seen = run.facts.get("clips_seen", 0)
    every = dict(there) | ({seen: last} if not there and last.exists() else {})
    cost = {clips: spent_at(run, clips, budget.column) for clips in every}
    if every and None in cost.values():
        raise UserError(f"its {budget.column} are not known; choose another budget.")
    found = {clips: path for clips, path in every.items() if cost[clips] <= budget.limit}
    if not found:
        first = f"the first is at {cost[min(every)]:,.0f}" if every else "there is no checkpoint"
        raise UserError(
            f"no checkpoint within {budget}: {first}. Raise it, or train with more looks (samples.every_clips)."
        )
    return found
