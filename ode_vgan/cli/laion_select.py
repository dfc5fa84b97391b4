"""ode-vgan laion select and subset: rows of metadata to fetch, and clips to train on, by rules."""

import argparse
from pathlib import Path

from ode_vgan.cli.laion_engine import add_action, at_least, count, named_values
from ode_vgan.errors import UserError


def add_select(actions) -> None:
    """Describe `select`."""
    parser = add_action(
        actions,
        "select",
        run_select,
        "rows of LAION's parquet that are clips or may become clips",
        "ode-vgan laion select laion/*.parquet --out clips.parquet --join punsafe=tags/ --set similarity=0.3",
        "Rules are data (ode_vgan/laion/rules.yaml holds LAION's own); OUT_funnel.md says what each removed.",
    )
    parser.add_argument("paths", nargs="+", metavar="PARQUET", help="files, folders of them, globs")
    parser.add_argument("--out", required=True, type=Path, metavar="FILE", help="a .parquet; a folder with --part-rows")
    parser.add_argument("--rules", type=Path, metavar="YAML", help="rules of your own instead of LAION's")
    parser.add_argument(
        "--set", action="append", default=[], metavar="RULE=VALUE", help="another threshold; null turns the rule off"
    )
    parser.add_argument(
        "--join", action="append", default=[], metavar="TAG=PATH", help="tags by LAION's hash, such as punsafe=tags/"
    )
    _add_columns(parser)
    parser.add_argument("--keep-duplicates", action="store_true", help="keep repeated rows of one url and text")
    parser.add_argument("--part-rows", type=at_least(1), metavar="N", help="write parts of so many rows into a folder")
    _add_memory(parser)


def add_subset(actions) -> None:
    """Describe `subset`."""
    parser = add_action(
        actions,
        "subset",
        run_subset,
        "a manifest of clips to train on, by SQL over their columns",
        "ode-vgan laion subset DIR moving --where 'motion > {threshold.motion} AND dup_of IS NULL'"
        " --threshold motion=20",
        "No two clips of one source, and no near-duplicates, are on both sides of the split.",
    )
    parser.add_argument("folder", type=Path, metavar="DIR", help="a dataset that fetch wrote, scored or not")
    parser.add_argument("name", metavar="NAME", help="of the manifest: DIR/subsets/NAME.json")
    parser.add_argument("--where", metavar="SQL", help="an expression over columns of shards and scores (default: all)")
    parser.add_argument(
        "--threshold", action="append", default=[], metavar="NAME=VALUE", help="what {threshold.NAME} stands for"
    )
    parser.add_argument("--uids", type=Path, metavar="FILE", help="only these clips: 32 hex digits a line")
    parser.add_argument("--test-share", type=float, default=0.1, help="of the sources, to test on (default 0.1)")
    parser.add_argument("--seed", type=int, default=0, help="another one tests on other sources (default 0)")
    parser.add_argument(
        "--apart-from", action="append", default=[], metavar="PATH", help="manifest or dataset whose clips are left out"
    )
    parser.add_argument(
        "--max-bits", type=at_least(0), metavar="N", help="with --apart-from: also clips whose hash is so near, of 64"
    )
    _add_memory(parser)


def _add_columns(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--url", metavar="COLUMN", help="the url column, where it has no name of LAION's")
    parser.add_argument("--text", metavar="COLUMN", help="the caption column, likewise")


def _add_memory(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--memory", default="2GB", help="what DuckDB's buffers take at most (default 2GB)")
    parser.add_argument("--threads", type=at_least(1), metavar="N", help="of DuckDB (default: one a core)")


def run_select(args: argparse.Namespace) -> None:
    """Select, and print the funnel."""
    from ode_vgan.laion.rules import DEFAULT_RULES, read_rules, set_thresholds
    from ode_vgan.laion.select import select

    rules = read_rules(args.rules) if args.rules else DEFAULT_RULES
    rules = set_thresholds(rules, named_values(args.set, "--set"))
    joins = {name: str(path) for name, path in named_values(args.join, "--join").items()}
    funnel = select(
        args.paths, args.out, rules, joins, url=args.url, text=args.text, unique=not args.keep_duplicates,
        memory=args.memory, threads=args.threads, part_rows=args.part_rows,
    )  # fmt: skip
    print(f"{count(funnel.rows, 'row')} in {count(funnel.files, 'file')}")
    for step in funnel.steps:
        print(f"  {step.name:<12} {-step.removed:>13,}  leaves {step.left:,}")
    for name, reason in funnel.skipped.items():
        print(f"  {name:<12} not used: {reason}")
    for tag in funnel.joined:
        print(f"  joined {tag.name}: met by {count(tag.met, 'row')} of {tag.rows:,} tags")
    print(f"{count(funnel.kept, 'row')} selected")
    print(args.out)


def run_subset(args: argparse.Namespace) -> None:
    """Write the manifest, and say how to train on it."""
    from ode_vgan.laion.subset import write_subset

    made = write_subset(
        args.folder, args.name, _read_uids(args.uids), sql=args.where,
        thresholds=named_values(args.threshold, "--threshold"), test_share=args.test_share, seed=args.seed,
        apart_from=args.apart_from, max_bits=args.max_bits, memory=args.memory, threads=args.threads,
    )  # fmt: skip
    print(f"{count(made['count'], 'clip')}: {made['train']:,} to train on, {made['test']:,} to test on")
    for other in made["removed"]:
        reasons = ", ".join(f"{other[name]} by {name}" for name in other if name not in ("apart_from", "sha256"))
        print(f"left out for {other['apart_from']}: {reasons}")
    print(made["path"])
    print(f"python train.py +experiment=laion data.source={args.folder / 'shards'} data.subset={args.name}")


def _read_uids(path: Path | None) -> list[str] | None:
    if path is None:
        return None
    if not path.is_file():
        raise UserError(f"no file of ids at {path}. Write one id of 32 hex digits a line.")
    return path.read_text(encoding="utf-8", errors="replace").split()
