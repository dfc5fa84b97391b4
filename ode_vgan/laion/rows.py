"""The clips behind an index as one table in memory: scores, spans and captions beside each row of the index."""

import threading
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa

from ode_vgan.errors import UserError
from ode_vgan.laion.predicate import Filter
from ode_vgan.laion.sql import MACROS, identifier

QUERY_SECONDS = 10.0
# what the clips' rows say again, or nobody would look for
DERIVED = {"near_duplicate": "(dup_of IS NOT NULL)"}  # columns of ours -> what they are of the files' own
DROPPED = ("embedding", "clip_sha256", "source_sha256", "scorer")


class Rows:
    """Columns of the clips by row of the index, in a DuckDB that reads no file and runs no statement of a user.

    Attributes:
        columns: name -> DuckDB's type.
    """

    def __init__(self, folder: str | Path, rowmap: pa.Table):
        self.count = rowmap.num_rows
        self.connection = duckdb().connect(config={"autoinstall_known_extensions": "false"})
        self.connection.execute("SET preserve_insertion_order = true; SET enable_progress_bar = false")
        for macro in MACROS:
            self.connection.execute(f"CREATE MACRO {macro}")
        _load(self.connection, Path(folder), rowmap)
        self.connection.execute("SET enable_external_access = false; SET lock_configuration = true")
        described = self.connection.execute("DESCRIBE clips").fetchall()
        self.columns = {name: kind for name, kind, *_ in described}

    def query(self, statement: str, parameters: list | None = None) -> list[tuple]:
        """Rows of a statement of ours, stopped after ten seconds; from any thread.

        Raises:
            UserError: it took longer, or compares what cannot be compared.
        """
        return self._run(statement, parameters, lambda cursor: cursor.fetchall())

    def _run(self, statement: str, parameters: list | None, fetch: Callable):
        cursor = self.connection.cursor()
        timer = threading.Timer(QUERY_SECONDS, cursor.interrupt)
        timer.start()
        try:
            return fetch(cursor.execute(statement, parameters or []))
        except duckdb().InterruptException as error:
            raise UserError(f"the filter took longer than {QUERY_SECONDS:.0f} s. Make it simpler.") from error
        except duckdb().Error as error:
            reason = str(error).partition("\n")[0][:160]
            raise UserError(
                f"the filter does not work ({reason}). Compare columns with values of their type."
            ) from error
        finally:
            timer.cancel()
            cursor.close()

    def condition(self, wanted: Filter | None) -> str:
        """The checked SQL of a filter; "true" for none."""
        if wanted is None:
            return "true"
        wanted.check(self.columns)
        return check_long(wanted.sql())

    def select(self, wanted: Filter | None) -> np.ndarray | None:
        """(n,) int64 rows of the index that the filter keeps, rising; None where it keeps all.

        Raises:
            UserError: the filter is not one, or names no column.
        """
        condition = self.condition(wanted)
        if condition == "true":
            return None
        statement = f"SELECT row FROM clips WHERE ({condition}) ORDER BY row"
        return self._run(statement, None, lambda cursor: np.asarray(cursor.fetchnumpy()["row"], dtype=np.int64))

    def ordered(self, wanted: Filter | None, order: str, offset: int, limit: int) -> list[int]:
        """Rows that the filter keeps, by a column; "-motion" falls; "" is the order of the index."""
        name, falling = order.removeprefix("-"), order.startswith("-")
        if name and name not in self.columns:
            raise UserError(f"no column {name!r} to order by. There are: {', '.join(sorted(self.columns))}.")
        by = f"{identifier(name)} {'DESC' if falling else 'ASC'} NULLS LAST, row" if name else "row"
        statement = f"SELECT row FROM clips WHERE ({self.condition(wanted)}) ORDER BY {by} LIMIT ? OFFSET ?"
        return [row for (row,) in self.query(statement, [limit, offset])]

    def read(self, rows: list[int]) -> list[dict]:
        """One dictionary of plain values a row, in the order asked for."""
        names = list(self.columns)
        found = self.query("SELECT * FROM clips WHERE row IN (SELECT unnest(?::BIGINT[]))", [[int(i) for i in rows]])
        by_row = {record["row"]: record for record in (dict(zip(names, values, strict=True)) for values in found)}
        return [by_row[int(i)] for i in rows]


