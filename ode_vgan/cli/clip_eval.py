"""ode-vgan clip eval: an embedder judged on clips whose concepts it never saw."""

import argparse
import shlex
from pathlib import Path
from typing import TYPE_CHECKING

from ode_vgan.cli.device import device
from ode_vgan.cli.laion_engine import Plain, at_least
from ode_vgan.errors import UserError

if TYPE_CHECKING:
    from ode_vgan.embed.captioned import Sides
    from ode_vgan.embed.evaluate import Judged, Plan

SUBJECTS = "clip_tiny, matched, openclip:MODEL:CHECKPOINT, a run folder or an exported folder"
CLASSES = {
    "emoji": ("group",),
    "drawn": ("colour", "shape", "motion", "ground"),
}  # what the clips of a source are classed by, where nothing is said
DEFAULT_TASKS = ("retrieval", "zeroshot", "probe", "direction")
UNTOLD = ("clip_run", "defaults", "verb", "action", "json", "markdown")  # of the arguments, in a file of results
EXAMPLE = """example:
  ode-vgan clip eval clip_tiny matched --data emoji
  ode-vgan clip eval runs/clip_tiny/*-seed[0-2] matched --tasks retrieval,finetune --json evaluation.json"""


def add_eval(actions) -> None:
    """Describe `eval`."""
    parser = actions.add_parser(
        "eval",
        help="retrieval, zero-shot, linear probe, direction and fine-tuning on held-out concepts",
        description="Each number with what chance gives and a 90 % interval over concepts; runs that differ in their "
        "seed only are one family, and later families are compared with the first on the same clips.",
        epilog=EXAMPLE,
        formatter_class=Plain,
    )
    parser.set_defaults(clip_run=run_eval, defaults=parser.get_default)
    parser.add_argument("subjects", metavar="SUBJECT", nargs="+", help=SUBJECTS)
    parser.add_argument("--data", default="emoji", metavar="SOURCE", help="emoji, drawn, shapes or a folder (emoji)")
    parser.add_argument("--split", default="test", help="test, or val to develop on (default test)")
    parser.add_argument("--tasks", metavar="TASK,...", help=f"default {','.join(DEFAULT_TASKS)}; also finetune")
    parser.add_argument("--classes", metavar="FIELD,...", help="meta fields to class clips by (emoji: group)")
    parser.add_argument("--least", type=at_least(1), default=20, help="training clips of a class (default 20)")
    parser.add_argument("--frames", type=at_least(1), default=8, metavar="T", help="of a clip, evenly (default 8)")
    parser.add_argument("--size", type=at_least(1), metavar="PX", help="bring clips to a square of this side")
    parser.add_argument("--limit", type=at_least(1), metavar="N", help="clips of each side, at most")
    parser.add_argument("--val-share", type=float, default=0.1, help="of the training concepts, to choose on (0.1)")
    parser.add_argument("--seeds", type=at_least(1), default=3, metavar="N", help="of fine-tuning (default 3)")
    parser.add_argument("--epochs", type=at_least(1), default=4, help="of fine-tuning, at most (default 4)")
    parser.add_argument("--shown", type=at_least(1), default=4, metavar="T", help="frames a step of fine-tuning (4)")
    parser.add_argument("--seed", type=int, default=0, help="of the bootstrap (default 0)")
    parser.add_argument("--draws", type=at_least(100), default=2000, metavar="N", help="of the bootstrap (2000)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="all numbers with their whole protocol")
    parser.add_argument("--markdown", type=Path, metavar="FILE", help="the tables, with the command and the commit")
    parser.add_argument("--device", type=device, default="cpu", help="cpu or cuda (default cpu)")


def run_eval(args: argparse.Namespace) -> None:
    """Judge every subject on the same clips, print the tables, write the files."""
    from tqdm import tqdm

    from ode_vgan.embed.evaluate import LEARNED, judge, protocol
    from ode_vgan.embed.standings import gaps, standings
    from ode_vgan.embed.subject import open_subject
    from ode_vgan.report.clip_tables import report
    from ode_vgan.runs import write_json

    for path in filter(None, (args.json, args.markdown)):
        if path.is_dir():
            raise UserError(f"{path} is a folder; name a file.")
    plan = plan_of(args)
    subjects = [open_subject(name, device=args.device) for name in unlike(args.subjects)]
    told = {"disable": None, "leave": False}
    sides = sides_of(args, training=bool(set(LEARNED) & set(plan.tasks)))
    said = protocol(args.data, args.split, sides, plan)
    judged = [
        judge(
            subject, sides, plan, lambda parts, name=subject.name: tqdm(parts, desc=name, **(told | {"unit": "batch"}))
        )
        for subject in subjects
    ]
    for one in judged:
        remember(one, said, plan)
    found = standings(judged, plan), gaps(judged, plan)
    text = report(said, *found, subjects)
    print(text)
    if args.json is not None:
        facts = {one.subject.name: one.facts | {"family": one.subject.family} for one in judged}
        results, differences = ([one.to_json() for one in some] for some in found)
        content = {"command": command_of(args), "protocol": said, "subjects": facts}
        write_json(args.json, content | {"results": results, "differences": differences})
        print(args.json)
    if args.markdown is not None:
        write_markdown(args, text)
        print(args.markdown)


def sides_of(args: argparse.Namespace, training: bool) -> "Sides":
    """The clips that the command line names."""
    from tqdm import tqdm

    from ode_vgan.embed.captioned import read_sides

    return read_sides(
        args.data, args.split, frames=args.frames, size=args.size, val_share=args.val_share, limit=args.limit,
        training=training, bar=lambda clips: tqdm(clips, desc="read", disable=None, leave=False),
    )  # fmt: skip


def unlike(names: list[str]) -> list[str]:
    """Each subject once, without the slash that a shell leaves."""
    return list(dict.fromkeys(name.rstrip("/") or name for name in names))


def remember(one: "Judged", said: dict, plan: "Plan") -> None:
    """Leave a run's numbers in its own folder, where the ledger finds them; other subjects have none."""
    from ode_vgan.embed.standings import ledger_scores
    from ode_vgan.runs import write_json

    folder = Path(one.subject.name)
    if (folder / "config.yaml").is_file():
        source = Path(said["data"]).name
        scores = ledger_scores(one, said["split"], plan)
        content = {"protocol": said, "facts": one.facts, "scores": scores}
        write_json(folder / "evaluations" / f"{source}-{said['split']}.json", content)


def plan_of(args: argparse.Namespace) -> "Plan":
    """What the command line asks for; the probe is left out of the default tasks where nothing makes classes."""
    from ode_vgan.embed.evaluate import Plan
    from ode_vgan.embed.finetune import Tuning

    asked = args.tasks is not None
    tasks = tuple(dict.fromkeys(task.strip() for task in args.tasks.split(","))) if asked else DEFAULT_TASKS
    classes = tuple(args.classes.split(",")) if args.classes else CLASSES.get(args.data, ())
    if not set(tasks) & {"zeroshot", "probe", "finetune"}:
        classes = ()
    if not classes:
        needy = [task for task in ("probe", "finetune") if task in tasks]
        if asked and needy:
            raise UserError(
                f"{' and '.join(needy)} of {args.data} need classes; give --classes FIELD of the clips' meta."
            )
        tasks = tuple(task for task in tasks if task not in needy)
    tuning = Tuning(epochs=args.epochs, frames=args.shown)
    return Plan(tasks, classes, least=args.least, seed=args.seed, seeds=args.seeds, draws=args.draws, tuning=tuning)


def command_of(args: argparse.Namespace) -> dict:
    """The command's arguments and the code that ran them."""
    from ode_vgan.provenance import started

    known = started([])
    given = {name: str(value) if isinstance(value, Path) else value for name, value in vars(args).items()}
    kept = {name: value for name, value in given.items() if name not in UNTOLD}
    return {"arguments": kept} | {name: known[name] for name in ("commit", "dirty", "python", "torch", "machine")}


def retyped(args: argparse.Namespace) -> str:
    """The command: subjects, and options that are not at their defaults."""
    words = ["ode-vgan", "clip", "eval", *args.subjects]
    for name, value in vars(args).items():
        if name not in (*UNTOLD, "subjects") and value != args.defaults(name):
            words += [f"--{name.replace('_', '-')}", str(value)]
    return shlex.join(words)


def write_markdown(args: argparse.Namespace, text: str) -> None:
    """The tables under the command and the commit."""
    from ode_vgan.data.clips import write_atomic
    from ode_vgan.provenance import started

    known = started([])
    commit = f"{(known['commit'] or 'unknown')[:7]}{' and changes' if known['dirty'] else ''}"
    write_atomic(args.markdown, f"`{retyped(args)}` at commit {commit}.\n\n{text}".encode())
