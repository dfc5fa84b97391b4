"""Columns of fetched clips: ours with their types, and the listing's own beside them."""

import math

import pyarrow as pa

from ode_vgan.laion.listing import Listing
from ode_vgan.laion.schema import laion_hash

CLIP_COLUMNS = pa.schema(
    [
        *((name, pa.string()) for name in ("key", "caption", "url", "text")),
        ("hash", pa.int64()),
        *((name, pa.string()) for name in ("uid", "status", "error_message", "source_sha256", "clip_sha256")),
        *((name, pa.float64()) for name in ("clip_start", "clip_end", "fps", "duration_seconds", "original_seconds")),
        *((name, pa.int32()) for name in ("num_frames", "width", "height", "original_width", "original_height")),
        *((name, pa.int64()) for name in ("bytes", "original_bytes")),
        *((name, pa.string()) for name in ("codec", "original_codec", "split", "x_robots")),
    ]
)
OURS = {name.lower() for name in CLIP_COLUMNS.names}
GIVEN = ("url", "text", "caption", "hash", "split")  # what a listing says of these is kept under the name itself


def shard_schema(listing: Listing) -> pa.Schema:
    """Our columns, then the listing's others; one of ours that it also has is kept as "listed_...", e.g. its width."""
    further = [(listed_name(field.name), _json_type(field.type)) for field in listing.schema if field.name not in GIVEN]
    return pa.schema([*CLIP_COLUMNS, *(pa.field(*one) for one in further)])


def listed_name(name: str) -> str:
    """What a column of the listing is called in the shard; case does not tell columns apart in SQL."""
    return f"listed_{name}" if name.lower() in OURS else name


def listed_row(row: dict) -> dict:
    """What is known of a row before it is fetched: url, text, caption, hash, split and the listing's other columns.

    A hash that the listing has is kept, since a new one would not find the row's tags once its text was changed.
    """
    url, text = row.get("url"), row.get("text")
    caption = row.get("caption") or text
    stated = row.get("hash")
    known = {
        "url": None if url is None else str(url),
        "text": None if text is None else str(text),
        "caption": "" if caption is None else str(caption),
        "hash": int(stated) if _is_int64(stated) else laion_hash(url and str(url), text and str(text)),
        "split": row.get("split") if isinstance(row.get("split"), str) else None,
    }
    return known | {listed_name(name): _json_value(value) for name, value in row.items() if name not in GIVEN}


def _json_value(value: object) -> object:
    """The value as strict JSON can hold it: NaN and infinities become null, other types text."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, list | tuple):
        return [_json_value(one) for one in value]
    if isinstance(value, dict):
        return {str(name): _json_value(one) for name, one in value.items()}
    return value if value is None or isinstance(value, str | int | bool) else str(value)


def _json_type(type_: pa.DataType) -> pa.DataType:
    """What a column of `_json_value`s has as its type."""
    kinds = pa.types
    if kinds.is_boolean(type_) or kinds.is_integer(type_) or kinds.is_floating(type_):
        return type_
    if kinds.is_list(type_) or kinds.is_large_list(type_) or kinds.is_fixed_size_list(type_):
        return pa.list_(_json_type(type_.value_type))
    if kinds.is_struct(type_):
        return pa.struct([pa.field(one.name, _json_type(one.type)) for one in type_])
    return pa.string()


def _is_int64(value: object) -> bool:
    try:
        return value is not None and not isinstance(value, float) and -(2**63) <= int(value) < 2**63
    except (TypeError, ValueError):
        return False
