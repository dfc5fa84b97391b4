"""The config that training would have, for what is timed without it."""

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from ode_vgan.errors import UserError

REPOSITORY = Path(__file__).parents[2]


def compose(overrides: Sequence[str], repository: Path = REPOSITORY) -> dict:
    """The plain config that train.py would run with, asked of train.py itself: it alone knows Hydra.

    Raises:
        UserError: there is no train.py here, or it refuses the overrides.
    """
    from omegaconf import OmegaConf

    from ode_vgan.build import build

    script = repository / "train.py"
    if not script.is_file():
        raise UserError(f"{script} does not exist; bench needs the repository: clone it and run pip install -e .")
    command = [sys.executable, str(script), *overrides, "--cfg", "job"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=repository)
    if done.returncode:
        lines = [line.strip() for line in done.stderr.splitlines() if line.strip()] or ["train.py failed"]
        said = next((line for line in lines if "error:" in line or "Could not" in line), lines[-1])
        raise UserError(said.removeprefix("train.py: error: "))
    config = OmegaConf.create(done.stdout)
    config.embed_dim = build(OmegaConf.to_container(config.embed, resolve=True), trusted=("",)).dim
    return OmegaConf.to_container(config, resolve=True)
