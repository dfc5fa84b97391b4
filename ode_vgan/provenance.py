"""Where a number came from: command, commit, machine, and how a run failed."""

import os
import platform
import shlex
import subprocess
from pathlib import Path

import torch

from ode_vgan.errors import DivergedError, UserError

ROOT = Path(__file__).resolve().parents[1]


def started(overrides: list[str]) -> dict[str, object]:
    """What is needed to run this again: the command of this run alone, the commit, the machine.

    Args:
        overrides: of train.py, as Hydra has them for this point of a sweep.
    """
    return {
        "command": shlex.join(["python", "train.py", *overrides]),
        "commit": _git("rev-parse", "HEAD"),
        "dirty": bool(_git("status", "--porcelain", "--untracked-files=no")),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "machine": f"{platform.machine()}, {os.cpu_count()} cores, {_gpu()}",
        "threads": torch.get_num_threads(),
    }


def failure(error: BaseException, config: dict) -> dict[str, object]:
    """How a run failed: refused before or while it ran, diverged, or crashed; plain data for `failure.json`."""
    kind = "diverged" if isinstance(error, DivergedError) else "refused" if isinstance(error, UserError) else "crashed"
    line = " ".join(str(error).split()) or type(error).__name__
    return {"error": line if kind != "crashed" else f"{type(error).__name__}: {line}", "kind": kind, "config": config}


def _git(*arguments: str) -> str | None:
    try:
        done = subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True, timeout=10)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 else None


def _gpu() -> str:
    return torch.cuda.get_device_name() if torch.cuda.is_available() else "no GPU"
