"""Points of laws from tables: the right rows, columns and groups, or one line that says why not."""

import sys

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
import pytest

from ode_vgan.errors import UserError
from ode_vgan.laion.sql import _parser
from ode_vgan.scaling import ledger, studies
from ode_vgan.scaling.table import Wanted, read_table, select
from tests.shared_data import shared

TABLE = pa.table(
    {
        "gmacs": [4.0, 1.0, 2.0, 8.0],
        "acc1": [0.75, 0.5, None, 0.875],
        "task": ["a", "a", "a", "b"],
        "arch": ["s", "xs", "s", "m"],
        "recall@5": [0.5, 0.25, 0.5, 0.75],
    }
)


def test_points_rise_in_compute_and_rows_without_a_score_are_counted():
    chosen = select(TABLE, Wanted("gmacs", "acc1", one_minus=True, mark="arch"))
    (group,) = chosen.groups
    assert group.points.compute.tolist() == [1, 4, 8] and group.points.error.tolist() == [0.5, 0.25, 0.125]
    assert group.marks == ("xs", "s", "m") and group.name == "all"
    assert len(set(group.points.run)) == 3  # each row is a run of its own
    assert chosen.y == "1 - acc1" and chosen.notes == ("1 of 4 rows have no gmacs or no acc1 and are left out",)


def test_each_value_of_the_group_is_a_group_and_runs_keep_their_names():
    groups = select(TABLE, Wanted("gmacs", "recall@5", group="task", run="arch")).groups
    assert [(group.name, group.points.run.tolist()) for group in groups] == [("a", ["xs", "s", "s"]), ("b", ["m"])]


def test_a_condition_and_allowed_values_choose_rows():
    assert len(select(TABLE, Wanted("gmacs", "recall@5", only={"arch": ("s", "m")})).groups[0].marks) == 3
    chosen = select(TABLE, Wanted("gmacs", "recall@5", where="task = 'a' AND \"recall@5\" > 0.3"))
    assert chosen.groups[0].points.compute.tolist() == [2, 4]


def test_a_column_may_be_an_expression_over_columns():
    chosen = select(TABLE, Wanted("gmacs * 1e9", '1 - "recall@5"', group="arch = 'm'"))
    assert [group.name for group in chosen.groups] == ["False", "True"]
    assert chosen.groups[1].points.compute.tolist() == [8e9] and chosen.groups[1].points.error.tolist() == [0.25]


@pytest.mark.parametrize(
    ("wanted", "said"),
    [
        (Wanted("gmac", "acc1"), r"no column 'gmac'; it has gmacs, acc1, .* did you mean 'gmacs'\?"),
        (Wanted("gmacs * sampels", "acc1"), "no column 'sampels'"),
        (Wanted("gmacs", "task"), "column 'task' holds no numbers but 'a'"),
        (Wanted("gmacs", "acc1", where="task = 'c'"), "none of 4 rows meets task = 'c'"),
        (Wanted("gmacs", "acc1", where="task ="), "--where does not parse"),
        (Wanted("gmacs", "acc1", where="tasks = 'a'"), "no column 'tasks'.*did you mean 'task'"),
        (Wanted("gmacs", "acc1", where="gmacs > (SELECT 1)"), "subquery"),
        (Wanted("gmacs", "acc1", where="read_text('secret') = 'x'"), "calls read_text"),
        (Wanted("gmacs", "acc1", only={"task": ("c",)}), "no row with task c; it has a, b"),
        (Wanted("gmacs", "acc1", only={"tusk": ("c",)}), "no column 'tusk'"),
    ],
)
def test_what_a_table_does_not_hold_is_one_line(wanted, said):
    with pytest.raises(UserError, match=said) as caught:
        select(TABLE, wanted, "runs.csv")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("bad", [0.0, -0.25])
def test_an_error_of_zero_or_less_is_refused_with_its_count_and_value(bad):
    table = pa.table({"c": [1.0, 2.0], "e": [0.5, bad]})
    with pytest.raises(UserError, match=f"1 of 2 values of e are not above 0, such as {bad:g}"):
        select(table, Wanted("c", "e"))
    with pytest.raises(UserError, match="1 of 2 values of e are not above 0"):
        select(table, Wanted("e", "c"))
    with pytest.raises(UserError, match="values of 1 - c are not above 0.*in percent"):
        select(table, Wanted("c", "c", one_minus=True))


def test_csv_parquet_and_ledgers_are_read_and_other_files_refused(tmp_path):
    pyarrow.csv.write_csv(TABLE, tmp_path / "t.csv")
    pq.write_table(TABLE, tmp_path / "t.parquet")
    assert read_table(tmp_path / "t.csv").to_pylist() == read_table(tmp_path / "t.parquet").to_pylist()
    ledger.append(tmp_path / "ledger", [{"run": "a", "metric": "R@1", "value": 0.5}])
    assert read_table(tmp_path / "ledger").equals(read_table(tmp_path))  # a study's folder has its ledger in it
    (tmp_path / "u.csv").write_text("a,b\n1,2\n3\n")
    (tmp_path / "v.parquet").write_text("no parquet")
    for name, said in {
        "u.csv": "cannot be read as .csv",
        "v.parquet": "cannot be read as",
        "w": "does not exist",
    }.items():
        with pytest.raises(UserError, match=said):
            read_table(tmp_path / name)


