"""Laws of judging a sweep: the right checkpoint, the same question once, and one run's trouble is its own."""

import json
import multiprocessing
import os
import shutil
import threading
from dataclasses import replace

import pytest
import torch

from ode_vgan.cli.main import main
from ode_vgan.errors import UserError
from ode_vgan.report.chosen import Budget, choose, reached
from ode_vgan.report.judged import Asked, judge
from ode_vgan.report.kept import Kept
from ode_vgan.report.study import read_run, read_runs
from tests.made_runs import made_clips, made_config, made_run

ASKED = Asked(protocols=("fd20_hog3d", "fd20_colour"), splits=("test", "train"), clips=20)
LOOKS = {16: 7.0, 32: 5.0, 48: 6.0}


@pytest.fixture(scope="module")
def clips(tmp_path_factory):
    return made_clips(tmp_path_factory.mktemp("clips"))


@pytest.fixture(scope="module")
def judged_once(tmp_path_factory, clips):
    """Two runs, and their judgement."""
    folder = tmp_path_factory.mktemp("sweep")
    made_run(folder / "ode-seed0", clips, 0, looks=LOOKS, scores=LOOKS)
    made_run(folder / "ode-seed1", clips, 1)
    return folder, judge(read_runs(folder), replace(ASKED, questions=("rates",), curves=("fd20_hog3d",)))


@pytest.fixture
def sweep(judged_once, tmp_path):
    """A copy of the judged sweep, for tests that change it."""
    return shutil.copytree(judged_once[0], tmp_path / "sweep")


def one(folder, name="ode-seed0"):
    return read_run(folder / name, folder)


def files(folder) -> dict[str, int]:
    return {path.as_posix(): path.stat().st_mtime_ns for path in sorted(folder.rglob("judged/*.json"))}


def test_the_look_of_the_best_validation_score_is_chosen(judged_once):
    folder, _ = judged_once
    found = choose(one(folder))
    assert (found.checkpoint.name, found.clips, found.value) == ("clips_000000032.ckpt", 32, 5.0)
    assert found.by == "best fd20_hog3d on validation clips, of 3 looks"
    assert choose(one(folder), "last").checkpoint.name == "last.ckpt"
    assert choose(one(folder), "last").by == "last checkpoint"


def test_without_validation_scores_it_is_the_last_and_says_so(judged_once, sweep, clips):
    found = choose(one(judged_once[0], "ode-seed1"))
    assert (found.checkpoint.name, found.clips, found.value) == ("last.ckpt", 64, None)
    assert found.by == "last checkpoint: no validation scores"
    for split in ("test", "train"):
        made_run(sweep / split, clips, looks=LOOKS, scores=LOOKS, config=made_config(clips, split=split))
        assert choose(one(sweep, split)).by == "last checkpoint: no validation scores", "no choice on other clips"
    made_run(sweep / "unlooked", clips, scores=LOOKS)
    assert choose(one(sweep, "unlooked")).by == "last checkpoint: no look has a validation score"


def test_a_higher_is_better_score_is_chosen_by_its_highest(tmp_path, clips):
    config = made_config(clips) | {"metrics": {"split": "val", "protocols": ["tempcons20"]}}
    made_run(tmp_path / "r-seed0", clips, looks=LOOKS, scores=LOOKS, config=config)
    table = tmp_path / "r-seed0" / "metrics.csv"
    table.write_text(table.read_text().replace("fd20_hog3d", "tempcons20"))
    assert choose(one(tmp_path, "r-seed0")).clips == 16


@pytest.mark.parametrize(
    ("column", "limit", "at"), [("clips", 40, 32), ("clips", 48, 48), ("seconds", 10, 16), ("cpu_seconds", 9, 32)]
)
def test_a_budget_takes_the_last_look_within_it(judged_once, column, limit, at):
    run, budget = one(judged_once[0]), Budget(column, limit)
    assert choose(run, budget=budget).clips == at and "within" in choose(run, budget=budget).by
    assert choose(run, "validation", budget).clips == min((clips for clips in LOOKS if clips <= at), key=LOOKS.get)
    assert reached(run, budget) and not reached(run, Budget(column, 10_000))


