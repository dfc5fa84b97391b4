"""Peak memory and time of evaluating two folders: python experiments/metrics/memory.py --clips 128,512,2048."""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from ode_vgan.data.clips import encode_clip
from ode_vgan.data.windows import Sampling
from ode_vgan.metrics.clipsets import open_real
from ode_vgan.metrics.protocol import parse_protocol

PX, FRAMES = 64, 16


def write_folder(folder: Path, clips: int, seed: int) -> None:
    """Windows of the embedded clips as videos of their own: a stand-in for a model's samples, and for real clips."""
    source = open_real("emoji", frames=FRAMES, sampling=Sampling(loop=True), size=PX, split="all")
    folder.mkdir()
    i = 0
    for batch in source.real(parse_protocol(f"fd{clips}_{FRAMES}f"), 0, seed).batches(16):
        for frames in batch.frames.numpy():
            encode_clip(folder / f"{i:05d}.mp4", frames, 24.0, options={"preset": "ultrafast"})
            i += 1


def evaluate(folder: Path, protocol: str) -> tuple[float, float]:
    """Seconds and peak resident MB of the command, run as a user would."""
    command = [sys.executable, "-m", "ode_vgan.cli.main", "evaluate", "fake", "--real", "real", "--split", "all"]
    start = time.perf_counter()
    process = subprocess.Popen([*command, "--protocol", protocol, "--no-cache"], cwd=folder, stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        raise SystemExit(f"evaluate ended with {status}")
    return time.perf_counter() - start, usage.ru_maxrss / 1024


def main() -> None:
    """Print a Markdown table, a line for each number of clips and protocol."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--clips", default="128,512,2048")
    parser.add_argument("--protocol", default="fd{}_16f_hog3d", help="{} is the number of clips")
    args = parser.parse_args()
    numbers = [int(number) for number in args.clips.split(",")]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for side, seed in (("real", 0), ("fake", 1)):
            write_folder(folder / side, max(numbers), seed)
        print("| protocol | clips described | seconds | peak MB |\n|---|---:|---:|---:|")
        for number in numbers:
            protocol = args.protocol.format(number)
            seconds, megabytes = evaluate(folder, protocol)
            print(f"| {protocol} | {3 * number} | {seconds:.0f} | {megabytes:.0f} |", flush=True)


if __name__ == "__main__":
    main()
