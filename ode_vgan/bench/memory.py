"""How much memory a piece of work takes: bytes of live tensors, bytes of Python and NumPy, a fresh process's peak."""

import json
import os
import resource
import subprocess
import sys
import time
import tracemalloc
import weakref
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from ode_vgan.errors import UserError

MB = 1e6


class LiveBytes(TorchDispatchMode):
    """Follows the tensors that are made inside it until they are freed, those of backward passes too.

    What one operator needs and frees by itself is not seen; nor is what its threads or libraries keep.

    Attributes:
        now, peak: bytes of their storages. count: storages made.
    """

    def __init__(self):
        super().__init__()
        self.now = self.peak = self.count = 0
        self._known: dict[int, weakref.ref] = {}

    def __torch_dispatch__(self, call, types, arguments=(), options=None):
        made = call(*arguments, **(options or {}))
        for tensor in tree_leaves(made):
            if isinstance(tensor, torch.Tensor) and not tensor.is_meta:
                self._note(tensor.untyped_storage())
        return made

    def _note(self, storage: torch.UntypedStorage) -> None:
        key, size = storage._cdata, storage.nbytes()
        if key in self._known:
            return

        def gone(_: object) -> None:
            if self._known.pop(key, None) is not None:
                self.now -= size

        self._known[key] = weakref.ref(storage, gone)
        self.now, self.count = self.now + size, self.count + 1
        self.peak = max(self.peak, self.now)


def live_bytes(run: Callable[[], object]) -> LiveBytes:
    """The tensors that one call of `run` makes, with gradients on."""
    with torch.enable_grad(), LiveBytes() as found:
        run()
    return found


def traced_bytes(run: Callable[[], object]) -> int:
    """The most bytes of Python's objects and NumPy's arrays at once that one call of `run` adds."""
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        tracemalloc.reset_peak()
        run()
        return tracemalloc.get_traced_memory()[1] - before
    finally:
        tracemalloc.stop()


@dataclass(frozen=True)
class Used:
    """Of a fresh process: resident MB at most after its imports, the same to its end, and seconds from there."""

    imports_mb: float
    peak_mb: float
    seconds: float

    @property
    def above_mb(self) -> float:
        """What the work itself added."""
        return self.peak_mb - self.imports_mb


def fresh(job: str, options: dict, threads: int = 1) -> Used:
    """Run a job of `ode_vgan.bench.memory_jobs` in a process of its own.

    Raises:
        UserError: it failed, with its last line.
    """
    command = [sys.executable, "-m", "ode_vgan.bench.memory", job, json.dumps(options)]
    root = str(Path(__file__).parents[2])
    settings = os.environ | {"OMP_NUM_THREADS": str(threads), "PYTHONPATH": root}
    done = subprocess.run(command, capture_output=True, text=True, env=settings, cwd=root)
    if done.returncode:
        said = done.stderr.strip().splitlines() or ["it said nothing"]
        raise UserError(f"{job}: {said[-1]}")
    return Used(**json.loads(done.stdout.splitlines()[-1]))


def peak_mb() -> float:
    """Resident memory of this process at its most so far."""
    status = Path("/proc/self/status")
    if not status.exists():  # not Linux; a process then counts what the one that started it had
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / MB
    line = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) * 1024 / MB


def main(job: str, options: str) -> None:
    """In the fresh process: import what the job needs, note, work, print."""
    from ode_vgan.bench.memory_jobs import JOBS

    work = JOBS[job](**json.loads(options))
    imports, begin = peak_mb(), time.perf_counter()
    work()
    print(json.dumps({"imports_mb": imports, "peak_mb": peak_mb(), "seconds": time.perf_counter() - begin}))


if __name__ == "__main__":
    main(*sys.argv[1:])