def test_a_budget_before_the_first_look_or_of_what_is_unknown_is_refused(judged_once, sweep):
    run = one(judged_once[0])
    with pytest.raises(UserError, match="no checkpoint within 8 clips: the first is at 16"):
        choose(run, budget=Budget("clips", 8))
    with pytest.raises(UserError, match="macs are not known"):
        choose(run, budget=Budget("macs", 1e9))
    assert choose(one(judged_once[0], "ode-seed1"), budget=Budget("seconds", 32)).checkpoint.name == "last.ckpt"
    shutil.rmtree(sweep / "ode-seed1" / "checkpoints")
    with pytest.raises(UserError, match="has no checkpoints/last.ckpt"):
        choose(one(sweep, "ode-seed1"))


def test_every_protocol_split_question_and_look_has_its_number(judged_once):
    folder, (runs, skipped) = judged_once
    keys = ["fd20_hog3d/test", "fd20_colour/test", "fd20_hog3d/train", "fd20_colour/train"]
    assert skipped == {} and [list(run.scores) for run in runs] == [keys, keys]
    for run in runs:
        score = run.scores["fd20_hog3d/test"]
        assert score.value > score.real > 0 and score.low < score.high and score.better == "lower"
        assert score.protocol["split"] == "test" and score.protocol["clips_real"] == 20
        assert [answer["question"] for answer in run.answers] == ["rates"] * 4
        assert run.answers[1]["numbers"]["fd"] > 0 and run.answers[0]["protocol"]["split"] == "test"
    chosen = runs[0].facts["chosen"]
    assert (chosen["clips"], chosen["value"], chosen["protocol"]) == (32, 5.0, "fd20_hog3d")
    assert (chosen["seconds"], chosen["cpu_seconds"], len(chosen["sha256"])) == (16, 8, 64)
    at, values = runs[0].curves["score/fd20_hog3d/test"]
    assert at == [16, 32, 48] and len(set(values)) == 3 and values[1] == runs[0].scores["fd20_hog3d/test"].value
    assert len(runs[0].curves["score/fd20_hog3d/test_real"][1]) == 3
    assert "score/fd20_hog3d/test" not in runs[1].curves


def test_of_the_looks_only_those_asked_for_are_judged_and_missing_ones_are_named(sweep):
    for path in sweep.rglob("judged/*"):
        path.unlink()
    asked = Asked(protocols=(), splits=("test",), clips=20, curves=("fd20_hog3d",), at=(16, 48, 64))
    runs, skipped = judge(read_runs(sweep), asked)
    assert runs[0].curves["score/fd20_hog3d/test"][0] == [16, 48] and len(files(sweep)) == 2
    assert skipped == {
        f"{sweep / 'ode-seed0'}: looks": "no look at 64 clips; kept are 3 from 16 to 48",
        f"{sweep / 'ode-seed1'}: looks": "no look at 16, 48, 64 clips; none is kept",
    }


def test_the_numbers_are_those_of_evaluate(judged_once, tmp_path):
    folder, (runs, _) = judged_once
    checkpoint, target = folder / "ode-seed0" / "checkpoints" / "clips_000000032.ckpt", tmp_path / "e.json"
    asked = ["--protocol", "fd20_hog3d", "--split", "test", "--json", str(target)]
    assert main(["evaluate", str(checkpoint), *asked]) == 0
    assert json.loads(target.read_text())["results"][0]["value"] == runs[0].scores["fd20_hog3d/test"].value


