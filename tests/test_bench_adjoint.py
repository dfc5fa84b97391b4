"""Laws of the table of the adjoint method: what each way holds at once, and what is printed and written."""

import json

import pytest

from ode_vgan.bench.adjoint import ADJOINT, DIRECT, OURS, main, ways
from ode_vgan.bench.memory import live_bytes
from ode_vgan.errors import UserError


def test_the_adjoint_holds_less_than_the_direct_way_on_long_paths_and_ours_less_than_that():
    peaks = {name: live_bytes(job.run).peak for name, job in ways(64, 8, 12.0, 0.16).items()}
    assert peaks[ADJOINT] < peaks[OURS] < peaks[DIRECT]


def test_the_table_names_every_way_at_every_size_and_the_file_holds_each_round(tmp_path, capsys):
    file = tmp_path / "adjoint.json"
    main(["--frames", "4,8", "--batches", "2", "--repeats", "2", "--json", str(file)])
    printed = capsys.readouterr().out
    rows = json.loads(file.read_text())["rows"]
    assert [(row["frames"], row["way"]) for row in rows] == [
        (t, way) for t in (4, 8) for way in (OURS, DIRECT, ADJOINT)
    ]
    assert all(f"| {row['frames']} | 2 | {row['way']} |" in printed for row in rows)
    assert all(len(row["ratios"]) == 2 and row["peak_mb"] > 0 for row in rows)
    assert "8 frames, 2 clips: the adjoint holds" in printed
    with pytest.raises(UserError, match="--frames 0 must be whole numbers above 1"):
        main(["--frames", "0"])
