"""Laws of checkpoints: the last few are kept, a broken one is passed over, a kill leaves a whole one."""

import os
import signal
import subprocess
import sys
import time

import pytest
import torch

from ode_vgan.checkpoints import RunCheckpoints, earlier, last_good
from ode_vgan.errors import UserError


def told(clips: int, weight: torch.Tensor | None = None) -> dict:
    weight = torch.full((64,), float(clips)) if weight is None else weight
    return {"ode_vgan": {"config": {}, "clips_seen": clips}, "state_dict": {"w": weight}}


@pytest.fixture
def path(tmp_path):
    (tmp_path / "run" / "checkpoints").mkdir(parents=True)
    return tmp_path / "run" / "checkpoints" / "last.ckpt"


def clips(path) -> int:
    return torch.load(path, weights_only=True)["ode_vgan"]["clips_seen"]


@pytest.mark.parametrize(("keep", "kept"), [(1, [5]), (2, [5, 4]), (3, [5, 4, 3]), (9, [5, 4, 3, 2, 1])])
def test_the_last_k_are_kept_and_no_more(path, keep, kept):
    for count in range(1, 6):
        RunCheckpoints(keep).save_checkpoint(told(count), path)
    assert [clips(one) for one in (path, *earlier(path))] == kept
    assert len(list(path.parent.iterdir())) == len(kept)
    RunCheckpoints(2).save_checkpoint(told(6), path)  # fewer from now on
    assert [clips(one) for one in (path, *earlier(path))] == [6, 5][: min(2, keep + 1)]


def halve(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def flip(path):
    content = bytearray(path.read_bytes())
    content[content.index(torch.full((4,), 3.0).numpy().tobytes()) + 9] ^= 4  # a number among the weights
    path.write_bytes(content)


def empty(path):
    path.write_bytes(b"")


@pytest.mark.parametrize("damage", [halve, flip, empty])
def test_a_broken_checkpoint_is_set_aside_for_the_one_before(path, damage, caplog):
    for count in range(1, 4):
        RunCheckpoints(3).save_checkpoint(told(count), path)
    damage(path)
    assert last_good(path)["ode_vgan"]["clips_seen"] == 2 and clips(path) == 2
    assert len(caplog.messages) == 1 and "\n" not in caplog.messages[0]
    assert "last.ckpt cannot be read" in caplog.messages[0] and "earlier-1.ckpt, at 2 clips" in caplog.messages[0]
    assert (path.parent / "last.ckpt.broken").exists()
    RunCheckpoints(3).save_checkpoint(told(3), path)
    assert clips(path) == 3 and last_good(path)["ode_vgan"]["clips_seen"] == 3 and len(caplog.messages) == 1


def test_every_flip_of_a_byte_is_seen_or_harmless(path):
    weight = torch.arange(40.0)
    RunCheckpoints(1).save_checkpoint(told(1, weight), path)
    whole, seen = path.read_bytes(), 0
    for place in range(0, len(whole), 7):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 16]) + whole[place + 1 :])
        try:
            assert torch.equal(last_good(path)["state_dict"]["w"], weight), place
        except UserError as error:
            assert "\n" not in str(error)
            seen += 1
    assert seen > len(whole) // 7 // 4


def test_where_none_can_be_read_it_is_one_line_with_a_remedy(path):
    assert last_good(path) is None
    for count in (1, 2):
        RunCheckpoints(2).save_checkpoint(told(count), path)
    for one in (path, *earlier(path)):
        one.write_bytes(b"no checkpoint")
    with pytest.raises(UserError, match=r"nor can the 1 before it\. Delete the folder to begin anew") as caught:
        last_good(path)
    assert "\n" not in str(caught.value) and path.exists()


def test_none_to_keep_is_refused():
    with pytest.raises(UserError, match="keep=0"):
        RunCheckpoints(0)


WRITER = """
import sys
from itertools import count
from pathlib import Path
import torch
from ode_vgan.checkpoints import RunCheckpoints
from tests.test_checkpoints import told
path, start = Path(sys.argv[1]), int(sys.argv[2])
for number in count(start):
    RunCheckpoints(3).save_checkpoint(told(number, torch.full((300_000,), float(number))), path)
    print(number, flush=True)
"""


def test_a_kill_at_any_moment_of_writing_leaves_a_whole_last_checkpoint(path):
    written = 0
    for kill in range(2):
        words = [sys.executable, "-c", WRITER, str(path), str(written + 1)]
        process = subprocess.Popen(words, stdout=subprocess.PIPE, text=True)
        written = int(process.stdout.readline())
        time.sleep(0.02 + 0.1 * kill)
        os.kill(process.pid, signal.SIGKILL)
        written = max([written, *map(int, process.communicate()[0].split())])
        found = torch.load(path, weights_only=True)
        assert found["ode_vgan"]["clips_seen"] in (written, written + 1)
        assert set(found["state_dict"]["w"].tolist()) == {float(found["ode_vgan"]["clips_seen"])}
        assert all(clips(one) <= found["ode_vgan"]["clips_seen"] for one in earlier(path))
