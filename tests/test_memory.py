"""Laws of memory, in bytes of tensors and arrays, which a busy machine does not disturb."""

import json
from functools import partial

import numpy as np
import pytest
import torch

from ode_vgan.bench.memory import LiveBytes, fresh, live_bytes, traced_bytes
from ode_vgan.bench.memory_jobs import make_vectors
from ode_vgan.data.clips import decode_clip
from ode_vgan.embed.none import NoEmbedder
from ode_vgan.errors import UserError
from ode_vgan.laion.vectors import BLOCK_ROWS, open_vectors
from ode_vgan.metrics.collect import collect
from ode_vgan.metrics.hog3d import Hog3d
from ode_vgan.metrics.mmd import kvd
from ode_vgan.metrics.moments import Moments
from ode_vgan.report.video import write_clips_mp4
from ode_vgan.runs import Trained, build_generator
from ode_vgan.sampled import Sampled, write_sampled
from tests.test_cli import config

KB = 1000


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    folder = tmp_path_factory.mktemp("none")
    torch.manual_seed(0)
    plain = config(folder)
    generator = build_generator(plain).eval().requires_grad_(False)
    return Trained(generator, plain, 0, folder, NoEmbedder())


@pytest.fixture(autouse=True)
def short_stretches(monkeypatch):
    """Eight frames at 16 px are decoded at once."""
    monkeypatch.setattr("ode_vgan.generator.CHUNK_PIXELS", 8 * 16**2)


def test_bytes_are_those_of_the_tensors_that_live():
    with LiveBytes() as found:
        x = torch.zeros(1000, requires_grad=True)
        y = x
        for _ in range(10):
            y = y.tanh()
        assert found.now == found.peak == 11 * 4 * KB  # each is needed for the backward pass
        y.sum().backward()
        del y
        assert found.now == 2 * 4 * KB  # x and its gradient
        peak = found.peak
        for _ in range(20):
            z = torch.zeros(1000)
        del z
    assert found.peak == peak and found.now == 2 * 4 * KB


def test_a_view_takes_no_memory_and_a_copy_does():
    x = torch.zeros(1000)
    assert live_bytes(lambda: x[::2].reshape(10, 50).T).peak <= 4 * KB  # x itself is seen when it is first used
    assert live_bytes(lambda: torch.zeros(1000).clone()).peak == 8 * KB


def test_arrays_are_traced():
    assert 800 * KB <= traced_bytes(lambda: np.zeros(100 * KB).sum()) <= 810 * KB


def test_sampling_keeps_of_a_long_clip_its_path_alone(trained):
    def peak(frames: int) -> int:
        times = torch.arange(frames) / 24
        return live_bytes(lambda: [None for _ in trained.stretches(torch.ones(2, 1), times, seed=0)]).peak

    once = trained.generator.chunk(2)
    short, long = peak(2 * once), peak(8 * once)
    states = 2 * once * 4 * trained.generator.temporal.dim  # bytes of a stretch's path
    assert long - short <= 6 * 6 * states < short / 10


def test_rendering_needs_the_clips_and_no_second_copy_of_them(trained):
    times, text = torch.arange(4 * trained.generator.chunk(2)) / 24, torch.ones(2, 1)
    clips = trained.render(text, times, seed=0)
    beside = live_bytes(lambda: [None for _ in trained.stretches(text, times, seed=0)]).peak
    assert live_bytes(lambda: trained.render(text, times, seed=0)).peak <= clips.nbytes + 1.1 * beside


def test_a_film_holds_a_frame_at_a_time(tmp_path):
    def peak(frames: int) -> int:
        stretches = (np.zeros((2, 5, 16, 16, 3), np.uint8) for _ in range(frames // 5))
        return traced_bytes(lambda: write_clips_mp4(tmp_path / "a.mp4", stretches, np.arange(frames) / 24, ["x", "y"]))

    peak(50)  # fonts are loaded once
    frame = 124 * 256 * 3  # of the page
    assert peak(300) - peak(100) < 2 * frame


def test_what_is_written_in_stretches_is_whole(trained, tmp_path):
    times = np.arange(3 * trained.generator.chunk(3) + 1) / 2.0
    clips = Sampled(trained, ["a", "b", "c"], times, 0, again=True)
    film, still, *alone = write_sampled(clips, tmp_path / "film", title="three", alone=tmp_path / "alone")
    assert len(decode_clip(film).times) == len(times) and still.stat().st_size > 0
    assert [len(decode_clip(path).times) for path in alone] == [len(times)] * 3


def test_single_clips_too_large_to_keep_are_made_again_the_same(trained, tmp_path, monkeypatch):
    def written(folder: str) -> list[np.ndarray]:
        clips = Sampled(trained, ["a", "b"], np.arange(30) / 24, 0, again=True)
        return [
            decode_clip(path).frames
            for path in write_sampled(clips, tmp_path / folder, title="x", alone=tmp_path / folder)[2:]
        ]

    kept = written("kept")
    monkeypatch.setattr("ode_vgan.sampled.KEPT_BYTES", 0)
    for one, other in zip(kept, written("again"), strict=True):
        assert np.abs(one.astype(int) - other).max() <= 8  # rounding of other batch sizes, through the encoder


def test_judging_keeps_of_a_clip_its_features_alone():
    class Noise:
        """Clips that are gone as soon as they are described."""

        def __init__(self, clips: int):
            self.clips, self.frames, self.skipped = clips, 4, {}

        def batches(self, size: int):
            from ode_vgan.metrics.clipsets import Batch

            for _ in range(self.clips // size):
                frames = torch.randint(256, (size, 4, 16, 16, 3), dtype=torch.uint8)
                yield Batch(frames, torch.arange(4.0).expand(size, 4), ["x"] * size, [""] * size, None)

        def identity(self):
            return None

    extractor = Hog3d()
    few, many = (live_bytes(partial(collect, Noise(n), {"hog3d": extractor})).peak for n in (32, 128))
    assert many - few <= 2.1 * 96 * extractor.dim * 8  # the parts, and the whole that they become


@pytest.mark.parametrize("of", [kvd, lambda a, b: Moments.of(a).merge(Moments.of(b))])
def test_distances_of_more_clips_need_no_more_than_their_features(of):
    def peak(clips: int) -> int:
        rows = torch.randn(2, clips, 16, dtype=torch.float64)
        return live_bytes(lambda: of(*rows)).peak

    assert peak(8192) - peak(2048) <= 4 * 2 * 6144 * 16 * 8


def test_vectors_are_read_a_block_at_a_time(tmp_path):
    vectors = open_vectors(make_vectors(tmp_path, 6 * BLOCK_ROWS, dim=8))
    assert vectors.count == 6 * BLOCK_ROWS
    one = BLOCK_ROWS * 8 * 4
    assert traced_bytes(lambda: [None for _ in vectors.blocks()]) < 4 * one  # one, its unit rows, and the next


def test_a_fresh_process_tells_its_own_peak(tmp_path):
    options = {"config": config(tmp_path) | {"embed_dim": 1}, "seconds": 0.5}
    used = fresh("sampling", json.loads(json.dumps(options)))
    assert 0 < used.above_mb < 300 and used.imports_mb > 50


@pytest.mark.slow
def test_a_job_that_fails_is_told_in_one_line():
    with pytest.raises(UserError, match="indexing: .*no embeddings in nowhere"):
        fresh("indexing", {"folder": "nowhere"})
