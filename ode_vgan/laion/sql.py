"""SQL of users as one expression over columns, and a DuckDB that reaches only the files it is given."""

import json
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from glob import has_magic
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

from ode_vgan.errors import UserError
from ode_vgan.laion.schema import laion_hashes

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

LIMIT_CHARACTERS = 10_000
# what an expression may be made of, as DuckDB's parser names it
NODES = {
    "COLUMN_REF",
    "CONSTANT",
    "COMPARISON",
    "CONJUNCTION",
    "FUNCTION",
    "OPERATOR",
    "CASE",
    "BETWEEN",
    "CAST",
    "TYPE",
}
# functions whose value the columns alone decide, and whose cost is that of their arguments
FUNCTIONS = set(
    "+ - * / // % ** ^ ~~ !~~ ~~* !~~* ~~~ || abs ceil ceiling floor round trunc sign sqrt cbrt exp ln log log2 log10 "
    "pow power greatest least mod isnan isinf isfinite lower upper lcase ucase length len strlen trim ltrim rtrim "
    "left right substr substring replace reverse concat concat_ws contains starts_with ends_with prefix suffix instr "
    "strpos position split split_part string_split regexp_matches regexp_full_match regexp_extract regexp_replace "
    "list_value list_contains list_has array_contains list_has_any list_has_all list_extract array_extract "
    "list_min list_max list_position struct_extract element_at map_extract bit_count xor & | << >> md5 sha256 "
    "levenshtein jaccard jaro_winkler_similarity strip_accents nullif typeof "
    "url_suffix url_host url_is_on".split()
)
# what URLs look like: user@, then the host; the last point of the path, before ? and #
MACROS = (
    r"url_host(url) AS lower(regexp_extract(url, '^[A-Za-z]+://(?:[^/?#]*@)?([^/?#:@]+)', 1))",
    "url_suffix(url) AS lower(regexp_extract("
    "split_part(split_part(split_part(url, '?', 1), '#', 1), '.', -1), '^[A-Za-z0-9]{1,5}$'))",
    "url_is_on(url, hosts) AS len(hosts) > 0 AND len(list_filter(hosts, "
    "lambda host: url_host(url) = host OR ends_with(url_host(url), '.' || host))) > 0",
)


@dataclass(frozen=True)
class Expression:
    """An expression as DuckDB spells it, and the columns it reads, in lower case."""

    sql: str
    columns: frozenset[str]


def parse_expression(sql: str, name: str = "the SQL") -> Expression:
    """An expression over columns: comparisons, AND, OR, CASE, arithmetic and plain functions of text and numbers.

    Beside DuckDB's own there are url_suffix(url), url_host(url) and url_is_on(url, [hosts]).

    Args:
        name: what an error calls it.

    Raises:
        UserError: it does not parse, or is a statement, a subquery, an aggregate or a function outside the list.
    """
    if not isinstance(sql, str) or not 0 < len(sql.strip()) <= LIMIT_CHARACTERS:
        raise UserError(
            f"{name} must be an expression of 1 to {LIMIT_CHARACTERS} characters. Give one such as a > 0.5."
        )
    try:
        return _expression(sql, name)
    except RecursionError:
        raise UserError(f"{name} is nested too deeply: {shorten(sql)}. Say it with fewer parentheses.") from None


def literal(value: object) -> str:
    """A number, a truth value, a string or a list of them, as SQL.

    Raises:
        UserError: anything else, or a number that is not finite.
    """
    if isinstance(value, bool):
        return "TRUE" if value else "FALSE"
    if isinstance(value, int) or (isinstance(value, float) and abs(value) < float("inf")):
        return repr(value)
    if isinstance(value, str):
        return "'" + value.replace("'", "''").replace("\0", "") + "'"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(literal, value)) + "]" if value else "[]::VARCHAR[]"
    raise UserError(f"{value!r} is no value for SQL; give a number, a string, true, false or a list of them.")


def identifier(name: str) -> str:
    """A name as SQL, quoted."""
    return '"' + name.replace('"', '""') + '"'


