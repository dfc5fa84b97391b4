"""Rows of LAION's metadata that are clips or may become clips: many parquet files in, one table out.

The files are streamed through DuckDB; what memory does not hold lies in a folder beside the output.
"""

import os
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

from ode_vgan.data.clips import write_atomic
from ode_vgan.errors import UserError
from ode_vgan.laion.funnel import Funnel, Step, Tagged, steps_of
from ode_vgan.laion.rules import DEFAULT_RULES, NAME, Rule, check_rules
from ode_vgan.laion.sql import Expression, identifier, literal, locked_database, one_line, shorten
from ode_vgan.laion.tables import MET, POSITION, count_tags, join_tags, list_tables, open_rows, open_tags

if TYPE_CHECKING:
    import pyarrow as pa
    import pyarrow.parquet as pq
    from duckdb import DuckDBPyConnection

Paths = str | Path | Iterable[str | Path]
BATCH_ROWS = 16_384
STAGED = "ROW_GROUP_SIZE 32768"  # a row group in hand costs memory
GROUP_ROWS = 65_536  # rows of a row group of the output
UNLIMITED = 2**62


def select(
    paths: Paths,
    out: str | Path,
    rules: Iterable[Rule] = DEFAULT_RULES,
    joins: Mapping[str, Paths] | None = None,
    *,
    url: str | None = None,
    text: str | None = None,
    unique: bool = True,
    memory: str = "2GB",
    threads: int | None = None,
    part_rows: int | None = None,
) -> Funnel:
    """Write the rows that pass every rule, in the order of the files, and say what each rule removed.

    The table has the canonical columns that the files have, LAION's `hash`, the joined tags and all other columns.
    Two runs over the same files write the same bytes. Output appears whole or not at all; with it,
    OUT_funnel.json and OUT_funnel.md (of a folder: _funnel.json and _funnel.md inside).

    Args:
        paths: parquet files, folders of them, globs.
        out: a .parquet file, replaced if it exists; or with part_rows a new folder of part-00000.parquet, ...
        joins: tag tables by the tag they give: {"pwatermark": "tags/*.parquet"}. Each has `hash` and the tag.
        url, text: the files' names of these two columns, where they are not LAION's.
        unique: keep the first row of each url and text.
        memory: what DuckDB's buffers take at most.
        threads: None is one for each core.

    Raises:
        UserError: no files, a broken one, no url column, a rule or a table that is wrong, too little memory.
    """
    rules, out = check_rules(rules), Path(out)
    tables = list_tables(paths, url=url, text=text)
    tags = {_tag(name): open_tags(name, files) for name, files in (joins or {}).items()}
    reads = [file for table in [*tables, *tags.values()] for file in table.files]
    _check_out(out, part_rows, reads)
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=out.parent, prefix=f".{out.name}.") as folder:
        work = Path(folder).resolve()
        with locked_database(reads, work, memory=memory, threads=threads) as database:
            columns = join_tags(database, tags, open_rows(database, tables))
            used, skipped = _usable(database, rules, columns)
            outcomes = _outcomes(database, list(used.values()), len(tags))
            steps = steps_of(
                [rule for rule in rules if rule.name in used], {mask: n for mask, (n, *_) in outcomes.items()}
            )
            kept = _stage(database, list(used.values()), columns, work / "passed.parquet")
            if unique:
                steps.append(_find_duplicates(database, work / "passed.parquet", kept))
                kept = steps[-1].left
            parts = _write(database, columns, work, unique=unique, part_rows=part_rows)
            joined = tuple(
                Tagged(name, *count_tags(database, table, i), sum(met[i + 1] for met in outcomes.values()))
                for i, (name, table) in enumerate(tags.items())
            )
        names = tuple(part.name for part in parts) if part_rows else (out.name,)
        files, rows = sum(len(table.files) for table in tables), sum(n for n, *_ in outcomes.values())
        funnel = Funnel(files, rows, tuple(steps), skipped, joined, kept, names)
        _publish(work / "out", parts, out, funnel)
    return funnel


def _tag(name: str) -> str:
    if not NAME.fullmatch(name) or name in ("url", "text", "hash"):
        raise UserError(f"tag {name!r} must be of a-z, 0-9 and _, and not url, text or hash. Rename it.")
    return name


def _check_out(out: Path, part_rows: int | None, reads: list[Path]) -> None:
    if part_rows is None and (out.suffix != ".parquet" or out.is_dir()):
        raise UserError(f"out={out} must be a file that ends in .parquet. Rename it, or give part_rows for a folder.")
    if part_rows is not None and part_rows < 1:
        raise UserError(f"part_rows={part_rows} must be at least 1. Raise it.")
    if part_rows is not None and out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise UserError(f"{out} is there and not empty. Choose a new folder or remove it.")
    if out.resolve() in {path.resolve() for path in reads}:
        raise UserError(f"out={out} is one of the files to select from. Choose another.")


