"""A target's inputs in a process of its own: how many were read, refused, or did what none may."""

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path

HANG_SECONDS = 30.0
MEMORY_BYTES = 6 * 2**30
REPOSITORY = Path(__file__).parents[2]


@dataclass
class Counts:
    """What became of the inputs; findings say which number of which target, so that it can be had again.

    Attributes:
        read: taken as they are. refused: with one line. findings: tracebacks, crashes, hangs, writes and code.
    """

    inputs: int = 0
    read: int = 0
    refused: int = 0
    findings: list[dict] = field(default_factory=list)


def run(target: str, seed: int, inputs: int, folder: Path) -> Counts:
    """Run inputs 0 .. inputs - 1 of a target; a process that dies or hangs is replaced and goes on after that input."""
    total, first, folder = Counts(), 0, Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    while first < inputs:
        out = folder / "out.jsonl"
        out.write_text("")
        place = folder / "place"
        place.write_text(str(first))
        arguments = [target, str(seed), str(first), str(inputs), str(folder)]
        command = [sys.executable, "-m", "tests.fuzz.worker", *arguments]
        with open(folder / "log", "ab") as log:
            worker = subprocess.Popen(command, cwd=REPOSITORY, stdout=log, stderr=log, env=environment())
            why = watch(worker, place)
        for line in out.read_text().splitlines():
            told = json.loads(line)
            total.inputs, total.read, total.refused = (
                total.inputs + told["inputs"], total.read + told["read"], total.refused + told["refused"]
            )  # fmt: skip
            total.findings += told["findings"]
        reached = int(place.read_text() or first)
        if why is None:
            break
        total.inputs += 1
        total.findings.append({"target": target, "seed": seed, "input": reached, "what": why})
        first = reached + 1
    return total


def environment() -> dict[str, str]:
    """Of a worker: one thread, no network for model hubs, no core file's worth of noise."""
    return os.environ | {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", "PYTHONFAULTHANDLER": "1"}


def watch(worker: subprocess.Popen, place: Path) -> str | None:
    """None where a worker came to its end; else how it died: a signal, a hang, or too much memory."""
    seen, since = place.read_text(), time.monotonic() + 60  # the first input waits for imports
    while worker.poll() is None:
        time.sleep(0.2)
        now = place.read_text()
        if now != seen:
            seen, since = now, time.monotonic()
        why = None
        if time.monotonic() - since > HANG_SECONDS:
            why = f"hangs for {HANG_SECONDS:g} s"
        elif resident(worker.pid) > MEMORY_BYTES:
            why = f"takes more than {MEMORY_BYTES >> 30} GB"
        if why:
            worker.send_signal(signal.SIGKILL)
            worker.wait()
            return why
    return None if worker.returncode == 0 else f"dies with {worker.returncode}"


def resident(pid: int) -> int:
    """Bytes of memory that a process holds."""
    try:
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, IndexError, ValueError):
        return 0


def as_dict(counts: Counts) -> dict:
    """For JSON."""
    return asdict(counts)
