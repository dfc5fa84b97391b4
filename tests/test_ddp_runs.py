"""Laws of `trainer=ddp`: train.py in two processes, as a user types it."""

import csv
import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from ode_vgan.errors import UserError
from ode_vgan.processes import leads
from ode_vgan.report.sweep import one_device_a_job
from tests.test_train import command, execute, train, wait_for, weights
from tests.tiny import REPOSITORY, tiny_overrides

TWO = ["trainer=ddp", "trainer.accelerator=cpu", "trainer.devices=2", "trainer.precision=32-true"]
ONE = ["trainer.precision=32-true"]
LONG = ["max_clips=1000000", "trainer.log_every_n_steps=1"]


def rows(run: Path) -> list[dict[str, float]]:
    with open(run / "metrics.csv") as file:
        return [{name: float(value) for name, value in row.items() if value} for row in csv.DictReader(file)]


def children(process: subprocess.Popen) -> list[int]:
    """Its other process of training."""
    found = []
    for path in Path("/proc").glob("[0-9]*"):
        try:
            stat = (path / "stat").read_text().rpartition(")")[2].split()
            words = (path / "cmdline").read_bytes().split(b"\0")
        except OSError:
            continue
        if int(stat[1]) == process.pid and any(word.startswith(b"hydra.job.name=train_ddp") for word in words):
            found.append(int(path.name))
    return found


def gone(pid: int, seconds: float = 20) -> bool:
    for _ in range(int(seconds * 10)):
        if not Path(f"/proc/{pid}").exists() or "Z" in Path(f"/proc/{pid}/stat").read_text().split()[2]:
            return True
        time.sleep(0.1)
    return False


@pytest.fixture
def running(tmp_path):
    """A run of two processes that has left its first checkpoint, and its second process."""
    process = subprocess.Popen(
        command(tmp_path, *TWO, *LONG), cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        start_new_session=True,
    )  # fmt: skip
    wait_for(tmp_path / "run" / "checkpoints" / "last.ckpt", process)
    (child,) = children(process)
    yield process, child, tmp_path / "run"
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def last_words(stderr: str) -> list[str]:
    """Lines that are neither the bar nor warnings of a library."""
    lines = [line.rpartition("\r")[2] for line in stderr.splitlines()]
    return [
        line
        for line in lines
        if line.startswith("train.py: ") or "Traceback" in line or "Error" in line or "MEMBER" in line
    ]


@pytest.fixture(scope="module")
def pair(tmp_path_factory) -> Path:
    """A finished run of two processes, scored."""
    folder = tmp_path_factory.mktemp("pair")
    score = ["metrics=hog3d", "metrics.protocols=[fd20_hog3d]"]
    done = train(folder, "temporal=sde", *TWO, *score, "max_clips=16", "trainer.log_every_n_steps=1")
    assert done.returncode == 0 and last_words(done.stderr) == [], done.stderr
    return folder


def test_two_processes_leave_the_folder_of_one_run(pair):
    run = pair / "run"
    found = sorted(path.name for path in run.iterdir())
    assert found == [
        "checkpoints", "config.yaml", "curves.png", "metrics.csv", "metrics.json", "samples", "samples.mp4",
        "samples.png", "started.json",
    ]  # fmt: skip
    told = rows(run)
    assert [row["clips"] for row in told if "critic/loss" in row] == [4, 8, 12, 16]  # of both together
    assert [row["clips"] for row in told if "score/fd20_hog3d" in row] == [8, 16]
    metrics = json.loads((run / "metrics.json").read_text())
    assert metrics["finished"] and metrics["clips_seen"] == 16
    assert metrics["cpu_seconds"] > 0 and "fd20_hog3d" in str(metrics["score"])
    assert "trainer=ddp" in metrics["started"]["command"] and "hydra.job.name" not in metrics["started"]["command"]
    assert (run.parent / "ledger").is_dir()


@pytest.mark.slow
def test_the_run_of_two_processes_is_that_of_one_and_goes_on_in_one(pair, tmp_path):
    os.symlink(pair / "clips", tmp_path / "clips")
    same = ["temporal=sde", f"data.source={pair / 'clips'}", "metrics=hog3d", "metrics.protocols=[fd20_hog3d]"]
    logged = "trainer.log_every_n_steps=1"
    done = train(tmp_path, *same, *ONE, logged, "max_clips=32")
    assert done.returncode == 0, done.stderr
    goes_on = train(pair, *same, *ONE, logged, "max_clips=24")
    assert goes_on.returncode == 0, goes_on.stderr
    back = train(pair, *same, *TWO, logged, "max_clips=32")
    assert back.returncode == 0, back.stderr
    whole, parts = rows(tmp_path / "run"), rows(pair / "run")
    whole = [row for row in whole if "critic/loss" in row]
    parts = [row for row in parts if "critic/loss" in row]
    assert [row["clips"] for row in parts] == [row["clips"] for row in whole] == list(range(4, 36, 4))
    for one, other in zip(whole, parts, strict=True):
        for name in one.keys() - {"seconds", "cpu_seconds", "clips_per_second", "wait/share"}:
            assert other[name] == pytest.approx(one[name], rel=1e-4, abs=1e-5), name
    kept, others = weights(tmp_path / "run"), weights(pair / "run")
    assert kept.keys() == others.keys() and all(value.shape == others[name].shape for name, value in kept.items())
    scores = [json.loads((run / "run" / "metrics.json").read_text())["score"] for run in (tmp_path, pair)]
    assert scores[1] == pytest.approx(scores[0], rel=1e-3)


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_both_with_a_checkpoint(running, number):
    process, child, run = running
    if number == signal.SIGINT:
        os.killpg(process.pid, number)  # as a terminal does
    else:
        process.send_signal(number)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 128 + number and "type the command again" in out and gone(child), err
    assert last_words(err) == []
    seen = torch.load(run / "checkpoints" / "last.ckpt", weights_only=True)["ode_vgan"]["clips_seen"]
    assert f"{seen:,} clips" in out


