"""Laws of sweeping elsewhere: launchers and the sweeper that come as extras run the points and tell of failures."""

import csv
import importlib.util
import json
import math
import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from hydra import compose, initialize_config_dir

from ode_vgan.report.objective import best_score
from tests.test_conf import CONF
from tests.tiny import REPOSITORY, tiny_overrides

PLUGINS = {"joblib": "sweep", "submitit_local": "sweep", "ray": "sweep-ray"}  # by launcher, with their extra
OPTIONS = {
    "joblib": ["hydra.launcher.n_jobs=2"],
    "submitit_local": [],
    "ray": ["+hydra.launcher.ray.init.num_cpus=2", "+hydra.launcher.ray.init.include_dashboard=false"],
}


def needs(kind: str, name: str, extra: str) -> None:
    module = f"hydra_plugins.hydra_{name.partition('_')[0]}_{kind}"
    if importlib.util.find_spec(module) is None:
        pytest.skip(f"hydra/{kind}={name} is not here; pip install -e '.[{extra}]' -c constraints.txt")


def sweep(folder: Path, *words: str) -> subprocess.CompletedProcess:
    command = [sys.executable, str(REPOSITORY / "train.py"), "-m", *tiny_overrides(folder, "max_clips=8", *words)]
    without = {key: value for key, value in os.environ.items() if key != "HYDRA_FULL_ERROR"}
    given = {"PYTHONPATH": str(REPOSITORY), "HOME": str(folder), "RAY_USAGE_STATS_ENABLED": "0"}
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=500, env=without | given)


@pytest.mark.parametrize("launcher", PLUGINS)
def test_a_launcher_composes_with_the_default_config(launcher: str):
    needs("launcher", launcher, PLUGINS[launcher])
    with initialize_config_dir(str(CONF), version_base="1.3"):
        words = [f"hydra/launcher={launcher}", *OPTIONS[launcher]]
        made = compose("train", overrides=words, return_hydra_config=True)
    assert launcher.partition("_")[0] in made.hydra.launcher._target_


@pytest.mark.slow
@pytest.mark.parametrize("launcher", PLUGINS)
def test_a_launcher_runs_every_point_and_a_failed_one_ends_the_sweep_with_2(launcher: str, tmp_path: Path):
    needs("launcher", launcher, PLUGINS[launcher])
    points = ["data.size=16,24", f"hydra.sweep.dir={tmp_path}/s", "hydra.sweep.subdir=side${data.size}"]
    done = sweep(tmp_path, "temporal=rnn", *points, f"hydra/launcher={launcher}", *OPTIONS[launcher])
    assert done.returncode == 2, done.stderr
    finished = json.loads((tmp_path / "s" / "side16" / "metrics.json").read_text())
    assert finished["finished"] and finished["clips_seen"] == 8
    failed = json.loads((tmp_path / "s" / "side24" / "failure.json").read_text())
    assert failed["kind"] == "refused" and "size=24" in failed["error"]
    assert "side24 failed: size=24" in done.stderr and "side16 failed" not in done.stderr
    again = sweep(tmp_path, "temporal=rnn", "data.size=16", *points[1:], f"hydra/launcher={launcher}")
    assert again.returncode == 0, again.stderr  # an earlier sweep's failure is not this one's


@pytest.mark.slow
def test_optuna_minimises_the_best_score_and_goes_on_after_a_failed_point(tmp_path: Path):
    needs("sweeper", "optuna", "sweep-optuna")
    study = ["hydra/sweeper=optuna", "hydra.sweeper.n_trials=3", "hydra.sweeper.n_jobs=1", "hydra.sweeper.study_name=s"]
    study += [f"hydra.sweeper.storage=sqlite:///{tmp_path}/study.db", "hydra.sweeper.sampler.seed=1"]
    where = [f"hydra.sweep.dir={tmp_path}/s", "hydra.sweep.subdir=trial${hydra:job.num}"]
    score = ["metrics=hog3d", "metrics.protocols=[fd20_hog3d]"]
    space = ["model.generator_lr=interval(1e-4,1e-2)", "temporal.noise_dim=choice(8,-1)"]
    done = sweep(tmp_path, "temporal=rnn", *study, *where, *score, *space)
    found = yaml.safe_load((tmp_path / "s" / "optimization_results.yaml").read_text())
    trials = sorted((tmp_path / "s").glob("trial*"))
    failed = [trial for trial in trials if (trial / "failure.json").exists()]
    values = [best_score(trial, ["fd20_hog3d"]) for trial in trials if trial not in failed]
    assert len(trials) == 3 and found["best_value"] == min(values)
    assert found["best_params"]["temporal.noise_dim"] == 8
    assert failed and done.returncode == 2, done.stderr


def test_the_objective_is_the_best_of_all_looks_in_the_protocols_own_sense(tmp_path: Path):
    columns = ["clips", "score/fvd128_16f", "score/fvd128_16f_real", "score/is2048_16f", "score/prdc64_16f/recall"]
    rows = [[8, "", "", "", ""], [8, 300.0, 1.0, 2.0, 0.1], [16, 250.5, 0.5, 3.0, 0.4], [24, 270.0, 2.0, "nan", 0.2]]
    with open(tmp_path / "metrics.csv", "w", newline="") as file:
        csv.writer(file).writerows([columns, *rows])
    assert best_score(tmp_path, ["fvd128_16f", "is2048_16f"]) == 250.5
    assert best_score(tmp_path, ["is2048_16f"]) == 3.0
    assert best_score(tmp_path, ["prdc64_16f"]) == 0.4
    assert best_score(tmp_path, ["kvd128_16f"]) is None
    assert best_score(tmp_path, []) is None and best_score(tmp_path / "nowhere", ["fvd128_16f"]) is None
    assert not math.isnan(best_score(tmp_path, ["is2048_16f"]))
