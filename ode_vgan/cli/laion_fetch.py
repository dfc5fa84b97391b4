"""ode-vgan laion fetch: a table of urls to shards of clips."""

import argparse
import json
from collections import Counter
from dataclasses import replace
from pathlib import Path

from ode_vgan.cli.laion_engine import add_action, add_engine, at_least, bar, count

REASONS = 12  # shown


def add_fetch(actions) -> None:
    """Describe `fetch`."""
    parser = add_action(
        actions,
        "fetch",
        run_fetch,
        "fetch a table of urls into shards of clips",
        "ode-vgan laion fetch clips.parquet DIR --cuts content --clip-max-seconds 8",
        "Polite by default: two requests at once to a host, robots.txt and X-Robots-Tag honoured. Private and loopback "
        "addresses are refused. Every failure is a row of the shard's parquet. Typed again it goes on.",
    )
    parser.add_argument("table", type=Path, metavar="TABLE", help="parquet, csv, tsv, json or jsonl with urls")
    parser.add_argument("folder", type=Path, metavar="DIR", help="the dataset; shards go to DIR/shards")
    parser.add_argument("--url", metavar="COLUMN", help="the url column, where it has no name of LAION's")
    parser.add_argument("--text", metavar="COLUMN", help="the caption column, likewise")
    parser.add_argument("--per-shard", type=at_least(1), default=1000, metavar="N", help="rows a shard (default 1000)")
    _add_manners(parser.add_argument_group("manners"))
    _add_clips(parser.add_argument_group("clips"))
    add_engine(parser)


def _add_manners(group) -> None:
    group.add_argument("--per-host", type=at_least(1), default=2, metavar="N", help="requests at once to a host (2)")
    group.add_argument("--pause", type=float, default=0.0, metavar="S", help="between two starts at a host (0)")
    group.add_argument("--threads", type=at_least(1), default=16, metavar="N", help="sources under way at once (16)")
    group.add_argument("--user-agent", metavar="TEXT", help="who we say we are")
    group.add_argument("--no-robots", action="store_true", help="do not ask for robots.txt")
    group.add_argument("--ignore-x-robots", action="store_true", help="take files whose X-Robots-Tag says noai")
    group.add_argument("--allow", action="append", default=[], metavar="ADDRESS:PORT", help="a private place after all")
    group.add_argument("--allow-private", action="store_true", help="every private and loopback address")
    group.add_argument("--allow-file", action="store_true", help="file: urls, of this machine")
    group.add_argument("--no-verify-hash", action="store_true", help="do not check the table's md5 or sha256")
    group.add_argument("--connect-seconds", type=float, default=10, metavar="S", help="to connect (10)")
    group.add_argument("--read-seconds", type=float, default=15, metavar="S", help="without a byte (15)")
    group.add_argument("--total-seconds", type=float, default=60, metavar="S", help="of one attempt (60)")
    group.add_argument("--retries", type=at_least(0), default=2, metavar="N", help="after 429, 5xx, a reset (2)")
    group.add_argument("--backoff", type=float, default=1, metavar="S", help="before the first retry; doubles (1)")
    group.add_argument("--max-wait", type=float, default=30, metavar="S", help="before a retry, at most (30)")
    group.add_argument("--max-redirects", type=at_least(0), default=5, metavar="N", help="followed (5)")
    group.add_argument("--max-mb", type=float, default=64, metavar="MB", help="of a source (64)")


def _add_clips(group) -> None:
    group.add_argument("--size", type=at_least(1), default=256, metavar="PX", help="side of a clip (256)")
    group.add_argument("--resize", choices=("square", "shortest", "keep"), default="square", help="(square)")
    group.add_argument("--crf", type=float, default=18.0, help="quality of libx264, lower is better (18)")
    group.add_argument("--pix-fmt", choices=("yuv420p", "yuv444p"), default="yuv420p", help="(yuv420p)")
    group.add_argument("--cuts", choices=("none", "content", "transnet"), default="none", help="how shots are found")
    group.add_argument("--cut-threshold", type=float, metavar="X", help="of the cuts (the detector's own)")
    group.add_argument("--clip-min-seconds", type=float, default=0.0, metavar="S", help="shorter clips are dropped (0)")
    group.add_argument("--clip-max-seconds", type=float, metavar="S", help="longer shots are cut in pieces")
    group.add_argument("--min-frames", type=at_least(1), default=2, metavar="N", help="of a clip (2)")
    group.add_argument("--max-seconds", type=float, default=120.0, metavar="S", help="of a source (120)")
    group.add_argument("--max-frames", type=at_least(1), default=3600, metavar="N", help="of a source (3600)")
    group.add_argument("--max-side", type=at_least(1), default=4096, metavar="PX", help="of a source (4096)")
    group.add_argument("--decoders", type=at_least(1), metavar="N", help="processes that decode (one a core)")
    group.add_argument("--decode-seconds", type=float, default=60.0, metavar="S", help="a source may take (60)")
    group.add_argument("--decode-mb", type=at_least(1), default=4096, metavar="MB", help="a decoder may take (4096)")


