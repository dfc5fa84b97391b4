"""Laws of running: train.py in its own process, as a user types it."""

import csv
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from ode_vgan.cli.main import main
from ode_vgan.runs import held
from ode_vgan.scaling.ledger import read
from tests.tiny import REPOSITORY, tiny_overrides


def command(folder: Path, *more: str, path: str = "") -> list[str]:
    where = f"hydra.run.dir={folder / 'run'}{path}"
    return [sys.executable, str(REPOSITORY / "train.py"), where, *tiny_overrides(folder, *more)]


def train(folder: Path, *more: str, path: str = "") -> subprocess.CompletedProcess:
    return execute(command(folder, *more, path=path), folder)


def execute(words: list[str], folder: Path, **options) -> subprocess.CompletedProcess:
    options.setdefault("env", {key: value for key, value in os.environ.items() if key != "HYDRA_FULL_ERROR"})
    return subprocess.run(words, cwd=folder, capture_output=True, text=True, timeout=240, **options)


def weights(run: Path) -> dict:
    return torch.load(run / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"]


def wait_for(path: Path, process: subprocess.Popen) -> None:
    for _ in range(1200):
        if path.exists() or process.poll() is not None:
            return
        time.sleep(0.1)


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> Path:
    """The folder of an uninterrupted run of the SDE, which draws noise along the path."""
    folder = tmp_path_factory.mktemp("whole")
    done = train(folder, "temporal=sde")
    assert done.returncode == 0, done.stderr
    return folder


def test_a_run_leaves_samples_curves_metrics_and_a_checkpoint(whole):
    run = whole / "run"
    metrics = json.loads((run / "metrics.json").read_text())
    assert metrics["clips_seen"] == 32 and metrics["finished"] and metrics["parameters"]["temporal"] > 0
    assert list((run / "samples").glob("*.mp4")) and list((run / "samples").glob("*.png"))
    for name in ("samples.png", "samples.mp4", "curves.png", "config.yaml"):
        assert (run / name).stat().st_size > 0


def test_a_run_ends_with_its_score_and_the_floor(tmp_path):
    done = train(tmp_path, "metrics=hog3d", "metrics.protocols=[fd20_hog3d]", "max_clips=8")
    assert done.returncode == 0, done.stderr
    score = json.loads((tmp_path / "run" / "metrics.json").read_text())["score"]
    assert score["score/fd20_hog3d"] > 0 and score["score/fd20_hog3d_real"] > 0
    assert "fd20_hog3d" in done.stdout and "real clips against real clips" in done.stdout
    rows = [row for row in read(tmp_path / "ledger").to_pylist() if row["finished"] and "hog3d" in row["metric"]]
    assert rows and all(row["samples_seen"] == 8 and row["macs"] > 0 for row in rows)
    assert score["score/fd20_hog3d"] == pytest.approx(rows[0]["value"])


def test_a_killed_run_continues_when_the_command_is_typed_again_and_ends_the_same(whole, tmp_path):
    os.symlink(whole / "clips", tmp_path / "clips")
    clips = f"data.source={whole / 'clips'}"
    process = subprocess.Popen(command(tmp_path, "temporal=sde", clips), cwd=tmp_path, stderr=subprocess.DEVNULL)
    wait_for(tmp_path / "run" / "checkpoints" / "last.ckpt", process)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not (tmp_path / "run" / "metrics.json").exists(), "the run ended before it was killed"
    done = train(tmp_path, "temporal=sde", clips)
    assert done.returncode == 0, done.stderr
    expected, found = weights(whole / "run"), weights(tmp_path / "run")
    assert expected.keys() == found.keys()
    for key, value in expected.items():
        assert torch.equal(value, found[key]), key
    again = train(tmp_path, "temporal=sde", clips)
    assert again.returncode == 0 and "already has" in again.stdout


def test_sigterm_leaves_a_checkpoint_and_the_log_goes_on(tmp_path):
    process = subprocess.Popen(command(tmp_path, "max_clips=100000"), cwd=tmp_path, stdout=subprocess.PIPE, text=True)
    wait_for(tmp_path / "run" / "checkpoints" / "last.ckpt", process)
    process.send_signal(signal.SIGTERM)
    out, _ = process.communicate(timeout=120)
    assert process.returncode == 128 + signal.SIGTERM and "type the command again" in out
    seen = torch.load(tmp_path / "run" / "checkpoints" / "last.ckpt", weights_only=True)["ode_vgan"]["clips_seen"]
    rows_before = len((tmp_path / "run" / "metrics.csv").read_text().splitlines())
    done = train(tmp_path, f"max_clips={seen + 400}")
    assert done.returncode == 0, done.stderr
    with open(tmp_path / "run" / "metrics.csv") as file:
        clips = [float(row["clips"]) for row in csv.DictReader(file) if row.get("clips")]
    assert len(clips) + 1 >= rows_before and clips == sorted(clips) and clips[-1] == seen + 400


def test_a_second_process_on_a_run_folder_is_refused_and_writes_nothing(tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "started.json").write_text("{}")
    with held(tmp_path / "run"):
        done = train(tmp_path)
    assert done.returncode == 2 and "is being trained by another process" in done.stderr
    assert "Traceback" not in done.stderr
    assert [path.name for path in (tmp_path / "run").iterdir()] == ["started.json"]


def test_another_config_in_the_same_folder_is_refused_and_the_key_is_named(whole):
    refused = train(whole, "temporal=sde", "style_dim=8")
    assert refused.returncode == 2 and "style_dim: 16 then, 8 now" in refused.stderr
    assert "Traceback" not in refused.stderr and len(refused.stderr.strip().splitlines()) == 1


@pytest.mark.parametrize(
    ("override", "told"),
    [
        ("temporal=oed", "did you mean ode"),
        ("data.source=nowhere", "nowhere"),
        ("data.frames=300", "300"),
        ("model.gamma_=1", "gamma_"),
        ("data.size=24", "size=24"),
    ],
)
def test_bad_input_is_one_line_and_leaves_no_run(tmp_path, override, told):
    refused = train(tmp_path, override, path="bad")
    assert refused.returncode != 0 and told in refused.stderr, refused.stderr
    assert "Traceback" not in refused.stderr
    assert not any((tmp_path / "runbad").glob("*"))


def test_a_multirun_trains_every_temporal_model_in_its_own_folder(tmp_path, capsys):
    sweep = ("temporal=ode,sde,rnn,discrete", "max_clips=8", f"hydra.sweep.dir={tmp_path}/s")
    done = execute([sys.executable, str(REPOSITORY / "train.py"), "-m", *tiny_overrides(tmp_path, *sweep)], tmp_path)
    assert done.returncode == 0, done.stderr
    for name in ("ode", "sde", "rnn", "discrete"):
        assert json.loads((tmp_path / "s" / f"{name}-seed0" / "metrics.json").read_text())["clips_seen"] == 8
    words = ["sample", str(tmp_path / "s" / "discrete-seed0"), "--text", "x", "--fps"]
    assert main([*words, "24"]) == 0  # the rate of the clips
    assert main([*words, "48"]) == 2 and "knows no other" in capsys.readouterr().err


def test_wandb_logs_offline_without_a_key(tmp_path):
    pytest.importorskip("wandb")
    environment = {key: value for key, value in os.environ.items() if not key.startswith("WANDB")}
    done = execute(command(tmp_path, "logger=wandb", "max_clips=8"), tmp_path, env=environment)
    assert done.returncode == 0, done.stderr
    assert list((tmp_path / "run" / "wandb").glob("offline-run-*/run-*.wandb"))
