"""Real files of the ecosystem, kept beside the repository and not in it."""

from pathlib import Path

import pytest

SHARED = Path(__file__).resolve().parents[2] / "shared" / "data"


def shared(name: str) -> Path:
    """The path of ../shared/data/NAME; the test that asks is skipped where it is absent."""
    path = SHARED / name
    if not path.exists():
        pytest.skip(f"no ../shared/data/{name} beside this repository: real files are for the team's machines only")
    return path
