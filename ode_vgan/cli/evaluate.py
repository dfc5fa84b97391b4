"""ode-vgan evaluate RUN_OR_FOLDER: judge clips against real ones, with intervals and what other real clips score."""

import argparse
from pathlib import Path

from ode_vgan.cli.device import device
from ode_vgan.cli.laion_engine import Plain
from ode_vgan.errors import UserError

LABELS = {"frozen": "real, held on one frame", "shuffled": "real, frames shuffled"}
QUICK = ("fd{}_hog3d", "fd{}_colour")
CLIP_KEYS = (
    "source", "split", "clips_real", "videos_real", "windows_sharing_videos", "clips_fake", "frames", "stride", "loop",
    "gap_seconds", "size_px", "resize", "quantised", "real_order", "seed", "repeats",
)  # fmt: skip


def add_parser(subparsers) -> None:
    """Describe the verb's arguments."""
    from ode_vgan.metrics.protocol import METRICS

    parser = subparsers.add_parser(
        "evaluate",
        formatter_class=Plain,
        epilog="metrics, as in METRIC N _ T f, such as fvd2048_16f:\n"
        + "\n".join(f"  {name:<9} {metric.says}" for name, metric in METRICS.items())
        + "\n\nexamples:\n  ode-vgan evaluate runs/quickstart/ode-seed0 --clips 128\n"
        "  ode-vgan evaluate my_samples --real my_clips --size 64 --protocol fvd2048_16f,kvd2048_16f",
        help="score trained runs or folders of videos against real clips",
        description="Distances and shares under named protocols (ode_vgan/metrics/README.md lists them), each plain, "
        "debiased, with a 90 % interval, and beside what other real clips score. Two or more runs or folders are also "
        "compared in pairs.",
    )
    parser.add_argument("subjects", metavar="RUN_OR_FOLDER", nargs="+", help="run folder, checkpoint, folder of videos")
    parser.add_argument("--real", metavar="DATA", help="emoji, shapes, or a folder of clips (default: the run's own)")
    parser.add_argument(
        "--protocol", metavar="KEY,...", help="such as fvd2048_16f,kvd2048_16f (default: hog3d, colour)"
    )
    parser.add_argument("--clips", type=int, default=512, help="clips a side of the default protocol (default 512)")
    parser.add_argument("--split", choices=("train", "test", "all"), default="train", help="of the real clips")
    parser.add_argument("--stride", type=int, default=1, help="source frames between frames, for folders (default 1)")
    parser.add_argument("--size", type=int, metavar="PX", help="bring clips of folders to a square of this side")
    parser.add_argument("--repeats", type=int, default=1, help="independent draws; the spread is over them (default 1)")
    parser.add_argument("--seed", type=int, default=0, help="of the draws (default 0)")
    parser.add_argument("--controls", action="store_true", help="also real clips held on one frame, and shuffled")
    parser.add_argument("--untrained", action="store_true", help="also the first run's generator before training")
    parser.add_argument("--weights", metavar="EXTRACTOR=FILE", action="append", default=[], help="weights by path")
    parser.add_argument("--json", type=Path, metavar="FILE", help="where to write (default evaluation.json in RUN)")
    parser.add_argument("--no-cache", action="store_true", help="keep no features of real clips")
    parser.add_argument("--device", type=device, default="cpu", help="cpu or cuda (default cpu)")


def run(args: argparse.Namespace) -> int:
    """Evaluate, print the tables, write the JSON file."""
    from tqdm import tqdm

    from ode_vgan.metrics.clipsets import is_run
    from ode_vgan.metrics.collect import default_cache
    from ode_vgan.metrics.evaluate import evaluate, work
    from ode_vgan.metrics.protocol import parse_protocols
    from ode_vgan.runs import load, write_json

    if args.json is not None and args.json.is_dir():
        raise UserError(f"--json {args.json} is a folder; name a file.")
    protocols = parse_protocols(args.protocol or ",".join(key.format(args.clips) for key in QUICK))
    extractors = find_extractors([one.extractor for one in protocols], args.weights, args.device)
    runs = {path: load(path, device=args.device) for path in args.subjects if is_run(path)}
    source = run_source(runs, args) if runs else folder_source(args)
    subjects = {path: maker(path, runs.get(path), source) for path in args.subjects}
    if args.untrained:
        subjects |= untrained_maker(runs, args.seed)
    controls = tuple(LABELS) if args.controls else ()
    with tqdm(total=work(len(subjects), protocols, args.repeats, len(controls)), unit="clip", disable=None) as bar:
        found = evaluate(
            source, subjects, protocols, extractors, seed=args.seed, repeats=args.repeats, controls=controls,
            cache=None if args.no_cache else default_cache(), advance=bar.update,
        )  # fmt: skip
    target = args.json or default_json(args.subjects[0], runs)
    seen = {path: trained.clips_seen for path, trained in runs.items()}
    write_json(target, {"subjects": list(subjects), "clips_seen": seen} | found.to_json())
    print(report(found, seen))
    print(target)
    return 0


def run_source(runs: dict, args: argparse.Namespace):
    """Real clips as the first run was given them, with captions embedded; all runs must have been given the same."""
    from ode_vgan.build import build
    from ode_vgan.metrics.clipsets import Source

    if args.size is not None or args.stride != 1:
        raise UserError("--size and --stride are for folders of videos; a run has its own. Leave them out.")
    if args.split == "all":
        raise UserError("--split all is for folders of videos; choose train or test for a run.")
    (first, trained), *others = runs.items()
    for path, other in others:
        for key in ("size", "frames", "sampling"):
            if other.config["data"].get(key) != trained.config["data"].get(key):
                raise UserError(f"{first} and {path} differ in data.{key}; evaluate them one at a time.")
    config = trained.config["data"] | ({"source": args.real} if args.real else {})
    data = build(config, embed=trained.embed)
    return Source(data.windows(args.split), data.source, args.split)


