"""ode-vgan scale collect, plot, report: runs into a ledger, a figure of a law, and a study as a page."""

import argparse
import sys
from pathlib import Path

from ode_vgan.cli.laion_engine import Plain
from ode_vgan.cli.scale_options import LEDGER, add_points, add_recipe, asked_of, points_of, recipe_of
from ode_vgan.errors import UserError

COLLECT = """example:
  ode-vgan scale collect runs/compare_temporal --ledger ledger"""
PLOT = """example:
  ode-vgan scale plot ledger --metric fvd128_16f --select all --out fvd.png"""
REPORT = """example:
  ode-vgan scale report runs/scale_clip --metric R@1 --metric zero_shot --hold-out 1 --out report"""


def add_collect(actions) -> None:
    """Describe `collect`."""
    parser = actions.add_parser(
        "collect", help="runs into a ledger", formatter_class=Plain, epilog=COLLECT,
        description="Adds every finished run below RUNS: its scores during training, those that `ode-vgan compare` "
        "judged, at looks too, and evaluations left in it. A run that is there already is replaced.",
    )  # fmt: skip
    parser.set_defaults(scale_run=run_collect)
    parser.add_argument("runs", metavar="RUNS", nargs="+", type=Path, help="folders of sweeps or of runs")
    parser.add_argument("--ledger", type=Path, metavar="DIR", help="where to (default: ledger in the first RUNS)")


def add_plot(actions) -> None:
    """Describe `plot`."""
    parser = actions.add_parser(
        "plot", help="points, law, band and held-out points as a figure", formatter_class=Plain, epilog=PLOT,
        description="Draws both axes in logarithms: points, the law of each group with the band of its resamples, and "
        "the points that were held out.",
    )  # fmt: skip
    parser.set_defaults(scale_run=run_plot)
    add_points(parser)
    add_recipe(parser)
    parser.add_argument("--title", metavar="TEXT", default="", help="above the figure")
    parser.add_argument("--out", type=Path, required=True, metavar="FILE", help=".png or .svg")


def add_report(actions) -> None:
    """Describe `report`."""
    parser = actions.add_parser(
        "report", help="a study as a page: figures, tables, conclusions", formatter_class=Plain, epilog=REPORT,
        description="Fits each metric of a ledger by group, compares the groups, tries the other recipes, and writes "
        "report.md, figures, fits.json and points.csv.",
    )  # fmt: skip
    parser.set_defaults(scale_run=run_report)
    parser.add_argument("ledger", metavar="LEDGER", help="folder of a ledger, or of a study that has one")
    parser.add_argument("--metric", action="append", metavar="METRIC", help="repeatable (default: every one)")
    for option, says in LEDGER.items():
        if option != "metric":
            parser.add_argument(f"--{option}", metavar=option.upper(), help=says)
    parser.add_argument("--x", metavar="COLUMN", help="the axis (default macs)")
    parser.add_argument("--group", metavar="COLUMN", help="a law for each value (default: distribution or family)")
    parser.add_argument("--mark", metavar="COLUMN", help="tells points apart in figures")
    parser.add_argument("--looks", choices=("last", "all"), help="each run at its end, or at every look")
    parser.add_argument("--where", metavar="SQL", default="", help="rows that meet this condition over columns")
    add_recipe(parser)
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="where the page goes")


def run_collect(args: argparse.Namespace) -> None:
    """Append every finished run, name the others."""
    from ode_vgan.report.study import find_runs
    from ode_vgan.scaling.ledger import FOLDER, append, read, rows_of_run

    found = []
    for folder in args.runs:
        if not folder.is_dir():
            raise UserError(f"{folder} does not exist; name the folder of a sweep, such as runs/compare_temporal.")
        found += [(path, folder) for path in find_runs(folder)]
    if not found:
        raise UserError(f"no run below {', '.join(map(str, args.runs))}; name folders that train.py wrote.")
    ledger = args.ledger or args.runs[0] / FOLDER
    added = 0
    for path, sweep in found:
        try:
            added += len(append(ledger, rows_of_run(path, sweep)))
        except UserError as error:
            print(f"left out: {error}", file=sys.stderr)
    if not added:
        raise UserError(f"none of {len(found)} runs is finished and scored; {ledger} is as it was.")
    table = read(ledger)
    print(f"{added} of {len(found)} runs added; {ledger} has {len(table):,} numbers of {len(set(_runs(table)))} runs")


def _runs(table) -> list[tuple]:
    return list(zip(table["run"].to_pylist(), table["config"].to_pylist(), strict=True))


def run_plot(args: argparse.Namespace) -> None:
    """Fit and draw."""
    from ode_vgan.scaling.fits import fit_groups
    from ode_vgan.scaling.plot import check_ending, draw, write

    check_ending(args.out)
    fitted = fit_groups(points_of(args), recipe_of(args), none_is_fine=True)
    print(write(draw(fitted, args.title), args.out))


def run_report(args: argparse.Namespace) -> None:
    """Write the page and print its conclusions."""
    from ode_vgan.scaling.report import write_report

    if args.out.is_file():
        raise UserError(f"--out {args.out} is a file; name a folder.")
    metrics, args.metric = args.metric, None
    report = write_report(args.ledger, metrics, asked_of(args), recipe_of(args), args.out)
    print("".join(f"{line}\n" for line in report.conclusions), end="")
    print("Look at:\n" + "".join(f"  {path}\n" for path in report.files), end="")
