import csv

import pytest
from PIL import Image

from ode_vgan.errors import UserError
from ode_vgan.report.curves import plot_curves, read_curves


def write(path, rows):
    columns = list(dict.fromkeys(key for row in rows for key in row))
    with open(path, "w", newline="") as file:
        writer = csv.DictWriter(file, columns)
        writer.writeheader()
        writer.writerows(rows)
    return path


def test_sparse_rows_become_one_curve_a_column_against_clips(tmp_path):
    rows = [
        {"step": 0, "clips": 16, "critic/loss": 1.0},
        {"step": 1, "clips": "", "score/fd_hog3d": 90.0},
        {"step": 2, "clips": 48, "critic/loss": 0.5},
        {"step": 3, "clips": 64, "critic/loss": "nan"},
    ]
    axis, curves = read_curves(write(tmp_path / "metrics.csv", rows))
    assert axis == "clips"
    assert [list(part) for part in curves["critic/loss"]] == [[16, 48], [1.0, 0.5]]
    assert [list(part) for part in curves["score/fd_hog3d"]] == [[32], [90.0]]


def test_curves_are_drawn_from_whatever_columns_there_are(tmp_path):
    rows = [{"step": i, "critic/loss": 1 / (i + 1), "penalty/r1": 10.0 ** -(i % 5), "odd": i} for i in range(200)]
    path = plot_curves(write(tmp_path / "metrics.csv", rows), tmp_path / "curves.png")
    with Image.open(path) as image:
        assert image.width > image.height
    assert sorted(p.name for p in tmp_path.iterdir()) == ["curves.png", "metrics.csv"]


def test_a_half_written_last_line_is_passed_over(tmp_path):
    path = write(tmp_path / "metrics.csv", [{"step": 1, "clips": 16, "critic/loss": 0.5}])
    path.write_text(path.read_text() + "2,3")
    assert list(read_curves(path)[1]["critic/loss"][1]) == [0.5]


@pytest.mark.parametrize(("text", "told"), [("", "none of the axes"), ("step,lr\n1,0.1\n", "no loss")])
def test_a_table_with_nothing_to_draw_is_refused(tmp_path, text, told):
    (tmp_path / "metrics.csv").write_text(text)
    with pytest.raises(UserError, match=told):
        plot_curves(tmp_path / "metrics.csv", tmp_path / "curves.png")
    assert not (tmp_path / "curves.png").exists()
