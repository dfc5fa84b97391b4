"""Engines: the same stages, shard by shard, on processes of this machine or on Ray.

A stage is a frozen dataclass whose `open()` is entered once in each worker and gives a pure function of one item; what
that returns is plain data, since workers answer in JSON: one that hostile media took over runs no code in its driver.
Each worker has one thread, so that a shard's bytes depend on neither the engine nor the number of jobs.
"""

import json
import logging
import os
import signal
import sys
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, suppress
from dataclasses import dataclass, field
from multiprocessing import connection, get_context, parent_process
from threading import Thread
from typing import Protocol

from ode_vgan.errors import UserError

log = logging.getLogger(__name__)

ENGINES = ("local", "ray")
TRIES = 2  # of an item whose worker dies: it may have died of another's doing, such as the kernel's want of memory
STOP_SECONDS = 5.0
PRELOADED = ["ode_vgan.laion.stages"]
SHOWN = 5


class Stage(Protocol):
    """What a worker does; travels to it by pickle, so that it holds plain options only."""

    def open(self) -> AbstractContextManager[Callable[[str], dict]]:
        """Enter what all items share, such as a model, and give the function of one item."""


@dataclass(frozen=True)
class Answer:
    """What came of one item: a result, or why there is none."""

    item: str
    result: dict | None = None
    error: str | None = None


@dataclass
class Outcome:
    """Results and failures by item, in the order of the items."""

    results: dict[str, dict] = field(default_factory=dict)
    failed: dict[str, str] = field(default_factory=dict)

    def check(self, what: str) -> None:
        """Raise if an item failed.

        Raises:
            UserError: how many failed, the first few, each with its reason.
        """
        if not self.failed:
            return
        shown = "; ".join(f"{item}: {reason}" for item, reason in list(self.failed.items())[:SHOWN])
        further = f"; and {len(self.failed) - SHOWN} more" if len(self.failed) > SHOWN else ""
        total = len(self.failed) + len(self.results)
        raise UserError(
            f"{len(self.failed)} of {total} {what} failed ({shown}{further}). The others are done: type it again."
        )


def run(
    stage: Stage,
    items: Iterable[str],
    *,
    engine: str = "local",
    jobs: int = 1,
    progress: Callable[[Iterable[Answer]], Iterable[Answer]] = iter,
) -> Outcome:
    """Do a stage for every item, such as the name of each shard; one item's failure ends no other.

    A worker that dies is named in the log and replaced; its item is tried once more, and then counts as failed.

    Args:
        items: all different.
        engine: "local" starts processes; "ray" joins the cluster of $RAY_ADDRESS, or starts one on this machine.
        jobs: workers; no more are started than there are items.
        progress: wraps the answers as they come, for a bar.

    Raises:
        UserError: no such engine, no jobs, or Ray is not installed.
    """
    items = list(items)
    if engine not in ENGINES:
        raise UserError(f"engine {engine!r} is none of {', '.join(ENGINES)}. Choose one.")
    if jobs < 1:
        raise UserError(f"jobs={jobs} must be at least 1.")
    if not items:
        return Outcome()
    if engine == "ray":
        from ode_vgan.laion.cluster import ray_answers as answers
    else:
        answers = local_answers
    found = {answer.item: answer for answer in progress(answers(stage, items, min(jobs, len(items))))}
    done = [found[item] for item in items]
    return Outcome(
        {one.item: one.result for one in done if one.error is None},
        {one.item: one.error for one in done if one.error is not None},
    )


def answer_in_json(work: Callable[[str], dict], item: str) -> str:
    """What a worker says of one item: [result, null], or [null, the reason in one line]."""
    try:
        return json.dumps([work(item), None])
    except Exception as error:  # of whatever kind: it is this item's own
        told = " ".join(str(error).split())
        expected = isinstance(error, UserError | OSError) and told
        return json.dumps([None, told if expected else f"{type(error).__name__}: {told}"])


