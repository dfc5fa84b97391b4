"""Rules of selection held as data: a name, an SQL expression, a threshold and where it is from."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import yaml

from ode_vgan.errors import UserError
from ode_vgan.laion.sql import Expression, literal, parse_expression, shorten

Value = bool | int | float | str | list
NAME = re.compile(r"[a-z][a-z0-9_]{0,39}")
PLACE = re.compile(r"\{threshold(?:\.(\w+))?\}")
LIMIT_RULES = 60  # their outcomes are the bits of one integer
RESERVED = {"duplicate"}  # the step after the rules


@dataclass(frozen=True)
class Rule:
    """One rule; a row is kept where its SQL is true.

    Attributes:
        name: lower-case letters, digits and _.
        sql: an expression over columns; {threshold}, or {threshold.NAME} of a mapping, stands for the value.
        threshold: None with a {threshold} in the SQL turns the rule off.
        source: who uses it, and where they say so.
    """

    name: str
    sql: str
    threshold: Value | Mapping[str, Value] | None = None
    source: str = field(default="", compare=False)

    @property
    def off(self) -> bool:
        """Whether the rule needs a threshold and has none."""
        return self.threshold is None and PLACE.search(self.sql) is not None

    def expression(self) -> Expression:
        """The SQL with its threshold in place, checked.

        Raises:
            UserError: the SQL is not one expression, or names a threshold that is not there.
        """
        return parse_expression(PLACE.sub(self._literal, self.sql), f"rule {self.name!r}")

    def _literal(self, place: re.Match) -> str:
        value, part = self.threshold, place.group(1)
        if part is None and not isinstance(value, Mapping):
            return literal(value)
        if part is not None and isinstance(value, Mapping) and part in value:
            return literal(value[part])
        there = f"is {shorten(str(value))}" if not isinstance(value, Mapping) else f"has {', '.join(value)}"
        raise UserError(f"rule {self.name!r}: {place.group()} is not there; its threshold {there}. Correct one.")


def read_rules(path: str | Path) -> tuple[Rule, ...]:
    """Rules of a yaml file: a list under `rules`, each with name and sql, and perhaps threshold and source.

    Raises:
        FileNotFoundError: there is no such file.
        UserError: it does not parse, or a rule has an unknown key, no name or SQL, or the name of another.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"no rules at {path}. Check the path, or leave it out for LAION's own.")
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise UserError(f"{path} is no yaml: {shorten(str(error))}. Correct it.") from error
    rows = content.get("rules") if isinstance(content, dict) else None
    if not isinstance(rows, list) or set(content) != {"rules"}:
        raise UserError(f"{path} must hold one list, `rules:`. See ode_vgan/laion/rules.yaml.")
    return check_rules(_rule(row, f"{path}: rule {i + 1}") for i, row in enumerate(rows))


def check_rules(rules: Iterable[Rule]) -> tuple[Rule, ...]:
    """The rules, once their names are good and differ.

    Raises:
        UserError: they do not, or there are more than 60.
    """
    rules = tuple(rules)
    names = [rule.name for rule in rules]
    for i, name in enumerate(names):
        if not isinstance(name, str) or not NAME.fullmatch(name) or name in RESERVED or name in names[:i]:
            raise UserError(f"rule name {name!r} must be new, of a-z, 0-9 and _, and not 'duplicate'. Rename the rule.")
    if len(rules) > LIMIT_RULES:
        raise UserError(f"{len(rules)} rules are more than {LIMIT_RULES}. Join some by AND.")
    return rules


def set_thresholds(rules: Iterable[Rule], values: Mapping[str, Value | None]) -> tuple[Rule, ...]:
    """The rules with some thresholds changed: {"similarity": 0.3, "moving.hosts": ["youtube.com"], "nsfw": None}.

    Raises:
        UserError: there is no such rule, or no such part of its threshold.
    """
    changed = {rule.name: rule for rule in rules}
    for key, value in values.items():
        name, _, part = key.partition(".")
        if name not in changed:
            raise UserError(f"no rule {name!r} to set; there are {', '.join(changed)}. Name one of them.")
        rule = changed[name]
        if part:
            if not isinstance(rule.threshold, Mapping) or part not in rule.threshold:
                parts = ", ".join(rule.threshold) if isinstance(rule.threshold, Mapping) else "no parts"
                raise UserError(f"rule {name!r} has no threshold {part!r}; it has {parts}. Name one of them.")
            value = {**rule.threshold, part: value}
        changed[name] = replace(rule, threshold=value)
    return tuple(changed.values())


def _rule(row: object, where: str) -> Rule:
    known = {"name", "sql", "threshold", "source"}
    if not isinstance(row, dict) or not {"name", "sql"} <= set(row) or set(row) - known:
        found = ", ".join(map(str, row)) if isinstance(row, dict) else shorten(repr(row))
        raise UserError(f"{where} has {found}; it needs name and sql, and may have threshold and source. Correct it.")
    if not isinstance(row["sql"], str):
        raise UserError(f"{where}: sql is {shorten(repr(row['sql']))}; give an expression in quotes.")
    threshold = row.get("threshold")
    for value in threshold.values() if isinstance(threshold, dict) else [threshold]:
        if value is not None:
            literal(value)
    return Rule(row["name"], row["sql"], threshold, str(row.get("source") or ""))


DEFAULT_RULES = read_rules(Path(__file__).with_name("rules.yaml"))
