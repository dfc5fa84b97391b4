import pickle

import pytest
import torch

from ode_vgan.errors import UserError
from ode_vgan.metrics.states import fill, read_state


class Runs:
    """Runs code when a trusting reader opens it."""

    def __reduce__(self):
        return (open, ("ran", "w"))


@pytest.mark.parametrize("zipped", [True, False])
def test_both_of_torchs_formats_are_read(tmp_path, zipped):
    net = torch.nn.Linear(3, 2)
    torch.save(net.state_dict(), tmp_path / "net.pth", _use_new_zipfile_serialization=zipped)
    again = fill(torch.nn.Linear(3, 2), read_state(tmp_path / "net.pth"), tmp_path / "net.pth")
    assert torch.equal(again.weight, net.weight)
    assert not again.training and not again.weight.requires_grad


def test_a_file_that_would_run_code_is_refused_and_does_not(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    torch.save({"weight": Runs()}, "torch.pth")
    (tmp_path / "plain.pth").write_bytes(pickle.dumps(Runs(), 2))
    for name in ("torch.pth", "plain.pth"):
        with pytest.raises(UserError, match="not a plain file of weights"):
            read_state(tmp_path / name)
    assert not (tmp_path / "ran").exists()


def test_broken_and_foreign_files_are_told_apart_in_one_line(tmp_path):
    path = tmp_path / "net.pth"
    path.write_bytes(b"junk")
    with pytest.raises(UserError, match="Fetch it again"):
        read_state(path)
    torch.save(torch.zeros(2), path)
    with pytest.raises(UserError, match="holds a Tensor"):
        read_state(path)
    for state in ({}, {"weight": torch.zeros(4, 3), "bias": torch.zeros(2)}, {"weight": 1, "bias": torch.zeros(2)}):
        with pytest.raises(UserError, match="does not fit Linear") as caught:
            fill(torch.nn.Linear(3, 2), state, path)
        assert "\n" not in str(caught.value)
