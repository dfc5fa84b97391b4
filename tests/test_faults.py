"""Laws of runs that meet a fault: train.py in its own process, with the fault done for real."""

import json
import resource
import signal
import subprocess
import time

import torch

from tests.test_train import command, execute, train, wait_for, weights


def losses_of(run) -> list[float]:
    return [event["step_scale"] for event in json.loads((run / "metrics.json").read_text())["rollbacks"]]


DIVERGES = ("model.generator_lr=1.0e+12", "model.warmup_clips=0", "diverged.then=rollback", "diverged.factor=1.0e-15")


def test_a_run_that_diverges_goes_back_and_finishes_with_smaller_steps_also_after_a_resume(tmp_path):
    done = train(tmp_path, *DIVERGES, "max_clips=16")
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("Goes on at 0 clips with steps times 1e-15") == 1 and "Traceback" not in done.stderr
    run = tmp_path / "run"
    event = json.loads((run / "metrics.json").read_text())["rollbacks"]
    assert [(one["to_clips"], one["step_scale"]) for one in event] == [(0, 1e-15)] and "a loss is" in event[0]["reason"]
    assert "step_scale" in (run / "metrics.csv").read_text().splitlines()[0]
    assert all(bool(value.isfinite().all()) for value in weights(run).values() if value.is_floating_point())
    done = train(tmp_path, *DIVERGES, "max_clips=24")  # at the steps before it, the longer run would diverge
    assert done.returncode == 0 and losses_of(run) == [1e-15], done.stderr


def test_a_run_that_no_rollback_helps_stops_with_the_reason_and_the_last_good_checkpoint(tmp_path):
    done = train(tmp_path, *DIVERGES[:3], "diverged.times=1")
    assert done.returncode == 2 and "1 rollbacks, to steps 0.5 times as large, did not help" in done.stderr
    assert "Traceback" not in done.stderr and json.loads((tmp_path / "run" / "failure.json").read_text())
    assert all(bool(value.isfinite().all()) for value in weights(tmp_path / "run").values())


def test_a_broken_last_checkpoint_changes_nothing_but_one_line(tmp_path):
    done = train(tmp_path, "max_clips=16")
    assert done.returncode == 0, done.stderr
    last = tmp_path / "run" / "checkpoints" / "last.ckpt"
    expected = weights(tmp_path / "run")
    last.write_bytes(last.read_bytes()[:1000])
    done = train(tmp_path, "max_clips=16")
    assert done.returncode == 0 and "Traceback" not in done.stderr, done.stderr
    assert done.stdout.count("Goes on from earlier-1.ckpt, at 8 clips") == 1
    assert all(torch.equal(value, weights(tmp_path / "run")[name]) for name, value in expected.items())
    (tmp_path / "run" / "metrics.json").unlink()  # as a kill between the last checkpoint and the report leaves it
    done = train(tmp_path, "max_clips=16")
    assert done.returncode == 0 and (tmp_path / "run" / "metrics.json").exists(), done.stderr
    assert all(torch.equal(value, weights(tmp_path / "run")[name]) for name, value in expected.items())


def test_a_full_disk_is_told_in_one_line_and_the_run_goes_on_when_there_is_room(tmp_path):
    with open(tmp_path / "out", "w+") as out:
        process = subprocess.Popen(command(tmp_path, "max_clips=100000"), cwd=tmp_path, stdout=out, stderr=out)
        last = tmp_path / "run" / "checkpoints" / "last.ckpt"
        wait_for(last, process)
        limits = resource.prlimit(process.pid, resource.RLIMIT_FSIZE)
        resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (20_000, limits[1]))  # no checkpoint is so small
        wait_for_text(tmp_path / "out", "training goes on", process)
        kept = torch.load(last, weights_only=True)["ode_vgan"]["clips_seen"]
        resource.prlimit(process.pid, resource.RLIMIT_FSIZE, limits)
        while process.poll() is None and torch.load(last, weights_only=True)["ode_vgan"]["clips_seen"] == kept:
            time.sleep(0.2)
        process.send_signal(signal.SIGTERM)
        assert process.wait(120) == 128 + signal.SIGTERM
        told = (tmp_path / "out").read_text()
    assert "File too large); the one before is kept." in told and "Traceback" not in told
    assert "type the command again" in told


def test_a_run_that_ends_on_a_full_disk_says_so_and_is_continued(tmp_path):
    limited = {"preexec_fn": lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, resource.RLIM_INFINITY))}
    done = execute(command(tmp_path, "max_clips=8"), tmp_path, **limited)
    assert done.returncode == 2 and "Traceback" not in done.stderr, done.stderr
    assert "Free some space and type the command again" in done.stderr
    done = train(tmp_path, "max_clips=8")
    assert done.returncode == 0 and (tmp_path / "run" / "metrics.json").exists(), done.stderr


def wait_for_text(path, text: str, process: subprocess.Popen) -> None:
    while process.poll() is None and text not in path.read_text():
        time.sleep(0.1)
    assert text in path.read_text()
