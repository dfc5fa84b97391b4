"""ode-vgan bench: what things cost, each beside a named alternative that is timed in turn with it."""

import argparse
import sys
from pathlib import Path

from ode_vgan.bench.contest import AREAS
from ode_vgan.cli.bench_growth import add_options, run_growth
from ode_vgan.errors import UserError

ON_GPU = ("paths", "step", "sampling", "features")  # what a GPU does any of
MODELS = "models"  # the area that is a table of its own


def add_parser(subparsers) -> None:
    """Describe the verb's arguments."""
    parser = subparsers.add_parser(
        "bench",
        help="time everything beside a named alternative",
        description="Times ours and a named alternative in turn (A B B A A B ...), so that a busy machine disturbs "
        "both alike. A row is the ratio of their times, median and quartiles over rounds, whether their results are "
        "equal, and what is reached of the machine's measured ceilings. Ends with 1 where results differ. "
        "--compare tells which rows of two --json files changed; --growth tells how time and memory grow instead.",
    )
    parser.add_argument("overrides", nargs="*", help="as for train.py, such as data.size=32")
    what = parser.add_argument_group("what is timed")
    what.add_argument(
        "--areas",
        metavar="AREA,...",
        help=f"of {', '.join(AREAS)} (default all; with --gpu {', '.join(ON_GPU)}); or {MODELS}, a table of its own",
    )
    what.add_argument("--experiment", default="quickstart", help="file of conf/experiment (default quickstart)")
    what.add_argument("--frames", default="16,64,256", metavar="T,...", help="frames of paths (default 16,64,256)")
    what.add_argument("--batches", default="8,32", metavar="B,...", help="clips of a batch of paths (default 8,32)")
    what.add_argument("--models", default="", metavar="M,...", help="files of conf/temporal (default: the area's own)")
    what.add_argument("--fps", type=float, default=12.0, help="frame rate of made-up clips (default 12)")
    what.add_argument("--run", default="", metavar="RUN", help="take field, starts and captions of paths from this run")
    what.add_argument("--data", default="", metavar="CLIPS", help="what the loader reads (default: the experiment's)")
    how = parser.add_argument_group("how it is timed")
    how.add_argument("--repeats", type=int, help="rounds, after a warm-up (default 7; quick 3)")
    how.add_argument("--threads", type=int, default=2, help="of torch and BLAS (default 2; 1 counts processor seconds)")
    how.add_argument("--quick", action="store_true", help="smallest sizes, to see that all works")
    how.add_argument("--gpu", action="store_true", help="on the GPU, by device events, with memory and utilisation")
    how.add_argument("--json", type=Path, metavar="FILE", help="where to write every single time (default nowhere)")
    how.add_argument("--against", default="rnn", help=f"what --areas {MODELS} compares with (default rnn)")
    how.add_argument("--compare", nargs=2, type=Path, metavar=("BEFORE", "NOW"), help="two such files; times nothing")
    add_options(parser)


def run(args: argparse.Namespace) -> int:
    """Compare two files, tell what grows, or time and print; 1 where results differ."""
    if args.compare:
        from ode_vgan.cli.bench_compare import run_compare

        return run_compare(*args.compare)
    check_arguments(args)
    if args.growth is not None:
        return run_growth(args)
    if args.areas == MODELS:
        from ode_vgan.cli.bench_models import run_models

        return run_models(args)
    from ode_vgan.cli.bench_contests import run_contests

    return run_contests(args)


def check_arguments(args: argparse.Namespace) -> None:
    """Fill in the defaults that depend on others.

    Raises:
        UserError: a number or name out of range.
    """
    args.repeats = (3 if args.quick else 7) if args.repeats is None else args.repeats
    for name, value in (("repeats", args.repeats), ("threads", args.threads)):
        if value < 1:
            raise UserError(f"--{name} {value} is below 1; give 1 or more.")
    if not 0 < args.fps < float("inf"):
        raise UserError(f"--fps {args.fps:g} is no frame rate; give more than 0.")
    if args.json is not None and args.json.is_dir():
        raise UserError(f"--json {args.json} is a folder; name a file.")
    if args.figures is not None and args.figures.is_file():
        raise UserError(f"--figures {args.figures} is a file; name a folder.")
    if args.json is not None and not args.json.absolute().parent.is_dir():
        raise UserError(f"--json {args.json}: its folder does not exist; make it first.")
    args.frames = numbers("frames", "8" if args.quick else args.frames)
    args.batches = numbers("batches", "4" if args.quick else args.batches)
    args.models = tuple(dict.fromkeys(name.strip() for name in args.models.split(",") if name.strip()))


def numbers(name: str, text: str) -> tuple[int, ...]:
    """Whole numbers that stand between commas.

    Raises:
        UserError: one that is no whole number above 1.
    """
    words = [word.strip() for word in text.split(",")]
    if not all(word.isdecimal() and int(word) > 1 for word in words):
        raise UserError(f"--{name} {text} must be whole numbers above 1, such as 8,32.")
    return tuple(dict.fromkeys(int(word) for word in words))


def tell(line: str) -> None:
    """Progress goes to stderr, so that the table can be piped."""
    print(f"bench: {line}", file=sys.stderr, flush=True)
