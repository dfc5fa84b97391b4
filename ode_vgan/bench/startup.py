"""How long a command takes to say its first word, in fresh processes beside a bare interpreter and `import torch`."""

import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
ONE_STEP = ["train.py", "+experiment=quickstart", "max_clips=8", "tick_clips=8", "metrics=none", "trainer.devices=1"]


@dataclass(frozen=True)
class Start:
    """One command. seconds: wall clock, each repeat."""

    name: str
    seconds: list[float]

    @property
    def median(self) -> float:
        """Of the seconds."""
        return statistics.median(self.seconds)


def commands() -> dict[str, list[str]]:
    """What is started, by name; first what the others are to be read beside."""
    from ode_vgan.cli.main import VERBS

    found = {
        "python, nothing": ["-c", "pass"],
        "import torch": ["-c", "import torch"],
        "import ode_vgan": ["-c", "import ode_vgan"],
        "ode-vgan --help": ["-m", "ode_vgan.cli.main", "--help"],
    }
    found |= {f"ode-vgan {verb} --help": ["-m", "ode_vgan.cli.main", verb, "--help"] for verb in VERBS}
    found["train.py --help"] = ["train.py", "--help"]
    return found | {"train.py, a run of one step": [*ONE_STEP, "hydra.run.dir={folder}"]}


def measure_starts(repeats: int, tell: Callable[[str], object] = lambda line: None) -> list[Start]:
    """Every command in turn, in rounds; a round before, which fills the disk's cache, is not counted."""
    asked = commands()
    seconds: dict[str, list[float]] = {name: [] for name in asked}
    for turn in range(repeats + 1):
        for name, arguments in asked.items():
            begin = time.perf_counter()
            _run(arguments)
            if turn:
                seconds[name].append(time.perf_counter() - begin)
        tell(f"starts, round {turn} of {repeats}" if turn else "starts, warm-up done")
    return [Start(name, own) for name, own in seconds.items()]


def _run(arguments: list[str]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, *(one.format(folder=f"{folder}/run") for one in arguments)]
        subprocess.run(command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=True)