def test_nothing_is_judged_twice_and_what_is_new_is(judged_once, sweep, monkeypatch):
    folder, (before, _) = judged_once
    asked = replace(ASKED, questions=("rates",), curves=("fd20_hog3d",))
    then, loaded = files(sweep), []
    monkeypatch.setattr("ode_vgan.report.verdict.load", lambda path, **_: loaded.append(path))
    again, skipped = judge(read_runs(sweep), asked)
    assert [run.scores for run in again] == [run.scores for run in before] and skipped == {} and loaded == []
    assert [run.answers for run in again] == [run.answers for run in before] and files(sweep) == then
    monkeypatch.undo()

    more, _ = judge(read_runs(sweep), replace(ASKED, protocols=("fd24_hog3d", "fd20_hog3d"), splits=("test",)))
    new = {path: at for path, at in files(sweep).items() if path not in then}
    assert len(new) == 2 and {path: files(sweep)[path] for path in then} == then
    assert list(more[0].scores) == ["fd24_hog3d/test", "fd20_hog3d/test"]
    assert more[0].scores["fd20_hog3d/test"] == before[0].scores["fd20_hog3d/test"]


def test_an_interrupted_judgement_goes_on_where_it_was(sweep, monkeypatch):
    for path in (sweep / "ode-seed1" / "judged").glob("*"):
        path.unlink()
    calls = []

    def evaluate(*args, **options):
        calls.append(args)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return genuine(*args, **options)

    import ode_vgan.report.verdict as verdict

    genuine = verdict.evaluate
    monkeypatch.setattr(verdict, "evaluate", evaluate)
    with pytest.raises(KeyboardInterrupt):
        judge(read_runs(sweep), ASKED)
    assert len(list((sweep / "ode-seed1" / "judged").iterdir())) == 2, "the first split is kept"
    judge(read_runs(sweep), ASKED)
    assert len(calls) == 3 and len(list((sweep / "ode-seed1" / "judged").iterdir())) == 4


def test_another_checkpoint_seed_or_a_broken_file_is_judged_anew(sweep):
    asked = replace(ASKED, protocols=("fd20_hog3d",), splits=("test",))
    first = judge([one(sweep, "ode-seed1")], asked)[0][0].scores["fd20_hog3d/test"]
    other = judge([one(sweep, "ode-seed1")], replace(asked, seed=3))[0][0].scores["fd20_hog3d/test"]
    assert other.value != first.value and other.protocol["seed"] == 3
    for path in (sweep / "ode-seed1" / "judged").glob("*"):
        path.write_text(path.read_text()[:-40])
    assert judge([one(sweep, "ode-seed1")], asked)[0][0].scores["fd20_hog3d/test"] == first
    shutil.copy(sweep / "ode-seed0" / "checkpoints" / "last.ckpt", sweep / "ode-seed1" / "checkpoints" / "last.ckpt")
    assert judge([one(sweep, "ode-seed1")], asked)[0][0].scores["fd20_hog3d/test"].value != first.value


def test_the_trouble_of_one_run_is_named_and_the_others_are_judged(sweep, clips):
    (sweep / "ode-seed1" / "checkpoints" / "last.ckpt").write_bytes(b"half a checkp")
    torch.save({"a": 1}, made_run(sweep / "rnn-seed0", clips) / "checkpoints" / "last.ckpt")
    failed = made_run(sweep / "sde-seed0", clips)
    infinite = made_run(sweep / "cde-seed0", clips) / "checkpoints" / "last.ckpt"
    content = torch.load(infinite)
    next(iter(content["state_dict"].values())).fill_(float("nan"))
    torch.save(content, infinite)
    (failed / "failure.json").write_text(json.dumps({"error": "a loss is nan", "kind": "diverged"}))
    runs, skipped = judge(read_runs(sweep), ASKED)
    assert {run.folder.name for run in runs if run.scores} == {"ode-seed0"} and len(runs) == 5
    told = {os.path.basename(name.partition(":")[0]): why for name, why in skipped.items()}
    assert "cannot be read as a checkpoint" in told["ode-seed1"] and "is not a checkpoint of" in told["rnn-seed0"]
    assert "last.ckpt has weights that are not finite" in told["cde-seed0"]
    assert told["sde-seed0"] == "failed: a loss is nan (after 64 clips)"


