"""Batches loaded before they are asked for."""

import atexit
import logging
import multiprocessing
import queue
import signal
import threading
import time
import weakref
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress

import torch
from torch.utils.data import DataLoader, Dataset

from ode_vgan.errors import UserError

DEPTH = 2  # batches that each worker, or the thread, is ahead
POLL_SECONDS = 0.1
RESTARTS = 3  # of workers that die over one batch

log = logging.getLogger(__name__)


class Ahead(Iterable[dict]):
    """Endless batches of windows: by `workers` processes or, with none, by a thread of this process.

    Whoever iterates anew goes on where `start` says. Where that is the batch after the last one given, or that one
    again, nothing is loaded twice: Lightning begins anew at every epoch and takes one batch more than it trains on.

    Args:
        windows: with `__getitems__`, which makes whole batches.
        batches: number -> lists of items, of that batch and all after it.
        start: gives the number of the first batch.

    Attributes:
        waited_seconds: that its reader has waited so far for batches that were not ready.
    """

    def __init__(
        self,
        windows: Dataset,
        batches: Callable[[int], Iterable[list]],
        start: Callable[[], int],
        *,
        workers: int = 0,
    ):
        self.windows, self.batches, self.start, self.workers = windows, batches, start, workers
        self.waited_seconds = 0.0
        self._given, self._last = -1, None  # number and batch of the last one given
        self._source: Iterator[dict] | None = None
        self._thread: Thread | None = None

    def __iter__(self) -> Iterator[dict]:
        number = self.start()
        if self._last is not None and number == self._given:
            yield self._last
            number += 1
        elif self._source is None or number != self._given + 1:
            self._begin(number)
        while True:
            begin = time.perf_counter()
            batch = self._next(number)
            self.waited_seconds += time.perf_counter() - begin
            self._given, self._last = number, batch
            yield batch
            number += 1

    def _next(self, number: int) -> dict:
        """Batch `number`; where a worker died over it, by workers begun anew."""
        for left in reversed(range(RESTARTS + 1)):
            try:
                return next(self._source)
            except (RuntimeError, OSError, EOFError) as error:  # the latter two of a batch half handed over
                if not died(getattr(self._source, "_workers", ())):
                    raise
                why = " ".join(str(error).split()).partition(". ")[0]
            if left:
                log.warning("A loader process died (%s): %d are begun anew at batch %d.", why, self.workers, number)
                self._begin(number)
        raise UserError(
            f"A loader process died ({why}), {RESTARTS + 1} times at batch {number}. Give them more memory, "
            "or data.workers=0; type the command again to go on."
        )

    def close(self) -> None:
        """End the thread or the processes; iterating begins them again."""
        if self._thread is not None:
            self._thread.end()
        self._source = self._thread = self._last = None

    def _begin(self, number: int) -> None:
        self.close()
        self._given = number - 1
        with unhandled(signal.SIGCHLD):
            source = iter(
                DataLoader(
                    self.windows,
                    batch_sampler=self.batches(number),
                    num_workers=self.workers,
                    prefetch_factor=DEPTH if self.workers else None,
                    collate_fn=as_it_is,
                    pin_memory=torch.cuda.is_available(),
                    generator=torch.Generator(),  # else it takes numbers of the global one
                )
            )
        if self.workers:
            self._source = source
            return
        self._thread = thread = Thread(source)
        self._source = iter(thread.take, None)
        weakref.finalize(self, thread.forget).atexit = False


class Thread:
    """What a source gives, taken from it by a thread up to DEPTH ahead."""

    def __init__(self, source: Iterator[dict]):
        self.ready: queue.Queue = queue.Queue(DEPTH)
        self.over = False
        self.thread = threading.Thread(target=self._run, args=(source,), name="batches ahead", daemon=True)
        self.thread.start()
        atexit.register(self.end)  # a thread that decodes while the interpreter goes may crash it

    def take(self) -> dict:
        """The next one.

        Raises:
            Exception: what the source raised.
        """
        batch = self.ready.get()
        if isinstance(batch, Exception):
            raise batch
        return batch

    def end(self) -> None:
        """Stop, after the batch in the making, and wait for that."""
        self.forget()
        while self.thread.is_alive():
            with suppress(queue.Empty):  # it may be waiting for room
                self.ready.get_nowait()
            self.thread.join(POLL_SECONDS)

    def forget(self) -> None:
        """Stop soon. Waits for nothing, since the collector may call it from anywhere, from this very thread too."""
        self.over = True

    def _run(self, source: Iterator[dict]) -> None:
        try:
            self._load(source)
        finally:
            atexit.unregister(self.end)

    def _load(self, source: Iterator[dict]) -> None:
        while not self.over:
            try:
                batch = next(source)
            except Exception as error:  # whoever takes it raises it
                batch = error
            while not self.over:
                with suppress(queue.Full):
                    self.ready.put(batch, timeout=POLL_SECONDS)
                    break
            if isinstance(batch, Exception):
                return


def died(workers: Iterable[multiprocessing.Process]) -> bool:
    """Whether one of these processes has died, or does so now."""
    for worker in workers:
        worker.join(POLL_SECONDS)
    return any(worker.exitcode for worker in workers)


@contextmanager
def unhandled(number: int) -> Iterator[None]:
    """Leave a signal's handler as it was: torch's own raises in the midst of a step when a loader process dies."""
    before, main = signal.getsignal(number), threading.current_thread() is threading.main_thread()
    try:
        yield
    finally:
        if main and before is not None:
            signal.signal(number, before)


def as_it_is(batch: dict) -> dict:
    """What `__getitems__` made is a batch already."""
    return batch
