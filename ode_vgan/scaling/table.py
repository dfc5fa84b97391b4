"""From a table of runs to the points of a law: which rows, which columns, which groups."""

import difflib
import re
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ode_vgan.errors import UserError
from ode_vgan.scaling.laws import Points

if TYPE_CHECKING:
    import pyarrow as pa

NAME = re.compile(r"[\w@. ]+")  # what a column's name looks like, and an expression does not
UNGROUPED = "all"


@dataclass(frozen=True)
class Wanted:
    """Which numbers of a table make points; a column is named by its name or by an SQL expression over columns.

    Attributes:
        x: the compute. y: the error, or a score that is one minus the error where `one_minus`.
        group: a law is fitted to each of its values. mark: tells points of one group apart in figures.
        run, seed: what is resampled together; without them each row is a run of its own.
        parameters, samples: for laws of two axes.
        where: an SQL condition that rows meet. only: column -> the values it may have.
    """

    x: str
    y: str
    one_minus: bool = False
    group: str | None = None
    mark: str | None = None
    run: str | None = None
    seed: str | None = None
    parameters: str | None = None
    samples: str | None = None
    where: str = ""
    only: Mapping[str, Sequence[str]] = field(default_factory=dict)


@dataclass(frozen=True)
class Group:
    """Points that one law is fitted to, rising in compute. marks: of each point, for figures."""

    name: str
    points: Points
    marks: tuple[str, ...]


@dataclass(frozen=True)
class Chosen:
    """The points of a table.

    Attributes:
        x, y: what they are, in words. notes: what was left out, or should be known.
        select: what a law of such points rests on, where nothing else is asked.
    """

    groups: tuple[Group, ...]
    x: str
    y: str
    notes: tuple[str, ...] = ()
    select: str = "binned"


def read_table(path: str | Path) -> "pa.Table":
    """A CSV file, a parquet file or the folder of a ledger, whole.

    Raises:
        UserError: no such file, or one that cannot be read.
    """
    import pyarrow as pa
    import pyarrow.csv
    import pyarrow.parquet as pq

    from ode_vgan.scaling import ledger

    path = Path(path)
    if path.is_dir():
        return ledger.read(path)
    if not path.exists():
        raise UserError(f"{path} does not exist; give a CSV file, a parquet file or the folder of a ledger.")
    try:
        return pq.ParquetFile(path).read() if path.suffix == ".parquet" else pyarrow.csv.read_csv(path)
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        line = " ".join(str(error).split())[:160]
        raise UserError(f"{path} cannot be read as {path.suffix or 'CSV'} ({line}). Give CSV or parquet.") from None


def select(table: "pa.Table", wanted: Wanted, name: str = "the table") -> Chosen:
    """The points that are wanted of a table, in the order of its groups' names.

    Rows without a compute or an error are left out, and counted in the notes.

    Args:
        name: of the table, for errors.

    Raises:
        UserError: a column that is not there or holds no numbers, a condition that does not parse or leaves nothing,
            an error or a compute that is not above 0.
    """
    rows = narrowed(table, wanted, name)
    x, y = (numbers(rows, column, name) for column in (wanted.x, wanted.y))
    known = np.isfinite(x) & np.isfinite(y)
    lost = len(known) - int(known.sum())
    notes = (f"{lost} of {len(known)} rows have no {wanted.x} or no {wanted.y} and are left out",) if lost else ()
    if not known.any():
        raise UserError(f"{name}: none of {len(known)} rows has both {wanted.x} and {wanted.y}. Name other columns.")
    error = 1 - y if wanted.one_minus else y
    _check_positive(x[known], wanted.x, name)
    _check_positive(error[known], f"1 - {wanted.y}" if wanted.one_minus else wanted.y, name, wanted.one_minus)
    labels = {part: _texts(rows, getattr(wanted, part), name) for part in ("group", "mark", "run")}
    extra = {
        part: numbers(rows, column, name) for part in ("parameters", "samples") if (column := getattr(wanted, part))
    }
    seeds = numbers(rows, wanted.seed, name) if wanted.seed else np.zeros(len(rows))
    runs = labels["run"] if wanted.run else np.array([f"row {i}" for i in range(len(rows))])
    whole = {"compute": x, "error": error, "run": runs, "seed": np.nan_to_num(seeds).astype(np.int64)} | extra
    groups = []
    for group in sorted(set(labels["group"][known])):
        own = np.flatnonzero(known & (labels["group"] == group))
        own = own[np.argsort(x[own], kind="stable")]
        points = Points(**{part: values[own] for part, values in whole.items()})
        groups.append(Group(group, points, tuple(labels["mark"][own])))
    return Chosen(tuple(groups), wanted.x, f"1 - {wanted.y}" if wanted.one_minus else wanted.y, notes)


