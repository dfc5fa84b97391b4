"""Two processes of a test, forked, that meet by gloo."""

import multiprocessing
import os
import traceback
from collections.abc import Callable
from pathlib import Path

import torch
import torch.distributed as dist

SECONDS = 120


def in_two(folder: Path, work: Callable[[], object]) -> list:
    """What `work()` gives in each of two processes that train together."""
    folder.mkdir(parents=True, exist_ok=True)
    fork = multiprocessing.get_context("fork")
    processes = [fork.Process(target=_run, args=(folder, rank, work), daemon=True) for rank in range(2)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(SECONDS)
    assert [process.exitcode for process in processes] == [0, 0]
    return [torch.load(folder / f"{rank}.pt", weights_only=True) for rank in range(2)]


def _run(folder: Path, rank: int, work: Callable[[], object]) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder.resolve()}/met", rank=rank, world_size=2)
    try:
        torch.save(work(), folder / f"{rank}.pt")
        dist.barrier()
    except BaseException:
        traceback.print_exc()
        os._exit(1)
    os._exit(0)  # without what pytest would do at its end
