"""The clips of a dataset folder as one table: what the shards say of them, and their scores."""

import hashlib
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from ode_vgan.errors import UserError
from ode_vgan.laion.schema import read_schema
from ode_vgan.laion.sql import Expression, identifier, literal, locked_database, one_line

if TYPE_CHECKING:
    import pyarrow as pa
    from duckdb import DuckDBPyConnection

DIGESTS = ("clip_sha256", "sha256")  # of a clip's file; half of it is the uid
LINKS = ("source_sha256", "clip_sha256", "url", "dup_of", "phash", "split")
FLOATS = {"FLOAT", "DOUBLE"}


def dataset_files(folder: str | Path) -> tuple[list[Path], list[Path]]:
    """The parquet files of the shards (DIR/shards, or DIR itself) and of the scores, sorted.

    Raises:
        UserError: there are no shards.
    """
    folder = Path(folder)
    shards = sorted((folder / "shards").glob("[!._]*.parquet")) or sorted(folder.glob("[!._]*.parquet"))
    if not shards:
        raise UserError(f"no shards in {folder}: expected {folder}/shards/00000.parquet. Run `ode-vgan laion fetch`.")
    return shards, sorted((folder / "scores").glob("[!._]*.parquet"))


def file_digests(folder: str | Path, files: list[Path]) -> dict[str, str]:
    """SHA-256 of each file, by its path below the folder."""
    digests = {}
    for path in files:
        with open(path, "rb") as file:
            digests[path.relative_to(folder).as_posix()] = hashlib.file_digest(file, "sha256").hexdigest()
    return digests


def read_clips(
    folder: str | Path, where: Expression | None = None, *, memory: str = "2GB", threads: int | None = None
) -> "pa.Table":
    """The successful clips in the order of their keys, and whether each passes an expression.

    A score counts where its key and uid are the clip's. Scores win over shards' columns of their name; numbers that
    are not numbers are null; an expression that is null is not passed.

    Returns:
        key, uid, source_sha256, clip_sha256, url, dup_of, phash, split (null where the files have none), passes (bool).

    Raises:
        UserError: no shards, a broken file, no uid, or an expression over columns that are not there.
    """
    shards, scores = dataset_files(folder)
    for path in [*shards, *scores]:
        read_schema(path)
    with (
        tempfile.TemporaryDirectory() as work,
        locked_database([*shards, *scores], work, memory=memory, threads=threads) as database,
    ):
        columns = _open_clips(database, shards, scores)
        passes = _passes(database, where, columns)
        links = [identifier(name) if name in columns else f"NULL::VARCHAR AS {name}" for name in LINKS]
        query = f"SELECT key, uid, {', '.join(links)}, {passes} AS passes FROM clips ORDER BY key, uid"
        table = database.sql(query).to_arrow_table()
    if table.num_rows and table["uid"].null_count:
        raise UserError(
            f"{folder}: {table['uid'].null_count} clips have no uid. Fetch them with `ode-vgan laion fetch`."
        )
    return table


def _open_clips(database: "DuckDBPyConnection", shards: list[Path], scores: list[Path]) -> dict[str, str]:
    """Make the view `clips`; returns its columns with their types, in lower case."""
    described = _describe(database, shards, "described")
    scored = _describe(database, scores, "scored") if scores else {}
    for name in ("key", "uid"):
        if scored and name not in scored:
            raise UserError(f"{scores[0]} has no {name}. Run `ode-vgan laion score` again.")
    if "key" not in described:
        raise UserError(f"{shards[0]} has no key. Fetch it with `ode-vgan laion fetch`.")
    uids = ["d.uid"] * ("uid" in described) + [f"left(d.{name}, 32)" for name in DIGESTS if name in described]
    uid = f"coalesce({', '.join(uids)}, NULL)" if uids else "NULL::VARCHAR"
    fields = ["d.key::VARCHAR AS key", f"({uid})::VARCHAR AS uid"]
    for name, kind in {**described, **scored}.items():
        if name not in ("key", "uid"):
            column = f"{'s' if name in scored else 'd'}.{identifier(name)}"
            fields.append(f"nullif({column}, 'NaN'::{kind}) AS {identifier(name)}" if kind in FLOATS else column)
    join = f" LEFT JOIN scored s ON s.key = d.key AND s.uid = ({uid})" if scored else ""
    good = " WHERE d.status = 'success'" if "status" in described else ""
    database.execute(f"CREATE VIEW clips AS SELECT {', '.join(fields)} FROM described d{join}{good}")
    return _columns(database, "clips")


def _describe(database: "DuckDBPyConnection", files: list[Path], view: str) -> dict[str, str]:
    paths = literal([str(path) for path in files])
    database.execute(f"CREATE VIEW {view} AS SELECT * FROM read_parquet({paths}, union_by_name = true)")
    return _columns(database, view)


def _columns(database: "DuckDBPyConnection", view: str) -> dict[str, str]:
    return {name.lower(): kind for name, kind, *_ in database.execute(f"DESCRIBE {view}").fetchall()}


def _passes(database: "DuckDBPyConnection", where: Expression | None, columns: dict[str, str]) -> str:
    import duckdb

    if where is None:
        return "TRUE"
    absent = sorted(where.columns - set(columns))
    if absent:
        there = ", ".join(sorted(columns))
        raise UserError(f"no column {', '.join(absent)}; there are {there}. Score the clips first, or name another.")
    try:
        kind = database.execute(f"DESCRIBE SELECT {where.sql} FROM clips").fetchall()[0][1]
    except duckdb.Error as error:
        raise UserError(
            f"the SQL does not work: {one_line(error)}. Compare columns with values of their type."
        ) from error
    if kind != "BOOLEAN":
        raise UserError(f"the SQL is {kind}, not true or false. Compare it, as in motion > 0.2.")
    return f"coalesce({where.sql}, FALSE)"
