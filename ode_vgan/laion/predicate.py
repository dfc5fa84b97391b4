"""A filter over clips: ranges, values and one SQL expression, which may compare columns and do nothing else."""

import json
import math
from dataclasses import dataclass, field

from ode_vgan.errors import UserError

MAX_EXPRESSION = 2000  # characters
# kinds of node, as DuckDB's own parser names them, that read nothing but columns and constants
NODES = {"COMPARISON", "CONJUNCTION", "OPERATOR", "CONSTANT", "COLUMN_REF", "FUNCTION", "BETWEEN", "CAST", "CASE"}
NODES |= {"TYPE", "COLLATE"}
FUNCTIONS = set(
    "+ - * / // % ** ^ || ~~ !~~ ~~* !~~* abs ceil ceiling floor round sign sqrt ln log log2 log10 exp pow power "
    "greatest least isnan isinf isfinite lower upper lcase ucase length strlen trim ltrim rtrim substring substr left "
    "right contains starts_with ends_with prefix suffix regexp_matches regexp_full_match strip_accents "
    "jaro_winkler_similarity list_contains list_value coalesce nullif ifnull even".split()
)


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
        """One SQL expression with the constants inside; "true" for an empty filter.

        Raises:
            UserError: a bound is not finite.
        """
        terms = []
        for name, (low, high) in sorted(self.ranges.items()):
            terms += [f"{quoted(name)} {sign} {_number(name, bound)}" for sign, bound in ((">=", low), ("<=", high))
                      if bound is not None]  # fmt: skip
        for name, kept in sorted(self.values.items()):
            constants = ", ".join("'" + str(value).replace("'", "''") + "'" for value in sorted(kept))
            terms.append(f"{quoted(name)}::VARCHAR IN ({constants})" if kept else "false")
        if self.where.strip():
            terms.append(f"(\n{self.where.strip()}\n)")  # exactly as it was checked: a comment ends with its line
        return " AND ".join(terms) or "true"


def quoted(name: str) -> str:
    """A column's name as SQL, whatever characters it has."""
    return '"' + name.replace('"', '""') + '"'


def check_expression(connection, expression: str, columns: set[str]) -> str:
    """The expression, if it only compares known columns with constants through harmless functions.

    DuckDB's parser reads it, so that what is judged is what would run.

    Raises:
        UserError: it does not parse, is longer than 2000 characters, or holds anything else.
    """
    if len(expression) > MAX_EXPRESSION:
        raise UserError(f"the filter has {len(expression)} characters, at most {MAX_EXPRESSION}. Shorten it.")
    tree = _parse(connection, f"SELECT row FROM clips WHERE (\n{expression}\n)")
    where = tree["statements"][0]["node"].get("where_clause")
    plain = _parse(connection, "SELECT row FROM clips WHERE (true)")
    if where is None or _frame(tree) != _frame(plain):
        raise UserError(f"the filter {_short(expression)} is more than one expression. Write only conditions.")
    for node in _nodes(where):
        _check_node(node, columns)
    return expression


def _parse(connection, statement: str) -> dict:
    tree = json.loads(connection.execute("SELECT json_serialize_sql(?)", [statement]).fetchone()[0])
    if tree.get("error"):
        reason = " ".join(str(tree.get("error_message")).split())[:160]
        raise UserError(f"the filter does not parse ({reason}). Example: motion > 0.2 and caption ilike '%dog%'")
    return tree


def _frame(tree: dict) -> str:
    """The statement around the condition, without positions in its text."""
    whole = json.loads(json.dumps(tree))
    whole["statements"][0]["node"].pop("where_clause", None)
    return json.dumps(_unplaced(whole), sort_keys=True)


def _unplaced(node):
    if isinstance(node, dict):
        return {name: _unplaced(value) for name, value in node.items() if name != "query_location"}
    return [_unplaced(one) for one in node] if isinstance(node, list) else node


def _nodes(tree):
    if isinstance(tree, dict):
        if "class" in tree:
            yield tree
        for value in tree.values():
            yield from _nodes(value)
    elif isinstance(tree, list):
        for value in tree:
            yield from _nodes(value)


def _check_node(node: dict, columns: set[str]) -> None:
    kind = node["class"]
    if kind not in NODES:
        raise UserError(f"the filter holds a {kind.lower().replace('_', ' ')}; compare columns with constants only.")
    if kind == "FUNCTION":
        name = node["function_name"]
        if name.lower() not in FUNCTIONS or node.get("schema") or node.get("catalog"):
            raise UserError(f"the filter calls {name}(), which is not allowed. Use comparisons, like, lower, abs ...")
    if kind == "COLUMN_REF":
        name = ".".join(node["column_names"])
        if name.lower() not in {column.lower() for column in columns}:
            raise UserError(f"the filter names {name!r}, which is no column. There are: {', '.join(sorted(columns))}.")


def _number(column: str, bound: float) -> str:
    if not math.isfinite(bound):
        raise UserError(f"{column}={bound} is no bound. Give a finite number, or leave it out.")
    return f"({float(bound)!r})"


def _short(expression: str) -> str:
    line = " ".join(expression.split())
    return repr(line if len(line) <= 60 else line[:57] + "...")
