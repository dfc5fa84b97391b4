"""ode-vgan data: build the embedded clips, or describe any folder of clips."""

import argparse
import statistics
from collections import Counter
from pathlib import Path

from ode_vgan.cli.laion_engine import Plain
from ode_vgan.errors import UserError


def add_parser(subparsers) -> None:
    """Describe the verb's arguments."""
    parser = subparsers.add_parser(
        "data",
        help="build, describe and check sets of clips",
        description="Describes any folder of clips before it is trained on, and builds the embedded ones anew.",
        epilog="examples:\n  ode-vgan data info my_clips --decode\n  ode-vgan data emoji --out emoji128 --size 128",
        formatter_class=Plain,
    )
    actions = parser.add_subparsers(dest="action", metavar="VERB", required=True)
    emoji = actions.add_parser(
        "emoji",
        help="build the animated emoji from their npm packages",
        description="Builds the embedded clips at another size, as shards with captions and a split by concept.",
    )
    emoji.add_argument("--out", required=True, type=Path, metavar="DIR", help="a folder without shards")
    emoji.add_argument("--size", type=int, default=64, help="side of the clips in px, 1 to 256 (default 64)")
    emoji.add_argument("--skin-tones", action="store_true", help="with all skin tones: 2107 clips instead of 732")
    emoji.add_argument("--packages", type=Path, metavar="DIR", help="a folder with the tgz files, instead of npm")
    info = actions.add_parser(
        "info",
        help="clips, splits, durations and captions of a folder",
        description="Prints how many clips there are, how they are split, how long they last and what their captions "
        "say.",
    )
    info.add_argument("folder", metavar="FOLDER", help="shards (*.tar) or videos with captions; or the word emoji")
    info.add_argument("--decode", action="store_true", help="decode every clip and name those that cannot be read")


def run(args: argparse.Namespace) -> int:
    """Build, or print what a folder holds."""
    if args.action == "emoji":
        return _build(args)
    from ode_vgan.data.emoji import embedded_folder

    folder = embedded_folder() if args.folder == "emoji" and not Path("emoji").is_dir() else Path(args.folder)
    print("\n".join(describe(folder, decode=args.decode)))
    return 0


def _build(args: argparse.Namespace) -> int:
    from ode_vgan.data.emoji import build

    rows = build(args.out, size=args.size, skin_tones=args.skin_tones, packages=args.packages)
    if not rows:
        raise UserError(f"{args.out}: no clip was built; the parquet has the reasons. Check the packages.")
    total = sum(row["bytes"] for row in rows)
    print(f"{len(rows)} clips, {total / 1e6:.2f} MB of MP4, PSNR median {_median(rows, 'psnr_db'):.2f} dB")
    print(args.out)
    return 0


def _median(rows: list[dict], name: str) -> float:
    return statistics.median(row[name] for row in rows)


def describe(folder: Path, *, decode: bool = False) -> list[str]:
    """Lines on a folder's clips; a clip is decoded when asked to, or when its meta has no duration."""
    from ode_vgan.data.clips import decode_clip
    from ode_vgan.data.shards import read_index

    entries = read_index(folder)
    seconds, broken = [], []
    for entry in entries:
        stated = entry.meta.get("duration_seconds")
        if not decode and isinstance(stated, (int, float)):
            seconds.append(stated)
            continue
        try:
            times = decode_clip(entry.read()).times
            gap = times[-1] - times[-2] if len(times) > 1 else 0.0  # the last frame lasts as long as the one before
            seconds.append(float(times[-1] + gap))
        except UserError as error:
            broken.append(f"  {entry.key}: {error}")
    splits = Counter(entry.meta.get("split") or "unsplit" for entry in entries)
    captions = [entry.caption for entry in entries if entry.caption]
    lines = [
        f"clips     {len(entries)} ({', '.join(f'{count} {name}' for name, count in sorted(splits.items()))})",
        f"captions  {len(captions)}, {len(set(captions))} different, {len(entries) - len(captions)} missing",
    ]
    if seconds:
        low, middle, high = min(seconds), statistics.median(seconds), max(seconds)
        lines.append(f"seconds   {low:.2f} to {high:.2f} a clip, median {middle:.2f}, {sum(seconds):.1f} in all")
    lines += [
        f"  {entry.key}: {entry.caption or '(no caption)'}" for entry in entries[:: max(1, len(entries) // 5)][:5]
    ]
    return lines + ([f"unreadable {len(broken)}", *broken] if broken else [])
