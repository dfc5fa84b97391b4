"""Laws of comparing a sweep: from its folder to a report whose numbers all lead back to a run."""

import csv
import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from ode_vgan.cli.compare import parse_asked, words
from ode_vgan.cli.main import build_parser, main
from ode_vgan.errors import UserError
from ode_vgan.metrics.protocol import parse_protocol
from ode_vgan.report.chosen import Budget
from ode_vgan.report.compare import WEIGHTLESS, build_study, default_protocols
from ode_vgan.report.results import write_results
from ode_vgan.report.study import Run, Score
from tests.made_runs import STARTED, made_clips, made_config, made_run

QUICK = ["--protocol", "fd20_hog3d", "--clips", "20", "--questions", "rates"]


@pytest.fixture(scope="module")
def swept(tmp_path_factory):
    """A sweep of two families with failures, compared by the verb; and what the verb printed."""
    folder = tmp_path_factory.mktemp("root") / "sweep"
    clips = made_clips(tmp_path_factory.mktemp("clips"))
    for seed in (0, 1):
        made_run(folder / f"ode-seed{seed}", clips, seed)
        config = made_config(clips, 10 + seed)
        made_run(folder / f"ode-seed{10 + seed}-wide", clips, config=config)
    made_run(folder / "rnn-seed0", clips, finished=False, seen=24)
    failed = made_run(folder / "sde-seed0", clips)
    (failed / "failure.json").write_text(json.dumps({"error": "a loss is nan at 16 clips", "kind": "diverged"}))
    return folder


@pytest.fixture(scope="module")
def printed(swept):
    import contextlib
    import io

    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        assert main(["compare", str(swept), *QUICK]) == 0
    return out.getvalue()


def rows(folder: Path) -> list[dict]:
    with open(folder / "results.csv", newline="") as file:
        return list(csv.DictReader(file))


def made(family: str, seed: int, value: float, state: str = "finished", seen: int = 64) -> Run:
    score = Score(value, value - 1, value + 1, None, 1.0, "lower", {"clips_real": 20})
    curves = {"seconds": ([float(seen)], [seen / 2])}
    return Run(
        Path(f"made/{family}-seed{seed}"), family, seed, state, "", {"clips_seen": seen}, curves, {"fd/test": score}
    )


def test_the_verb_prints_means_what_is_missing_and_where_the_report_is(swept, printed):
    assert "| ode " in printed and "| ode-wide |" in printed and "±" in printed and "fd20_hog3d/test" in printed
    assert "1 failed" in printed and "a loss is nan at 16 clips" in printed
    assert "not in the means, since they are unfinished: rnn seed 0" in printed
    for name in ("report.html", "report.md", "results.csv"):
        assert str(swept / name) in printed and (swept / name).stat().st_size > 0
    assert "a loss is nan at 16 clips" in (swept / "report.html").read_text()


def test_every_number_leads_back_to_a_run_a_command_a_commit_and_a_protocol(swept, printed):
    found = rows(swept)
    scored = [row for row in found if row["score"] == "fd20_hog3d"]
    assert len(scored) == 5 * 2 and {row["split"] for row in scored} == {"test", "train"}
    for row in scored:
        assert (swept / row["run"] / "config.yaml").is_file() and not Path(row["run"]).is_absolute()
        assert row["command"] == STARTED["command"] and row["commit"] == "c0ffee" and row["dirty"] == "False"
        assert row["chosen_by"] == "last checkpoint: no validation scores" and len(row["chosen_sha256"]) == 64
        assert row["protocol.clips_real"] == "20" and row["protocol.split"] == row["split"]
        assert float(row["low"]) < float(row["high"]) and float(row["real"]) > 0
    first = next(row for row in scored if row["run"] == "ode-seed0")
    assert (first["family"], first["seed"], first["chosen_clips"], first["nfe"]) == ("ode", "0", "64", "3")
    assert (first["seconds"], first["cpu_seconds"], first["parameters_generator"]) == ("32.0", "16.0", "100")
    kept = [json.loads(path.read_text()) for path in (swept / "ode-seed0" / "judged").iterdir()]
    values = {one["asked"]["split"]: one["found"]["results"][0]["value"] for one in kept if "results" in one["found"]}
    assert float(first["value"]) == values["test"]
    failed = [row for row in found if row["family"] == "sde"]
    assert len(failed) == 1 and failed[0]["score"] == "" and "a loss is nan" in failed[0]["note"]
    answers = [row for row in found if row["score"].startswith("rates (rate 1x") and row["score"].endswith("/fd")]
    assert len(answers) == 5 and all(float(row["real"]) > 0 for row in answers)


def test_the_same_call_again_makes_the_same_report_and_judges_nothing(swept, printed, capsys, monkeypatch):
    before = (swept / "results.csv").read_text()
    monkeypatch.setattr("ode_vgan.report.verdict.evaluate", None)
    assert main(["compare", str(swept), *QUICK]) == 0
    assert (swept / "results.csv").read_text() == before
    assert main(["compare", str(swept), *QUICK, "--no-judge", "--out", str(swept / "again")]) == 0
    assert str(swept / "again" / "report.html") in capsys.readouterr().out
    shown = rows(swept / "again")
    assert shown[0]["value"] == rows(swept)[0]["value"] and (swept / "again" / shown[0]["run"]).is_dir()


