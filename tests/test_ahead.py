"""Laws of loading ahead: the same batches as without, none twice over, and a reader that ends ends the loading."""

import gc
import subprocess
import sys
import threading
import time
from itertools import count, islice

import pytest

from ode_vgan.data.ahead import DEPTH, Ahead
from ode_vgan.errors import UserError


class Numbers:
    """A batch is what was asked for; keeps what was."""

    def __init__(self, seconds: float = 0.0, broken: int = -1):
        self.asked, self.seconds, self.broken = [], seconds, broken

    def __len__(self):
        return 100

    def __getitem__(self, item):
        return item

    def __getitems__(self, items):
        self.asked.append(items[0])
        time.sleep(self.seconds)
        if items[0] == self.broken:
            raise UserError("no clip can be used.")
        return {"number": items[0]}


class Position:
    """Where a reader is."""

    at = 0


def from_number(number):
    return ([i] for i in count(number))


def numbers(ahead, length):
    return [batch["number"] for batch in islice(ahead, length)]


@pytest.mark.parametrize("workers", [0, 2])
def test_batches_go_on_from_the_start_that_is_asked(workers):
    where = Position()
    ahead = Ahead(Numbers(), from_number, lambda: where.at, workers=workers)
    assert numbers(ahead, 4) == [0, 1, 2, 3]
    where.at = 40
    assert numbers(ahead, 3) == [40, 41, 42]
    ahead.close()


def test_epochs_that_take_one_batch_more_than_they_use_load_none_twice():
    windows, where, used = Numbers(), Position(), []
    ahead = Ahead(windows, from_number, lambda: where.at)
    for _ in range(5):
        taken = numbers(ahead, 4)
        used += taken[:3]
        where.at += 3
    assert used == list(range(15))
    ahead.close()
    assert windows.asked == list(range(len(windows.asked))) and len(windows.asked) <= 16 + DEPTH + 1


def test_epochs_without_a_batch_too_many_go_on_as_well():
    windows, where = Numbers(), Position()
    ahead = Ahead(windows, from_number, lambda: where.at)
    for start in (0, 3, 6):
        where.at = start
        assert numbers(ahead, 3) == [start, start + 1, start + 2]
    ahead.close()
    assert windows.asked == list(range(len(windows.asked)))


def test_the_thread_stays_a_few_batches_ahead():
    windows = Numbers()
    ahead = Ahead(windows, from_number, lambda: 0)
    numbers(ahead, 1)
    time.sleep(0.1)
    assert len(windows.asked) <= 1 + DEPTH + 1
    ahead.close()


def test_only_waiting_is_counted():
    slow = Ahead(Numbers(seconds=0.02), from_number, lambda: 0)
    numbers(slow, 6)
    assert slow.waited_seconds >= 0.06  # of 0.12, of which the first moments may pass before the first is asked for
    idle = Ahead(Numbers(), from_number, lambda: 0)
    for _ in islice(idle, 6):
        time.sleep(0.05)
    assert idle.waited_seconds < 0.15  # of 0.3
    slow.close(), idle.close()


def test_what_goes_wrong_in_the_thread_is_raised_where_the_batch_is_taken():
    ahead = Ahead(Numbers(broken=2), from_number, lambda: 0)
    with pytest.raises(UserError, match="no clip can be used"):
        numbers(ahead, 5)
    ahead.close()


def loading():
    return {thread for thread in threading.enumerate() if thread.name == "batches ahead" and thread.is_alive()}


def test_closing_or_forgetting_ends_the_thread():
    before = loading()
    ahead = Ahead(Numbers(), from_number, lambda: 0)
    numbers(ahead, 2)
    assert len(loading() - before) == 1
    ahead.close()
    assert not loading() - before and numbers(ahead, 2) == [0, 1]
    del ahead
    gc.collect()
    ends = time.monotonic() + 10  # nobody waits for it
    while loading() - before and time.monotonic() < ends:
        time.sleep(0.01)
    assert not loading() - before


def test_a_program_may_end_while_its_thread_loads():
    """A thread that runs on in a library while the interpreter goes would abort it."""
    program = (
        "import torch\nfrom itertools import count\nfrom ode_vgan.data.ahead import Ahead\n"
        "class Busy:\n    def __len__(self): return 9\n"
        "    def __getitems__(self, items): return torch.randn(500, 500).svd()\n"
        "next(iter(Ahead(Busy(), lambda number: ([i] for i in count()), lambda: 0)))"
    )
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert ended.returncode == 0 and not ended.stderr