def test_without_duckdb_columns_are_read_and_a_condition_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "duckdb", None)
    _parser.cache_clear()
    assert len(select(TABLE, Wanted("gmacs", "recall@5", only={"task": ("a",)})).groups[0].marks) == 3
    with pytest.raises(UserError, match=r"DuckDB is not installed: pip install 'ode_vgan\[laion\]'"):
        select(TABLE, Wanted("gmacs", "recall@5", where="task = 'a'"))


def test_the_studys_own_table_reads_as_it_is():
    table = read_table(shared("scaling/slo_zeroshot_results.csv"))
    where = "downstream_dataset = 'imagenet1k'"
    group = "CASE WHEN upstream_dataset = 'CLIP-WIT' THEN 'OpenAI' ELSE 'OpenCLIP' END"
    chosen = select(table, Wanted("gmacs_total", "acc1", one_minus=True, group=group, where=where))
    assert {group.name: len(group.marks) for group in chosen.groups} == {"OpenAI": 3, "OpenCLIP": 29}


def row(seed: int = 0, size: str = "xs", looks: int = 1, **more) -> dict:
    macs = {"xs": 1e9, "s": 4e9}[size] * looks
    told = {"run": f"study/{size}-seed{seed}", "family": size, "model": size, "seed": seed, "kind": "clip"}
    told |= {"distribution": "web", "macs": macs, "samples_seen": 64 * looks, "finished": looks == 2}
    told |= {"metric": "R@1", "split": "test", "value": 0.25, "better": "higher", "protocol": "{}", "study": "study"}
    return told | more


def as_ledger(tmp_path, rows) -> pa.Table:
    ledger.append(tmp_path / "ledger", rows)
    return ledger.read(tmp_path / "ledger")


def test_clip_runs_count_at_their_end_with_seeds_as_replicates(tmp_path):
    rows = [row(seed, size, looks) for seed in (0, 1) for size in ("xs", "s") for looks in (1, 2)]
    rows += [row(distribution="curated", run="study/other", looks=2)]
    chosen = studies.points_of(as_ledger(tmp_path, rows), studies.Asked())
    assert [group.name for group in chosen.groups] == ["curated", "web"]
    points = chosen.groups[1].points
    assert points.compute.tolist() == [2e9, 2e9, 8e9, 8e9] and points.run.tolist() == ["xs", "xs", "s", "s"]
    assert sorted(points.seed.tolist()) == [0, 0, 1, 1] and np.allclose(points.error, 0.75)
    assert chosen.y == "1 - R@1 (test)" and chosen.x.startswith("forward multiply-accumulates") and not chosen.notes


def test_gan_runs_count_at_every_look_and_looks_of_a_run_stay_together(tmp_path):
    told = {"kind": "gan", "metric": "fvd128_16f", "value": 900.0, "better": "lower"}
    rows = [row(seed, "xs", looks, **told) for seed in (0, 1) for looks in (1, 2)]
    (group,) = studies.points_of(as_ledger(tmp_path, rows), studies.Asked()).groups
    assert group.name == "xs" and group.points.error.tolist() == [900.0] * 4
    assert set(group.points.run) == {"study/xs-seed0", "study/xs-seed1"}
    (last,) = studies.points_of(as_ledger(tmp_path, rows), studies.Asked(looks="last")).groups
    assert last.points.compute.tolist() == [2e9, 2e9]


def test_the_test_split_is_taken_where_there_is_one_and_another_axis_on_demand(tmp_path):
    rows = [row(looks=2), row(looks=2, split="val", value=0.5)]
    table = as_ledger(tmp_path, rows)
    chosen = studies.points_of(table, studies.Asked(x="samples_seen"))
    assert chosen.groups[0].points.error.tolist() == [0.75] and chosen.groups[0].points.compute.tolist() == [128]
    assert studies.points_of(table, studies.Asked(split="val")).groups[0].points.error.tolist() == [0.5]


def test_what_a_ledger_cannot_answer_is_one_line(tmp_path):
    rows = [row(looks=2), row(looks=2, metric="R@5"), row(1, looks=2, kind="gan")]
    table = as_ledger(tmp_path, rows)
    for asked, said in {
        studies.Asked(): "has R@1, R@5; name one with --metric",
        studies.Asked(metric="R@10"): "no metric 'R@10'; it has R@1, R@5",
        studies.Asked(metric="R@1", split="val"): "R@1 on test, not on 'val'",
        studies.Asked(metric="R@1"): "of clip and gan runs",
        studies.Asked(metric="R@1", kind="clop"): "no row with kind clop; it has clip, gan",
        studies.Asked(metric="R@1", kind="clip", group="colour"): "no column 'colour'",
    }.items():
        with pytest.raises(UserError, match=said):
            studies.points_of(table, asked, "the ledger")


def test_numbers_of_several_protocols_are_said_to_stand_together(tmp_path):
    rows = [row(looks=2), row(1, looks=2, protocol='{"clips": 64}')]
    assert "2 protocols" in studies.points_of(as_ledger(tmp_path, rows), studies.Asked()).notes[0]
