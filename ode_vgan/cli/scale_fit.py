"""ode-vgan scale fit, predict, compare: a law for each group of a table, what it foretells, and how groups differ."""

import argparse
from pathlib import Path

from ode_vgan.cli.laion_engine import Plain
from ode_vgan.cli.scale_options import add_points, add_recipe, points_of, recipe_of
from ode_vgan.errors import UserError

FIT = """example:
  ode-vgan scale fit zeroshot_results.csv --x gmacs_total --y acc1 --one-minus \\
    --where "downstream_dataset = 'imagenet1k' AND upstream_dataset <> 'CLIP-WIT'" --json fit.json
  ode-vgan scale fit ledger --metric R@1"""
PREDICT = """example:
  ode-vgan scale predict fit.json --compute 6.5342e12"""
COMPARE = """example:
  ode-vgan scale compare ledger --metric fvd128_16f"""


def add_fit(actions) -> None:
    """Describe `fit`."""
    parser = actions.add_parser(
        "fit", help="a law for each group of a table", formatter_class=Plain, epilog=FIT,
        description="Fits error against compute. An exponent from fewer than five compute levels or less than a decade "
        "is refused.",
    )  # fmt: skip
    parser.set_defaults(scale_run=run_fit)
    add_points(parser)
    add_recipe(parser)
    parser.add_argument("--json", type=Path, metavar="FILE", help="the fits, for `predict`")


def add_predict(actions) -> None:
    """Describe `predict`."""
    parser = actions.add_parser(
        "predict", help="the error at a compute", formatter_class=Plain, epilog=PREDICT,
        description="The error that each fitted law foretells at a compute, with its interval.",
    )  # fmt: skip
    parser.set_defaults(scale_run=run_predict)
    parser.add_argument("fit", metavar="FIT.json", type=Path, help="of `fit --json`")
    parser.add_argument("--compute", type=float, nargs="+", required=True, metavar="C", help="in the unit of --x")
    parser.add_argument("--group", metavar="NAME", help="only this group's law")


def add_compare(actions) -> None:
    """Describe `compare`."""
    parser = actions.add_parser(
        "compare", help="do groups differ in exponent, only in offset, or not", formatter_class=Plain, epilog=COMPARE,
        description="Fits each group and tells by resampling whether exponents differ, errors at one compute alone, "
        "or neither.",
    )  # fmt: skip
    parser.set_defaults(scale_run=run_compare)
    add_points(parser)
    add_recipe(parser)


def run_fit(args: argparse.Namespace) -> None:
    """Fit, print the table, write the fits."""
    from ode_vgan.scaling.fits import fit_groups, save
    from ode_vgan.scaling.report import fit_table, notes

    fitted = fit_groups(points_of(args), recipe_of(args))
    print(fit_table(fitted))
    print("".join(f"{note}\n" for note in notes(fitted)), end="")
    if args.json is not None:
        save(fitted, args.json, {"table": str(args.table), "where": args.where})
        print(args.json)


def run_predict(args: argparse.Namespace) -> None:
    """Print what each law says at each compute, and how far beyond its points that is."""
    from ode_vgan.report.table import Row, results_table
    from ode_vgan.scaling.fits import load

    for compute in args.compute:
        if not 0 < compute < float("inf"):
            raise UserError(f"--compute {compute:g} is no compute; give a number above 0.")
    saved = load(args.fit)
    if args.group is not None and args.group not in saved.fits:
        raise UserError(f"{args.fit} has no law for {args.group!r}; it has {', '.join(saved.fits)}.")
    rows = [
        Row(saved.prediction(name, compute))
        for name in ([args.group] if args.group is not None else saved.fits)
        for compute in args.compute
    ]
    print(results_table(rows), end="")


def run_compare(args: argparse.Namespace) -> None:
    """Print the laws, and every pair of groups."""
    from ode_vgan.scaling.fits import fit_groups
    from ode_vgan.scaling.report import differences, fit_table, notes, pair_table

    fitted = fit_groups(points_of(args), recipe_of(args))
    if len(fitted.fits) < 2:
        raise UserError(
            f"{args.table} gives one law ({', '.join(fitted.fits)}); two or more are compared. Name a --group column."
        )
    print(fit_table(fitted))
    print(pair_table(differences(fitted)))
    print("".join(f"{note}\n" for note in notes(fitted)), end="")
