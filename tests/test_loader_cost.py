"""Laws of what loading costs, in counts: frames decoded, copies made, processes left, time waited."""

import gc
import time
import tracemalloc

import pytest
import pytorch_lightning as pl
import torch

from ode_vgan.callbacks import ClipBar, spent
from ode_vgan.data.excerpt import Excerpt
from ode_vgan.data.shapes import write_shapes
from ode_vgan.data.windows import ClipWindows, Sampling
from ode_vgan.training import Training
from tests.test_loader import clip_data, take


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("ODE_VGAN_CACHE", str(tmp_path / "cache"))


@pytest.fixture(scope="module")
def shapes(tmp_path_factory):
    return write_shapes(tmp_path_factory.mktemp("shapes"), 12, frames=14, size=32)


@pytest.fixture
def decoded(monkeypatch):
    """Packets given to decoders, a number for each time that frames were taken from a file."""
    counts, decode = [], Excerpt._decode

    def counted(excerpt, *arguments):
        before = excerpt.decoded
        frames = decode(excerpt, *arguments)
        counts.append(excerpt.decoded - before)
        return frames

    monkeypatch.setattr(Excerpt, "_decode", counted)
    return counts


def test_one_clip_is_decoded_before_training_begins(shapes, decoded):
    data = clip_data(shapes)
    data.gap_seconds()
    assert not decoded
    data.setup()
    assert decoded == [14]


def test_a_clip_that_fits_in_memory_is_decoded_once(shapes, decoded):
    data = clip_data(shapes)
    take(data, 12)
    data.teardown()
    assert len(decoded) == len(data.train_set) and set(decoded) == {14}


def test_without_memory_each_draw_decodes_to_its_last_frame(shapes, decoded):
    data = clip_data(shapes, cache_mb=0, sampling=Sampling())
    data.setup()
    decoded.clear()
    windows = data.train_set
    for position in range(20):
        windows[position, position % len(windows)]
    lasts = [int(windows.index(position % len(windows), position).max()) + 1 for position in range(20)]
    assert decoded == lasts and sum(lasts) < 20 * 14


def test_workers_fill_one_memory_that_all_share(shapes):
    data = clip_data(shapes, workers=2)
    take(data, 12)
    arena = data.train_set.store.arena
    assert all(arena.find(i) is not None for i in range(len(data.train_set)))


def test_a_loader_that_is_let_go_ends_its_workers_at_once(shapes):
    data = clip_data(shapes, workers=1)
    data.setup()
    loader = data.train_dataloader()
    next(iter(loader))
    (worker,) = loader._source._workers
    gc.disable()  # in a cycle it would wait for the collector, and the worker for its next look at the clock
    try:
        del loader
        assert worker.exitcode is not None
    finally:
        gc.enable()


def test_a_batch_from_memory_is_copied_once(shapes):
    data = clip_data(shapes, batch=8)
    data.setup()
    windows, items = data.train_set, [(i, i) for i in range(8)]
    size = windows.__getitems__(items)["frames"].nbytes
    tracemalloc.start()
    windows.__getitems__(items)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert size <= peak < size + 16_000  # what goes with the frames is small


class Counting(Training):
    """Counts clips, learns nothing; a step takes a moment."""

    def __init__(self):
        super().__init__(20)
        self.weight = torch.nn.Parameter(torch.zeros(1))

    def training_step(self, batch, batch_idx):
        time.sleep(0.02)
        self.clips_seen += len(batch["index"])
        self.end_if_done()
        return self.weight.sum()

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.0)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(("seconds", "low", "high"), [(0.0, 0.0, 0.5), (0.2, 0.6, 1.0)])
def test_the_share_of_waiting_is_counted_in_training(shapes, tmp_path, monkeypatch, seconds, low, high):
    make = ClipWindows.__getitems__

    def slow(windows, items):
        time.sleep(seconds)
        return make(windows, items)

    monkeypatch.setattr(ClipWindows, "__getitems__", slow)
    quiet = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False, "accelerator": "cpu"}
    trainer = pl.Trainer(enable_checkpointing=False, callbacks=[ClipBar()], default_root_dir=tmp_path, **quiet)
    trainer.fit(Counting(), clip_data(shapes))
    assert low <= spent(trainer)["wait_share"] <= high