def fetch_options(args: argparse.Namespace):
    """The options that the command line asks for."""
    from ode_vgan.laion.client import Manners
    from ode_vgan.laion.fetch import FetchOptions
    from ode_vgan.laion.media import MediaOptions

    manners = Manners(
        schemes=("http", "https", "file") if args.allow_file else ("http", "https"), allow=tuple(args.allow),
        allow_private=args.allow_private, connect_seconds=args.connect_seconds, read_seconds=args.read_seconds,
        total_seconds=args.total_seconds, max_bytes=int(args.max_mb * 2**20), max_redirects=args.max_redirects,
        retries=args.retries, backoff_seconds=args.backoff, max_wait_seconds=args.max_wait,
        honour_x_robots=not args.ignore_x_robots,
    )  # fmt: skip
    if args.user_agent:
        manners = replace(manners, user_agent=args.user_agent)
    media = MediaOptions(
        max_seconds=args.max_seconds, max_frames=args.max_frames, max_side_px=args.max_side, memory_mb=args.decode_mb,
        decode_seconds=args.decode_seconds, size_px=args.size, resize=args.resize, crf=args.crf, pix_fmt=args.pix_fmt,
        cuts=args.cuts, cut_threshold=args.cut_threshold, clip_min_seconds=args.clip_min_seconds,
        clip_max_seconds=args.clip_max_seconds, min_frames=args.min_frames,
    )  # fmt: skip
    return FetchOptions(
        manners=manners, media=media, url=args.url, text=args.text, per_shard=args.per_shard, threads=args.threads,
        decoders=args.decoders, per_host=args.per_host, pause_seconds=args.pause, robots=not args.no_robots,
        verify_hash=not args.no_verify_hash,
    )  # fmt: skip


def run_fetch(args: argparse.Namespace) -> None:
    """Fetch what is missing, and say what came of every row."""
    from ode_vgan.laion.fetch import fetch

    options = fetch_options(args)
    outcome = None
    if args.engine == "local" and args.jobs == 1:
        counts = fetch(args.table, args.folder, options)
    else:
        counts, outcome = _share_out(args, options)
    others = ", ".join(f"{number:,} {name}" for name, number in counts.items() if name.startswith(("failed", "filt")))
    print(f"{count(counts['count'], 'row')} in {count(counts['shards'], 'shard')}: {count(counts['success'], 'clip')}")
    if others:
        print(f"not taken: {others}")
    for reason, number in _reasons(args.folder / "shards").most_common(REASONS):
        print(f"  {number:>7,}  {reason}")
    print(args.folder / "shards")
    if outcome is not None:
        outcome.check("shards")


def _share_out(args: argparse.Namespace, options) -> tuple[dict, object]:
    """Fetch by several workers; each keeps to its share of what one host may be asked."""
    from ode_vgan.laion.engine import run
    from ode_vgan.laion.fetch import plan
    from ode_vgan.laion.folder import one_writer, read_counts
    from ode_vgan.laion.stages import FetchStage, shared_out

    table, folder = args.table.resolve(), args.folder.resolve()
    share = shared_out(options, args.jobs)
    print(
        f"{count(args.jobs, 'job')}, each with {share.per_host} of {options.per_host} requests at once to a host "
        f"and {share.threads} of {options.threads} threads"
    )
    with one_writer(folder / "shards"):
        names = [f"{number:05d}" for number in plan(table, folder, options)]
        stage = FetchStage(str(table), str(folder), share, args.jobs)
        done = bar(len(names), "shard", "fetch")
        outcome = run(stage, names, engine=args.engine, jobs=args.jobs, progress=done)
        return read_counts(folder / "shards"), outcome


def _reasons(shards: Path) -> Counter:
    """Rows by the reason why they gave no clip."""
    reasons: Counter = Counter()
    for path in sorted(shards.glob("[0-9]*_stats.json")):
        if path.with_name(path.name.replace("_stats.json", ".tar")).exists():
            reasons.update(json.loads(path.read_text())["status_dict"])
    reasons.pop("success", None)
    return reasons
