"""Answers as JSON that a browser reads without loss."""

import math


def plain(record: dict) -> dict:
    """A record fit for JSON and for JavaScript: no NaN, no integer that a double would round, no dates or bytes."""
    return {name: _plain(value) for name, value in record.items()}


def _plain(value):
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if value is None or isinstance(value, bool | str):
        return value
    if isinstance(value, int):
        return value if abs(value) < 2**53 else str(value)
    if isinstance(value, list | tuple):
        return [_plain(one) for one in value]
    return str(value)
