"""When the adjoint method pays: time and memory of forward and backward against frames and clips, three ways.

`python -m ode_vgan.bench.adjoint --frames 16,64,256,1024 --batches 8,32 --json adjoint.json`
"""

import argparse
import json
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import torch

from ode_vgan.bench.clock import spread
from ode_vgan.bench.memory import MB, live_bytes
from ode_vgan.bench.paths import Job, ask, library_ode, own_job
from ode_vgan.cli.bench import numbers
from ode_vgan.errors import UserError
from ode_vgan.temporal.ode import OdePath

OURS, DIRECT, ADJOINT = "ode_dense", "odeint rk4", "odeint_adjoint rk4"
FIELD = {"hidden": 144, "depth": 2, "order": 1, "time_input": False, "text_input": True, "rate": 3.0, "decay": 0.5}


@dataclass(frozen=True)
class Row:
    """One way at one size.

    Attributes:
        ratios: its seconds over the adjoint's, each round. seconds: median. peak_mb: tensors alive at once at most.
    """

    way: str
    frames: int
    clips: int
    seconds: float
    ratios: list[float]
    peak_mb: float


def ways(frames: int, clips: int, fps: float, step_seconds: float) -> dict[str, Job]:
    """Ours, and the same field by torchdiffeq with one step a frame: backward through its steps, and the adjoint."""
    torch.manual_seed(0)
    model = OdePath(64, 384, solver="dense_rk4", step_seconds=step_seconds, **FIELD)
    asked = ask(clips, frames, fps)
    return {
        OURS: own_job(model, asked),
        DIRECT: library_ode(model, asked, adjoint=False),
        ADJOINT: library_ode(model, asked, adjoint=True),
    }


def rows_of(frames: int, clips: int, jobs: dict[str, Job], repeats: int, clock: Callable[[], float]) -> list[Row]:
    """Peaks once, then times in turn; the first round warms up."""
    peaks = {name: live_bytes(job.run).peak / MB for name, job in jobs.items()}
    seconds: dict[str, list[float]] = {name: [] for name in jobs}
    for turn in range(repeats + 1):
        for name in list(jobs) if turn % 2 else reversed(jobs):
            begin = clock()
            jobs[name].run()
            if turn:
                seconds[name].append(clock() - begin)
    return [
        Row(
            name, frames, clips, statistics.median(own),
            [a / b for a, b in zip(own, seconds[ADJOINT], strict=True)], peaks[name],
        )
        for name, own in seconds.items()
    ]  # fmt: skip


def crossover(rows: list[Row]) -> str:
    """In words: what the adjoint's memory costs, at the longest path."""
    longest = max(row.frames for row in rows)
    clips = max(row.clips for row in rows)
    peak = {row.way: row.peak_mb for row in rows if (row.frames, row.clips) == (longest, clips)}
    return (
        f"{longest} frames, {clips} clips: the adjoint holds {peak[ADJOINT]:.1f} MB where its own direct way holds "
        f"{peak[DIRECT]:.0f} and ours {peak[OURS]:.1f}."
    )


def table(rows: list[Row]) -> str:
    """Markdown."""
    lines = ["| frames | clips | path | ms | x the adjoint's time | peak MB |", "| --- | --- | --- | --: | --: | --: |"]
    lines += [
        f"| {row.frames} | {row.clips} | {row.way} | {1e3 * row.seconds:.1f} | {spread(row.ratios, 2)} "
        f"| {row.peak_mb:.1f} |"
        for row in rows
    ]
    return "\n".join(lines)


def main(arguments: list[str] | None = None) -> None:
    """Measure every size, print, and write what was measured."""
    parser = argparse.ArgumentParser(prog="python -m ode_vgan.bench.adjoint", description=__doc__.splitlines()[0])
    parser.add_argument("--frames", default="16,64,256,1024", metavar="T,...")
    parser.add_argument("--batches", default="32", metavar="B,...")
    parser.add_argument("--fps", type=float, default=12.0)
    parser.add_argument("--step-seconds", type=float, default=0.16, help="of ours (default 0.16)")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--threads", type=int, default=1, help="1 counts processor seconds (default 1)")
    parser.add_argument("--json", type=Path, metavar="FILE")
    args = parser.parse_args(arguments)
    torch.set_num_threads(args.threads)
    clock = time.process_time if args.threads == 1 else time.perf_counter
    rows = []
    for frames in numbers("frames", args.frames):
        for clips in numbers("batches", args.batches):
            rows += rows_of(frames, clips, ways(frames, clips, args.fps, args.step_seconds), args.repeats, clock)
            print(f"adjoint: {frames} frames, {clips} clips", file=sys.stderr, flush=True)
    print(f"{table(rows)}\n\n{crossover(rows)}")
    if args.json:
        args.json.write_text(json.dumps({"torch": torch.__version__, "rows": [asdict(row) for row in rows]}))


if __name__ == "__main__":
    try:
        main()
    except UserError as error:
        sys.exit(f"error: {error}")
