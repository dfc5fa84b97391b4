"""ode-vgan scale: from tables and runs to laws, and one line for each wrong input."""

import json
import re
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pytest

from ode_vgan.cli.main import build_parser, main
from ode_vgan.scaling import ledger
from tests.shared_data import shared
from tests.test_ledger import clip_run, gan_run
from tests.test_readme import _compose, readme_commands

QUICK = ["--bootstrap", "100"]
PAGE = (Path(__file__).resolve().parents[1] / "ode_vgan" / "scaling" / "README.md").read_text()


def write_csv(path: Path, columns: dict) -> str:
    pyarrow.csv.write_csv(pa.table(columns), path)
    return str(path)


@pytest.fixture
def law(tmp_path) -> str:
    """Ten runs of an exact law, 1 - score = 2 C^-0.1."""
    compute = np.geomspace(1e9, 1e11, 10)
    return write_csv(tmp_path / "runs.csv", {"gmacs": compute, "score": 1 - 2 * compute**-0.1, "task": ["a"] * 10})


@pytest.fixture
def study(tmp_path) -> Path:
    """A ledger of CLIP runs of two distributions, of a steeper and a flatter law."""
    rows, generator = [], np.random.default_rng(0)
    for distribution, alpha in (("curated", -0.2), ("web", -0.1)):
        for size, macs in enumerate(np.geomspace(1e9, 1e11, 6)):
            for seed in (0, 1):
                error = 0.9 * (macs / 1e9) ** alpha * np.exp(0.01 * generator.standard_normal())
                told = {"run": f"study/{distribution}-{size}-seed{seed}", "family": f"{distribution}-{size}"}
                told |= {"study": "study", "kind": "clip", "model": f"size {size}", "distribution": distribution}
                told |= {"seed": seed, "macs": macs, "samples_seen": 64, "finished": True, "protocol": "{}"}
                told |= {"metric": "R@1", "split": "test", "value": 1 - error, "better": "higher", "commit": "c0ffee1"}
                rows.append(told)
    ledger.append(tmp_path / "ledger", rows)
    return tmp_path / "ledger"


def said(capsys, *arguments: object) -> str:
    """What a command prints, which succeeds."""
    assert main(["scale", *map(str, arguments)]) == 0
    return capsys.readouterr().out


