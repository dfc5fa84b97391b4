"""Laws of what stands around the training step: budgets, kept looks, and what a failed run leaves."""

import json
import sys

import pytest
import torch

import ode_vgan
from tests.test_train import command, execute, train
from tests.tiny import REPOSITORY, tiny_overrides


@pytest.fixture(scope="module")
def short(tmp_path_factory):
    """A run whose processor seconds were over at the first checkpoint, with every look kept."""
    folder = tmp_path_factory.mktemp("short")
    done = train(folder, "max_clips=100000", "max_cpu_seconds=0.05", "samples.keep=true")
    assert done.returncode == 0, done.stderr
    return folder


def test_a_run_ends_at_its_seconds_with_everything_written(short):
    metrics = json.loads((short / "run" / "metrics.json").read_text())
    assert metrics["finished"] and metrics["cpu_seconds"] >= 0.05 and metrics["clips_seen"] < 100000
    assert (short / "run" / "samples.png").stat().st_size > 0
    again = train(short, "max_clips=100000", "max_cpu_seconds=0.05", "samples.keep=true")
    assert again.returncode == 0 and "used its seconds; raise max_seconds or max_cpu_seconds" in again.stdout


def test_more_seconds_continue_the_run(short):
    before = json.loads((short / "run" / "metrics.json").read_text())
    done = train(short, f"max_clips={before['clips_seen'] + 8}", "samples.keep=true")
    assert done.returncode == 0, done.stderr
    after = json.loads((short / "run" / "metrics.json").read_text())
    assert after["clips_seen"] == before["clips_seen"] + 8 and after["cpu_seconds"] > before["cpu_seconds"]
    assert after["started"] == before["started"]


def test_a_kept_look_is_the_averaged_generator_of_that_moment(short):
    looks = sorted((short / "run" / "checkpoints").glob("clips_*.ckpt"))
    last = ode_vgan.load(short / "run")
    assert looks and int(looks[-1].stem.split("_")[1]) == last.clips_seen
    kept = ode_vgan.load(looks[-1])
    assert kept.clips_seen == last.clips_seen
    for name, value in last.generator.state_dict().items():
        assert torch.equal(value, kept.generator.state_dict()[name]), name


def test_a_run_says_how_to_make_it_again(short):
    started = json.loads((short / "run" / "started.json").read_text())
    assert "python train.py" in started["command"] and "max_cpu_seconds=0.05" in started["command"]
    assert {"commit", "dirty", "python", "torch", "machine", "threads"} <= started.keys()


def test_a_run_whose_origin_is_lost_is_continued_all_the_same(short):
    (short / "run" / "started.json").unlink()
    seen = json.loads((short / "run" / "metrics.json").read_text())["clips_seen"]
    done = train(short, f"max_clips={seen + 8}", "samples.keep=true")
    assert done.returncode == 0, done.stderr
    assert f"max_clips={seen + 8}" in json.loads((short / "run" / "metrics.json").read_text())["started"]["command"]


def test_a_sweep_goes_on_after_a_point_that_diverges_and_one_that_is_refused(tmp_path):
    sweep = [*tiny_overrides(tmp_path), f"hydra.sweep.dir={tmp_path}/s", "max_clips=8", "model.warmup_clips=0"]
    points = (
        "model.generator_lr=1e30,1e-3",
        "temporal.step_seconds=0.1,-1",
        "tag=${model.generator_lr}${temporal.step_seconds}",
    )
    done = execute([sys.executable, str(REPOSITORY / "train.py"), "-m", *sweep, *points], tmp_path)
    assert done.returncode == 2, done.stderr
    found = {path.parent.name: json.loads(path.read_text()) for path in (tmp_path / "s").glob("*/failure.json")}
    assert {one["kind"] for one in found.values()} == {"diverged", "refused"} and len(found) == 3
    good = [path.parent.name for path in (tmp_path / "s").glob("*/metrics.json")]
    assert len(good) == 1 and good[0] not in found
    diverged = next(one for one in found.values() if one["kind"] == "diverged")
    assert "Lower the step sizes" in diverged["error"]


def test_a_run_that_is_refused_alone_leaves_nothing(tmp_path):
    done = execute(command(tmp_path, "temporal.step_seconds=-1", path="bad"), tmp_path)
    assert done.returncode == 2 and not (tmp_path / "runbad" / "failure.json").exists()
