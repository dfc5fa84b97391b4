"""ode-vgan bench: clips a second of a training step and of sampling, for several temporal models side by side."""

import argparse
import statistics
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from ode_vgan.bench.clock import measure, spread
from ode_vgan.cli.bench_paths import add_options, run_paths
from ode_vgan.errors import UserError

MODELS = ("ode", "sde", "rnn", "discrete")
REPOSITORY = Path(__file__).parents[2]


def add_parser(subparsers) -> None:
    """Describe the verb's arguments."""
    parser = subparsers.add_parser(
        "bench",
        help="measure training steps and sampling of the temporal models",
        description="Times the models in turn (A B C D A B C D ...), so that a busy machine disturbs all alike. "
        "Numbers are medians with quartiles; factors are medians of the factor within a round.",
    )
    parser.add_argument("overrides", nargs="*", help="as for train.py, such as data.size=32")
    parser.add_argument("--experiment", default="quickstart", help="file of conf/experiment (default quickstart)")
    parser.add_argument(
        "--models", default=",".join(MODELS), help=f"files of conf/temporal (default {','.join(MODELS)})"
    )
    parser.add_argument("--against", default="rnn", help="the model that factors compare with (default rnn)")
    parser.add_argument("--repeats", type=int, default=7, help="rounds, after one that is not counted (default 7)")
    parser.add_argument("--batch", type=int, help="clips a step and a sampling call (default: the experiment's)")
    parser.add_argument("--fps", type=float, default=12.0, help="frame rate of the clips (default 12)")
    parser.add_argument("--threads", type=int, default=2, help="threads of torch (default 2)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="where to write every single time (default nowhere)")
    add_options(parser)


def run(args: argparse.Namespace) -> int:
    """Build, time in turn, print the table."""
    import torch

    from ode_vgan.report.table import results_table
    from ode_vgan.runs import write_json

    names = check_arguments(args)
    if args.paths:
        return run_paths(args, compose)
    overrides = [
        f"+experiment={args.experiment}",
        *([f"data.batch={args.batch}"] if args.batch else []),
        *args.overrides,
    ]
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


def tell(line: str) -> None:
    """Progress goes to stderr, so that the table can be piped."""
    print(f"bench: {line}", file=sys.stderr, flush=True)


def check_arguments(args: argparse.Namespace) -> list[str]:
    """The models to time.

    Raises:
        UserError: a number or name out of range.
    """
    for name, value in (("repeats", args.repeats), ("threads", args.threads), ("batch", args.batch)):
        if value is not None and value < 1:
            raise UserError(f"--{name} {value} is below 1; give 1 or more.")
    if args.batch == 1:
        raise UserError("--batch 1 has no other caption to mismatch; give 2 or more.")
    if not 0 < args.fps < float("inf"):
        raise UserError(f"--fps {args.fps:g} is no frame rate; give more than 0.")
    if args.json is not None and args.json.is_dir():
        raise UserError(f"--json {args.json} is a folder; name a file.")
    names = list(dict.fromkeys(name.strip() for name in args.models.split(",")))
    if args.against not in names:
        raise UserError(f"--against {args.against} is not among --models {args.models}; name one of them.")
    return names


def compose(overrides: Sequence[str], repository: Path = REPOSITORY) -> dict:
    """The plain config that train.py would run with, asked of train.py itself: it alone knows Hydra.

    Raises:
        UserError: there is no train.py here, or it refuses the overrides.
    """
    from omegaconf import OmegaConf

    from ode_vgan.build import build

    script = repository / "train.py"
    if not script.is_file():
        raise UserError(f"{script} does not exist; bench needs the repository: clone it and run pip install -e .")
    command = [sys.executable, str(script), *overrides, "--cfg", "job"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=repository)
    if done.returncode:
        lines = [line.strip() for line in done.stderr.splitlines() if line.strip()] or ["train.py failed"]
        said = next((line for line in lines if "error:" in line or "Could not" in line), lines[-1])
        raise UserError(said.removeprefix("train.py: error: "))
    config = OmegaConf.create(done.stdout)
    config.embed_dim = build(OmegaConf.to_container(config.embed, resolve=True), trusted=("",)).dim
    return OmegaConf.to_container(config, resolve=True)


class Contender:
    """A video GAN of one config, on made-up clips: decoding and logging are not what is timed.

    Args:
        config: plain, as `compose` gives it. fps: frame rate of the made-up clips.
    """

    def __init__(self, config: dict, fps: float):
        import torch

        from ode_vgan.build import build

        self.config = config
        self.module = build(config["model"] | {"max_clips": 10**9}, trusted=("",))
        stand_alone(self.module)
        data, draw = config["data"], torch.Generator().manual_seed(0)
        clips, frames, size = data["batch"], data["frames"], data["size"]
        text = torch.randn(clips, config["embed_dim"], generator=draw)
        self.batch = {
            "frames": torch.randint(256, (clips, frames, size, size, 3), dtype=torch.uint8, generator=draw),
            "times": (torch.arange(frames) / fps).repeat(clips, 1),
            "text": torch.nn.functional.normalize(text, dim=1),
        }

    def jobs(self) -> dict[str, Callable[[], object]]:
        """What is timed."""
        return {"plain step": self.plain_step, "penalty step": self.penalty_step, "sampling": self.sample}

    def plain_step(self) -> None:
        """A training step without R1 and R2."""
        self._step(1)

    def penalty_step(self) -> None:
        """A training step with R1 and R2, one in `model.penalty_every`."""
        self._step(0)

    def _step(self, number: int) -> None:
        import torch

        self.module.clips_seen = number * len(self.batch["text"])
        half = self.config["trainer"]["precision"].startswith("bf16")
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=half):
            self.module.training_step(self.batch, number)

    def sample(self) -> object:
        """A batch of clips, uint8, from the averaged generator; times are shared, as `ode-vgan sample` asks."""
        from ode_vgan.data.clips import to_uint8
        from ode_vgan.generator import draw_latents

        generator = self.module.ema.copy
        latents = draw_latents(len(self.batch["text"]), generator.noise_dim)
        return to_uint8(generator.render(latents, self.batch["times"][0], self.batch["text"]))

    def counts(self) -> dict[str, int]:
        """Field evaluations of a path, and weights."""
        generator = self.module.generator
        return {
            "nfe": generator.temporal.nfe,
            "temporal": sum(weight.numel() for weight in generator.temporal.parameters()),
            "generator": sum(weight.numel() for weight in generator.parameters()),
        }


def stand_alone(module) -> None:
    """Let a LightningModule make steps without a trainer: its own optimisers, a plain backward, no log."""
    optimizers = module.configure_optimizers()
    module.optimizers = lambda: optimizers
    module.manual_backward = lambda loss: loss.backward()
    module.log_dict = module.log = lambda *_, **__: None


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
    from ode_vgan.report.table import Row

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
    import torch

    data = config["data"]
    return {
        "experiment": " ".join([args.experiment, *args.overrides]),
        "clips per step": data["batch"],
        "frames": data["frames"],
        "size": f"{data['size']} px",
        "fps": f"{args.fps:g}",
        "device": f"cpu, {args.threads} threads, torch {torch.__version__}",
        "precision": f"training {config['trainer']['precision']}, sampling 32-true",
        "rounds": f"{args.repeats} interleaved, median (quartiles)",
        "a training step": f"mean of {config['model']['penalty_every']}, one with penalties; no data loading",
    }
