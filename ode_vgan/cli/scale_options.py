"""Options that the verbs of `ode-vgan scale` share: which numbers of a table, and how a law is fitted to them."""

import argparse
from collections.abc import Iterable
from typing import TYPE_CHECKING

from ode_vgan.cli.laion_engine import at_least
from ode_vgan.errors import UserError

if TYPE_CHECKING:
    from ode_vgan.scaling.fits import Recipe
    from ode_vgan.scaling.table import Chosen

LAWS = ("power", "saturating", "broken", "chinchilla")
SELECTS = ("binned", "pareto", "all")
COLUMNS = {  # option -> what it names
    "x": "the compute (of a ledger: macs; also samples_seen, clips_data, parameters, seconds, cpu_seconds)",
    "y": "the error (of a ledger: that of --metric)",
    "group": "fit a law to each value of this column (of a ledger: distribution of CLIP runs, family of GANs)",
    "mark": "tells points apart in figures (of a ledger: the towers of CLIP runs)",
    "run": "rows of one value are resampled together",
    "replicate": "the seeds of a run",
    "parameters": "for --law chinchilla: the model's size",
    "samples": "for --law chinchilla: samples seen",
}
LEDGER = {
    "metric": "of a ledger: whose error, such as R@1 or fvd128_16f",
    "split": "of a ledger: whose clips (default test, where there is one)",
    "kind": "of a ledger: gan or clip",
    "study": "of a ledger: runs of this name",
}


def add_points(parser: argparse.ArgumentParser) -> None:
    """Describe what points are made of."""
    parser.add_argument("table", metavar="TABLE", help="CSV, parquet, or the folder of a ledger")
    points = parser.add_argument_group("which points", "a COLUMN is a name, or an SQL expression over columns")
    for option, says in LEDGER.items():
        points.add_argument(f"--{option}", metavar=option.upper(), help=says)
    for option, says in COLUMNS.items():
        points.add_argument(f"--{option}", metavar="COLUMN", help=says)
    points.add_argument("--one-minus", action="store_true", help="--y is a score: the error is one minus it")
    points.add_argument("--where", metavar="SQL", default="", help="rows that meet this condition over columns")
    points.add_argument(
        "--looks", choices=("last", "all"),
        help="of a ledger: each run at its end, or at every look (default: CLIP last, GAN all)",
    )  # fmt: skip


def add_recipe(parser: argparse.ArgumentParser) -> None:
    """Describe how a law is fitted."""
    recipe = parser.add_argument_group("how the law is fitted")
    recipe.add_argument(
        "--law",
        choices=LAWS,
        default="power",
        help="error = beta C^alpha; and a floor; or a break; or of size and data (default power)",
    )
    recipe.add_argument(
        "--select", choices=SELECTS,
        help="the best of each of --bins equal steps of log compute, the Pareto front, or all points (default binned; "
        "of a ledger: CLIP pareto, GAN all)",
    )  # fmt: skip
    recipe.add_argument("--bins", type=at_least(2), default=5, metavar="N", help="of --select binned (default 5)")
    recipe.add_argument("--bootstrap", type=at_least(100), default=1000, metavar="N", help="resamples (default 1000)")
    recipe.add_argument("--level", type=float, default=0.9, help="of intervals (default 0.9)")
    recipe.add_argument(
        "--hold-out", type=at_least(0), default=0, metavar="N", help="largest levels of compute to predict"
    )
    recipe.add_argument("--allow-few", action="store_true", help="fit fewer than 5 levels or a decade, and say so")
    recipe.add_argument("--seed", type=int, default=0, help="of the bootstrap (default 0)")


def recipe_of(args: argparse.Namespace) -> "Recipe":
    """How a law is fitted, from the arguments.

    Raises:
        UserError: a level outside (0, 1).
    """
    from ode_vgan.scaling.fits import Recipe

    if not 0 < args.level < 1:
        raise UserError(f"--level {args.level:g} is no share; give one between 0 and 1, such as 0.9.")
    return Recipe(
        law=args.law, select=args.select, bins=args.bins, bootstrap=args.bootstrap, level=args.level,
        hold_out=args.hold_out, allow_few=args.allow_few, seed=args.seed,
    )  # fmt: skip


def points_of(args: argparse.Namespace) -> "Chosen":
    """The points that the arguments name: a ledger needs no column, another table needs --x and --y.

    Raises:
        UserError: columns that are not there or not named.
    """
    from ode_vgan.scaling import studies
    from ode_vgan.scaling.table import Wanted, read_table, select

    table = read_table(args.table)
    if studies.is_ledger(table) and args.y is None:
        _refuse(
            args,
            ("run", "replicate", "parameters", "samples", "one_minus"),
            "a ledger knows; leave it out, or name --y",
        )
        return studies.points_of(table, asked_of(args), args.table)
    why = "columns are named by --y" if studies.is_ledger(table) else f"{args.table} is no ledger"
    _refuse(args, (*LEDGER, "looks"), f"{why}; choose rows with --where")
    missing = [f"--{option} COLUMN" for option in ("x", "y") if getattr(args, option) is None]
    if missing:
        there = ", ".join(table.column_names)
        raise UserError(f"{args.table} is no ledger; give {' and '.join(missing)}. It has {there}.")
    names = {option: getattr(args, option) for option in COLUMNS if option != "replicate"}
    return select(table, Wanted(**names, seed=args.replicate, one_minus=args.one_minus, where=args.where), args.table)


def _refuse(args: argparse.Namespace, options: Iterable[str], why: str) -> None:
    told = [f"--{option.replace('_', '-')}" for option in options if getattr(args, option)]
    if told:
        raise UserError(f"{' and '.join(told)}: {why}.")


def asked_of(args: argparse.Namespace):
    """What of a ledger the arguments ask for."""
    from ode_vgan.scaling.studies import Asked

    names = ("metric", "split", "kind", "study", "group", "mark", "looks", "where")
    return Asked(**{name: getattr(args, name) for name in names}, x=args.x or "macs")
