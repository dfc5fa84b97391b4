"""ode-vgan bench --compare: two files of --json side by side."""

import json
from pathlib import Path

from ode_vgan.bench.report import SAME, compared
from ode_vgan.errors import UserError
from ode_vgan.report.table import results_table


def run_compare(before: Path, now: Path) -> int:
    """Print what became of each row; 0 whatever it was."""
    old, new = read(before), read(now)
    for name in (*SAME, "commit"):
        one, other = old["machine"].get(name), new["machine"].get(name)
        print(f"{name}: {one}" + ("" if one == other else f" before, {other} now"))
    print()
    print(results_table(compared(old, new)))
    return 0


def read(path: Path) -> dict:
    """The content of a file of `ode-vgan bench --json`.

    Raises:
        UserError: it is none.
    """
    try:
        content = json.loads(path.read_text())
        if {"machine", "rows"} <= content.keys():
            return content
    except (ValueError, AttributeError, UnicodeDecodeError):
        pass
    raise UserError(f"{path} is no file of ode-vgan bench --json; give two of them.")
