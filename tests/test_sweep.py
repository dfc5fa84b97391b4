"""Laws of a sweep that ends: its report is there, whatever its points did, and nothing is done twice."""

import csv
import json
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

from ode_vgan.report.sweep import SweepReport
from tests.tiny import REPOSITORY, tiny_overrides

GROUP = REPOSITORY / "conf" / "compare"
REPORT = "++hydra.callbacks.report"
ASKED = (
    f"{REPORT}._target_=ode_vgan.report.sweep.SweepReport",
    f"{REPORT}.protocols=[fd20_hog3d]",
    f"{REPORT}.splits=[train]",
    f"{REPORT}.questions=[]",
)
STEPS = "model.generator_lr=0.001,1e30"  # the second diverges
POINTS = (
    "temporal.step_seconds=0.1,-1",  # the second is refused
    "tag=-lr${model.generator_lr}-step${temporal.step_seconds}",
    "model.warmup_clips=0",
    "max_clips=40",
)
GOOD, HOT = "ode-seed0-lr0.001-step0.1", "ode-seed0-lr1e+30-step0.1"


def sweep(folder: Path, *more: str) -> subprocess.CompletedProcess:
    words = tiny_overrides(folder, f"hydra.sweep.dir={folder}/s", *POINTS, *ASKED, *more)
    command = [sys.executable, str(REPOSITORY / "train.py"), "-m", *words]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=300)


@pytest.fixture(scope="module")
def half(tmp_path_factory) -> tuple[Path, subprocess.CompletedProcess]:
    """A sweep of which only the points of the first step size have been."""
    folder = tmp_path_factory.mktemp("sweep")
    return folder, sweep(folder, STEPS.partition(",")[0])


def rows(folder: Path) -> dict[str, dict]:
    with open(folder / "s" / "results.csv", newline="") as file:
        return {row["run"]: row for row in csv.DictReader(file)}


def judged(folder: Path) -> dict[Path, int]:
    return {path: path.stat().st_mtime_ns for path in (folder / "s").rglob("judged/*.json")}


def test_a_sweep_ends_in_a_report_that_names_the_point_that_was_refused(half):
    folder, done = half
    refused = GOOD.replace("step0.1", "step-1")
    assert done.returncode == 2 and "no report" not in done.stderr, done.stderr
    assert {name: row["state"] for name, row in rows(folder).items()} == {GOOD: "finished", refused: "refused"}
    assert float(rows(folder)[GOOD]["value"]) > 0 and rows(folder)[GOOD]["command"].startswith("python train.py")
    assert str(Path("s") / "report.html") in done.stdout and refused in (folder / "s" / "report.html").read_text()


def test_the_whole_sweep_repeats_no_finished_point_and_no_judgement_and_names_what_diverged(half):
    folder, _ = half
    checkpoint = folder / "s" / GOOD / "checkpoints" / "last.ckpt"
    before = judged(folder), checkpoint.stat().st_mtime_ns, rows(folder)[GOOD]["value"]
    again = sweep(folder, STEPS)
    assert again.returncode == 2 and again.stdout.count("already has 40 clips") == 1, again.stderr
    assert before[0] and (judged(folder), checkpoint.stat().st_mtime_ns, rows(folder)[GOOD]["value"]) == before
    refused = {name.replace("step0.1", "step-1"): "refused" for name in (GOOD, HOT)}
    assert {name: row["state"] for name, row in rows(folder).items()} == {GOOD: "finished", HOT: "failed"} | refused
    told = json.loads((folder / "s" / HOT / "failure.json").read_text())
    page = (folder / "s" / "report.html").read_text()
    assert told["kind"] == "diverged" and HOT in page and "Lower the step sizes" in page
    assert "Not measured" in again.stdout and rows(folder)[HOT]["value"] == ""


def test_nothing_that_goes_wrong_reaches_hydra(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    config = OmegaConf.create({"hydra": {"sweep": {"dir": "nowhere"}}})
    SweepReport(protocols=["fd20_hog3d"]).on_multirun_end(config)
    line = capsys.readouterr().err
    assert line.count("\n") == 1 and "no report of nowhere" in line and "`ode-vgan compare nowhere` makes it" in line


def test_what_cannot_be_asked_ends_the_sweep_before_its_first_point(capsys):
    with pytest.raises(SystemExit) as left:
        SweepReport(protocols=["fvx20"]).on_multirun_start(OmegaConf.create({}))
    assert left.value.code == 2 and "fvx20" in capsys.readouterr().err
    assert SweepReport(protocols=["fd20_hog3d"]).on_multirun_start(OmegaConf.create({})) is None


@pytest.mark.parametrize("path", sorted(GROUP.glob("*.yaml")), ids=lambda path: path.stem)
def test_a_choice_of_the_group_is_a_callback_that_hydra_can_build(path):
    first, second = path.read_text().splitlines()[:2]
    assert first == "# @package hydra.callbacks" and second.startswith("# ")
    told = yaml.safe_load(path.read_text())
    wired = any(
        "compare" in entry for entry in yaml.safe_load((REPOSITORY / "conf/train.yaml").read_text())["defaults"]
    )
    with initialize_config_dir(str(REPOSITORY / "conf"), version_base="1.3"):
        override = f"compare={path.stem}" if wired else f"+compare={path.stem}"
        made = compose("train", overrides=[override, "embed_dim=1"], return_hydra_config=True)
    failures = {"failures": {"_target_": "ode_vgan.report.sweep.SweepFailures"}}
    assert OmegaConf.to_container(made.hydra.callbacks) == failures | told and "compare" not in made
    if told:
        from hydra.utils import instantiate

        report = instantiate(made.hydra.callbacks.report)
        assert type(report.asked["protocols"]) is tuple and report.asked["clips"] == told["report"]["clips"]
        assert report.on_multirun_start(made) is None
