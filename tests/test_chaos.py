"""The law of chaos: kills, full disks, damaged checkpoints and broken clips change nothing in the end."""

import pytest

from tests.chaos import chaos


@pytest.mark.slow
def test_a_run_and_a_sweep_under_faults_end_as_undisturbed_ones(tmp_path):
    found = chaos(tmp_path, kills=4, corrupt=4, seed=1, clips=96)
    for kind in ("run", "sweep"):
        told = found[kind]
        assert told["exit"] == 0 and told["tracebacks"] == 0, (tmp_path / kind / "hurt" / "out.txt").read_text()
        assert not any(told["differences"].values()), told
