"""Laws of the csv logger."""

import csv
import resource

from ode_vgan.report.csvlog import RunCsvLogger, forget_after


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


def test_rows_wait_while_the_disk_takes_no_more_and_none_is_lost(tmp_path, caplog):
    logger = RunCsvLogger(tmp_path, {})
    logger.log_metrics({"clips": 0.0}, 0)
    logger.save()
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, ((tmp_path / "metrics.csv").stat().st_size + 3, limits[1]))
    try:
        for step in (1, 2):
            logger.log_metrics({"clips": float(step)}, step)
            logger.save()
        assert [row["clips"] for row in rows(tmp_path)] == ["0.0"] and len(caplog.messages) == 1
        assert "File too large" in caplog.messages[0]
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    logger.log_metrics({"clips": 3.0, "loss": 1.0}, 3)
    logger.save()
    assert [row["clips"] for row in rows(tmp_path)] == ["0.0", "1.0", "2.0", "3.0"]


def test_half_a_row_is_left_out_and_so_are_rows_that_come_again(tmp_path):
    write(tmp_path, {"clips": 1.0}, {"score": 3.0}, {"clips": 2.0}, {"clips": 3.0})
    path = tmp_path / "metrics.csv"
    path.write_bytes(path.read_bytes() + b"4.0,")
    forget_after(path, 2)
    assert [row["clips"] for row in rows(tmp_path)] == ["1.0", "", "2.0"]
    path.write_bytes(path.read_bytes() + b"3.")
    write(tmp_path, {"clips": 3.0})
    assert [row["clips"] for row in rows(tmp_path)] == ["1.0", "", "2.0", "3.0"]
