"""Parquet files of any of LAION's dialects as one DuckDB view of canonical columns, with tags joined by hash."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ode_vgan.errors import UserError
from ode_vgan.laion.schema import ALIASES, TYPES, canonical_names, parquet_files, read_schema
from ode_vgan.laion.sql import identifier, literal

if TYPE_CHECKING:
    import pyarrow as pa
    from duckdb import DuckDBPyConnection

POSITION = "ode_vgan_position"  # a row's place: number of its file * 2^40 + number of the row
MET = "ode_vgan_met_{}"  # whether a row met tag table number i
FLOATS = {"FLOAT", "DOUBLE"}


@dataclass(frozen=True)
class Table:
    """Files of one schema.

    Attributes:
        files: sorted.
        numbers: each file's place among all the files of the selection.
        names: canonical name -> the files' own.
        schema: of the first file.
    """

    files: tuple[Path, ...]
    numbers: tuple[int, ...]
    names: Mapping[str, str]
    schema: "pa.Schema"


def list_tables(
    paths: str | Path | Iterable[str | Path], *, url: str | None = None, text: str | None = None
) -> list[Table]:
    """The parquet files of the paths, those of one schema together.

    Raises:
        UserError: no files, a file that is not a whole parquet, or one without a url or a text column.
    """
    groups: dict[tuple, list[tuple[int, Path, dict, pa.Schema]]] = {}
    for number, path in enumerate(parquet_files(paths)):
        schema = read_schema(path)
        try:
            names = canonical_names(schema.names, url=url, text=text)
        except UserError as error:
            raise UserError(f"{path}: {error}") from error
        for role in ("url", "text"):
            if role not in names:
                there = ", ".join(schema.names)
                raise UserError(f"{path} has no column for the {role}; it has {there}. Name one with {role}=COLUMN.")
        key = tuple((field.name, str(field.type)) for field in schema)
        groups.setdefault(key, []).append((number, path, names, schema))
    return [
        Table(tuple(path for _, path, *_ in group), tuple(number for number, *_ in group), *group[0][2:])
        for group in groups.values()
    ]


def open_rows(database: "DuckDBPyConnection", tables: list[Table]) -> list[str]:
    """Make the view `rows` over the tables and return its columns: the canonical ones first, `hash` always there.

    Numbers that are not numbers (NaN) are null, and so is what does not fit its type.
    """
    database.execute("CREATE VIEW rows AS " + " UNION ALL BY NAME ".join(map(_canonical, tables)))
    present = {name for table in tables for name in table.names} | {"hash"}
    others = dict.fromkeys(name for table in tables for name in table.names if name not in ALIASES)
    return [name for name in ALIASES if name in present] + list(others)


def open_tags(tag: str, paths: str | Path | Iterable[str | Path]) -> Table:
    """The files of one tag table: `hash`, and the tag under its own name, as `prediction`, or as the only other column.

    Raises:
        UserError: no files, or they lack the hash or the tag, or differ in schema.
    """
    files = parquet_files(paths)
    schemas = [read_schema(path) for path in files]
    own = {name.lower(): name for name in schemas[0].names}
    others = [name for name in own if name != "hash" and not name.startswith("__index_level_")]
    column = next(
        (name for name in (tag.lower(), "prediction") if name in own), others[0] if len(others) == 1 else None
    )
    if "hash" not in own or column is None:
        raise UserError(f"{files[0]} has {', '.join(own)}; tags need `hash` and {tag!r} or `prediction`. Rename them.")
    for path, schema in zip(files, schemas, strict=True):
        if not {own["hash"], own[column]} <= set(schema.names):
            raise UserError(f"{path} has not the columns {own['hash']} and {own[column]} of {files[0]}. Leave it out.")
    names = {"hash": own["hash"], "tag": own[column]}
    return Table(tuple(files), tuple(range(len(files))), names, schemas[0])


def join_tags(database: "DuckDBPyConnection", tags: Mapping[str, Table], columns: list[str]) -> list[str]:
    """Make the view `tagged`, the rows with their tags, and return its columns.

    The first known value of a hash counts; where a hash has none, the row keeps what its own file says.
    """
    fields, joins = [f"rows.{POSITION}"], []
    known = columns + [name for name in tags if name not in columns]
    for i, (name, table) in enumerate(tags.items()):
        key, tag = (identifier(table.names[role]) for role in ("hash", "tag"))
        fields_of_tag = f"TRY_CAST({key} AS BIGINT) AS hash, {_cast(tag, TYPES.get(name))} AS tag"
        query = f"SELECT {fields_of_tag}, {_place(table)} AS place FROM {_scan(table)}"
        database.execute(
            f"CREATE TEMP TABLE tag_{i} AS SELECT hash, arg_min(tag, place) FILTER (tag IS NOT NULL) AS tag"
            f" FROM ({query}) WHERE hash IS NOT NULL GROUP BY hash"
        )
        joins.append(f" LEFT JOIN tag_{i} ON rows.hash = tag_{i}.hash")
        fields.append(f"tag_{i}.hash IS NOT NULL AS {MET.format(i)}")
    for name in known:
        at = list(tags).index(name) if name in tags else None
        own = f"rows.{identifier(name)}"
        values = [f"tag_{at}.tag"] * (at is not None) + [own] * (name in columns)
        fields.append(f"{values[0] if len(values) == 1 else f'coalesce({values[0]}, {own})'} AS {identifier(name)}")
    database.execute(f"CREATE VIEW tagged AS SELECT {', '.join(fields)} FROM rows{''.join(joins)}")
    return known


def count_tags(database: "DuckDBPyConnection", table: Table, number: int) -> tuple[int, int]:
    """Rows of a joined tag table, and how many of them repeat a hash or have none."""
    rows = database.execute(f"SELECT count(*) FROM {_scan(table)}").fetchall()[0][0]
    return rows, rows - database.execute(f"SELECT count(*) FROM tag_{number}").fetchall()[0][0]


def _canonical(table: Table) -> str:
    fields = [f"{_place(table)} AS {POSITION}"]
    for name, own in table.names.items():
        if name != "hash":
            fields.append(f"{_cast(identifier(own), TYPES.get(name))} AS {identifier(name)}")
    url, text = (f"TRY_CAST({identifier(table.names[role])} AS VARCHAR)" for role in ("url", "text"))
    key = f"laion_hash({url}, {text})"
    if "hash" in table.names and _is_integer(table, "hash"):  # a float has lost the last digits
        key = f"coalesce(TRY_CAST({identifier(table.names['hash'])} AS BIGINT), {key})"
    return f"SELECT {', '.join(fields)}, {key} AS hash FROM {_scan(table)}"


def _scan(table: Table) -> str:
    return f"read_parquet({literal([str(path) for path in table.files])}, file_row_number = true)"


def _place(table: Table) -> str:
    plain = table.numbers == tuple(range(len(table.numbers)))
    number = "file_index" if plain else f"({literal(list(table.numbers))})[file_index::BIGINT + 1]"
    return f"({number}::BIGINT * 1099511627776 + file_row_number)"


def _cast(column: str, kind: str | None) -> str:
    if kind is None:
        return column
    cast = f"TRY_CAST({column} AS {kind})"
    return f"nullif({cast}, 'NaN'::{kind})" if kind in FLOATS else cast


def _is_integer(table: Table, name: str) -> bool:
    import pyarrow as pa

    return pa.types.is_integer(table.schema.field(table.names[name]).type)