def check_long(condition: str) -> str:
    """The condition, unless its lists of values are absurd."""
    if len(condition) > 100_000:
        raise UserError(f"the filter has {len(condition)} characters, at most 100000. Keep fewer values.")
    return condition


def duckdb():
    """The optional package, imported when it is first needed.

    Raises:
        UserError: it is not installed.
    """
    try:
        import duckdb as module
    except ImportError as error:
        raise UserError("the search needs duckdb. Run: pip install 'ode_vgan[laion]'") from error
    return module


def _load(connection, folder: Path, rowmap: pa.Table) -> None:
    """Fill the table `clips` from the shards' parquet, or else the index's metadata, and the scores."""
    numbered = rowmap.append_column("row", pa.array(np.arange(rowmap.num_rows)))
    connection.register("rowmap", numbered)
    parquets = sorted(str(path) for path in (folder / "shards").glob("*.parquet"))
    own_key = "key"
    if not parquets:
        parquets = sorted(str(path) for path in (folder / "index" / "metadata").glob("*.parquet"))
        own_key = _key_column(connection, parquets) if parquets else own_key
    _table(connection, "described", parquets if own_key else [], own_key)
    scores = sorted(str(path) for path in (folder / "scores").glob("*.parquet"))
    _table(connection, "scored", scores, "key")
    names = {name: _names(connection, name) for name in ("described", "scored")}
    chosen = [f"d.{identifier(name)}" for name in names["described"] if name not in names["scored"]]
    chosen += [f"s.{identifier(name)}" for name in names["scored"]]
    if "dup_of" in names["scored"] + names["described"]:
        chosen += [f"{meaning} AS {name}" for name, meaning in DERIVED.items()]
    connection.execute(
        f"CREATE TABLE clips AS SELECT {', '.join(['r.row', 'r.uid', 'r.key', 'r.shard', *chosen])} FROM rowmap r "
        "LEFT JOIN described d ON d.join_key = r.key LEFT JOIN scored s ON s.join_key = r.key ORDER BY r.row"
    )
    missing = connection.execute(
        "SELECT count(*), any_value(key) FROM rowmap r WHERE NOT EXISTS (FROM described d WHERE d.join_key = r.key)"
    ).fetchone()
    for name in ("described", "scored"):
        connection.execute(f"DROP TABLE {name}")
    connection.unregister("rowmap")
    if missing[0] and parquets and own_key:
        raise UserError(
            f"{folder}: {missing[0]} of {rowmap.num_rows} indexed clips ({missing[1]!r}, ...) are in no shard. "
            f"Build the index again: `ode-vgan laion index {folder}`."
        )


def _table(connection, name: str, parquets: list[str], key: str) -> None:
    """One row a key; a table of keys alone where there is no file."""
    if not parquets:
        connection.execute(f"CREATE TABLE {name} (join_key VARCHAR)")
        return
    connection.execute(
        f"CREATE TABLE {name} AS SELECT {identifier(key)}::VARCHAR AS join_key, * "
        f"FROM read_parquet(?, union_by_name = true) QUALIFY row_number() OVER (PARTITION BY {identifier(key)}) = 1",
        [parquets],
    )


def _names(connection, table: str) -> list[str]:
    kept = {"join_key", "row", "uid", "key", "shard", *DROPPED}
    return [row[0] for row in connection.execute(f"DESCRIBE {table}").fetchall() if row[0] not in kept]


def _key_column(connection, parquets: list[str]) -> str:
    """The column that holds the row map's keys; empty where the rows have none."""
    names = [row[0] for row in connection.execute("DESCRIBE FROM read_parquet(?)", [parquets]).fetchall()]
    return next((name for name in ("key", "image_path") if name in names), "")
