"""ode-vgan bench --areas models: training steps and sampling of the temporal models, clips a second side by side."""

import argparse
import statistics
from collections.abc import Mapping, Sequence

import torch

from ode_vgan.bench.clock import measure, spread
from ode_vgan.bench.contender import Contender
from ode_vgan.cli.bench import tell
from ode_vgan.cli.bench_config import compose
from ode_vgan.errors import UserError
from ode_vgan.precision import chosen
from ode_vgan.report.table import Row, results_table
from ode_vgan.runs import write_json

MODELS = ("ode", "sde", "rnn", "discrete")


def run_models(args: argparse.Namespace) -> int:
    """Build, time in turn, print the table.

    Raises:
        UserError: the model that all compare with is not among them.
    """
    names = args.models or MODELS
    if args.against not in names:
        raise UserError(f"--against {args.against} is not among --models {','.join(names)}; name one of them.")
    if args.gpu:
        raise UserError("--areas models is timed on the CPU only; leave --gpu out, or take --areas step,sampling.")
    overrides = [f"+experiment={args.experiment}", *args.overrides]
    torch.set_num_threads(args.threads)
    contenders = {name: Contender(compose([*overrides, f"temporal={name}"]), args.fps) for name in names}
    seconds = measure({name: one.jobs() for name, one in contenders.items()}, args.repeats, tell=tell)
    protocol = protocol_of(next(iter(contenders.values())).config, args)
    counts = {name: one.counts() for name, one in contenders.items()}
    every = {name: one.module.penalty_every for name, one in contenders.items()}
    shown = {name: training_and_sampling(own, every[name]) for name, own in seconds.items()}
    print(results_table(rows(shown, counts, protocol["clips per step"], args.against, protocol)))
    if args.json is not None:
        write_json(args.json, {"protocol": protocol, "seconds": seconds, "counts": counts})
        print(args.json)
    return 0


def training_and_sampling(own: Mapping[str, Sequence[float]], penalty_every: int) -> dict[str, list[float]]:
    """Seconds of an average training step in each round, one in `penalty_every` having penalties, and of sampling."""
    pairs = zip(own["plain step"], own["penalty step"], strict=True)
    average = [((penalty_every - 1) * plain + penalty) / penalty_every for plain, penalty in pairs]
    return {"training": average, "sampling": list(own["sampling"])}


def rows(
    seconds: Mapping[str, Mapping[str, Sequence[float]]],
    counts: Mapping[str, Mapping[str, int]],
    batch: int,
    against: str,
    protocol: Mapping[str, object],
) -> list:
    """One table row a model."""
    table = []
    for name, own in seconds.items():
        cells = {"temporal": name}
        for kind, spent in own.items():
            cells[f"{kind} clips/s"] = spread([batch / one for one in spent])
            factors = [theirs / ours for ours, theirs in zip(spent, seconds[against][kind], strict=True)]
            cells[f"{kind} x {against}"] = f"{statistics.median(factors):.2f}"
        cells |= {"nfe": counts[name]["nfe"]}
        cells |= {f"{part} weights": f"{counts[name][part]:,}" for part in ("temporal", "generator")}
        table.append(Row(cells, protocol))
    return table


def protocol_of(config: dict, args: argparse.Namespace) -> dict[str, object]:
    """What the numbers were measured on."""
    data = config["data"]
    return {
        "experiment": " ".join([args.experiment, *args.overrides]),
        "clips per step": data["batch"],
        "frames": data["frames"],
        "size": f"{data['size']} px",
        "fps": f"{args.fps:g}",
        "device": f"cpu, {args.threads} threads, torch {torch.__version__}",
        "precision": f"training {chosen(config['trainer']['precision'], 'cpu')[0]}, sampling 32-true",
        "rounds": f"{args.repeats} interleaved, median (quartiles)",
        "a training step": f"mean of {config['model']['penalty_every']}, one with penalties; no data loading",
    }
