"""Laws of runs in odd surroundings: no server, no HOME, other locales, a clock that goes back, a second signal."""

import os
import signal
import subprocess
import time

import pytest
import torch

from tests.test_train import command, execute, train, wait_for, weights

pytestmark = pytest.mark.slow

CLOCK = """
import time
real, calls = time.time, [0]
def back() -> float:
    calls[0] += 1
    return real() - 3600.0 * (calls[0] % 7)  # an hour or more back, and forth again
time.time = back
"""


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    folder = tmp_path_factory.mktemp("plain")
    assert train(folder, "max_clips=16").returncode == 0
    return weights(folder / "run")


def surroundings(**changes: str | None) -> dict[str, str]:
    kept = {key: value for key, value in os.environ.items() if key not in {"HYDRA_FULL_ERROR", *changes}}
    return kept | {key: value for key, value in changes.items() if value is not None}


@pytest.mark.parametrize(
    "changes",
    [
        {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"},
        {"LC_ALL": "tr_TR.UTF-8"},
        {"LC_NUMERIC": "de_DE.UTF-8", "TZ": "Pacific/Kiritimati"},
        {"HOME": None, "XDG_CACHE_HOME": None, "USER": None, "LOGNAME": None},
    ],
)
def test_locale_time_zone_and_a_missing_home_change_nothing(tmp_path, plain, changes):
    done = execute(command(tmp_path, "max_clips=16"), tmp_path, env=surroundings(**changes))
    assert done.returncode == 0 and "Traceback" not in done.stderr, done.stderr
    assert all(torch.equal(value, weights(tmp_path / "run")[name]) for name, value in plain.items())


def test_a_clock_that_goes_back_and_forth_changes_nothing(tmp_path, plain):
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "sitecustomize.py").write_text(CLOCK)
    env = surroundings(PYTHONPATH=str(tmp_path / "site"))
    done = execute(command(tmp_path, "max_clips=16"), tmp_path, env=env)
    assert done.returncode == 0, done.stderr
    assert all(torch.equal(value, weights(tmp_path / "run")[name]) for name, value in plain.items())


def test_a_server_that_does_not_answer_makes_an_offline_run(tmp_path):
    nowhere = {"WANDB_API_KEY": "a" * 40, "WANDB_BASE_URL": "http://127.0.0.1:9", "WANDB_MODE": "online"}
    done = execute(command(tmp_path, "max_clips=8", "logger=wandb"), tmp_path, env=surroundings(**nowhere))
    assert done.returncode == 0 and "Traceback" not in done.stderr, done.stderr
    assert done.stdout.count("goes on offline, `wandb sync` sends it later.") == 1
    assert list((tmp_path / "run" / "wandb").glob("offline-run-*/run-*.wandb"))
    assert (tmp_path / "run" / "metrics.json").exists()


@pytest.mark.parametrize("number", [signal.SIGHUP, signal.SIGTERM])
def test_one_signal_ends_a_run_with_a_checkpoint_and_a_second_at_once_without_harm(tmp_path, number):
    process = subprocess.Popen(
        command(tmp_path, "max_clips=100000"), cwd=tmp_path, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    wait_for(tmp_path / "run" / "checkpoints" / "last.ckpt", process)
    process.send_signal(number)
    time.sleep(0.01)
    process.send_signal(number)
    assert process.wait(60) in (128 + number, -number)  # after its step, or at once
    assert all(bool(value.isfinite().all()) for value in weights(tmp_path / "run").values())
    done = train(tmp_path, "max_clips=8")
    assert done.returncode == 0 and "already has" in done.stdout, done.stderr
