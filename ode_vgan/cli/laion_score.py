"""ode-vgan laion embed, score and calibrate: vectors and scores of clips, and what thresholds on them mean."""

import argparse
from collections import Counter
from pathlib import Path

from ode_vgan.cli.laion_engine import add_action, add_engine, at_least, bar, count

EMBEDDERS = "matched (ours), openclip:MODEL:CHECKPOINT, or a folder of fit_matched (default matched)"
READ_ERRORS = 5  # shown


def add_embed(actions) -> None:
    """Describe `embed`."""
    parser = add_action(
        actions,
        "embed",
        run_embed,
        "vectors of clips and captions in clip-retrieval's layout",
        "ode-vgan laion embed DIR --jobs 4",
        "Typed again it goes on; a shard is embedded anew only when it, the embedder or --frames has changed.",
    )
    parser.add_argument("folder", type=Path, metavar="DIR", help="a dataset that fetch wrote")
    _add_embedder(parser)
    add_engine(parser)


def add_score(actions) -> None:
    """Describe `score`."""
    parser = add_action(
        actions,
        "score",
        run_score,
        "columns of scores beside each shard: similarity, watermark, toxicity, motion, near-duplicates, heads",
        "ode-vgan laion score DIR --jobs 4 --aesthetic sa_0_4_vit_l_14_linear.pth",
        "Embeds first where DIR/emb is absent. Typed again it goes on, and makes only what has changed.",
    )
    parser.add_argument("folder", type=Path, metavar="DIR", help="a dataset that fetch wrote")
    parser.add_argument("--no-embed", action="store_true", help="leave similarity and heads empty rather than embed")
    _add_embedder(parser)
    parser.add_argument("--watermark", metavar="FILE", help="weights of LAION's detector, or of ours (default: ours)")
    parser.add_argument("--aesthetic", metavar="FILE", help="LAION's v1 or v2 head, or a fitted folder")
    parser.add_argument("--nsfw", metavar="FILE", help="LAION's NSFW head (zip), or a fitted folder")
    parser.add_argument("--violence", metavar="FILE", help="LAION's two prompts (npy), or a fitted folder")
    parser.add_argument("--max-bits", type=at_least(0), metavar="N", help="near-duplicates: hashes so near, of 64 bits")
    parser.add_argument("--min-cosine", type=float, metavar="X", help="near-duplicates: also embeddings so near (0.94)")
    add_engine(parser)


def add_calibrate(actions) -> None:
    """Describe `calibrate`."""
    parser = add_action(
        actions,
        "calibrate",
        run_calibrate,
        "precision and recall of every score against its threshold, on labelled clips",
        "ode-vgan laion calibrate experiments/laion/calibration",
        "The clips are held-out ones of the embedded set with known marks, copies, stills and captions.",
    )
    parser.add_argument("out", type=Path, metavar="FOLDER", help="gets calibration.md, .json and .png")
    parser.add_argument("--limit", type=at_least(2), metavar="N", help="clips to start from (default: all held out)")
    parser.add_argument("--seed", type=int, default=0, help="of marks and edits (default 0)")
    parser.add_argument("--embedder", default="matched", metavar="NAME", help=f"{EMBEDDERS}; none leaves it out")
    parser.add_argument("--watermark", metavar="FILE", help="weights of another detector (default: ours)")


