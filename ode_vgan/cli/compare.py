"""ode-vgan compare FOLDER: a sweep's runs judged alike, its families compared over seeds, and a report of it all."""

import argparse
from pathlib import Path

from ode_vgan.cli.device import device
from ode_vgan.cli.laion_engine import Plain
from ode_vgan.errors import UserError

BUDGETS = {"clips": "clips", "seconds": "seconds", "cpu_seconds": "cpu-seconds", "macs": "macs"}  # column -> option
NONE = "none"
CHEAP = "fd256_hog3d"


def add_parser(subparsers) -> None:
    """Describe the verb's arguments."""
    parser = subparsers.add_parser(
        "compare",
        help="judge the runs of a sweep and report how its families differ",
        description="Judges every run below FOLDER on the same real clips, captions and latents, at the checkpoint of "
        "the best validation score, and writes report.html, report.md, results.csv and figures. What was judged before "
        "is not judged again; failed and unfinished runs are named. Several folders make one study.",
        epilog="examples:\n  ode-vgan compare runs/compare_temporal --jobs 2\n"
        "  ode-vgan compare runs/compare_temporal --at-cpu-seconds 300 --out equal_seconds",
        formatter_class=Plain,
    )
    parser.add_argument("folders", metavar="FOLDER", nargs="+", help="of a sweep, such as runs/compare_temporal")
    parser.add_argument(
        "--protocol", metavar="KEY,...", default="", help="as `ode-vgan evaluate` has them (default: those without "
        "weights, and fvd128_16f where I3D's are here)",
    )  # fmt: skip
    parser.add_argument("--splits", default="test,train", help="whose real clips (default test,train)")
    parser.add_argument(
        "--questions", default="rates,horizon", help="of `ode-vgan continuous`, or none (default rates,horizon)"
    )
    parser.add_argument("--clips", type=int, default=128, help="clips on each side of the questions (default 128)")
    parser.add_argument("--seed", type=int, default=0, help="of windows and latents, for all runs (default 0)")
    parser.add_argument(
        "--curves", metavar="KEY,...", nargs="?", default="", const=CHEAP,
        help=f"judge every kept look too, by these protocols (default {CHEAP})",
    )  # fmt: skip
    parser.add_argument(
        "--curves-at", metavar="N,...", default="", help="judge of the kept looks only those at so many clips seen"
    )
    parser.add_argument("--choose", choices=("validation", "last"), help="which checkpoint (default validation)")
    for column, option in BUDGETS.items():
        told = f"the last look within so many {column.replace('_', ' ')} instead, unless --choose validation"
        parser.add_argument(f"--at-{option}", type=float, metavar="N", help=told)
    parser.add_argument("--jobs", type=int, default=1, help="runs judged at a time, each on one thread (default 1)")
    parser.add_argument("--no-judge", action="store_true", help="judge nothing; show what earlier calls judged")
    parser.add_argument("--out", type=Path, metavar="DIR", help="where the report goes (default: the first FOLDER)")
    parser.add_argument("--wandb", metavar="PROJECT", nargs="?", const="ode_vgan", help="the report also to W&B")
    parser.add_argument("--device", type=device, default="cpu", help="cpu, cuda or auto (default cpu)")


def run(args: argparse.Namespace) -> int:
    """Compare, print a table and where the report is."""
    from ode_vgan.report.compare import compare

    if args.out is not None and args.out.is_file():
        raise UserError(f"--out {args.out} is a file; name a folder.")
    report = compare(
        args.folders, parse_asked(args), out=args.out, jobs=args.jobs, judged=not args.no_judge, wandb=args.wandb
    )
    print(summary(report))
    return 0


def parse_asked(args: argparse.Namespace):
    """What every run is asked, from the arguments.

    Raises:
        UserError: two budgets, or one that is not above 0.
    """
    from ode_vgan.report.chosen import Budget
    from ode_vgan.report.judged import Asked

    limits = {column: getattr(args, f"at_{option.replace('-', '_')}") for column, option in BUDGETS.items()}
    given = {column: limit for column, limit in limits.items() if limit is not None}
    if len(given) > 1:
        raise UserError(f"{' and '.join(f'--at-{BUDGETS[column]}' for column in given)}: give one budget a report.")
    for column, limit in given.items():
        if not 0 < limit < float("inf"):
            raise UserError(f"--at-{BUDGETS[column]} {limit:g} is no budget; give more than 0.")
    return Asked(
        protocols=words(args.protocol), splits=words(args.splits), questions=words(args.questions), clips=args.clips,
        seed=args.seed, curves=words(args.curves), at=numbers(args.curves_at, "--curves-at"), way=args.choose,
        device=args.device, budget=next((Budget(column, limit) for column, limit in given.items()), None),
    )  # fmt: skip


def words(text: str) -> tuple[str, ...]:
    """What stands between commas, each once; nothing for `none`."""
    named = [word.strip() for word in text.split(",")]
    return tuple(dict.fromkeys(word for word in named if word and word != NONE))


def numbers(text: str, option: str) -> tuple[int, ...]:
    """Whole numbers that stand between commas, rising.

    Raises:
        UserError: one is no whole number.
    """
    try:
        return tuple(sorted(int(word.replace("_", "")) for word in words(text)))
    except ValueError:
        raise UserError(f"{option} {text} is no list of clips seen; give whole numbers, such as 1024,4096.") from None


def summary(report) -> str:
    """The main numbers of each family over seeds, what is missing, and the files."""
    study = report.study
    parts = [means(study)] if study.spreads else ["No run has a number yet.\n"]
    parts += [f"{note}.\n" for note in study.settings["notes"]]
    if study.skipped:
        parts.append("Not measured:\n" + "".join(f"  {name}: {why}\n" for name, why in study.skipped.items()))
    parts.append("Look at:\n" + "".join(f"  {path}\n" for path in [*report.files, report.board] if path))
    return "\n".join(parts)


def means(study) -> str:
    """Markdown: a row a family, mean and deviation over seeds of each whole metric."""
    from ode_vgan.report.reading import families, score_keys, spread_of
    from ode_vgan.report.table import Row, plus_minus, results_table

    keys = [key for key in score_keys(study) if key.count("/") == 1]
    better = {key: score.better for run in study.runs for key, score in run.scores.items()}
    rows = []
    for family in families(study):
        found = {key: spread_of(study, family, key) for key in keys}
        states = [run.state for run in study.runs if run.family == family]
        told = ", ".join(f"{states.count(state)} {state}" for state in dict.fromkeys(states))
        cells = {"family": family, "runs": told}
        for key, one in found.items():
            name = key if better[key] == "lower" else f"{key} (higher is better)"
            cells[name] = plus_minus(one.mean, one.sd) if one else "-"
        rows.append(Row(cells))
    return f"Mean ± deviation over seeds; lower is better unless a column says higher.\n\n{results_table(rows)}"
