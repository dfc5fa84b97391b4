"""ode-vgan evaluate RUN: a first score, with the floor and the controls that say what it means."""

import argparse
import json
from pathlib import Path

from ode_vgan.errors import UserError

LABELS = {
    "generator": "generator",
    "untrained": "generator before training",
    "frozen": "real, held on one frame",
    "shuffled": "real, frames shuffled",
    "floor": "floor: other real clips",
}


def add_parser(subparsers) -> None:
    """Describe the verb's arguments."""
    parser = subparsers.add_parser(
        "evaluate",
        help="score a trained run against real clips",
        description="Frechet distances on weightless features, in tables with their protocol; lower is better. "
        "The floor is what other real clips score; frozen and shuffled are real clips with no or false motion.",
    )
    parser.add_argument("run", metavar="RUN", help="run folder or checkpoint file")
    parser.add_argument("--clips", type=int, default=512, help="clips on each side (default 512)")
    parser.add_argument("--split", choices=("train", "test", "both"), default="both", help="whose captions and clips")
    parser.add_argument("--repeats", type=int, default=3, help="independent draws; the spread is over them (default 3)")
    parser.add_argument("--seed", type=int, default=0, help="of the draws (default 0)")
    parser.add_argument(
        "--untrained",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="also score the same generator before its first step (default)",
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="where to write (default RUN/evaluation.json)")
    parser.add_argument("--device", default="cpu", help="cpu or cuda (default cpu)")


def run(args: argparse.Namespace) -> int:
    """Score, print the tables, write the JSON file."""
    from ode_vgan.cli.sample import run_folder
    from ode_vgan.report.table import results_table
    from ode_vgan.runs import load, write_json

    if args.json is not None and args.json.is_dir():
        raise UserError(f"--json {args.json} is a folder; name a file.")
    trained = load(args.run, device=args.device)
    results = evaluate_run(trained, args)
    target = args.json or run_folder(trained.checkpoint) / "evaluation.json"
    told = {"run": str(args.run), "clips_seen": trained.clips_seen}
    content = told | {"splits": {split: to_json(found) for split, found in results.items()}}
    write_json(target, json.loads(json.dumps(content)))
    name = f"{args.run}, {type(trained.generator.temporal).__name__}, {trained.clips_seen:,} clips seen"
    print(f"{name}. Frechet distances, not FVD; lower is better.\n")
    print(results_table([row for found in results.values() for row in rows(found)]))
    print(target)
    return 0


def evaluate_run(trained, args: argparse.Namespace) -> dict[str, dict[str, dict]]:
    """{split: {"generator" or "untrained": {"fd_hog3d": Score, ...}}}."""
    from ode_vgan.build import build
    from ode_vgan.metrics.evaluate import evaluate_generator
    from ode_vgan.metrics.colour import ColourLayout
    from ode_vgan.metrics.hog3d import Hog3d
    from ode_vgan.runs import untrained

    data = build(trained.config["data"], embed=trained.embed)
    judged = {"generator": trained} | ({"untrained": untrained(trained, args.seed)} if args.untrained else {})
    results: dict[str, dict[str, dict]] = {}
    for split in ("train", "test") if args.split == "both" else (args.split,):
        for name, model in judged.items():
            results.setdefault(split, {})[name] = evaluate_generator(
                model.render,
                data,
                args.clips,
                seed=args.seed,
                split=split,
                extractors=(Hog3d(), ColourLayout()),
                repeats=args.repeats,
                controls=("frozen", "shuffled") if name == "generator" else (),
            )
    return results


def rows(found: dict[str, dict]) -> list:
    """Table rows of one split: the generators, the controls and the floor, two columns for each distance."""
    from ode_vgan.report.table import Row, plus_minus

    scores = found["generator"]
    protocol = {key: value for key, value in next(iter(scores.values())).protocol.items() if "extractor" not in key}
    protocol |= {name: f"{s.protocol['extractor']} {s.protocol['extractor_sha256']}" for name, s in scores.items()}
    lines = {LABELS[kind]: {name: (s.value, s.sd) for name, s in each.items()} for kind, each in found.items()}
    for control in next(iter(scores.values())).controls:
        lines[LABELS[control]] = {name: (s.controls[control], None) for name, s in scores.items()}
    lines[LABELS["floor"]] = {name: (s.floor, s.floor_sd) for name, s in scores.items()}
    table = []
    for label, numbers in lines.items():
        cells = {"clips": label}
        for name, (value, sd) in numbers.items():
            floor = scores[name].floor
            cells |= {name: plus_minus(value, sd), f"{name} / floor": f"{value / floor:.1f}" if floor else "-"}
        table.append(Row(cells, protocol))
    return table


def to_json(found: dict[str, dict]) -> dict:
    """Plain data of one split's scores."""
    return {name: {key: score.to_json() for key, score in scores.items()} for name, scores in found.items()}