def refused(capsys, *arguments: object) -> str:
    """The one line in which a command refuses."""
    assert main(["scale", *map(str, arguments)]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1 and error.startswith("ode-vgan: error: ")
    return error


def test_a_fit_is_written_and_foretells_error_and_score(capsys, law, tmp_path):
    out = said(capsys, "fit", law, "--x", "gmacs", "--y", "score", "--one-minus", "--select", "all", *QUICK,
               "--json", tmp_path / "fit.json")  # fmt: skip
    assert "-0.1000 [-0.1000, -0.1000]" in out and "10 levels over 2.0 decades" in out
    told = said(capsys, "predict", tmp_path / "fit.json", "--compute", 1e10, 4e11)
    near, far = told.splitlines()[2:]
    assert "80.00%" in near and near.rstrip(" |").endswith("no")  # 1 - 2 * (1e10)^-0.1
    assert "4 times" in far and "86.17%" in far


def test_groups_are_compared_and_a_single_one_is_not(capsys, law, study):
    out = said(capsys, "compare", study, "--select", "all", *QUICK)
    assert "web against curated" in out and "differ in exponent" in out
    error = refused(capsys, "compare", law, "--x", "gmacs", "--y", "score", "--one-minus", *QUICK)
    assert "gives one law" in error and "--group" in error


def test_runs_are_collected_and_what_is_unfinished_is_named(capsys, tmp_path):
    gan_run(tmp_path / "runs" / "ode-seed0")
    gan_run(tmp_path / "runs" / "published" / "tgan-seed0")
    clip_run(tmp_path / "runs" / "clip-xs-seed0")
    (gan_run(tmp_path / "runs" / "sde-seed0") / "metrics.json").unlink()
    assert main(["scale", "collect", str(tmp_path / "runs")]) == 0
    told = capsys.readouterr()
    assert "3 of 4 runs added" in told.out and "has 5 numbers of 3 runs" in told.out
    assert "left out: " in told.err and "sde-seed0 is unfinished" in told.err
    families = ledger.read(tmp_path / "runs")["family"].to_pylist()
    assert set(families) == {"ode", "published/tgan", "clip-xs"}


def test_a_report_has_the_figure_the_tables_and_its_conclusions(capsys, study, tmp_path):
    out = said(capsys, "report", study, "--hold-out", 1, *QUICK, "--out", tmp_path / "report")
    assert "1 - R@1 (test): curated: α = -0.2" in out and "Held-out compute is foretold within" in out
    assert "curated and web differ in exponent" in out
    page = (tmp_path / "report" / "report.md").read_text()
    assert f"`ode-vgan scale report {study} --bootstrap 100 --hold-out 1 --out {tmp_path / 'report'}`" in page
    assert "24 runs of seeds 0, 1, trained" in page
    for part in ("# study: error against compute", "c0ffee1", "(figures/r_1_test.png)", "web against curated",
                 "off by", "power law, Pareto front"):  # fmt: skip
        assert part in page
    assert (tmp_path / "report" / "figures" / "r_1_test.png").stat().st_size > 20_000
    points = (tmp_path / "report" / "points.csv").read_text().splitlines()
    assert len(points) == 1 + 24 and sum(line.endswith("True") for line in points) == 4
    saved = json.loads((tmp_path / "report" / "fits.json").read_text())
    assert saved["R@1"]["fits"]["web"]["parameters"]["alpha"] == pytest.approx(-0.1, abs=0.02)


def test_a_report_of_a_study_folder_needs_no_column_and_other_tables_are_refused(capsys, study, law, tmp_path):
    out = said(capsys, "report", study.parent, *QUICK, "--out", tmp_path / "report")
    assert "report.md" in out
    assert "is no ledger" in refused(capsys, "report", law, "--out", tmp_path / "other")
    assert "no metric 'FVD'" in refused(capsys, "report", study, "--metric", "FVD", "--out", tmp_path / "other")
    assert "is a file; name a folder" in refused(capsys, "report", study, "--out", law)


def test_options_that_a_table_has_no_use_for_are_refused(capsys, study):
    assert "--replicate and --one-minus: a ledger knows" in refused(
        capsys, "fit", study, "--one-minus", "--replicate", "seed"
    )
    assert "--metric and --looks: columns are named by --y" in refused(
        capsys, "fit", study, "--x", "macs", "--y", "value", "--metric", "R@1", "--looks", "all"
    )


def test_a_figure_is_drawn_also_of_points_without_a_law(capsys, study, tmp_path):
    out = said(capsys, "plot", study, *QUICK, "--out", tmp_path / "law.svg")
    assert out.strip() == str(tmp_path / "law.svg") and (tmp_path / "law.svg").read_text().startswith("<svg")
    few = write_csv(tmp_path / "few.csv", {"c": [1.0, 2.0], "e": [0.5, 0.4]})
    said(capsys, "plot", few, "--x", "c", "--y", "e", "--out", tmp_path / "few.png")
    assert "is no picture" in refused(capsys, "plot", study, "--out", tmp_path / "law.pdf")


@pytest.mark.parametrize(
    ("columns", "options", "expected"),
    [
        ({"c": [1.0], "e": [0.5]}, ["--x", "flops", "--y", "e"], "no column 'flops'; it has c, e"),
        ({"c": [1.0], "e": [0.5]}, ["--x", "c"], "is no ledger; give --y COLUMN. It has c, e."),
        ({"c": [1.0], "e": [0.5]}, ["--metric", "R@1"], "--metric: .* is no ledger; choose rows with --where"),
        ({"c": [1.0, 2.0], "e": [0.5, -0.5]}, ["--x", "c", "--y", "e"], "1 of 2 values of e are not above 0"),
        ({"c": [1.0, 2.0], "e": [0.5, 0.0]}, ["--x", "c", "--y", "e"], "1 of 2 values of e are not above 0"),
        ({"c": [1.0, 2.0], "e": [50.0, 60.0]}, ["--x", "c", "--y", "e", "--one-minus"], "in percent"),
        ({"c": ["a", "b"], "e": [0.5, 0.4]}, ["--x", "c", "--y", "e"], "column 'c' holds no numbers but 'a'"),
        ({"c": [5.0] * 6, "e": [0.5] * 6}, ["--x", "c", "--y", "e"], "1 level of compute"),
        ({"c": [1.0, 2.0, 4.0], "e": [0.5, 0.4, 0.3]}, ["--x", "c", "--y", "e"], "3 levels of compute.*--allow-few"),
        ({"c": [1.0, 2.0], "e": [0.5, 0.4]}, ["--x", "c", "--y", "e", "--where", "c > 5"], "none of 2 rows meets c"),
        ({"c": [1.0, 2.0], "e": [0.5, 0.4]}, ["--x", "c", "--y", "e", "--level", "90"], "--level 90 is no share"),
        ({"c": [1.0, 2.0], "e": [0.5, 0.4]}, ["--x", "c", "--y", "e", "--law", "line"], "invalid choice: 'line'"),
    ],
)  # fmt: skip
def test_a_table_that_makes_no_law_is_refused_in_a_line(capsys, tmp_path, columns, options, expected):
    table = write_csv(tmp_path / "t.csv", columns)
    assert re.search(expected, refused(capsys, "fit", table, *options))


def test_groups_that_are_refused_do_not_keep_the_others_from_their_law(capsys, tmp_path):
    compute = np.geomspace(1, 100, 6)
    columns = {"c": [*compute, 1.0], "e": [*(0.9 * compute**-0.3), 0.5], "g": ["many"] * 6 + ["one"]}
    table = write_csv(tmp_path / "t.csv", columns)
    out = said(capsys, "fit", table, "--x", "c", "--y", "e", "--group", "g", "--select", "all", *QUICK)
    assert "-0.3000" in out and "1 level of compute" in out


def test_files_that_are_no_fit_and_computes_that_are_none_are_refused_in_a_line(capsys, law, tmp_path):
    assert "does not exist" in refused(capsys, "fit", tmp_path / "none.csv")
    assert "does not exist; `ode-vgan scale fit" in refused(capsys, "predict", tmp_path / "no.json", "--compute", 1)
    (tmp_path / "bad.json").write_text('{"fits": {"a": {}}}')
    assert "is no file of `ode-vgan scale fit --json`" in refused(
        capsys, "predict", tmp_path / "bad.json", "--compute", 1
    )
    assert "--compute -1 is no compute" in refused(capsys, "predict", tmp_path / "bad.json", "--compute=-1")
    assert "does not exist; name the folder of a sweep" in refused(capsys, "collect", tmp_path / "none")
    (tmp_path / "empty").mkdir()
    assert "no run below" in refused(capsys, "collect", tmp_path / "empty")


def test_the_openclip_studys_exponents_come_out_of_its_own_csv(capsys, tmp_path):
    table = shared("scaling/slo_zeroshot_results.csv")
    columns = [table, "--x", "gmacs_total", "--one-minus", *QUICK]
    ours = "upstream_dataset <> 'CLIP-WIT' AND downstream_dataset"
    theirs = "upstream_dataset = 'CLIP-WIT' AND downstream_dataset"
    few = ["--select", "all", "--allow-few"]
    recall = ["--y", "image_retrieval_recall@5"]
    coco = "'mscoco_captions'"
    for options, alpha in (
        (["--y", "acc1", "--where", f"{ours} = 'imagenet1k'"], "-0.1114"),
        (["--y", "acc1", "--where", f"{theirs} = 'imagenet1k'", *few], "-0.1638"),
        ([*recall, "--where", f"{ours} = {coco}"], "-0.0794"),
        ([*recall, "--where", f"{theirs} = {coco}", *few], "-0.0508"),
    ):
        out = said(capsys, "fit", *columns, *options)
        assert f" {alpha} [" in out
        assert ("(few)" in out) == ("--allow-few" in options)


@pytest.mark.parametrize("command", readme_commands(PAGE), ids=lambda command: " ".join(command.words)[:60])
def test_every_command_on_the_page_is_accepted(command):
    program, *rest = command.words
    if program == "ode-vgan":
        assert build_parser([rest[0]]).parse_args(rest).verb == rest[0]
    else:
        _compose([word for word in rest[1:] if word != "-m"])


def test_the_page_goes_through_every_verb_and_every_column():
    shown = {command.words[2] for command in readme_commands(PAGE) if command.words[1] == "scale"}
    assert shown == {"collect", "fit", "predict", "plot", "compare", "report"}
    assert [name for name in ledger.COLUMNS if not re.search(rf"\| .*\b{name}\b.* \|", PAGE)] == []
