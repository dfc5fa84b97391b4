"""Laws of the engines: an item's result depends on the item alone, and a worker's end is nobody else's."""

import logging
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from ode_vgan.errors import UserError
from ode_vgan.laion.engine import run
from tests.ray_cluster import ray_cluster

ITEMS = [f"{i:05d}" for i in range(6)]
ENGINES = ["local", pytest.param("ray", marks=pytest.mark.slow)]


@pytest.fixture(scope="module")
def cluster():
    """Three workers of Ray."""
    with ray_cluster(3):
        yield


@pytest.fixture(params=ENGINES)
def engine(request):
    """Each engine; Ray is started once."""
    if request.param == "ray":
        request.getfixturevalue("cluster")
    return request.param


@dataclass(frozen=True)
class Trial:
    """A stage that says which process worked on an item, and does to some items what their names here say.

    Attributes:
        dies: item -> how many of its tries end by SIGKILL.
    """

    folder: str
    fails: tuple[str, ...] = ()
    dies: tuple[tuple[str, int], ...] = ()
    odd: tuple[str, ...] = ()

    @contextmanager
    def open(self):
        import torch

        Path(self.folder, f"open-{os.getpid()}").touch()
        yield self.work
        assert torch.get_num_threads() == 1

    def work(self, item: str) -> dict:
        import torch

        tries = Path(self.folder, f"tries-{item}")
        tries.write_text(tries.read_text() + "." if tries.exists() else ".")
        if len(tries.read_text()) <= dict(self.dies).get(item, 0):
            os.kill(os.getpid(), signal.SIGKILL)
        if item in self.fails:
            raise UserError(f"{item} is wrong.\nMend it.")
        if item in self.odd:
            return {"function": print}
        time.sleep(0.02 * (9 - int(item)))  # the first ends last
        return {"item": item, "process": os.getpid(), "threads": torch.get_num_threads()}


@dataclass(frozen=True)
class Unopened:
    """A stage that lacks what it needs."""

    @contextmanager
    def open(self) -> Callable:
        raise UserError("no weights at nowhere.")
        yield


def test_results_come_in_the_order_of_the_items_from_workers_of_one_thread_that_open_once(
    engine, tmp_path, monkeypatch
):
    monkeypatch.setenv("OMP_NUM_THREADS", "2")
    outcome = run(Trial(str(tmp_path)), ITEMS, engine=engine, jobs=3)
    assert list(outcome.results) == ITEMS and not outcome.failed
    assert [result["item"] for result in outcome.results.values()] == ITEMS
    processes = {result["process"] for result in outcome.results.values()}
    assert len(processes) == 3 and os.getpid() not in processes
    assert {result["threads"] for result in outcome.results.values()} == {1}
    assert len(list(tmp_path.glob("open-*"))) == 3


def test_an_items_failure_is_named_and_ends_no_other(engine, tmp_path):
    stage = Trial(str(tmp_path), fails=("00001",), odd=("00004",))
    outcome = run(stage, ITEMS, engine=engine, jobs=2)
    assert outcome.failed["00001"] == "00001 is wrong. Mend it." and "TypeError" in outcome.failed["00004"]
    assert list(outcome.results) == [item for item in ITEMS if item not in outcome.failed]
    with pytest.raises(UserError, match=r"2 of 6 shards failed \(00001: 00001 is wrong.*type it again"):
        outcome.check("shards")


def test_a_killed_worker_is_named_and_its_item_tried_once_more(engine, tmp_path, caplog):
    stage = Trial(str(tmp_path), dies=(("00002", 1), ("00003", 2)))
    with caplog.at_level(logging.WARNING):
        outcome = run(stage, ITEMS, engine=engine, jobs=2)
    told = [record.getMessage() for record in caplog.records if " died at " in record.getMessage()]
    assert sorted(line.split(" died at ")[1][:5] for line in told) == ["00002", "00003", "00003"]
    assert list(outcome.failed) == ["00003"] and "died 2 times" in outcome.failed["00003"]
    assert "00002" in outcome.results and len(outcome.results) == 5
    tries = {path.name[6:]: len(path.read_text()) for path in tmp_path.glob("tries-*")}
    assert tries == {item: 2 if item in ("00002", "00003") else 1 for item in ITEMS}
    if engine == "local":
        assert all("(SIGKILL)" in line and "process " in line for line in told)


def test_a_stage_that_does_not_open_fails_every_item_for_that_reason(engine):
    outcome = run(Unopened(), ITEMS[:2], engine=engine, jobs=1)
    assert outcome.failed == dict.fromkeys(ITEMS[:2], "no weights at nowhere.")


def test_the_progress_wraps_every_answer(tmp_path):
    seen = []

    def watched(answers):
        for answer in answers:
            seen.append(answer.item)
            yield answer

    run(Trial(str(tmp_path), fails=("00000",)), ITEMS, jobs=2, progress=watched)
    assert sorted(seen) == ITEMS


def test_workers_end_with_a_driver_that_is_killed(tmp_path):
    program = (
        "from tests.test_laion_engine import Trial, run\n"
        f"run(Trial({str(tmp_path)!r}), [f'{{i:05d}}' for i in range(-90, 0)], jobs=1)\n"
    )
    root = Path(__file__).resolve().parents[1]
    driver = subprocess.Popen([sys.executable, "-c", program], cwd=root)
    for _ in range(600):
        opened = list(tmp_path.glob("open-*"))
        if opened or driver.poll() is not None:
            break
        time.sleep(0.1)
    worker = int(opened[0].name.removeprefix("open-"))
    driver.kill()
    driver.wait()
    for _ in range(100):
        if not alive(worker):
            break
        time.sleep(0.1)
    assert not alive(worker)


def alive(process: int) -> bool:
    """Whether a process runs; one that waits to be buried does not."""
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


@pytest.mark.parametrize(
    ("asked", "told"),
    [({"engine": "spark"}, "'spark' is none of local, ray"), ({"jobs": 0}, "jobs=0 must be at least")],
)
def test_what_is_no_engine_is_refused(asked, told):
    with pytest.raises(UserError, match=told):
        run(Unopened(), ITEMS, **asked)


def test_without_ray_the_remedy_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(UserError, match=r"pip install 'ode_vgan\[laion-ray\]'"):
        run(Unopened(), ITEMS, engine="ray")


def test_nothing_to_do_is_done():
    outcome = run(Unopened(), [])
    assert not outcome.results and not outcome.failed
