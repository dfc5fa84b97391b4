"""The funnel of a selection: what each rule removed, in order and alone."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field

from ode_vgan.laion.rules import Rule

CHANGES = {"|": "\\|", "<": "&lt;", "\n": " ", "\r": " "}


@dataclass(frozen=True)
class Step:
    """One rule at work.

    Attributes:
        removed: rows that passed all rules before it and not this one.
        alone: rows that it would remove by itself; None where that was not counted.
        left: rows after it.
    """

    name: str
    sql: str
    threshold: object
    source: str
    removed: int
    alone: int | None
    left: int


@dataclass(frozen=True)
class Tagged:
    """A tag table that was joined: its rows, those of a repeated hash, and the rows selected from that it met."""

    name: str
    rows: int
    repeated: int
    met: int


@dataclass(frozen=True)
class Funnel:
    """How many rows came in, what removed them, and how many went out.

    Attributes:
        files: input files.
        rows, kept: rows in and out.
        skipped: why a rule was left out, by its name.
        parts: names of the files written.
    """

    files: int
    rows: int
    steps: tuple[Step, ...]
    skipped: Mapping[str, str]
    joined: tuple[Tagged, ...]
    kept: int
    parts: tuple[str, ...] = field(default=())

    def to_json(self) -> str:
        """The funnel as JSON."""
        return json.dumps(asdict(self), indent=2, ensure_ascii=False) + "\n"

    def to_markdown(self) -> str:
        """The funnel as a page with one table, a row a rule."""
        lines = [f"# {self.kept:,} of {self.rows:,} rows selected", "", f"From {self.files:,} parquet files.", ""]
        lines += [
            "| rule | threshold | removed | alone | left | share left | source |",
            "|---|---|--:|--:|--:|--:|---|",
        ]
        for step in self.steps:
            alone = "not counted" if step.alone is None else f"{step.alone:,}"
            share = f"{step.left / self.rows:.2%}" if self.rows else "-"
            cells = [step.name, _said(step.threshold), f"{step.removed:,}", alone, f"{step.left:,}", share, step.source]
            lines.append(f"| {' | '.join(map(_cell, cells))} |")
        if self.skipped:
            lines += ["", "Rules left out:", ""]
            lines += [f"- {_cell(name)}: {_cell(reason)}" for name, reason in self.skipped.items()]
        if self.joined:
            lines += ["", "| tags | rows | of a repeated hash | rows met |", "|---|--:|--:|--:|"]
            lines += [f"| {_cell(tag.name)} | {tag.rows:,} | {tag.repeated:,} | {tag.met:,} |" for tag in self.joined]
        return "\n".join(lines) + "\n"


def steps_of(rules: list[Rule], masks: Mapping[int, int]) -> list[Step]:
    """The steps of rules, from how many rows failed which of them.

    Args:
        masks: rows by outcome; bit i of an outcome is set where rule i failed.
    """
    left, steps = sum(masks.values()), []
    for i, rule in enumerate(rules):
        earlier = (1 << i) - 1
        alone = sum(rows for mask, rows in masks.items() if mask >> i & 1)
        removed = sum(rows for mask, rows in masks.items() if mask >> i & 1 and not mask & earlier)
        left -= removed
        steps.append(Step(rule.name, rule.sql, rule.threshold, rule.source, removed, alone, left))
    return steps


def _said(threshold: object) -> str:
    if isinstance(threshold, Mapping):
        return "; ".join(f"{name}: {_said(value)}" for name, value in threshold.items())
    if isinstance(threshold, list | tuple):
        return ", ".join(map(str, threshold)) or "none"
    return "" if threshold is None else str(threshold)


def _cell(text: str) -> str:
    for old, new in CHANGES.items():
        text = text.replace(old, new)
    return text
