import pytest

from ode_vgan.errors import UserError
from ode_vgan.report.table import Row, differing_keys, plus_minus, results_table

ONE, OTHER = {"clips": 512, "size_px": "32"}, {"clips": 256, "size_px": "32"}


def test_rows_of_one_protocol_share_a_table_under_it():
    text = results_table([Row({"model": "ode", "fd": 12.3456}, ONE), Row({"model": "a|b", "fd": 7.0}, dict(ONE))])
    lines = text.splitlines()
    assert lines[0] == "clips: 512; size px: 32"
    assert lines[2:] == [
        "| model |    fd |",
        "| ----- | ----: |",
        "| ode   | 12.35 |",
        "| a\\|b  | 7.000 |",
    ]


def test_rows_of_different_protocols_never_share_a_table():
    rows = [Row({"model": "ode", "fd": 1.0}, ONE), Row({"model": "sde", "fd": 2.0}, OTHER), Row({"model": "rnn"}, ONE)]
    text = results_table(rows)
    assert text.startswith("Not comparable across tables: they differ in clips.")
    first, second = text.split("clips: 256")
    assert "ode" in first and "rnn" in first and "sde" not in first and "sde" in second
    with pytest.raises(UserError, match="clips: 512 / 256"):
        results_table(rows, one_protocol=True)


def test_a_missing_protocol_entry_is_a_difference():
    assert differing_keys([{"a": 1, "b": [1, 2]}, {"a": 1}]) == ["b"]
    assert differing_keys([{"a": {"x": 1}}, {"a": {"x": 1}}]) == []


def test_a_spread_decides_the_decimals():
    assert plus_minus(123.456, 3.21) == "123.5 ± 3.2"
    assert plus_minus(0.12345, 0.0042) == "0.1235 ± 0.0042" or plus_minus(0.12345, 0.0042) == "0.1234 ± 0.0042"
    assert plus_minus(1234.5, 87.0) == "1234 ± 87"
    assert plus_minus(5.0, 0.0) == "5.0 ± 0.0"
    assert plus_minus(28.1234, None) == "28.12"


def test_no_rows_is_refused():
    with pytest.raises(UserError, match="no result rows"):
        results_table([])
