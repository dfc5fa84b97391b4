"""Laws of loader processes that die: begun anew, the same batches come."""

import os
import signal
from itertools import islice

import pytest
import torch
from torch.utils.data import Dataset

from ode_vgan.data.ahead import RESTARTS, Ahead
from ode_vgan.errors import UserError


class Numbers(Dataset):
    """Batches of numbers; whoever makes number `deadly` is killed, as often as there are files in `folder`."""

    def __init__(self, folder, deadly: int):
        self.folder, self.deadly = folder, deadly

    def __getitems__(self, items: list[int]) -> dict:
        if self.deadly in items and (left := sorted(self.folder.iterdir())):
            left[0].unlink()
            os.kill(os.getpid(), signal.SIGKILL)
        return {"numbers": torch.tensor(items)}


def loaded(folder, kills: int) -> Ahead:
    for kill in range(kills):
        (folder / str(kill)).touch()
    return Ahead(Numbers(folder, 9), lambda first: ([k, k + 100] for k in range(first, 99)), lambda: 0, workers=2)


def test_a_worker_that_is_killed_is_begun_anew_and_no_batch_is_lost_or_doubled(tmp_path, caplog):
    ahead = loaded(tmp_path, kills=1)
    found = [batch["numbers"].tolist() for batch in islice(ahead, 20)]
    ahead.close()
    assert found == [[k, k + 100] for k in range(20)]
    assert len(caplog.messages) == 1 and "begun anew at batch" in caplog.messages[0]
    assert "A loader process died" in caplog.messages[0] and "\n" not in caplog.messages[0]


@pytest.mark.slow  # each death is found after the 5 s between two looks
def test_a_batch_that_always_kills_its_worker_ends_the_run_in_one_line(tmp_path):
    ahead = loaded(tmp_path, kills=99)
    with pytest.raises(UserError, match=f"{RESTARTS + 1} times at batch .* type the command again") as caught:
        list(islice(ahead, 20))
    ahead.close()
    assert "\n" not in str(caught.value)