@pytest.mark.slow
def test_a_process_that_is_killed_ends_the_run_with_one_line(running):
    process, child, run = running
    os.kill(child, signal.SIGKILL)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 2
    (line,) = last_words(err)
    assert line.startswith("train.py: error: process 1 of 2 is gone") and "again" in line
    assert json.loads((run / "failure.json").read_text())["kind"] == "refused"


@pytest.mark.slow
def test_no_process_outlives_the_leading_one(running):
    process, child, _ = running
    process.kill()
    process.wait()
    assert gone(child)
    _, err = process.communicate()
    assert last_words(err) == []


FAULTY = """
import os
from ode_vgan.errors import UserError
from ode_vgan.losses.adversarial import Relativistic

class Faulty(Relativistic):
    def __init__(self, rank: str, error: str):
        self.rank, self.error, self.steps = rank, error, 0

    def critic(self, real, fake):
        self.steps += 1
        if self.steps > 2 and os.environ.get("LOCAL_RANK", "0") == self.rank:
            raise UserError("no such luck. Try again.") if self.error == "user" else ZeroDivisionError("oh")
        return super().critic(real, fake)
"""


@pytest.mark.slow
@pytest.mark.parametrize("at", ["0", "1"])
@pytest.mark.parametrize("error", ["user", "bug"])
def test_where_one_process_fails_its_message_alone_is_told(tmp_path, at, error):
    (tmp_path / "faulty.py").write_text(FAULTY)
    words = [*TWO, "loss._target_=faulty.Faulty", f"+loss.rank='{at}'", f"+loss.error={error}"]
    environment = os.environ | {"PYTHONPATH": str(tmp_path)}
    done = execute(command(tmp_path, *words), tmp_path, env=environment)
    if error == "user":
        where = "process 1 of 2: " if at == "1" else ""
        assert last_words(done.stderr) == [f"train.py: error: {where}no such luck. Try again."]
        assert done.returncode == 2
    else:
        told = re.findall(r"^(?:\[rank0\]: )?ZeroDivisionError: oh", done.stderr, re.MULTILINE)
        assert done.returncode == 1 and len(told) == 1, done.stderr
        assert "Connection closed" not in done.stderr
    assert json.loads((tmp_path / "run" / "failure.json").read_text())["kind"] == {"user": "refused"}.get(
        error, "crashed"
    )


@pytest.mark.slow
@pytest.mark.parametrize(
    ("words", "told"),
    [
        ([*TWO, "data.batch=5"], "data.batch=5 clips cannot be shared evenly by 2 processes; give a multiple of 2"),
        (["trainer=gpu"], "trainer: "),
        (["trainer.devices=0"], "trainer: "),
    ],
)
def test_devices_that_cannot_be_had_are_one_line_and_leave_no_run(tmp_path, words, told):
    if words == ["trainer=gpu"] and torch.cuda.is_available():
        pytest.skip("there is a GPU")
    refused = train(tmp_path, *words, path="bad")
    assert refused.returncode == 2 and told in refused.stderr, refused.stderr
    assert "Traceback" not in refused.stderr and not any((tmp_path / "runbad").glob("*"))


def test_a_sweep_of_several_devices_is_refused_once(tmp_path):
    sweep = ["trainer.devices=2", f"hydra.sweep.dir={tmp_path}/s", "seed=0,1"]
    done = execute([sys.executable, str(REPOSITORY / "train.py"), "-m", *tiny_overrides(tmp_path, *sweep)], tmp_path)
    assert done.returncode == 2 and done.stderr.count("\n") == 1, done.stderr
    assert "one device a job" in done.stderr and "hydra/launcher=joblib" in done.stderr


def test_one_device_a_job_is_a_sweeps_rule():
    one_device_a_job({"devices": 1})
    for options in ({"devices": 2}, {"devices": "auto"}, {"devices": -1}, {"devices": 1, "num_nodes": 2}):
        with pytest.raises(UserError, match="one device a job"):
            one_device_a_job(options)


@pytest.mark.parametrize(
    ("environment", "first"),
    [({}, True), ({"LOCAL_RANK": "0", "WORLD_SIZE": "2"}, True), ({"LOCAL_RANK": "1"}, False),
     ({"LOCAL_RANK": "0", "RANK": "2"}, False), ({"NODE_RANK": "1"}, False), ({"SLURM_PROCID": "0"}, True)],
)  # fmt: skip
def test_one_process_of_a_run_leads(monkeypatch, environment, first):
    for name in ("RANK", "LOCAL_RANK", "NODE_RANK", "SLURM_PROCID"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert leads() is first