def test_a_protocol_that_cannot_be_asked_is_said_once_and_the_others_are(sweep, monkeypatch, tmp_path):
    monkeypatch.setenv("ODE_VGAN_WEIGHTS", str(tmp_path))
    runs, skipped = judge(read_runs(sweep), replace(ASKED, protocols=("fd20_hog3d", "fvd20", "fd20_8f_motion")))
    assert "ode-vgan weights i3d" in skipped["fvd20"] and [key for key in skipped if "fvd" in key] == ["fvd20"]
    assert [list(run.scores)[0] for run in runs] == ["fd20_hog3d/test"] * 2
    wrong = Asked(protocols=("is20",))
    assert "is20" in judge(read_runs(sweep), wrong)[1]


def test_runs_are_judged_in_processes_with_the_same_numbers(judged_once, sweep, clips):
    before = judge(read_runs(judged_once[0]), ASKED)[0]
    shutil.rmtree(sweep / "ode-seed0" / "judged")
    shutil.rmtree(sweep / "ode-seed1" / "judged")
    asked = replace(ASKED, splits=("test",), protocols=("fd20_hog3d",))
    found, skipped = judge(read_runs(sweep), asked, jobs=2)
    for run, same in zip(found, before, strict=True):
        assert run.scores["fd20_hog3d/test"].value == pytest.approx(same.scores["fd20_hog3d/test"].value, rel=1e-6)
    assert skipped == {}


def test_a_process_that_dies_costs_its_own_run_and_is_named(sweep):
    for path in sweep.rglob("judged/*"):
        path.unlink()
    ended = threading.Event()

    def kill() -> None:
        while not ended.wait(0.02):
            for child in multiprocessing.active_children():
                if child.name.startswith("SpawnProcess"):
                    child.kill()

    killer = threading.Thread(target=kill)
    killer.start()
    try:
        runs, skipped = judge(read_runs(sweep), ASKED, jobs=2)
    finally:
        ended.set()
        killer.join()
    assert [run.scores for run in runs] == [{}, {}] and len(skipped) == 2
    assert all("the process that judged it died" in why for why in skipped.values())


def test_only_what_is_kept_is_shown_when_nothing_may_be_judged(judged_once, sweep):
    asked = replace(ASKED, protocols=("fd20_hog3d", "fd24_hog3d"), questions=("rates", "horizon"))
    runs, _ = judge(read_runs(sweep), asked, make=False)
    assert list(runs[0].scores) == ["fd20_hog3d/test", "fd20_hog3d/train"] and len(runs[0].answers) == 4


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ({"protocols": ("fvx20",)}, "fvx20"),
        ({"splits": ("tset",)}, "there are test, train, val"),
        ({"splits": ()}, "no split"),
        ({"questions": ("rate",)}, "there are rates"),
        ({"clips": 5}, "20 or more"),
        ({"way": "best"}, "validation, last"),
        ({"budget": Budget("steps", 5)}, "there are clips"),
        ({"at": (16,)}, "no protocol to judge them by"),
        ({"at": (0, 16), "curves": ("fd20_hog3d",)}, "no look at 0 clips"),
    ],
)
def test_what_cannot_be_asked_is_refused_before_any_work(wrong, told):
    with pytest.raises(UserError, match=told):
        replace(ASKED, **wrong).check()
    with pytest.raises(UserError, match="0 jobs"):
        judge([], ASKED, jobs=0)


def test_kept_answers_are_told_apart_by_everything_asked(tmp_path):
    kept = Kept(tmp_path, "aa")
    kept.write({"protocol": "fd20", "seed": 0}, {"n": [1, 2.5]})
    assert kept.read({"protocol": "fd20", "seed": 0}) == {"n": [1, 2.5]}
    assert (
        kept.read({"protocol": "fd20", "seed": 1}) is None and Kept(tmp_path, "ab").read({"protocol": "fd20"}) is None
    )
