"""Laws of the loader: what a batch holds, what decides it, and what happens to bad clips."""

import itertools
import json
from pathlib import Path

import numpy as np
import pytest
import pytorch_lightning as pl
import torch

from ode_vgan.data.clips import encode_clip
from ode_vgan.data.loader import ClipData, PositionBatches
from ode_vgan.data.shapes import write_shapes
from ode_vgan.data.shards import Entry, Source
from ode_vgan.data.store import split_entries
from ode_vgan.data.windows import Sampling, draw_window, loop_period
from ode_vgan.embed.embedder import Embedder
from ode_vgan.embed.none import NoEmbedder
from ode_vgan.errors import UserError


class LetterEmbedder(Embedder):
    """Counts letters: a cheap embedder whose rows tell captions apart."""

    dim = 26
    fingerprint = "letters"

    def encode_text(self, texts):
        counts = [[text.lower().count(chr(97 + i)) + 0.1 for i in range(26)] for text in texts]
        return torch.nn.functional.normalize(torch.tensor(counts), dim=-1)


@pytest.fixture(autouse=True)
def private_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("ODE_VGAN_CACHE", str(tmp_path / "cache"))


@pytest.fixture(scope="module")
def shapes(tmp_path_factory):
    return write_shapes(tmp_path_factory.mktemp("shapes"), 12, frames=14, size=32)


def clip_data(source, embed=None, **changes):
    options = {"frames": 4, "size": 16, "batch": 5, "sampling": Sampling(strides=(1, 3))} | changes
    return ClipData(str(source), embed or LetterEmbedder(), **options)


def take(data, count, start=0):
    data.setup()
    data.start_batch = start
    return list(itertools.islice(data.train_dataloader(), count))


def same(batches_a, batches_b):
    return all(
        a["caption"] == b["caption"]
        and all(torch.equal(a[key], b[key]) for key in ("frames", "times", "text", "index"))
        for a, b in zip(batches_a, batches_b, strict=True)
    )


def write_video(folder, name, frames=8, caption="a thing", times=None, **meta):
    pictures = np.arange(frames, dtype=np.uint8)[:, None, None, None] * np.full((1, 16, 16, 3), 16, dtype=np.uint8)
    encode_clip(folder / f"{name}.mp4", pictures, np.arange(frames) / 10 if times is None else times)
    if caption is not None:
        (folder / f"{name}.txt").write_text(caption)
    if meta:
        (folder / f"{name}.json").write_text(json.dumps(meta))


def test_batch_has_the_shapes_and_types_of_the_contract(shapes):
    batch = take(clip_data(shapes), 1)[0]
    assert batch["frames"].shape == (5, 4, 16, 16, 3) and batch["frames"].dtype == torch.uint8
    assert batch["times"].shape == (5, 4) and batch["times"].dtype == torch.float32
    assert (batch["times"][:, 0] == 0).all() and (batch["times"].diff(dim=1) > 0).all()
    assert batch["text"].shape == (5, 26) and torch.allclose(batch["text"].norm(dim=1), torch.ones(5))
    assert torch.allclose(batch["text"], LetterEmbedder().encode_text(batch["caption"]))


def test_two_workers_and_two_epochs_give_the_batches_of_no_workers(shapes):
    data = clip_data(shapes)
    data.setup()
    batches = 2 * len(data.train_set) // data.batch + 1
    assert same(take(data, batches), take(clip_data(shapes, workers=2), batches))


def test_memory_changes_no_batch(shapes):
    assert same(take(clip_data(shapes), 6), take(clip_data(shapes, cache_mb=0), 6))


def test_resuming_at_batch_k_equals_an_uninterrupted_run(shapes):
    whole = take(clip_data(shapes), 8)
    assert same(whole[3:], take(clip_data(shapes), 5, start=3))


def test_another_seed_gives_other_batches(shapes):
    assert not same(take(clip_data(shapes), 2), take(clip_data(shapes, seed=1), 2))


def test_every_clip_is_drawn_once_per_epoch():
    stream = PositionBatches(7, 3, 0, lambda: 0)
    numbers = [clip for batch in itertools.islice(stream, 7) for _, clip in batch]
    epochs = [tuple(numbers[i : i + 7]) for i in (0, 7, 14)]
    assert all(sorted(epoch) == list(range(7)) for epoch in epochs) and len(set(epochs)) == 3


def test_two_ranks_share_the_positions_of_one_process():
    ranks = [list(itertools.islice(PositionBatches(7, 2, 0, lambda: 0, rank=r, world=2), 3)) for r in (0, 1)]
    together = [a + b for a, b in zip(*ranks, strict=True)]
    assert together == list(itertools.islice(PositionBatches(7, 4, 0, lambda: 0), 3))


