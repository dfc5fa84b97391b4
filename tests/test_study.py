"""Laws of reading a sweep: every run in its state, families by name, nothing a folder holds can raise."""

import json
import shutil

import pytest
import yaml

from ode_vgan.errors import UserError
from ode_vgan.report.study import Run, read_config, read_runs, unlike
from tests.made_runs import STARTED, made_clips, made_config, made_run


@pytest.fixture(scope="module")
def clips(tmp_path_factory):
    return made_clips(tmp_path_factory.mktemp("clips"))


@pytest.fixture
def sweep(tmp_path, clips):
    """Runs of every state, and what else lies in a sweep's folder."""
    folder = tmp_path / "sweep"
    made_run(folder / "ode-seed0", clips, 0, scores={32: 5.0})
    made_run(folder / "ode-seed10", clips, 10)
    made_run(folder / "rnn-seed1-wide", clips, 1, finished=False, seen=24)
    made_run(folder / "gordon2020" / "tgan_ode-seed2", clips, 2)
    failed = made_run(folder / "sde-seed0", clips, finished=False, seen=16)
    (failed / "failure.json").write_text(json.dumps({"error": "a loss is\nnan", "kind": "diverged"}))
    (folder / "discrete-seed3").mkdir()
    refusal = {"error": "no such gap", "kind": "refused", "config": {"seed": 3}}
    (folder / "discrete-seed3" / "failure.json").write_text(json.dumps(refusal))
    (folder / "multirun.yaml").write_text("hydra: {}")
    wandb = folder / "ode-seed0" / "wandb" / "offline-run-1" / "files"
    wandb.mkdir(parents=True)
    (wandb / "config.yaml").write_text("a: 1")
    (folder / "figures").mkdir()
    return folder


def by_name(folder) -> dict[str, Run]:
    return {run.folder.name: run for run in read_runs(folder)}


def test_every_run_is_found_with_its_family_seed_and_state(sweep):
    found = {(run.family, run.seed): run.state for run in read_runs(sweep)}
    assert found == {
        ("discrete", 3): "refused",
        ("gordon2020/tgan_ode", 2): "finished",
        ("ode", 0): "finished",
        ("ode", 10): "finished",
        ("rnn-wide", 1): "unfinished",
        ("sde", 0): "failed",
    }
    runs = by_name(sweep)
    assert runs["rnn-seed1-wide"].note == "24 of 64 clips"
    assert runs["sde-seed0"].note == "a loss is nan (after 16 clips)" and runs["discrete-seed3"].note == "no such gap"


def test_facts_and_curves_come_from_the_run(sweep):
    run = by_name(sweep)["ode-seed0"]
    assert (run.note, run.facts["clips_seen"], run.facts["nfe"], run.facts["cpu_seconds"]) == ("", 64, 3, 16)
    assert run.facts["parameters"]["generator"] == 100 and run.facts["started"] == STARTED and run.facts["macs"] == {}
    assert run.curves["score/fd20_hog3d"] == ([32.0], [5.0])
    assert run.curves["seconds"] == ([float(at) for at in range(8, 65, 8)], [at / 2 for at in range(8, 65, 8)])
    left = by_name(sweep)["rnn-seed1-wide"].facts
    assert (left["clips_seen"], left["seconds"], left["started"]) == (24, 12, STARTED)


def test_a_run_that_is_trained_further_is_unfinished_again(sweep):
    told = json.loads((sweep / "ode-seed0" / "metrics.json").read_text())
    (sweep / "ode-seed0" / "metrics.json").write_text(json.dumps(told | {"clips_seen": 40}))
    run = by_name(sweep)["ode-seed0"]
    assert (run.state, run.facts["clips_seen"]) == ("unfinished", 64)


@pytest.mark.parametrize("name", ["config.yaml", "metrics.json", "metrics.csv", "failure.json", "started.json"])
@pytest.mark.parametrize("content", [b"", b"{", b"\xff\xfe\x00", b"[1, 2]", b'a,"b\n\x00,1', b"clips,x\n1,"])
def test_half_written_files_are_a_state_and_never_an_exception(sweep, name, content):
    (sweep / "ode-seed0" / name).write_bytes(content)
    run = by_name(sweep)["ode-seed0"]
    assert run.state in ("finished", "unfinished", "failed") and run.seed == 0
    if name == "metrics.json":
        assert run.state == "unfinished" and run.note == "64 of 64 clips; metrics.json cannot be read"
    if name == "failure.json":
        assert run.state == "failed" and "cannot be read" in run.note


def test_a_folder_may_be_a_run_and_must_exist(sweep, tmp_path):
    assert [(run.family, run.seed) for run in read_runs(sweep / "ode-seed10")] == [("ode", 10)]
    assert read_runs([sweep / "figures"]) == []
    with pytest.raises(UserError, match="nowhere does not exist"):
        read_runs([sweep, tmp_path / "nowhere"])


def test_families_of_two_folders_are_one_only_where_nothing_but_the_seed_differs(sweep, tmp_path, clips):
    other = tmp_path / "other"
    made_run(other / "ode-seed1", clips, 1)
    made_run(other / "gordon2020" / "tgan_ode-seed2", clips, 2)
    joined = [(run.family, run.seed) for run in read_runs([sweep, other])]
    assert {("ode", 0), ("ode", 1), ("ode", 10)} <= set(joined)
    assert {("sweep/gordon2020/tgan_ode", 2), ("other/gordon2020/tgan_ode", 2)} <= set(joined), "one seed twice"
    shutil.rmtree(other / "ode-seed1")
    changed = made_config(clips, 1) | {"noise_dim": 5}
    made_run(other / "ode-seed1", clips, 1, config=changed)
    apart = [(run.family, run.seed) for run in read_runs([sweep, other])]
    assert {("sweep/ode", 0), ("sweep/ode", 10), ("other/ode", 1)} <= set(apart)
    assert [run.folder for run in read_runs([sweep, sweep])] == [run.folder for run in read_runs(sweep)]


def test_what_runs_of_one_family_differ_in_is_named(sweep, clips):
    first, second = (by_name(sweep)[name] for name in ("ode-seed0", "ode-seed10"))
    assert unlike([first, second]) == []
    config = read_config(second.folder)
    config["model"]["generator"]["noise_dim"] = 9
    (second.folder / "config.yaml").write_text(yaml.safe_dump(config | {"max_clips": 1, "seed": 4}))
    assert unlike([first, second]) == ["model.generator.noise_dim"]
