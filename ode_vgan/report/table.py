"""Markdown tables of results that never mix protocols silently."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from ode_vgan.errors import UserError


@dataclass(frozen=True)
class Row:
    """One line of a table: column -> text or number, and the protocol that its numbers were made under."""

    cells: Mapping[str, object]
    protocol: Mapping[str, object] = field(default_factory=dict)


def results_table(rows: Sequence[Row], *, one_protocol: bool = False) -> str:
    """Markdown for result rows: each protocol has its own table, under a line that states it in full.

    Args:
        one_protocol: refuse rows of different protocols instead of splitting them.

    Raises:
        UserError: no rows; or protocols differ and must not, naming what differs.
    """
    if not rows:
        raise UserError("no result rows to show; evaluate at least one run.")
    groups: dict[tuple, list[Row]] = {}
    for row in rows:
        groups.setdefault(_frozen(row.protocol), []).append(row)
    differing = differing_keys([group[0].protocol for group in groups.values()])
    if len(groups) > 1 and one_protocol:
        raise UserError(
            f"rows differ in {_values(groups.values(), differing)}; evaluate them alike or show them apart."
        )
    parts = []
    if len(groups) > 1:
        parts.append(f"Not comparable across tables: they differ in {', '.join(differing)}.")
    parts += [f"{protocol_line(group[0].protocol)}\n\n{_markdown(group)}".strip() for group in groups.values()]
    return "\n\n".join(parts) + "\n"


def protocol_line(protocol: Mapping[str, object]) -> str:
    """`key: value` pairs on one line."""
    return "; ".join(f"{key.replace('_', ' ')}: {value}" for key, value in protocol.items())


def differing_keys(protocols: Sequence[Mapping[str, object]]) -> list[str]:
    """Keys whose values, or whose presence, differ between protocols."""
    keys = dict.fromkeys(key for protocol in protocols for key in protocol)
    missing = object()
    return [key for key in keys if len({_frozen(protocol.get(key, missing)) for protocol in protocols}) > 1]


def plus_minus(value: float, sd: float | None) -> str:
    """A number to four significant digits at most, with its spread to two, at the same decimals."""
    decimals = _decimals(value if sd is None else sd, 4 if sd is None else 2)
    return f"{value:.{decimals}f}" + ("" if sd is None else f" ± {sd:.{decimals}f}")


def _decimals(value: float, digits: int) -> int:
    if not value or not math.isfinite(value):
        return 1
    return min(6, max(0, digits - 1 - math.floor(math.log10(abs(value)))))


def _markdown(rows: Sequence[Row]) -> str:
    columns = list(dict.fromkeys(column for row in rows for column in row.cells))
    body = [[_cell(row.cells.get(column, "")) for column in columns] for row in rows]
    widths = [max(3, len(columns[i]), *(len(line[i]) for line in body)) for i in range(len(columns))]
    numeric = [i > 0 and all(_numeric(line[i]) for line in body) for i in range(len(columns))]
    rules = ["-" * (width - 1) + ":" if right else "-" * width for width, right in zip(widths, numeric, strict=True)]
    return "\n".join(_line(cells, widths, numeric) for cells in (columns, rules, *body))


def _line(cells: Sequence[str], widths: Sequence[int], right: Sequence[bool]) -> str:
    padded = [c.rjust(w) if r else c.ljust(w) for c, w, r in zip(cells, widths, right, strict=True)]
    return f"| {' | '.join(padded)} |"


def _cell(value: object) -> str:
    text = plus_minus(value, None) if isinstance(value, float) else str(value)
    return " ".join(text.split()).replace("|", "\\|")


def _numeric(text: str) -> bool:
    return not text or text.lstrip("-")[:1].isdigit()


def _frozen(value: object) -> object:
    if isinstance(value, Mapping):
        return tuple(sorted((key, _frozen(item)) for key, item in value.items()))
    return tuple(_frozen(item) for item in value) if isinstance(value, list | tuple) else value


def _values(groups, keys: list[str]) -> str:
    protocols = [group[0].protocol for group in groups]
    return "; ".join(f"{key}: {' / '.join(str(p.get(key, 'unstated')) for p in protocols)}" for key in keys)