def _add_embedder(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--embedder", default="matched", metavar="NAME", help=EMBEDDERS)
    parser.add_argument("--frames", type=at_least(1), default=8, metavar="N", help="of a clip, evenly (default 8)")


def run_embed(args: argparse.Namespace) -> None:
    """Embed every shard that is not, and say what was done."""
    from ode_vgan.embed.matched import open_embedder
    from ode_vgan.laion.embeddings import find_shards, write_model
    from ode_vgan.laion.engine import run
    from ode_vgan.laion.stages import EmbedStage

    folder = args.folder.resolve()
    names = [tar.stem for tar in find_shards(folder)]
    embedder = Path(args.embedder)
    name = str(embedder.resolve()) if embedder.is_dir() else args.embedder
    write_model(folder, open_embedder(name), args.frames)
    stage = EmbedStage(str(folder), name, args.frames)
    outcome = run(stage, names, engine=args.engine, jobs=args.jobs, progress=bar(len(names), "shard", "embed"))
    results = outcome.results.values()
    bad = {key: why for result in results for key, why in result["bad"].items()}
    clips, kept = (sum(result[name] for result in results) for name in ("clips", "kept"))
    print(f"{count(clips, 'clip')} embedded, {count(kept, 'shard')} as before, {count(len(bad), 'clip')} unreadable")
    for key, why in list(bad.items())[:READ_ERRORS]:
        print(f"  {key}: {why}")
    print(args.folder / "emb")
    outcome.check("shards")


def run_score(args: argparse.Namespace) -> None:
    """Embed where that is wanted, score every shard, mark duplicates over all, and say what was done."""
    from ode_vgan.laion.duplicates import MAX_BITS, mark_duplicates
    from ode_vgan.laion.embeddings import find_shards
    from ode_vgan.laion.engine import run
    from ode_vgan.laion.score import ScoreCounts, ScoreOptions, check_options, drop_orphans
    from ode_vgan.laion.stages import ScoreStage

    folder = args.folder.resolve()
    names = [tar.stem for tar in find_shards(folder)]
    options = _options(args, ScoreOptions)
    check_options(options)
    if not args.no_embed and _unembedded(folder, names, args.embedder):
        run_embed(args)
    drop_orphans(folder / "scores", set(names))
    stage, done = ScoreStage(str(folder), options), bar(len(names), "shard", "score")
    outcome, counts = run(stage, names, engine=args.engine, jobs=args.jobs, progress=done), ScoreCounts()
    for result in outcome.results.values():
        counts.add(ScoreCounts(**result))
    _print_scores(counts)
    outcome.check("shards")
    bits = MAX_BITS if args.max_bits is None else args.max_bits
    found = mark_duplicates(folder, max_bits=bits, min_cosine=args.min_cosine)
    print(f"{count(found['duplicates'], 'near-duplicate')} in {count(found['groups'], 'group')}")
    print(args.folder / "scores")


def run_calibrate(args: argparse.Namespace) -> None:
    """Calibrate, and print the threshold of each score."""
    from ode_vgan.laion.calibrate import calibrate

    embedder = None if args.embedder == "none" else args.embedder
    report = calibrate(args.out, seed=args.seed, limit=args.limit, embedder=embedder, watermark=args.watermark)
    for name, task in report["tasks"].items():
        best = task["recommended"]
        print(
            f"{name:<14} {task['passes']} {best['threshold']:.4g}: precision {best['precision']['value']:.3f}, "
            f"recall {best['recall']['value']:.3f} ({task['question']})"
        )
    for name, reason in report["missing"].items():
        print(f"{name:<14} not measured: {reason}")
    print(args.out / "calibration.md")


def _unembedded(folder: Path, names: list[str], embedder: str) -> bool:
    """Whether a shard has no part, in a folder that is empty or this embedder's: another's is left as it is."""
    from ode_vgan.embed.matched import open_embedder
    from ode_vgan.laion.parts import read_model

    parts = folder / "emb" / "metadata"
    if all((parts / f"metadata_{int(name):04d}.parquet").is_file() for name in names):
        return False
    made_by = read_model(folder / "emb" / "model.json").get("fingerprint")
    if made_by in (None, open_embedder(embedder).fingerprint):
        return made_by is not None or not parts.is_dir()
    print(f"some shards are not embedded, and {folder.name}/emb is of {made_by}: embed with that --embedder first")
    return False


def _options(args: argparse.Namespace, make: type):
    files = {name: getattr(args, name) for name in ("watermark", "aesthetic", "nsfw", "violence")}
    return make(frames=args.frames, **{name: file and str(Path(file).resolve()) for name, file in files.items()})


def _print_scores(counts) -> None:
    print(f"{count(counts.clips, 'clip')} scored in {count(counts.shards, 'shard')}, {counts.kept} as before")
    for error, number in sorted(counts.errors.items()):
        print(f"  {count(number, 'clip')} without scores: {error}")
    reasons = Counter(counts.missing.values())
    for reason in reasons:
        columns = [name for name, why in counts.missing.items() if why == reason]
        print(f"  empty: {', '.join(sorted(columns))} ({reason})")