def one_thread() -> None:
    """Let this process compute on one thread, whatever loads later."""
    os.environ.update(
        OMP_NUM_THREADS="1", OPENBLAS_NUM_THREADS="1", MKL_NUM_THREADS="1", TOKENIZERS_PARALLELISM="false"
    )
    if "torch" in sys.modules:
        sys.modules["torch"].set_num_threads(1)


class Queue:
    """Items that wait, and how often each was begun."""

    def __init__(self, items: Sequence[str]):
        self.waiting, self.begun = deque(items), dict.fromkeys(items, 0)

    def next(self) -> str:
        """The next item."""
        item = self.waiting.popleft()
        self.begun[item] += 1
        return item

    def died(self, item: str, worker: str, how: str) -> Answer | None:
        """Take an item back from a dead worker; its failure, once it was tried often enough."""
        log.warning("%s died at %s (%s)", worker, item, how)
        if self.begun[item] < TRIES:
            self.waiting.appendleft(item)
            return None
        return Answer(item, error=f"its worker died {TRIES} times ({how})")


def local_answers(stage: Stage, items: Sequence[str], jobs: int) -> Iterator[Answer]:
    """Answers of processes of this machine, as they come."""
    queue, workers = Queue(items), [_Worker(stage, number) for number in range(jobs)]
    try:
        while queue.waiting or any(worker.item is not None for worker in workers):
            for i, worker in enumerate(workers):
                if worker.item is None and queue.waiting:
                    if not worker.process.is_alive():
                        workers[i] = worker = _Worker(stage, i)
                    worker.begin(queue.next())
            busy = {worker.line: worker for worker in workers if worker.item is not None}
            for line in connection.wait(list(busy)):
                answer = busy[line].read(queue)
                if answer is not None:
                    yield answer
    finally:
        for worker in workers:
            worker.stop()


class _Worker:
    """One process, its line, and the item that it is at."""

    def __init__(self, stage: Stage, number: int):
        context = get_context("forkserver")  # a worker starts in a tenth of a second, and memory is shared
        context.set_forkserver_preload(PRELOADED)
        self.number, self.item = number, None
        self.line, theirs = context.Pipe()
        self.process = context.Process(target=_serve, args=(theirs, stage), name=f"worker {number}")
        self.process.start()
        theirs.close()

    def begin(self, item: str) -> None:
        self.item = item
        with suppress(OSError):  # it died; reading tells
            self.line.send_bytes(item.encode())

    def read(self, queue: Queue) -> Answer | None:
        """The answer that has come; None where the worker died and the item waits again."""
        item, self.item = self.item, None
        try:
            result, error = json.loads(self.line.recv_bytes())
        except (EOFError, OSError):
            self.stop()
            code = self.process.exitcode
            how = signal.Signals(-code).name if code is not None and code < 0 else f"exit code {code}"
            return queue.died(item, f"{self.process.name} (process {self.process.pid})", how)
        return Answer(item, result, error)

    def stop(self) -> None:
        """End the process: by the end of its line where it waits, by force where it works on."""
        self.line.close()
        if self.item is not None:
            self.process.kill()
        self.process.join(STOP_SECONDS)
        if self.process.is_alive():
            self.process.kill()
            self.process.join(STOP_SECONDS)


def _serve(line: connection.Connection, stage: Stage) -> None:
    """Answer items until the driver is gone."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the driver tells us when to end
    Thread(target=_end_with_driver, daemon=True).start()
    with suppress(EOFError, BrokenPipeError, ConnectionResetError), ExitStack() as opened:
        work = open_stage(stage, opened)
        while True:
            item = line.recv_bytes().decode()
            line.send_bytes(answer_in_json(work, item).encode())


def open_stage(stage: Stage, opened: ExitStack) -> Callable[[str], dict]:
    """The stage's function; where it does not open, every item fails for that reason."""
    one_thread()
    try:
        work = opened.enter_context(stage.open())
    except Exception as error:
        failure = error

        def work(item: str) -> dict:
            raise failure

    one_thread()  # torch may have come with the stage
    return work


def _end_with_driver() -> None:
    """A driver that was killed must not leave workers that write on."""
    connection.wait([parent_process().sentinel])
    os._exit(1)
