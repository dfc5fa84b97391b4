"""python -m tests.chaos --kills 20 [--corrupt 4] [--seed 0] [--json FILE]: a run and a sweep under faults.

The same command is typed again and again while its process is killed (SIGKILL, SIGTERM), its files may not grow for a
while (RLIMIT_FSIZE) or its last checkpoint is damaged; some of its clips are broken from the start. In the end weights,
and rows are compared with those of a run that nothing happened to.
"""

import argparse
import csv
import json
import random
import resource
import signal
import subprocess
import sys
import tarfile
import tempfile
import time
from collections import Counter
from pathlib import Path

import torch

from ode_vgan.data.shapes import write_shapes
from tests.tiny import REPOSITORY, tiny_overrides

FAULTS = ("SIGKILL", "SIGTERM", "disk", "checkpoint")


def make_clips(folder: Path, corrupt: int, draw: random.Random) -> None:
    """Twelve sound clips, and others that are cut, overwritten, random or empty."""
    folder.mkdir(parents=True)
    write_shapes(folder / "shards", 12, seed=0, frames=12, size=16)
    with tarfile.open(folder / "shards" / "00000.tar") as shard:
        shard.extractall(folder / "clips", filter="data")
    sound = sorted((folder / "clips").glob("*.mp4"))
    for number in range(corrupt):
        like = sound[number % len(sound)]
        content = like.read_bytes()
        half = len(content) // 2
        bad = [content[:half], content[:half] + bytes(len(content) - half), draw.randbytes(len(content)), b""][
            number % 4
        ]
        for beside in like.parent.glob(f"{like.stem}.*"):
            (like.parent / f"broken{number}{beside.suffix}").write_bytes(beside.read_bytes())
        (like.parent / f"broken{number}.mp4").write_bytes(bad)


def words(folder: Path, clips: Path, target: str, *more: str) -> list[str]:
    flags = ["-m"] if target.startswith("hydra.sweep") else []
    own = [f"data.source={clips}", "trainer.log_every_n_steps=1", target, *more]
    return [sys.executable, str(REPOSITORY / "train.py"), *flags, *tiny_overrides(folder, *own)]


def disturb(command: list[str], folder: Path, fault: str, draw: random.Random, whole_seconds: float) -> int | None:
    """Type the command, let the fault happen at a drawn moment; its exit status, None where the fault ended it."""
    with open(folder / "out.txt", "a") as out:
        process = subprocess.Popen(command, cwd=folder, stdout=out, stderr=out)
        try:
            return process.wait(whole_seconds * draw.uniform(0.3, 0.95))
        except subprocess.TimeoutExpired:
            pass
        if fault == "disk":
            soft, hard = resource.prlimit(process.pid, resource.RLIMIT_FSIZE)
            resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (draw.choice([0, 1_000, 20_000]), hard))
            time.sleep(draw.uniform(0.1, 1.0))
            if process.poll() is None:
                resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (soft, hard))
                time.sleep(draw.uniform(0.0, 1.0))
        process.send_signal(signal.SIGTERM if fault == "SIGTERM" else signal.SIGKILL)
        process.wait(120)
    if fault == "checkpoint":
        for last in folder.glob("**/last.ckpt"):
            content = bytearray(last.read_bytes())
            content[draw.randrange(len(content) // 4, len(content) // 2)] ^= 1 << draw.randrange(8)
            last.write_bytes(content if draw.random() < 0.5 else content[: draw.randrange(len(content))])
    return None


def until_finished(command: list[str], folder: Path, kills: int, draw: random.Random, whole_seconds: float) -> dict:
    """Type the command again and again, with `kills` faults, then undisturbed; what happened."""
    done: Counter[str] = Counter()
    for number in range(kills):
        fault = FAULTS[number % len(FAULTS)]
        if disturb(command, folder, fault, draw, whole_seconds) is None:
            done[fault] += 1
    code = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=600)
    (folder / "last.txt").write_text(code.stdout + code.stderr)
    told = (folder / "out.txt").read_text() + code.stdout + code.stderr
    return {"faults": dict(done), "exit": code.returncode, "tracebacks": told.count("Traceback"),
            "passed over": told.count("Goes on from")}  # fmt: skip


def differences(a: Path, b: Path) -> list[str]:
    """What differs between two finished runs: weights bit for bit, clips of the rows, clips left out."""
    first, second = (torch.load(run / "checkpoints" / "last.ckpt", weights_only=True) for run in (a, b))
    found = [name for name, value in first["state_dict"].items() if not torch.equal(value, second["state_dict"][name])]
    clips = []
    for run in (a, b):
        with open(run / "metrics.csv", newline="") as file:
            clips.append([float(row["clips"]) for row in csv.DictReader(file) if row.get("generator/loss")])
    told = [json.loads((run / "metrics.json").read_text()) for run in (a, b)]
    found += [] if clips[0] == clips[1] else [f"rows: {clips}"]
    return found + ([] if told[0]["clips_seen"] == told[1]["clips_seen"] else ["clips_seen"])


def chaos(folder: Path, kills: int, corrupt: int, seed: int, clips: int = 160) -> dict:
    """A run, and a sweep of two points with half the clips, each undisturbed and under so many faults."""
    draw, source = random.Random(seed), folder / "source" / "clips"
    make_clips(source.parent, corrupt, draw)
    found = {"corrupt inputs": corrupt, "seed": seed}
    kinds = {
        "run": ((f"max_clips={clips}", "temporal=sde"), "hydra.run.dir", ["run"]),
        "sweep": ((f"max_clips={clips // 2}", "temporal=ode,rnn"), "hydra.sweep.dir", ["ode-seed0", "rnn-seed0"]),
    }
    for kind, (more, where, runs) in kinds.items():
        whole, hurt = folder / kind / "whole", folder / kind / "hurt"
        commands = []
        for one in (whole, hurt):
            one.mkdir(parents=True)
            (one / "clips").symlink_to(source)
            target = one / "run" if kind == "run" else one
            commands.append(words(one, source, f"{where}={target}", *more))
        begin = time.monotonic()
        undisturbed = subprocess.run(commands[0], cwd=whole, capture_output=True, text=True, timeout=600)
        if undisturbed.returncode:
            raise RuntimeError(undisturbed.stderr[-2000:])
        told = until_finished(commands[1], hurt, kills, draw, time.monotonic() - begin)
        told["differences"] = {run: differences(whole / run, hurt / run)[:5] for run in runs}
        found[kind] = told
    return found


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.chaos")
    parser.add_argument("--kills", type=int, default=20, help="faults of the run, and as many of the sweep")
    parser.add_argument("--corrupt", type=int, default=4, help="broken clips beside 12 sound ones")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        found = chaos(Path(folder), args.kills, args.corrupt, args.seed)
    text = json.dumps(found, indent=1) + "\n"
    print(text, end="")
    if args.json:
        args.json.write_text(text)


if __name__ == "__main__":
    main()