@contextmanager
def locked_database(
    reads: Iterable[str | Path],
    work: str | Path,
    *,
    memory: str = "2GB",
    threads: int | None = None,
) -> Iterator["DuckDBPyConnection"]:
    """An empty DuckDB that can read the given files, write in the work folder, and touch nothing else.

    It spills to the work folder what its memory does not hold. Its errors become a UserError of one line. Knows
    laion_hash(url, text).

    Args:
        memory: what its buffers take at most, such as 500MB or 2GB.
        threads: None is one for each core.
    """
    duckdb = _duckdb()
    reads, work = [str(path) for path in reads], Path(work).resolve()
    for path in [*reads, str(work)]:
        if has_magic(path):
            raise UserError(f"{path} holds one of * ? [, which DuckDB takes for a pattern. Rename the file or folder.")
    config = {"memory_limit": memory, "temp_directory": str(work), "enable_external_file_cache": "false"}
    config |= {"autoinstall_known_extensions": "false", "autoload_known_extensions": "false"}
    config |= {"python_enable_replacements": "false"}
    config |= {"threads": str(threads)} if threads else {}
    try:
        with duckdb.connect(config=config) as database:
            _teach(database)
            database.execute("SET enable_progress_bar = false")
            # a parquet's statistics pass over NaN, and with them DuckDB takes "is it NaN" for never
            database.execute("SET disabled_optimizers = 'statistics_propagation'")
            database.execute(f"SET allowed_directories = {literal([f'{work}/'])}")
            database.execute(f"SET allowed_paths = {literal(reads)}")
            database.execute("SET enable_external_access = false")
            database.execute("SET lock_configuration = true")
            yield database
    except duckdb.OutOfMemoryException as error:
        raise UserError(f"memory={memory} is not enough: {one_line(error)}. Raise it or lower threads.") from error
    except duckdb.Error as error:
        raise UserError(f"DuckDB: {one_line(error)}. Check the files and the SQL.") from error


def one_line(error: object, characters: int = 300) -> str:
    """What an error says, on one line, without the picture of the query beneath it."""
    return shorten(str(error).partition("\n\n")[0].partition("\nLINE ")[0], characters).rstrip(".")


def shorten(text: str, characters: int = 120) -> str:
    """The text on one line, cut after so many characters."""
    text = " ".join(text.split())
    return text if len(text) <= characters else f"{text[: characters - 4]} ..."


def _expression(sql: str, name: str) -> Expression:
    parser = _parser()
    tree = json.loads(_one(parser, "SELECT json_serialize_sql(?)", f"SELECT (\n{sql}\n)"))
    if tree["error"]:
        why = one_line(tree.get("error_message"))
        raise UserError(
            f"{name} does not parse: {why}, in {shorten(sql)}. Give one expression such as a > 0.5 AND b < 2."
        )
    node = tree["statements"][0]["node"]
    plain = {"type": "SELECT_NODE", "modifiers": [], "where_clause": None, "group_expressions": [], "having": None}
    shape = {**plain, "sample": None, "qualify": None, "cte_map": {"map": []}}
    alone = all(node.get(key) == value for key, value in shape.items()) and node["from_table"]["type"] == "EMPTY"
    if len(tree["statements"]) != 1 or not alone or len(node["select_list"]) != 1:
        raise UserError(f"{name} is more than one expression: {shorten(sql)}. Give one such as a > 0.5 AND b < 2.")
    columns = frozenset(_columns(node["select_list"][0], name))
    canonical = _one(parser, "SELECT json_deserialize_sql(?::JSON)", json.dumps(tree))
    return Expression(canonical.removeprefix("SELECT "), columns)


def _columns(node: object, name: str) -> Iterator[str]:
    """The columns below a node of the parsed tree, whose every node is looked at."""
    if isinstance(node, list):
        for child in node:
            yield from _columns(child, name)
    if not isinstance(node, dict):
        return
    kind = node.get("class")
    if kind is not None and kind not in NODES:
        raise UserError(f"{name} has a {kind.lower().replace('_', ' ')}; only an expression over columns is allowed.")
    if kind == "FUNCTION" and node["function_name"].lower() not in FUNCTIONS:
        raise UserError(f"{name} calls {shorten(node['function_name'])}(), which is not one of {_public()}.")
    if kind == "COLUMN_REF":
        if len(node["column_names"]) != 1:
            raise UserError(f"{name} has {'.'.join(node['column_names'])}; name a column without a table.")
        yield node["column_names"][0].lower()
    for child in node.values():
        yield from _columns(child, name)


def _public() -> str:
    return ", ".join(sorted(function for function in FUNCTIONS if function[0].isalpha()))


def _duckdb() -> ModuleType:
    try:
        import duckdb
    except ImportError as error:
        raise UserError("DuckDB is not installed: pip install 'ode_vgan[laion]'.") from error
    return duckdb


@cache
def _parser() -> "DuckDBPyConnection":
    """A DuckDB without files, that only parses."""
    return _duckdb().connect(config={"enable_external_access": "false", "lock_configuration": "true"})


def _one(parser: "DuckDBPyConnection", sql: str, value: str) -> str:
    return parser.cursor().execute(sql, [value]).fetchone()[0]  # a cursor of its own for each thread


def _teach(database: "DuckDBPyConnection") -> None:
    import pyarrow as pa

    def hashes(urls, texts):
        return pa.array(laion_hashes(urls.to_pylist(), texts.to_pylist()), pa.int64())

    types = {"parameters": ["VARCHAR", "VARCHAR"], "return_type": "BIGINT"}
    database.create_function("laion_hash", hashes, type="arrow", null_handling="special", **types)
    for macro in MACROS:
        database.execute(f"CREATE MACRO {macro}")
