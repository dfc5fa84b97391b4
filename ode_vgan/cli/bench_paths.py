"""ode-vgan bench --paths: models of time alone, each beside what it is compared with, as ratios."""

import argparse
import statistics
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace

from ode_vgan.bench.clock import measure, spread
from ode_vgan.errors import UserError

MODELS = ("rnn", "ode", "ode_dense", "sde")
FRAMES = "16,64,256"
COMPARED = (  # ours, against; per evaluation where both evaluate a field
    ("ode_dense", "rnn", False),
    ("ode_dense", "bare evaluations", False),
    ("ode_dense", "ode", False),
    ("ode_dense", "odeint rk4", False),
    ("ode_dense", "odeint_adjoint rk4", False),
    ("sde", "rnn", False),
    ("sde", "ode_dense", True),
    ("sde", "sdeint_adjoint euler", False),
)


def add_options(parser: argparse.ArgumentParser) -> None:
    """The options of `--paths`."""
    own = parser.add_argument_group("models of time alone")
    own.add_argument("--paths", action="store_true", help="time whole latent paths, forward and backward, instead")
    own.add_argument("--frames", default=FRAMES, metavar="T,...", help=f"frames of a path (default {FRAMES})")
    own.add_argument("--run", metavar="RUN", help="take the field of ode_dense from this trained run of temporal=ode")


def run_paths(args: argparse.Namespace, compose) -> int:
    """Time, print the table, write the JSON file.

    Args:
        compose: overrides -> plain config, see `cli.bench.compose`.
    """
    import torch

    from ode_vgan.report.table import results_table
    from ode_vgan.runs import write_json

    torch.set_num_threads(args.threads)
    models = build_models(args, compose)
    found = {frames: timed(models, frames, args) for frames in parse_frames(args.frames)}
    print(results_table([row for frames, one in found.items() for row in rows(frames, one, protocol_of(args))]))
    if args.json is not None:
        write_json(args.json, {"protocol": protocol_of(args), "frames": found})
        print(args.json)
    return 0


def parse_frames(text: str) -> list[int]:
    """Frame numbers that stand between commas.

    Raises:
        UserError: one that is no whole number above 1.
    """
    words = [word.strip() for word in text.split(",")]
    if not all(word.isdecimal() and int(word) > 1 for word in words):
        raise UserError(f"--frames {text} must be whole numbers above 1, such as {FRAMES}.")
    return [int(word) for word in words]


def build_models(args: argparse.Namespace, compose) -> dict:
    """The models by the names of their configs; ode_dense with the field of a trained run where one is given.

    Raises:
        UserError: the run's model of time has no such field.
    """
    import torch

    from ode_vgan.build import build
    from ode_vgan.runs import load

    torch.manual_seed(0)
    models = {
        name: build(compose([f"+experiment={args.experiment}", *args.overrides, f"temporal={name}"])["temporal"])
        for name in MODELS
    }
    if args.run:
        try:
            models["ode_dense"].load_state_dict(load(args.run).generator.temporal.state_dict())
        except RuntimeError as error:
            line = " ".join(str(error).split())[:120]
            raise UserError(f"--run {args.run}: its model of time is not temporal=ode of this size ({line}).") from None
        models["ode_dense"].requires_grad_(True)
    return models


def timed(models: dict, frames: int, args: argparse.Namespace) -> dict:
    """Seconds of each job in each round, evaluations, and the path's error."""
    from ode_vgan.bench.paths import ask, jobs, relative_error

    asked = ask(args.batch or 32, frames, args.fps, models["rnn"].dim, models["rnn"].embed_dim)
    if args.run:
        asked = replace(asked, **starts(args.run, len(asked.z0)))
    found = jobs(models, asked)
    clock = time.process_time if args.threads == 1 else time.perf_counter
    seconds = measure({name: {"path": job.run} for name, job in found.items()}, args.repeats, clock=clock)
    return {
        "seconds": {name: own["path"] for name, own in seconds.items()},
        "evaluations": {name: job.evaluations() for name, job in found.items()},
        "weights": {name: sum(weight.numel() for weight in job.weights) for name, job in found.items()},
        "relative error": {"ode_dense": relative_error(models["ode_dense"], asked)},
    }


def starts(run: str, clips: int) -> dict:
    """z0 and c as the run's generator has them: its own noise, and captions of its own clips."""
    from itertools import cycle, islice

    import torch

    from ode_vgan.data.store import open_source
    from ode_vgan.runs import load

    trained = load(run)
    captions = [entry.caption or "" for entry in open_source(trained.config["data"]["source"])[:clips]]
    c = trained.embed.encode_text(list(islice(cycle(captions), clips)))
    with torch.no_grad():
        return {"z0": trained.generator.to_start(trained.draw(clips, 0).motion, c).float(), "c": c}


def rows(frames: int, found: Mapping, protocol: Mapping[str, object]) -> list:
    """A table row for each comparison."""
    from ode_vgan.report.table import Row

    table = []
    for ours, theirs, each in COMPARED:
        if theirs not in found["seconds"]:
            continue
        one, other = found["seconds"][ours], found["seconds"][theirs]
        share = found["evaluations"][theirs] / found["evaluations"][ours] if each else 1.0
        error = found["relative error"].get(ours)
        table.append(Row({
            "frames": frames,
            "path": ours,
            "against": f"{theirs}, per evaluation" if each else theirs,
            "x its time": ratio(one, other, share),
            "ms": f"{1e3 * statistics.median(one):.2f}",
            "its ms": f"{1e3 * statistics.median(other):.2f}",
            "evaluations": found["evaluations"][ours],
            "its": found["evaluations"][theirs],
            "path error": "-" if error is None else f"{error:.1e}",
        }, protocol))  # fmt: skip
    return table


def ratio(ours: Sequence[float], theirs: Sequence[float], share: float) -> str:
    """Median and quartiles of the factor within a round."""
    return spread([share * one / other for one, other in zip(ours, theirs, strict=True)], digits=2)


def protocol_of(args: argparse.Namespace) -> dict[str, object]:
    """What the numbers were measured on."""
    import torch

    return {
        "clips": args.batch or 32,
        "fps": f"{args.fps:g}",
        "device": f"cpu, {args.threads} threads, torch {torch.__version__}",
        "clock": "processor seconds" if args.threads == 1 else "wall clock",
        "rounds": f"{args.repeats} interleaved, median (quartiles)",
        "field": args.run or "as drawn",
    }