class Recorder(pl.LightningModule):
    """Keeps the clip numbers of every step."""

    def __init__(self):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(1))
        self.seen = []

    def training_step(self, batch, batch_idx):
        self.seen.append(batch["index"].tolist())
        return self.weight.sum()

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.0)


def fit(shapes, folder, steps, ckpt_path=None, **limits):
    module, data = Recorder(), clip_data(shapes)
    quiet = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False, "accelerator": "cpu"}
    trainer = pl.Trainer(max_steps=steps, enable_checkpointing=False, default_root_dir=folder, **quiet, **limits)
    trainer.fit(module, data, ckpt_path=ckpt_path, weights_only=True)
    trainer.save_checkpoint(folder / f"{steps}.ckpt")
    return module.seen


@pytest.mark.filterwarnings("ignore")
def test_a_lightning_checkpoint_carries_the_position(shapes, tmp_path):
    first = fit(shapes, tmp_path, 3)
    rest = fit(shapes, tmp_path, 6, ckpt_path=tmp_path / "3.ckpt")
    assert first + rest == [batch["index"].tolist() for batch in take(clip_data(shapes), 6)]


@pytest.mark.filterwarnings("ignore")
def test_lightnings_epochs_neither_repeat_nor_drop_a_batch(shapes, tmp_path):
    ticks = {"limit_train_batches": 2, "max_epochs": -1}
    first = fit(shapes, tmp_path, 4, **ticks)
    rest = fit(shapes, tmp_path, 8, ckpt_path=tmp_path / "4.ckpt", **ticks)
    assert first + rest == [batch["index"].tolist() for batch in take(clip_data(shapes), 8)]


def test_times_come_from_the_files_own_timestamps(tmp_path):
    times = np.array([0, 0.04, 0.10, 0.11, 0.30, 0.31])
    write_video(tmp_path, "slow_and_fast", frames=6, times=times)
    batch = take(clip_data(tmp_path, frames=6, sampling=Sampling()), 1)[0]
    assert np.allclose(batch["times"].numpy(), times, atol=1e-4)  # MP4 ticks are 1/24000 s


def test_the_typical_gap_is_read_from_the_clips(tmp_path):
    for i in range(3):
        write_video(tmp_path, f"{i}", frames=8, times=np.arange(8) * 0.05)
    assert clip_data(tmp_path, frames=4, sampling=Sampling(strides=(2,))).gap_seconds() == pytest.approx(0.1, abs=1e-3)


def test_corrupt_clip_is_named_counted_and_replaced(tmp_path):
    for i in range(6):
        write_video(tmp_path, f"good{i}", caption=f"clip {'abcdef'[i]}", split="train")
    (tmp_path / "good3.mp4").write_bytes((tmp_path / "good3.mp4").read_bytes()[:200])
    for options in ({}, {"cache_mb": 0}, {"cache_mb": 0, "workers": 1}):
        data = clip_data(tmp_path, **options)
        batches = take(data, 6)
        for batch in batches:
            data.skipped |= batch.get("skipped", {})
        assert list(data.skipped) == ["good3"]
        assert not any("clip d" in batch["caption"] for batch in batches)


def test_captionless_clip_is_skipped_only_where_captions_matter(tmp_path):
    for i in range(4):
        write_video(tmp_path, f"clip{i}", caption=None if i == 2 else "said", split="train")
    captioned, free = clip_data(tmp_path), clip_data(tmp_path, NoEmbedder())
    captioned.setup()
    free.setup()
    assert captioned.skipped == {"clip2": "no caption"} and len(captioned.train_set) == 3
    assert not free.skipped and len(free.train_set) == 4


def test_too_short_clips_are_counted_and_all_too_short_is_one_clear_line(tmp_path):
    write_video(tmp_path, "long", frames=20, split="train")
    write_video(tmp_path, "short", frames=3, split="train")
    data = clip_data(tmp_path, frames=16, sampling=Sampling())
    data.setup()
    assert data.skipped == {"short": "3 frames where 16 are needed"}
    with pytest.raises(UserError, match="20 frames where 40 are needed.*lower data.frames") as caught:
        clip_data(tmp_path, frames=40, sampling=Sampling()).setup()
    assert "\n" not in str(caught.value)


def test_no_training_split_names_the_splits_there_are(tmp_path):
    write_video(tmp_path, "clip", split="validation")
    with pytest.raises(UserError, match="no split 'train'.*data.train_split.*validation"):
        clip_data(tmp_path).setup()