def narrowed(table: "pa.Table", wanted: Wanted, name: str = "the table") -> "pa.Table":
    """The rows that the condition and the allowed values leave.

    Raises:
        UserError: none, or the condition cannot be asked.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    rows = table
    for column, values in wanted.only.items():
        check_column(rows, column, name)
        there = pc.cast(rows[column], pa.string())
        rows = rows.filter(pc.is_in(there, value_set=pa.array(list(values), pa.string())))
        if not len(rows):
            some = ", ".join(sorted({str(one) for one in pc.unique(table[column]).to_pylist()})[:12])
            raise UserError(f"{name} has no row with {column} {' or '.join(values)}; it has {some}.")
    if wanted.where.strip():
        rows = _asked(rows, "*", wanted.where, name)
    if not len(rows):
        raise UserError(f"{name}: none of {len(table)} rows meets {wanted.where}. Ask for less.")
    return rows


def numbers(rows: "pa.Table", column: str, name: str = "the table") -> np.ndarray:
    """(N,) float64 of a column or an expression over columns; null is NaN.

    Raises:
        UserError: no such column, or no numbers in it.
    """
    import pyarrow as pa

    values = _column(rows, column, name)
    if not (pa.types.is_integer(values.type) or pa.types.is_floating(values.type) or pa.types.is_null(values.type)):
        try:
            values = values.cast(pa.float64())
        except pa.ArrowException:
            first = next((one for one in values.to_pylist() if one is not None), None)
            raise UserError(f"{name}: column {column!r} holds no numbers but {first!r}. Name another.") from None
    return values.cast(pa.float64()).to_numpy(zero_copy_only=False).astype(np.float64)


def check_column(table: "pa.Table", column: str, name: str = "the table") -> None:
    """Raise UserError where a table lacks a column."""
    if column not in table.column_names:
        near = difflib.get_close_matches(column, table.column_names, 1)
        hint = f"; did you mean {near[0]!r}?" if near else "."
        raise UserError(f"{name} has no column {column!r}; it has {', '.join(table.column_names)}{hint}")


def _column(rows: "pa.Table", column: str, name: str) -> "pa.ChunkedArray":
    if column in rows.column_names:
        return rows[column]
    if NAME.fullmatch(column):
        check_column(rows, column, name)
    return _asked(rows, column, "true", name)[0]


def _texts(rows: "pa.Table", column: str | None, name: str) -> np.ndarray:
    """(N,) strings of a column; one and the same without it."""
    if column is None:
        return np.full(len(rows), UNGROUPED, dtype=object)
    values = _column(rows, column, name).to_pylist()
    return np.array([f"{one:g}" if isinstance(one, float) else str(one) for one in values], dtype=object)


def _asked(rows: "pa.Table", what: str, where: str, name: str) -> "pa.Table":
    """What DuckDB makes of rows: the condition and what is taken are expressions over columns and nothing else."""
    from ode_vgan.laion.sql import locked_database, parse_expression

    condition = parse_expression(where, "--where")
    expressions = [condition] if what == "*" else [condition, parse_expression(what, f"column {what!r}")]
    by_lower = {column.lower() for column in rows.column_names}
    for expression in expressions:
        for column in sorted(expression.columns - by_lower):
            check_column(rows, column, name)
    with tempfile.TemporaryDirectory() as work, locked_database([], work, threads=1) as database:
        database.register("rows_of_table", rows)
        taken = "*" if what == "*" else f"({expressions[1].sql}) AS value"
        return database.sql(f"SELECT {taken} FROM rows_of_table WHERE {condition.sql}").to_arrow_table()


def _check_positive(values: np.ndarray, column: str, name: str, one_minus: bool = False) -> None:
    bad = values[values <= 0]
    if len(bad):
        percent = " If it is in percent or an error already, say so by another --y." if one_minus else ""
        raise UserError(
            f"{name}: {len(bad)} of {len(values)} values of {column} are not above 0, such as {bad.min():g}, and no "
            f"power law has one. Leave them out with --where.{percent}"
        )
