"""Laws of the csv logger."""

import csv

from ode_vgan.report.csvlog import RunCsvLogger


def rows(folder) -> list[dict]:
    with open(folder / "metrics.csv") as file:
        return list(csv.DictReader(file))


def write(folder, *metrics: dict) -> None:
    logger = RunCsvLogger(folder, {})
    for step, values in enumerate(metrics):
        logger.log_metrics(values, step)
    logger.save()


def test_a_resumed_log_keeps_its_rows_and_takes_new_columns(tmp_path):
    write(tmp_path, {"clips": 1.0, "score": 3.0}, {"clips": 2.0})
    write(tmp_path, {"clips": 3.0, "loss": 0.5}, {"clips": 4.0, "score": 2.0})
    found = rows(tmp_path)
    assert [row["clips"] for row in found] == ["1.0", "2.0", "3.0", "4.0"]
    assert [row["score"] for row in found] == ["3.0", "", "", "2.0"]
    assert [row["loss"] for row in found] == ["", "", "0.5", ""]


def test_lightnings_epoch_is_left_out(tmp_path):
    write(tmp_path, {"clips": 1.0, "epoch": 0})
    assert "epoch" not in rows(tmp_path)[0]
