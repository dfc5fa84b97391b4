"""ode-vgan continuous RUN: other frame rates, later windows, shifted starts, coarser solvers and other paths."""

import argparse
import json
import sys
from collections.abc import Callable, Iterable, Sequence
from importlib import import_module
from pathlib import Path

from ode_vgan.cli.device import device
from ode_vgan.cli.laion_engine import Plain
from ode_vgan.errors import UserError

QUESTIONS = {  # name -> where its function is; imported only when asked
    "rates": "ode_vgan.metrics.rates",
    "decimation": "ode_vgan.metrics.rates",
    "horizon": "ode_vgan.metrics.rates",
    "shift": "ode_vgan.metrics.rates",
    "solver": "ode_vgan.metrics.solver",
    "reversal": "ode_vgan.metrics.solver",
    "paths": "ode_vgan.metrics.continuous",
}
TITLES = {
    "rates": "Rates: against real frames at other frame rates",
    "decimation": "Decimation: more frames in between, then dropped",
    "horizon": "Horizon: windows of one long rendering",
    "shift": "Shift: windows that start between the trained frames",
    "solver": "Solver: steps and tolerances",
    "reversal": "Reversal: forward and back to z0",
    "paths": "Paths: diversity among clips of one caption",
}


def _told(title: str) -> str:
    return title.partition(": ")[2]


def add_parser(subparsers) -> None:
    """Describe the verb's arguments."""
    parser = subparsers.add_parser(
        "continuous",
        help="measure what a trained run does at times it was not trained on",
        description="One table a question. Distances are Frechet distances with 90 % intervals, lower is better; "
        "the floor is what as many other real clips score. Pixel differences are in grey levels of 255.",
        epilog="questions:\n"
        + "\n".join(f"  {name:<11} {_told(title)}" for name, title in TITLES.items())
        + "\n\nexample:\n  ode-vgan continuous runs/quickstart/ode-seed0 --clips 64 --only rates,decimation",
        formatter_class=Plain,
    )
    parser.add_argument("run", metavar="RUN", help="run folder or checkpoint file")
    parser.add_argument("--only", help=f"questions, with commas between (default all: {','.join(QUESTIONS)})")
    parser.add_argument("--clips", type=int, default=256, help="clips on each side (default 256)")
    parser.add_argument("--extractor", default="hog3d", help="features of the distances (default hog3d)")
    parser.add_argument("--split", choices=("train", "test"), default="train", help="whose captions and clips")
    parser.add_argument("--rates", default="0.5,1,2,4", help="multiples of the trained frame rate (default 0.5,1,2,4)")
    parser.add_argument("--seed", type=int, default=0, help="of windows and latents (default 0)")
    parser.add_argument(
        "--json",
        type=Path,
        metavar="FILE",
        help="where to write (default RUN/continuous.json); answers to other questions stay",
    )
    parser.add_argument("--device", type=device, default="cpu", help="cpu or cuda (default cpu)")


def run(args: argparse.Namespace) -> int:
    """Ask the questions in turn, print a table each, write the JSON file."""
    from ode_vgan.build import build
    from ode_vgan.cli.sample import run_folder
    from ode_vgan.metrics.continuous import Subject
    from ode_vgan.metrics.features import find_extractor
    from ode_vgan.runs import load, write_json

    names, rates = parse_questions(args.only), parse_rates(args.rates)
    if args.json is not None and args.json.is_dir():
        raise UserError(f"--json {args.json} is a folder; name a file.")
    extractor = find_extractor(args.extractor).to(args.device)
    trained = load(args.run, device=args.device)
    data = build(trained.config["data"], embed=trained.embed)
    subject = Subject(
        trained, data, extractor, clips=args.clips, split=args.split, seed=args.seed, watch=progress(names)
    )
    model = {"run": str(args.run), "temporal": subject.model, "clips_seen": trained.clips_seen}
    target = args.json or run_folder(trained.checkpoint) / "continuous.json"
    print(f"{args.run}, {subject.model}, {trained.clips_seen:,} clips seen. Not FVD; lower is better.")
    answers = []
    for name in names:
        question = getattr(import_module(QUESTIONS[name]), name)
        found = question(subject, rates) if name == "rates" else question(subject)
        answers += [answer.to_json() for answer in found]
        print(f"\n## {TITLES[name]}\n\n{table(found)}", end="", flush=True)
    answers = sorted(
        other_answers(target, model, names) + answers, key=lambda one: list(QUESTIONS).index(one["question"])
    )
    write_json(target, model | {"answers": answers})
    print(f"\n{target}")
    return 0


def other_answers(path: Path, model: dict, names: Sequence[str]) -> list[dict]:
    """Answers to other questions that the file already has, of the same checkpoint; each states its own protocol."""
    try:
        content = json.loads(path.read_text())
        same = all(content[key] == model[key] for key in ("temporal", "clips_seen"))
        return [answer for answer in content["answers"] if same and answer["question"] not in names]
    except (FileNotFoundError, ValueError, KeyError, TypeError):
        return []


def parse_questions(text: str | None) -> list[str]:
    """Names of questions, in the order of QUESTIONS.

    Raises:
        UserError: there is none of that name.
    """
    asked = list(QUESTIONS) if text is None else [name.strip() for name in text.split(",") if name.strip()]
    unknown = [name for name in asked if name not in QUESTIONS]
    if unknown or not asked:
        raise UserError(f"--only {text!r} names no question {unknown}; there are {', '.join(QUESTIONS)}.")
    return [name for name in QUESTIONS if name in asked]


def parse_rates(text: str) -> list[float]:
    """Multiples of the trained frame rate from `0.5,1,2`.

    Raises:
        UserError: not numbers above 0.
    """
    try:
        rates = [float(part) for part in text.split(",") if part.strip()]
    except ValueError as error:
        raise UserError(f"--rates {text!r}: {error}; give multiples such as 0.5,1,2.") from None
    if not rates or not all(0 < rate < float("inf") for rate in rates):
        raise UserError(f"--rates {text!r} must be numbers above 0; give multiples such as 0.5,1,2.")
    return list(dict.fromkeys(rates))


def progress(names: Sequence[str]) -> Callable[[Sequence, str], Iterable]:
    """Bars with the time left, on stderr so that the tables can be piped."""
    from tqdm import tqdm

    def watch(settings: Sequence, question: str) -> Iterable:
        return tqdm(settings, desc=f"{names.index(question) + 1}/{len(names)} {question}", file=sys.stderr)

    return watch


def table(answers: Sequence) -> str:
    """Markdown of one question's answers: numbers with their intervals, each under its protocol."""
    from ode_vgan.report.table import Row, results_table

    return results_table([Row(cells(answer, answers), answer.protocol) for answer in answers])


def cells(answer, answers: Sequence) -> dict[str, str]:
    """One row: what was asked, each number of any answer, and a note where there is one."""
    fullest_first = sorted(answers, key=lambda other: -len(other.numbers))
    columns = dict.fromkeys(name for other in fullest_first for name in other.numbers)
    shown = dict(answer.asked)
    for name in columns:
        if not name.endswith(("_low", "_high")):
            shown[name.replace("_", " ")] = number(answer.numbers, name)
    return shown | ({"note": answer.note} if any(other.note for other in answers) else {})


def number(numbers: dict[str, float], name: str) -> str:
    """A number to four digits, with its interval where it has one; "" where it was not measured."""
    if name not in numbers:
        return ""
    shown = f"{numbers[name]:.4g}"
    if f"{name}_low" in numbers:
        shown += f" ({numbers[f'{name}_low']:.4g} to {numbers[f'{name}_high']:.4g})"
    return shown
