"""Clips as training gets them, a second: by workers, from memory, from shards and folders, beside bare loops."""

import importlib
import shutil
import tempfile
import warnings
import weakref
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path

import numpy as np
import torch

from ode_vgan.bench.contest import Asked, Contest, Work
from ode_vgan.bench.decode import TARGET, Window, bare, clip_data, drawn
from ode_vgan.data.ahead import Ahead
from ode_vgan.data.loader import ClipData, PositionBatches

WORKERS, BATCHES = (0, 1, 2, 4, 8), 128
ASKED = 2  # workers, at most, of which the rate is asked


class Loaded:
    """The first batches of a training loader, begun anew at each call: its start is part of its time.

    Args:
        data: set up. batches: of each call.
    """

    def __init__(self, data: ClipData, batches: int):
        self.data, self.batches = data, batches

    def __call__(self) -> list[dict]:
        data = self.data
        numbers = list(islice(PositionBatches(len(data.train_set), data.batch, data.seed, lambda: 0), self.batches))
        loader = Ahead(data.train_set, lambda number: numbers, lambda: 0, workers=data.workers)
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message=".*worker processes in total")
            found = list(islice(loader, self.batches))
        loader.close()
        return found

    def differ(self) -> float:
        """Share of pixels that are not those of the clips decoded whole in this process."""
        whole, position, wrong = self.data.train_set, 0, []
        for batch in self():
            for frames, i in zip(batch["frames"].numpy(), batch["index"].tolist(), strict=True):
                every = whole.store.clip(i).frames
                wrong.append(float((every[whole.index(i, position)] != frames).mean()))
                position += 1
        return max(wrong)


def contests(asked: Asked) -> list[Contest]:
    """By number of workers, nothing in memory; from memory; other sources; beside webdataset."""
    batches = 2 if asked.quick else BATCHES
    plain = clip_data(asked, cache_mb=0)
    clips = batches * plain.batch
    told = f"{plain.frames} frames, {plain.size} px"
    windows = drawn(asked, clips)[0]
    work = Work(0, 0, clips, "clips")

    def row(
        name: str, data: ClipData, against: str, theirs: Callable[[], object], *, target=TARGET, note=""
    ) -> Contest:
        ours = Loaded(data, batches)
        where = f"{name}, {told}"
        return Contest(
            "loader", where, against, ours, theirs, ours.differ, 1e-9, work=work, target=target,
            note=note or "difference: from clips decoded whole",
        )  # fmt: skip

    def bare_loop() -> list[np.ndarray]:
        return [bare(window) for window in windows]

    found = []
    for workers in WORKERS[:3] if asked.quick else WORKERS:
        data = clip_data(asked, cache_mb=0, workers=workers)
        found.append(
            row(
                f"{workers} workers" if workers else "thread",
                data,
                "bare PyAV",
                bare_loop,
                target=TARGET if workers <= ASKED else None,
            )
        )
    memory = clip_data(asked)
    Loaded(memory, batches)()
    found.append(row("thread, from memory", memory, "bare PyAV", bare_loop))
    folder = unpacked(plain, clips)
    one = clip_data(Asked(**{**vars(asked), "data": str(folder)}), cache_mb=0)
    found.append(row("thread, folder of files", one, "bare PyAV", bare_loop, note="as many clips, not the same"))
    if (other := by_webdataset(plain, batches)) is not None:
        note = "the same windows of clips as they lie in the shards, not shuffled, by a bare loop"
        found.append(row("thread", plain, "webdataset", other, target=None, note=note))
    return found


def unpacked(data: ClipData, clips: int) -> Path:
    """Some clips as files of their own, in a folder that goes with the process."""
    folder = Path(tempfile.mkdtemp(prefix="ode-vgan-bench-"))
    weakref.finalize(data, shutil.rmtree, folder, ignore_errors=True)
    for entry in data.train_set.store.entries[:clips]:
        name = entry.key.replace("/", "_")
        (folder / f"{name}.mp4").write_bytes(entry.read())
        (folder / f"{name}.txt").write_text(entry.caption or "")
    return folder


def by_webdataset(data: ClipData, batches: int) -> Callable[[], list[torch.Tensor]] | None:
    """Its pipeline over the same shards with the bare decoder; None where there are none or it is not installed."""
    windows = data.train_set
    tars = sorted({str(entry.source.path) for entry in windows.store.entries if entry.source.path.suffix == ".tar"})
    try:
        dataset = importlib.import_module("webdataset").WebDataset
    except ImportError:
        return None
    if not tars:
        return None
    keys = [entry.key for entry in windows.store.entries]
    index = {key: windows.index(i, i) for i, key in enumerate(keys) if i not in windows.store.bad}

    def clips() -> Iterator[np.ndarray]:
        while True:
            for sample in dataset(tars, shardshuffle=False, empty_check=False):
                if sample["__key__"] in index:
                    yield bare(Window(sample["mp4"], index[sample["__key__"]], data.size))

    def run() -> list[torch.Tensor]:
        source = clips()
        return [torch.from_numpy(np.stack(list(islice(source, data.batch)))) for _ in range(batches)]

    return run
