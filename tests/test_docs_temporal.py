"""The page on adding a temporal model is followed to the letter in a copy of the repository."""

import hashlib
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from ode_vgan.data.clips import decode_clip
from tests.test_readme import ROOT, _compose, readme_commands

PAGE = (ROOT / "docs" / "temporal.md").read_text()
FILES = dict(re.findall(r'^```\w+ title="([^"]+)"\n(.*?)^```', PAGE, re.M | re.S))
COMMANDS = readme_commands(PAGE)
PARTS = ("ode_vgan", "conf", "tests", "train.py", "pyproject.toml")


@pytest.fixture(scope="module")
def copy(tmp_path_factory) -> Path:
    """The code of the repository in a folder of its own, without the page's files."""
    folder = tmp_path_factory.mktemp("clone")
    for part in PARTS:
        source = ROOT / part
        shutil.copytree(source, folder / part) if source.is_dir() else shutil.copy2(source, folder / part)
    (folder / "data").symlink_to(ROOT / "data")
    return folder


def _sums(folder: Path) -> dict[str, str]:
    """A hash of each file of the code and of the config."""
    paths = [path for part in ("ode_vgan", "conf") for path in (folder / part).rglob("*") if path.is_file()]
    kept = [path for path in paths if "__pycache__" not in path.parts]
    return {path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest() for path in kept}


def _follow(folder: Path, words: tuple[str, ...], append: tuple[str, ...]) -> str:
    """Type one command of the page in the copy, whose package comes before the installed one."""
    if words[0] == "ode-vgan":
        line = [sys.executable, "-m", "ode_vgan.cli.main", *words[1:]]
    else:
        line = [sys.executable, *words[1:], *(append if words[1] == "train.py" else ())]
    given = os.environ | {"PYTHONPATH": str(folder), "OMP_NUM_THREADS": "1"}
    given.pop("PYTHONDONTWRITEBYTECODE", None)  # compiled once: half of the time otherwise
    done = subprocess.run(line, cwd=folder, env=given, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, f"{shlex.join(line)}\n{done.stdout[-2000:]}\n{done.stderr[-4000:]}"
    return done.stdout


def test_the_page_and_what_it_adds_are_under_60_lines():
    assert len(PAGE.splitlines()) < 60
    assert sorted(FILES) == ["conf/temporal/waves.yaml", "ode_vgan/temporal/waves.py"]


def test_who_follows_the_page_has_a_model_that_obeys_trains_and_samples_and_touches_no_other_file(copy: Path):
    before = _sums(copy)
    for name, text in FILES.items():
        assert not (copy / name).exists(), f"{name} exists: the page must add a model that is not there"
        (copy / name).write_text(text)
    checked, trained, sampled, study = COMMANDS
    counts = dict((what, int(n)) for n, what in re.findall(r"(\d+) (\w+)", _follow(copy, *checked).splitlines()[-1]))
    assert counts["passed"] >= 20 and not counts.keys() & {"failed", "error", "errors", "skipped"}, counts
    _follow(copy, *trained)
    run = copy / "runs" / "quickstart" / "waves-seed0"
    saved = torch.load(run / "checkpoints" / "last.ckpt", weights_only=True)["ode_vgan"]
    assert saved["clips_seen"] == 2 * 4  # two steps
    assert saved["config"]["temporal"]["_target_"] == "ode_vgan.temporal.waves.WavePath"
    told = _follow(copy, *sampled)
    film = next((run / "samples").glob("*ghost*.mp4"))
    assert film.name in told and decode_clip(film).frames.shape[0] == 96  # 2 s at 48 frames a second
    after = _sums(copy)
    assert {name for name in after if after[name] != before.get(name)} == set(FILES)
    assert before.keys() <= after.keys()
    assert study.words[:3] == ("python", "train.py", "-m")


def test_the_study_that_the_page_ends_with_is_accepted():
    words = [word.replace("temporal=ode,waves", "temporal=ode,sde") for word in COMMANDS[-1].words[2:]]
    assert any("sde" in word for word in words)
    _compose([word for word in words if not word.startswith("-")])