def folder_source(args: argparse.Namespace):
    """Real clips for folders of videos."""
    from ode_vgan.data.windows import Sampling
    from ode_vgan.metrics.clipsets import open_real

    if args.real is None:
        missing = [path for path in args.subjects if not Path(path).exists()]
        if missing:
            raise UserError(f"{missing[0]} does not exist; name a run folder or a folder of videos.")
        raise UserError("--real is missing: name the real clips that the folder is judged by, such as --real emoji.")
    sampling = Sampling(strides=(args.stride,), loop=args.real == "emoji")
    return open_real(args.real, frames=16, sampling=sampling, size=args.size, split=args.split)


def maker(path: str, trained, source):
    """How the clips of one subject are got."""
    from ode_vgan.data.shards import read_index
    from ode_vgan.metrics.clipsets import FolderSet, RunSet

    if trained is not None:
        return lambda protocol, other, seed: RunSet(trained, other, seed=seed)
    if not Path(path).is_dir():
        raise UserError(f"{path} does not exist; name a run folder or a folder of videos.")
    entries, size = read_index(path), source.windows.store.size
    return lambda protocol, other, seed: FolderSet(
        entries, protocol.clips, frames=other.frames, every=protocol.every, size=size, folder=path
    )


def untrained_maker(runs: dict, seed: int) -> dict:
    """The first run's generator before its first step, as a subject."""
    from ode_vgan.metrics.clipsets import RunSet
    from ode_vgan.runs import untrained

    if not runs:
        raise UserError("--untrained needs a run; leave it out for folders of videos.")
    fresh = untrained(next(iter(runs.values())), seed)
    return {"before training": lambda protocol, other, seed: RunSet(fresh, other, seed=seed)}


def find_extractors(names: list[str], weights: list[str], device: str) -> dict:
    """Extractors by name, with weights where `EXTRACTOR=FILE` says."""
    from ode_vgan.metrics.features import find_extractor

    paths = {}
    for given in weights:
        name, _, path = given.partition("=")
        if not path:
            raise UserError(f"--weights {given} is not EXTRACTOR=FILE, such as i3d=i3d_torchscript.pt.")
        paths[name] = path
    unused = paths.keys() - set(names) - {name.partition(":")[0] for name in names}
    if unused:
        raise UserError(
            f"--weights names {', '.join(sorted(unused))}, but the protocols use {', '.join(sorted(set(names)))}."
        )
    return {
        name: find_extractor(name, paths.get(name, paths.get(name.partition(":")[0]))).to(device) for name in set(names)
    }


def default_json(subject: str, runs: dict) -> Path:
    """evaluation.json in the run folder, or in the current folder for videos."""
    from ode_vgan.cli.sample import run_folder

    return (run_folder(runs[subject].checkpoint) if subject in runs else Path()) / "evaluation.json"


def report(found, seen: dict[str, int]) -> str:
    """Tables of the results and of the differences, and who was left out."""
    from ode_vgan.data.store import describe
    from ode_vgan.report.table import results_table

    parts = [
        f"Only fvd is FVD; lower is better unless a row says higher.\n\n{results_table(rows(found.results, seen))}"
    ]
    if found.differences:
        parts.append(
            "Differences, A minus B, on the real clips of the first draw; runs had the same captions and latents:\n\n"
            + differences(found)
        )
    parts += [f"{name}: {describe(reasons)}\n" for name, reasons in found.skipped.items()]
    return "\n".join(parts)


def rows(results: list, seen: dict[str, int]) -> list:
    """Table rows; results on the same clips share a table, whose line names every extractor in it."""
    from ode_vgan.report.table import Row, plus_minus

    shared: dict[tuple, dict] = {}
    for one in results:
        key = tuple(one.protocol[name] for name in CLIP_KEYS)
        rest = {name: value for name, value in one.protocol.items() if name not in CLIP_KEYS}
        line = "; ".join(f"{name} {value}" for name, value in rest.items() if name != "extractor")
        clips = shared.setdefault(key, {name: one.protocol[name] for name in CLIP_KEYS})
        clips[f"{one.name.partition('/')[0]}"] = f"{rest['extractor']} ({line})"
    table = []
    for one in results:
        trained = f", {seen[one.subject]:,} clips seen" if one.subject in seen else ""
        cells = {
            "metric": one.name,
            "clips": LABELS.get(one.subject, one.subject) + trained,
            "value": plus_minus(one.value, one.sd),
            "debiased": "-" if one.debiased is None else plus_minus(one.debiased, None),
            "90 % interval": f"{plus_minus(one.low, None)} to {plus_minus(one.high, None)}",
            "real vs real": plus_minus(one.real, one.real_sd),
            "better": one.better,
        }
        table.append(Row(cells, shared[tuple(one.protocol[name] for name in CLIP_KEYS)]))
    return table


def differences(found) -> str:
    """Markdown of the paired differences."""
    from ode_vgan.report.table import Row, plus_minus, results_table

    lines = []
    for one in found.differences:
        interval = f"{plus_minus(one['low'], None)} to {plus_minus(one['high'], None)}"
        verdict = "apart" if one["significant"] else "not told apart"
        cells = {"metric": one["name"], "A": one["a"], "B": one["b"], "A - B": plus_minus(one["value"], None)}
        lines.append(Row(cells | {"90 % interval": interval, "at 90 %": verdict}))
    return results_table(lines)
