"""A filter over clips: ranges, values and one SQL expression, which may compare columns and do nothing else."""

import math
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import lru_cache

from ode_vgan.errors import UserError
from ode_vgan.laion.sql import Expression, identifier, literal, parse_expression, shorten

MAX_EXPRESSION = 2000  # characters


@dataclass(frozen=True)
class Filter:
    """What a clip must satisfy; an empty one keeps every clip.

    Attributes:
        ranges: column -> (low, high), inclusive; None is no bound. A clip without the value is left out.
        values: column -> the values that are kept.
        where: an SQL expression over the columns, such as "motion > 0.2 and caption ilike '%dog%'".
    """

    ranges: dict[str, tuple[float | None, float | None]] = field(default_factory=dict)
    values: dict[str, list[str]] = field(default_factory=dict)
    where: str = ""

    def without(self, column: str) -> "Filter":
        """The filter as if nothing were asked of one column by range or value."""
        ranges = {name: bounds for name, bounds in self.ranges.items() if name != column}
        return Filter(ranges, {name: kept for name, kept in self.values.items() if name != column}, self.where)

    def sql(self) -> str:
        """One SQL expression with the constants inside, as DuckDB spells it; "true" for an empty filter.

        Raises:
            UserError: a bound is not finite, or `where` is more than comparisons of columns.
        """
        terms = []
        for name, (low, high) in sorted(self.ranges.items()):
            bounds = [(sign, bound) for sign, bound in ((">=", low), ("<=", high)) if bound is not None]
            terms += [f"({identifier(name)} {sign} {_number(name, bound)})" for sign, bound in bounds]
        for name, kept in sorted(self.values.items()):
            constants = ", ".join(literal(str(value)) for value in sorted(kept))
            terms.append(f"({identifier(name)}::VARCHAR IN ({constants}))" if kept else "false")
        if self.where.strip():
            terms.append(f"({parse_condition(self.where).sql})")
        return " AND ".join(terms) or "true"

    def check(self, columns: Iterable[str]) -> None:
        """Raise UserError where the filter names another column than these."""
        known = {name.lower() for name in columns}
        named = [*self.ranges, *self.values, *(parse_condition(self.where).columns if self.where.strip() else ())]
        unknown = sorted(name for name in named if name.lower() not in known)
        if unknown:
            raise UserError(f"no column {unknown[0][:40]!r} to filter by. There are: {', '.join(sorted(columns))}.")


@lru_cache(64)
def parse_condition(where: str) -> Expression:
    """What a filter's `where` says.

    Raises:
        UserError: it does not parse, is longer than 2000 characters, or is more than one expression over columns.
    """
    if len(where) > MAX_EXPRESSION:
        raise UserError(f"the filter has {len(where)} characters, at most {MAX_EXPRESSION}. Shorten it.")
    try:
        return parse_expression(where, "the filter")
    except UserError as error:
        raise UserError(shorten(str(error), 240)) from error  # its list of functions is too long for a page


def _number(column: str, bound: float) -> str:
    if not math.isfinite(bound):
        raise UserError(f"{column}={bound} is no bound. Give a finite number, or leave it out.")
    return f"({float(bound)!r})"
