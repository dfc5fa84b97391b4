"""ode-vgan bench --growth: how time and memory grow, what memory is needed, how long commands take to start."""

import argparse
import sys
import tempfile
from pathlib import Path

from ode_vgan.errors import UserError

KINDS = ("models", "paths", "judging", "memory", "search", "startup")
HEADINGS = {
    "models": "A training step and sampling",
    "paths": "Latent paths, forward and backward",
    "judging": "Features and distances",
}


def add_options(parser: argparse.ArgumentParser) -> None:
    """The options of `--growth`."""
    own = parser.add_argument_group("growth, memory and start-up")
    told = f"of {', '.join(KINDS)}; or all, instead of ratios"
    own.add_argument("--growth", metavar="KIND,...", help=told)
    own.add_argument(
        "--figures",
        type=Path,
        metavar="FOLDER",
        help="where to draw what grows, or else the roofline (default nowhere)",
    )
    own.add_argument(
        "--judge", default="fvd256_16f", metavar="P", help="protocol whose memory is told (default fvd256_16f)"
    )


def run_growth(args: argparse.Namespace) -> int:
    """Measure, print tables, draw, write the JSON file."""
    import torch

    from ode_vgan.cli.bench_config import compose
    from ode_vgan.runs import write_json

    kinds = chosen(args.growth)
    torch.set_num_threads(args.threads)
    found: dict[str, object] = {"machine": machine(args)}
    for kind in kinds:
        if kind == "startup":
            found[kind] = starts(args)
        elif kind == "memory":
            found[kind] = memory(args, compose)
        elif kind == "search":
            found[kind] = search(args)
        else:
            found[kind] = curves(kind, args, compose)
    if args.json is not None:
        write_json(args.json, found)
        print(args.json)
    return 0


def chosen(text: str) -> list[str]:
    """The kinds asked for, in their order.

    Raises:
        UserError: one that there is not.
    """
    asked = KINDS if text == "all" else [word.strip() for word in text.split(",")]
    for word in asked:
        if word not in KINDS:
            raise UserError(f"--growth {word}: there are {', '.join(KINDS)}, and all.")
    return [kind for kind in KINDS if kind in asked]


def curves(kind: str, args: argparse.Namespace, compose) -> list[dict]:
    """Sweeps of one kind: a table of exponents, and a figure."""
    from ode_vgan.bench.growth import measure_growth
    from ode_vgan.bench.growth_plot import draw_growth

    measured = [measure_growth(sweep, args.repeats, tell) for sweep in sweeps(kind, args, compose)]
    show([curve_cells(curve) for curve in measured], machine(args))
    if args.figures is not None:
        drawn = draw_growth(f"growth_{kind}", HEADINGS[kind], measured)
        args.figures.mkdir(parents=True, exist_ok=True)
        (args.figures / f"{drawn.name}.png").write_bytes(drawn.png)
        print(args.figures / f"{drawn.name}.png")
    return [curve.to_json() for curve in measured]


def sweeps(kind: str, args: argparse.Namespace, compose) -> list:
    """What is measured."""
    from ode_vgan.bench.growth_sweeps import MODELS, judging_sweeps, model_sweeps, path_sweeps
    from ode_vgan.build import build

    if kind == "judging":
        return judging_sweeps(args.quick)
    asked = [f"+experiment={args.experiment}", *args.overrides]
    if kind == "models":
        return model_sweeps(compose([*asked, "embed=none", "trainer.precision=32-true"]), args.quick)
    names = MODELS[1:2] if args.quick else MODELS
    models = {name: build(compose([*asked, f"temporal={name}"])["temporal"]) for name in names}
    return path_sweeps(models, args.quick)