def test_two_folders_make_one_study(swept, printed, tmp_path, capsys):
    other = tmp_path / "other"
    shutil.copytree(swept / "ode-seed1", other / "ode-seed1")
    shutil.copytree(swept / "ode-seed0", other / "gru-seed0")
    assert main(["compare", str(swept), str(other), *QUICK, "--out", str(tmp_path / "out")]) == 0
    assert {row["family"] for row in rows(tmp_path / "out")} >= {"sweep/ode", "other/ode", "gru", "sde"}


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        (["--protocol", "fvx9"], "fvx9"),
        (["--splits", "tset"], "there are test, train, val"),
        (["--questions", "rate"], "there are rates"),
        (["--at-clips", "-1"], "more than 0"),
        (["--at-clips", "8", "--at-seconds", "9"], "one budget"),
        (["--jobs", "0"], "1 or more"),
        (["--clips", "3"], "20 or more"),
        (["--choose", "best"], "invalid choice"),
    ],
)
def test_wrong_arguments_are_one_line(swept, wrong, told, capsys):
    assert main(["compare", str(swept), *wrong]) == 2
    err = capsys.readouterr().err
    assert told in err and len(err.strip().splitlines()) == 1


def test_a_folder_without_runs_is_refused(tmp_path, capsys):
    assert main(["compare", str(tmp_path / "none")]) == 2 and "does not exist" in capsys.readouterr().err
    assert main(["compare", str(tmp_path)]) == 2 and "has no run" in capsys.readouterr().err


def test_arguments_become_what_is_asked():
    args = build_parser(["compare"]).parse_args(
        ["compare", "a", "--splits", "train", "--questions", "none", "--at-cpu-seconds", "30", "--curves", "fd20_hog3d"]
    )
    asked = parse_asked(args).check()
    assert (asked.splits, asked.questions, asked.protocols, asked.curves) == (("train",), (), (), ("fd20_hog3d",))
    assert asked.budget == Budget("cpu_seconds", 30) and asked.way is None
    assert words(" a, b,,a,none ") == ("a", "b")
    args = build_parser(["compare"]).parse_args(["compare", "a", "--curves", "--curves-at", "16_384, 1024"])
    assert parse_asked(args).check().at == (1024, 16384)
    with pytest.raises(UserError, match="--curves-at 1k is no list of clips seen"):
        parse_asked(build_parser(["compare"]).parse_args(["compare", "a", "--curves", "--curves-at", "1k"]))


def test_default_protocols_need_no_weights_but_fvd_where_they_are(monkeypatch, tmp_path):
    monkeypatch.setenv("ODE_VGAN_WEIGHTS", str(tmp_path))
    protocols, skipped = default_protocols()
    assert protocols == WEIGHTLESS and "ode-vgan weights i3d" in skipped["fvd128_16f"]
    assert {parse_protocol(key).metric for key in protocols} == {"fd", "motion"}


def test_only_finished_runs_enter_the_means_unless_none_is():
    runs = [made("ode", 0, 1.0), made("ode", 1, 3.0), made("ode", 2, 99.0, "unfinished", 8)]
    study = build_study("made", runs, {}, {})
    assert study.spreads[0].values == {0: 1.0, 1: 3.0} and "unfinished: ode seed 2" in study.settings["notes"][0]
    partial = build_study("made", [replace(run, state="unfinished") for run in runs], {}, {})
    assert partial.spreads[0].n == 3 and "no run is finished" in partial.settings["notes"][0]
    budget = Budget("clips", 60)
    cut = build_study("made", [*runs[:2], replace(runs[2], facts={"clips_seen": 61})], {}, {}, budget)
    assert cut.spreads[0].n == 3, "a run that went on to the budget counts in any state"
    short = build_study("made", runs, {}, {}, Budget("clips", 64))
    assert short.spreads[0].n == 2 and "they ended before 64 clips: ode seed 2" in short.settings["notes"][0]


def test_what_makes_a_comparison_unfair_is_noted():
    even = [made("ode", 0, 1.0), made("rnn", 0, 2.0)]
    assert build_study("made", even, {}, {}).settings["notes"] == []
    longer = replace(even[1], facts={"clips_seen": 128}, curves={"seconds": ([128.0], [32.0])})
    notes = build_study("made", [even[0], longer], {}, {}).settings["notes"]
    assert notes == ["families saw different numbers of clips, but as many training seconds: ode 64, rnn 128"]
    assert "seed 0 more than once" in build_study("made", [even[0], even[0]], {}, {}).settings["notes"][0]


def test_results_hold_any_text_and_a_run_without_numbers(tmp_path):
    refused = Run(tmp_path / "a,b-seed0", "a,b", 0, "refused", 'it said "no",\nand left')
    study = build_study(tmp_path, [refused, made("ode", 0, 1.0)], {}, {})
    path = write_results(study, tmp_path / "results.csv")
    with open(path, newline="") as file:
        first, second = csv.DictReader(file)
    assert first["note"] == refused.note and first["value"] == "" and first["run"] == "a,b-seed0"
    assert second["score"] == "fd" and second["split"] == "test" and second["protocol.clips_real"] == "20"
