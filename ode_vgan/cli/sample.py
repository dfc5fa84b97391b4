"""ode-vgan sample RUN --text "person surfing": clips from words, at any frame rate, length or times."""

import argparse
import math
import re
from pathlib import Path

from ode_vgan.cli.device import device
from ode_vgan.errors import UserError

DEFAULT_FPS = 24.0
MAX_FRAMES = 100_000  # as `ode_vgan.data.clips` reads: over an hour


def add_parser(subparsers) -> None:
    """Describe the verb's arguments."""
    parser = subparsers.add_parser(
        "sample",
        help="make clips from words with a trained run",
        description="Writes an MP4 with a captioned tile a clip, and a PNG grid of their frames.",
    )
    parser.add_argument("run", metavar="RUN", help="run folder or checkpoint file")
    parser.add_argument("--text", action="append", required=True, help="what the clip shows; may be repeated")
    parser.add_argument("--count", type=int, default=1, help="clips of each text (default 1)")
    parser.add_argument("--fps", type=float, help=f"frames a second (default {DEFAULT_FPS:g})")
    parser.add_argument("--seconds", type=float, help="length (default: as many frames as in training)")
    parser.add_argument("--times", help="explicit seconds, rising, such as 0,0.1,0.35; instead of --fps and --seconds")
    parser.add_argument("--seed", type=int, default=0, help="the same seed makes the same clips (default 0)")
    parser.add_argument("--out", type=Path, help="folder to write to (default RUN/samples)")
    parser.add_argument("--raw", action="store_true", help="also each clip as an MP4 of its own size, without caption")
    parser.add_argument("--device", type=device, default="cpu", help="cpu or cuda (default cpu)")


def run(args: argparse.Namespace) -> int:
    """Write clips as they are made; prints the paths."""
    from ode_vgan.runs import load
    from ode_vgan.sampled import Sampled, write_sampled

    if args.count < 1:
        raise UserError(f"--count {args.count} makes no clip; give 1 or more.")
    times = parse_times(args.times) if args.times is not None else None
    if times is not None and (args.fps, args.seconds) != (None, None):
        raise UserError("--times already says when; leave out --fps and --seconds.")
    trained = load(args.run, device=args.device)
    data = trained.config["data"]
    times = uniform_times(args.fps, args.seconds, data["frames"]) if times is None else times
    texts = [text for text in args.text for _ in range(args.count)]
    check_size(len(texts), len(times), data["size"])
    folder = args.out or run_folder(trained.checkpoint) / "samples"
    if folder.exists() and not folder.is_dir():
        raise UserError(f"--out {folder} is a file; name a folder.")
    stem = folder / _stem(args.text, times, args)
    title = f"{type(trained.generator.temporal).__name__} after {trained.clips_seen:,} clips, seed {args.seed}"
    clips = Sampled(trained, texts, times, args.seed, again=args.raw)
    print(*write_sampled(clips, stem, title=title, alone=stem if args.raw else None), sep="\n")
    return 0


def parse_times(text: str) -> list[float]:
    """Seconds from `0,0.1,0.35`.

    Raises:
        UserError: not numbers, or they do not rise.
    """
    try:
        times = [float(part) for part in text.replace(",", " ").split()]
    except ValueError as error:
        raise UserError(f"--times {text!r}: {error}; give seconds such as 0,0.1,0.35.") from None
    if not times or not all(map(math.isfinite, times)):
        raise UserError(f"--times {text!r} has no or infinite seconds; give such as 0,0.1,0.35.")
    for i, (here, after) in enumerate(zip(times, times[1:], strict=False)):
        if after <= here:
            raise UserError(f"--times must rise; times[{i}]={here:g} s >= times[{i + 1}]={after:g} s. Sort them.")
    return times


def uniform_times(fps: float | None, seconds: float | None, frames: int) -> list[float]:
    """Frame times from 0 s on; `frames` of them where no length is given."""
    fps = DEFAULT_FPS if fps is None else fps
    if not (0 < fps <= 10_000):
        raise UserError(f"--fps {fps:g} is outside 0 to 10000 frames a second.")
    if seconds is not None and not (0 < seconds < math.inf):
        raise UserError(f"--seconds {seconds:g} is no length; give more than 0.")
    frames = frames if seconds is None else max(1, round(seconds * fps))
    check_frames(frames)
    return [i / fps for i in range(frames)]


def check_frames(frames: int) -> None:
    """Refuse clips longer than this project reads."""
    if frames > MAX_FRAMES:
        raise UserError(f"clips of {frames} frames, the limit is {MAX_FRAMES}; ask for shorter ones.")


def check_size(clips: int, frames: int, size: int) -> None:
    """Refuse, before anything is made, a film that would not play."""
    from ode_vgan.report.video import film_size

    check_frames(frames)
    film_size(clips, size, size)


def run_folder(checkpoint: Path) -> Path:
    """The folder that results of a checkpoint belong in."""
    return checkpoint.parent.parent if checkpoint.parent.name == "checkpoints" else checkpoint.parent


def _stem(texts: list[str], times: list[float], args: argparse.Namespace) -> str:
    """A file name that says what is inside, so that another call does not overwrite it."""
    slug = re.sub(r"[^a-z0-9]+", "-", texts[0].lower()).strip("-")[:40].strip("-") or "clip"
    more = f"-and-{len(texts) - 1}-more" if len(texts) > 1 else ""
    rate = f"{args.fps or DEFAULT_FPS:g}fps" if args.times is None else "times"
    return f"{slug}{more}-{len(times)}x{rate}-seed{args.seed}"