def test_missing_folder_and_bad_numbers_are_one_clear_line(tmp_path):
    with pytest.raises(UserError, match="nowhere.*data.source"):
        clip_data(tmp_path / "nowhere").setup()
    with pytest.raises(UserError, match="frames"):
        clip_data(tmp_path, frames=0)
    with pytest.raises(UserError, match="irregular"):
        Sampling(irregular=True)
    with pytest.raises(UserError, match="strides"):
        Sampling(strides=(0,))


def test_irregular_windows_rise_from_zero_and_differ():
    times, sampling = np.arange(40) * 0.05, Sampling(strides=(3,), irregular=True)
    draws = [draw_window(times, 8, sampling, np.random.default_rng(i))[1] for i in range(50)]
    assert all(
        seconds[0] == 0 and (np.diff(seconds) > 0).all() and seconds[-1] <= 21 * 0.05 + 1e-9 for seconds in draws
    )
    assert len({tuple(seconds) for seconds in draws}) == 50


def test_strides_that_do_not_fit_are_not_drawn():
    times, sampling = np.arange(10) * 1.0, Sampling(strides=(1, 2, 5))
    gaps = {draw_window(times, 5, sampling, np.random.default_rng(i))[1][1] for i in range(40)}
    assert gaps == {1.0, 2.0}


def test_looping_windows_continue_the_clock_over_the_seam():
    times = np.array([0.0, 0.1, 0.3])
    assert loop_period(times) == pytest.approx(0.45) and loop_period(times, 0.8) == 0.8
    for i in range(20):
        index, seconds = draw_window(times, 7, Sampling(loop=True), np.random.default_rng(i), period_seconds=0.8)
        gap_after = np.array([0.1, 0.2, 0.5])  # the last frame is shown until the round is over
        assert (index == (index[0] + np.arange(7)) % 3).all()
        assert np.allclose(np.diff(seconds), gap_after[index[:-1]])


def test_only_looping_clips_are_wrapped(tmp_path):
    write_video(tmp_path, "ends", frames=6, split="train", loop=False)
    write_video(tmp_path, "loops", frames=6, split="train", caption="round", duration_seconds=0.6)
    batches = take(clip_data(tmp_path, frames=10, sampling=Sampling(loop=True)), 3)
    assert {caption for batch in batches for caption in batch["caption"]} == {"round"}
    assert all(torch.allclose(batch["times"].diff(dim=1), torch.tensor(0.1), atol=1e-4) for batch in batches)


def test_a_clip_never_changes_sides_when_others_are_added():
    entries = [Entry(f"clip{i}", "", {}, Source(Path("none"))) for i in range(300)]
    small, large = (split_entries(some, ("train", "test")) for some in (entries[:200], entries))
    sides = [{entry.key for entry in side} for side in (*small, *large)]
    assert sides[0] < sides[2] and sides[1] < sides[3] and not sides[2] & sides[3]
    assert 20 <= len(sides[3]) <= 40  # a tenth of 300, within two standard deviations


@pytest.mark.parametrize("count", [2, 3, 5])
def test_a_few_clips_still_fill_both_sides(count):
    entries = [Entry(f"clip{i}", "", {}, Source(Path("none"))) for i in range(count)]
    train, test = split_entries(entries, ("train", "test"))
    assert train and test and len(train) + len(test) == count


def test_stated_splits_are_kept(tmp_path):
    for i in range(6):
        write_video(tmp_path, f"clip{i}", split="test" if i < 2 else "train")
    data = clip_data(tmp_path, limit=3)
    data.setup()
    assert len(data.train_set) == 3 and len(data.test_set) == 2


def test_real_clips_repeat_exactly_and_leave_training_alone(shapes):
    data = clip_data(shapes)
    first = data.real_clips(30, split="train")
    assert first.frames.shape == (30, 4, 16, 16, 3) and len(first.captions) == 30 and first.text.shape == (30, 26)
    assert torch.allclose(first.times.diff(dim=1), torch.tensor(1 / 24), atol=1e-4)  # the first stride, evenly
    again = data.real_clips(30, split="train")
    assert all(torch.equal(a, b) for a, b in zip(first[:2], again[:2], strict=True))
    assert not torch.equal(first.frames, data.real_clips(30, split="train", seed=1).frames)
    assert same(take(data, 4), take(clip_data(shapes), 4))


def test_test_loader_shows_every_test_clip_once(shapes):
    data = clip_data(shapes, batch=1)
    data.setup()
    shown = [int(i) for batch in data.test_dataloader() for i in batch["index"]]
    assert shown == list(range(len(data.test_set)))