def _usable(
    database: "DuckDBPyConnection", rules: tuple[Rule, ...], columns: list[str]
) -> tuple[dict[str, Expression], dict[str, str]]:
    """The rules whose columns are there, as expressions by name, and why the others are left out."""
    import duckdb

    used, skipped = {}, {}
    for rule in rules:
        if rule.off:
            skipped[rule.name] = "off: its threshold is null"
            continue
        expression = rule.expression()
        absent = sorted(expression.columns - set(columns))
        if absent:
            skipped[rule.name] = f"the files have no column {' or '.join(absent)}"
            continue
        try:
            kind = database.execute(f"DESCRIBE SELECT {expression.sql} FROM tagged").fetchall()[0][1]
        except duckdb.Error as error:
            raise UserError(f"rule {rule.name!r}: {one_line(error)}. Correct its SQL.") from error
        if kind != "BOOLEAN":
            raise UserError(f"rule {rule.name!r} is {kind}, not true or false: {shorten(rule.sql)}. Compare it.")
        used[rule.name] = expression
    return used, skipped


def _outcomes(database: "DuckDBPyConnection", rules: list[Expression], tags: int) -> dict[int, tuple[int, ...]]:
    """By outcome (bit i: rule i failed): its rows, and how many of them met each tag table."""
    bits = [f"CASE WHEN {rule.sql} THEN 0 ELSE {1 << i} END" for i, rule in enumerate(rules)]
    met = "".join(f", count(*) FILTER ({MET.format(i)})" for i in range(tags))
    sql = f"SELECT ({' | '.join(bits) or '0'})::BIGINT AS mask, count(*){met} FROM tagged GROUP BY mask"
    return {mask: tuple(counts) for mask, *counts in database.execute(sql).fetchall()}


def _stage(database: "DuckDBPyConnection", rules: list[Expression], columns: list[str], path: Path) -> int:
    """Put the rows that pass in a file, in any order; returns how many."""
    fields = ", ".join([POSITION, *map(identifier, columns)])
    where = " AND ".join(rule.sql for rule in rules) or "TRUE"
    query = f"SELECT {fields} FROM tagged WHERE {where}"
    return database.execute(f"COPY ({query}) TO {literal(str(path))} (FORMAT parquet, {STAGED})").fetchall()[0][0]


def _find_duplicates(database: "DuckDBPyConnection", path: Path, rows: int) -> Step:
    """Make the table `firsts`: where the first row of each url and text is."""
    pair = "md5_number(concat(length(url), ' ', url, text))"
    database.execute(
        f"CREATE TEMP TABLE firsts AS SELECT min({POSITION}) AS {POSITION}"
        f" FROM read_parquet({literal(str(path))}) GROUP BY {pair}"
    )
    left = database.execute("SELECT count(*) FROM firsts").fetchall()[0][0]
    source = "LAION-400M (blog post): one row of each URL and alt text"
    return Step("duplicate", "the first row of each url and text", None, source, rows - left, None, left)


def _write(
    database: "DuckDBPyConnection", columns: list[str], work: Path, *, unique: bool, part_rows: int | None
) -> list[Path]:
    """The staged rows in their order, as parquet files in work/out."""
    import pyarrow.parquet as pq

    only = f" SEMI JOIN firsts USING ({POSITION})" if unique else ""
    source, ordered = literal(str(work / "passed.parquet")), work / "ordered.parquet"
    query = f"SELECT {', '.join(map(identifier, columns))} FROM read_parquet({source}){only} ORDER BY {POSITION}"
    database.execute(f"COPY ({query}) TO {literal(str(ordered))} (FORMAT parquet, {STAGED})").fetchall()
    (work / "passed.parquet").unlink()
    (work / "out").mkdir()
    parts, writer = [], None
    with pq.ParquetFile(ordered) as file, ExitStack() as open_parts:
        for part, table in _groups(file, part_rows or UNLIMITED):
            if part == len(parts):
                open_parts.close()
                parts.append(work / "out" / f"part-{part:05d}.parquet")
                writer = open_parts.enter_context(pq.ParquetWriter(parts[-1], table.schema, compression="zstd"))
            writer.write_table(table)
    return parts


def _groups(file: "pq.ParquetFile", part_rows: int) -> Iterator[tuple[int, "pa.Table"]]:
    """Row groups with the number of their part; where they end depends on the rows alone, not on the batches."""
    import pyarrow as pa

    part, room, held = 0, part_rows, file.schema_arrow.empty_table()
    for batch in file.iter_batches(BATCH_ROWS, use_threads=False):
        held = pa.concat_tables([held, pa.Table.from_batches([batch])])
        while len(held) >= (size := min(GROUP_ROWS, room)):
            yield part, held.slice(0, size).combine_chunks()
            held, room = held.slice(size), room - size
            if not room:
                part, room = part + 1, part_rows
    if len(held) or (part, room) == (0, part_rows):  # an empty selection is a file too
        yield part, held


def _publish(folder: Path, parts: list[Path], out: Path, funnel: Funnel) -> None:
    """Move the output to its place; the table comes last."""
    if funnel.parts == (out.name,):
        write_atomic(out.with_name(f"{out.stem}_funnel.json"), funnel.to_json().encode())
        write_atomic(out.with_name(f"{out.stem}_funnel.md"), funnel.to_markdown().encode())
        os.replace(parts[0], out)
    else:
        write_atomic(folder / "_funnel.json", funnel.to_json().encode())
        write_atomic(folder / "_funnel.md", funnel.to_markdown().encode())
        os.replace(folder, out)
