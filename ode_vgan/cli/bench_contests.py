"""ode-vgan bench: the areas one after the other, one table, one JSON file."""

import argparse
from dataclasses import asdict

import torch
from threadpoolctl import threadpool_limits

from ode_vgan.bench.contest import AREAS, Asked
from ode_vgan.bench.machine import Ceilings, check_device, describe, measure_ceilings, timer
from ode_vgan.bench.report import record, row
from ode_vgan.bench.roofline_plot import draw_roofline
from ode_vgan.bench.run import parse_areas, run_area
from ode_vgan.cli.bench import ON_GPU, tell
from ode_vgan.cli.bench_config import compose
from ode_vgan.data.clips import write_atomic
from ode_vgan.errors import UserError
from ode_vgan.report.table import results_table
from ode_vgan.runs import write_json


def run_contests(args: argparse.Namespace) -> int:
    """Time area by area, print the table; 1 where results differ that should not.

    Raises:
        UserError: an area of no such name, no GPU, or nothing could be timed.
    """
    device = "cuda" if args.gpu else "cpu"
    check_device(device)
    areas = parse_areas(args.areas) if args.areas else ON_GPU if args.gpu else AREAS
    torch.set_num_threads(args.threads)
    with threadpool_limits(args.threads):
        ceilings = measure_ceilings(device, timer(device, args.threads), quick=args.quick)
        content = {"machine": describe(device, args.threads), "ceilings": asdict(ceilings), "asked": told(args)}
        content |= {"skipped": {}, "rows": []}
        rows = [one for area in areas for one in timed(area, asked(args, device), ceilings, args, content)]
    print(table(rows, content))
    if args.json is not None:
        print(args.json)
    if args.figures is not None and (drawn := draw_roofline(content)) is not None:
        args.figures.mkdir(parents=True, exist_ok=True)
        write_atomic(args.figures / f"{drawn.name}.png", drawn.png)
        print(args.figures / f"{drawn.name}.png")
    return int(not all(one["equal"] for one in content["rows"]))


def timed(area: str, wanted: Asked, ceilings: Ceilings, args: argparse.Namespace, content: dict) -> list:
    """The table rows of an area, and its records in `content`, which is written as it grows; none where it is skipped.

    Returns:
        Rows of `ode_vgan.report.table`.
    """
    found, protocol = [], protocol_of(args, content)
    try:
        for outcome in run_area(area, wanted, ceilings, args.repeats, tell):
            found.append(row(outcome, protocol))
            content["rows"].append(record(outcome))
    except UserError as error:
        content["skipped"][area] = str(error)
        tell(f"{area} is skipped: {error}")
    if args.json is not None:
        write_json(args.json, content)
    return found


def asked(args: argparse.Namespace, device: str) -> Asked:
    """What the areas build their contests for."""
    return Asked(
        threads=args.threads,
        frames=args.frames,
        batches=args.batches,
        device=device,
        experiment=args.experiment,
        overrides=tuple(args.overrides),
        compose=compose,
        data=args.data,
        run=args.run,
        models=args.models,
        quick=args.quick,
        fps=args.fps,
    )


def told(args: argparse.Namespace) -> dict:
    """What was asked for, for the file."""
    names = ("experiment", "overrides", "models", "frames", "batches", "fps", "repeats", "quick")
    return {name: getattr(args, name) for name in names}


def protocol_of(args: argparse.Namespace, content: dict) -> dict:
    """What the numbers were measured on."""
    seconds = (
        "device events" if args.gpu else "processor seconds (loader: wall clock)" if args.threads == 1 else "wall clock"
    )
    limits = content["ceilings"]
    return content["machine"] | {
        "ceilings": f"{limits['fp32'] / 1e9:.0f} GFLOP/s in fp32, {limits['bf16'] / 1e9:.0f} in bf16, "
        f"{max(limits['copy'], limits['triad']) / 1e9:.0f} GB/s",
        "experiment": " ".join([args.experiment, *args.overrides]),
        "times": f"{seconds}, {args.repeats} rounds in turn, median (quartiles)",
    }


def table(rows: list, content: dict) -> str:
    """The rows, and what was left out.

    Raises:
        UserError: no area could be timed.
    """
    skipped = [f"{area}: {reason}" for area, reason in content["skipped"].items()]
    if not rows:
        raise UserError(f"nothing was timed: {'; '.join(skipped)}")
    return "\n".join([results_table(rows), *(f"Skipped {line}" for line in skipped)])