def curve_cells(curve) -> dict:
    """A line of the table of exponents."""
    from ode_vgan.bench.growth import superlinear

    cells = {"what": curve.what, "against": f"{curve.axis} {curve.sizes[0]:g} to {curve.sizes[-1]:g}"}
    for kind, need in (("time", curve.power), ("memory", curve.memory_power)):
        found = curve.slopes[kind]
        interval = f" ({found.low:.2f} to {found.high:.2f})" if found.low == found.low else ""
        cells |= {f"{kind} exponent": f"{found.value:.2f}{interval}", f"{kind}, end": f"{found.end:.2f}"}
        cells[f"{kind} needs"] = f"{need:g}"
    largest = sorted(curve.seconds[-1])[len(curve.seconds[-1]) // 2]
    cells |= {"at most, s": f"{largest:.3g}", "at most, MB": f"{curve.bytes[-1] / 1e6:.0f}"}
    return cells | {"steeper than it needs": ", ".join(superlinear(curve)) or "-"}


def memory(args: argparse.Namespace, compose) -> list[dict]:
    """Peaks of training, of sampling clips of three lengths and of judging, each in a fresh process."""
    from ode_vgan.bench.memory import fresh

    quick, default = compose([f"+experiment={args.experiment}", "embed=none"]), compose(["embed=none"])
    asked = [(f"training step, {args.experiment}", "training", {"config": quick})]
    asked += [] if args.quick else [("training step, default", "training", {"config": default})]
    for seconds in (1,) if args.quick else (1, 60, 600):
        asked.append((f"sampling {seconds} s at 24 fps", "sampling", {"config": quick, "seconds": seconds}))
    if not args.quick:
        asked.append(("sampling 60 s, default", "sampling", {"config": default, "seconds": 60}))
        asked.append((args.judge, "judging", {"config": quick, "protocol": args.judge}))
    rows = []
    for name, job, options in asked:
        tell(name)
        rows.append(used_cells(name, fresh(job, options, args.threads)))
    show(rows, machine(args))
    return rows


def search(args: argparse.Namespace) -> list[dict]:
    """Building an index and searching it, by the number of clips, each in a fresh process."""
    from ode_vgan.bench.memory import fresh
    from ode_vgan.bench.memory_jobs import DIM, make_vectors

    rows = []
    for count in (1_000,) if args.quick else (25_000, 50_000, 100_000, 200_000):
        with tempfile.TemporaryDirectory() as name:
            folder = make_vectors(Path(name), count)
            for job, told in (("indexing", "index"), ("searching", "open and search 50 times")):
                tell(f"{told}, {count:,} clips")
                used = fresh(job, {"folder": str(folder)}, args.threads)
                whole = count * DIM * 4 / 1e6
                rows.append(used_cells(f"{told}, {count:,} clips", used) | {"vectors in float32, MB": f"{whole:.0f}"})
    show(rows, machine(args))
    return rows


def starts(args: argparse.Namespace) -> list[dict]:
    """How long each command takes to print its help."""
    from ode_vgan.bench.clock import spread
    from ode_vgan.bench.startup import measure_starts

    found = measure_starts(args.repeats, tell)
    torch = next(one.median for one in found if one.name == "import torch")
    rows = [
        {
            "command": one.name,
            "seconds": spread(one.seconds, 3),
            "x import torch": f"{one.median / torch:.3f}",
        }
        for one in found
    ]
    show(rows, machine(args))
    return rows


def used_cells(name: str, used) -> dict:
    """A line of the table of memory."""
    return {
        "what": name,
        "MB above imports": f"{used.above_mb:.0f}",
        "imports, MB": f"{used.imports_mb:.0f}",
        "seconds": f"{used.seconds:.1f}",
    }


def machine(args: argparse.Namespace) -> dict:
    """What the numbers were measured on."""
    import torch

    return {"experiment": args.experiment, "threads": args.threads, "torch": torch.__version__, "repeats": args.repeats}


def show(rows: list[dict], protocol: dict) -> None:
    """Print a table."""
    from ode_vgan.report.table import Row, results_table

    print(results_table([Row(cells, protocol) for cells in rows]))


def tell(line: str) -> None:
    """Progress goes to stderr, so that the tables can be piped."""
    print(f"bench: {line}", file=sys.stderr, flush=True)
