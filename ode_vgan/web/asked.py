"""What a request asks for, read from its JSON: a filter, a page, and a name for a subset."""

import re

from ode_vgan.errors import UserError
from ode_vgan.laion.predicate import Filter

MAX_VALUES = 200
PAGE = 40
MAX_PAGE = 200
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}")


def asked_filter(body: dict) -> Filter:
    """The `filter` of a request: {"ranges": {column: [low, high]}, "values": {column: [...]}, "where": "..."}.

    Raises:
        UserError: it has another shape.
    """
    found = body.get("filter") or {}
    if not isinstance(found, dict) or set(found) - {"ranges", "values", "where"}:
        raise UserError('filter must be {"ranges": {...}, "values": {...}, "where": "..."}.')
    ranges, values, where = found.get("ranges") or {}, found.get("values") or {}, found.get("where") or ""
    if not isinstance(ranges, dict) or not isinstance(values, dict) or not isinstance(where, str):
        raise UserError("filter.ranges and filter.values must be objects, filter.where a text.")
    return Filter({name: _bounds(name, pair) for name, pair in ranges.items()},
                  {name: _words(name, kept) for name, kept in values.items()}, where)  # fmt: skip


def asked_page(body: dict) -> dict:
    """offset and limit, as the search takes them.

    Raises:
        UserError: they are no whole numbers, or a page has more than 200.
    """
    offset, limit = asked_count(body, "offset", 0), asked_count(body, "limit", PAGE)
    if limit > MAX_PAGE:
        raise UserError(f"limit={limit} must be at most {MAX_PAGE}. Ask for further pages.")
    return {"offset": offset, "limit": limit}


def asked_count(body: dict, name: str, otherwise: int) -> int:
    """A whole number of a request.

    Raises:
        UserError: it is none.
    """
    number = body.get(name, otherwise)
    if isinstance(number, bool) or not isinstance(number, int) or not 0 <= number <= 10**6:
        raise UserError(f"{name}={str(number)[:40]!r} must be a whole number from 0 to 1000000.")
    return number


def asked_text(body: dict, name: str, longest: int = 2000) -> str | None:
    """A text of a request; None where it is absent.

    Raises:
        UserError: it is none, or too long.
    """
    text = body.get(name)
    if text is not None and not isinstance(text, str):
        raise UserError(f"{name} must be a text, not a {type(text).__name__}.")
    if text is not None and len(text) > longest:
        raise UserError(f"{name} has {len(text)} characters, at most {longest}. Shorten it.")
    return text


def asked_name(body: dict) -> str:
    """The name of a subset, which becomes a file's name.

    Raises:
        UserError: it has other characters than letters, digits, "-" and "_", or more than 64.
    """
    name = asked_text(body, "name") or ""
    if not NAME.fullmatch(name):
        raise UserError(f"{name[:70]!r} is no name for a subset: 1 to 64 letters, digits, '-' and '_'.")
    return name


def _bounds(name: str, pair) -> tuple[float | None, float | None]:
    numbers = all(one is None or isinstance(one, int | float) and not isinstance(one, bool) for one in pair or [0])
    if not isinstance(pair, list) or len(pair) != 2 or not numbers:
        raise UserError(f"the range of {name[:40]!r} must be [low, high], numbers or null.")
    return pair[0], pair[1]


def _words(name: str, kept) -> list[str]:
    if not isinstance(kept, list) or len(kept) > MAX_VALUES or not all(isinstance(one, str) for one in kept):
        raise UserError(f"the values of {name[:40]!r} must be a list of at most {MAX_VALUES} texts.")
    return kept
