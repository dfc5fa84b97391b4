"""Laws of CLIPSIM with own against shuffled captions."""

import pytest
import torch
from torch.nn.functional import normalize

from ode_vgan.errors import UserError
from ode_vgan.metrics.alignment import clipsim
from ode_vgan.metrics.measures import better, measure
from ode_vgan.metrics.protocol import parse_protocol
from ode_vgan.metrics.shuffled import shuffled_gap


def rows(*shape: int, seed: int = 0) -> torch.Tensor:
    return normalize(torch.randn(*shape, generator=torch.Generator().manual_seed(seed)).double(), dim=-1)


def fitting(texts: torch.Tensor, share: float, seed: int = 1) -> torch.Tensor:
    """Frames (N, 4, E) that lean towards their texts."""
    return normalize(share * texts[:, None] + rows(len(texts), 4, texts.shape[1], seed=seed), dim=-1)


def test_frames_that_are_their_texts_score_a_hundred_and_other_axes_nothing():
    texts = torch.eye(6).double()
    gap = shuffled_gap(texts[:, None].expand(-1, 3, -1), texts)
    assert (gap.own, gap.shuffled, gap.above, gap.captions) == ((100,) * 3, (0,) * 3, (100,) * 3, 6)


def test_the_shuffled_value_is_the_mean_over_all_shuffles_that_move_every_clip():
    texts = rows(7, 5)
    frames = fitting(texts, 0.5)
    gap = shuffled_gap(frames, texts)
    turns = torch.stack([clipsim(frames, texts.roll(k, 0)).mean() for k in range(1, 7)])
    assert gap.shuffled[0] == pytest.approx(float(turns.mean()))
    assert gap.own[0] == pytest.approx(float(clipsim(frames, texts).mean()))
    assert gap.above[0] == pytest.approx(gap.own[0] - gap.shuffled[0])


def test_clips_of_one_caption_are_no_shuffles_of_each_other():
    texts = rows(5, 8)
    frames = fitting(texts, 1.0)
    once, twice = shuffled_gap(frames, texts), shuffled_gap(frames.repeat(2, 1, 1), texts.repeat(2, 1))
    assert twice.captions == 5 and twice.above == pytest.approx(once.above), "copies add nothing, not even certainty"
    grouped = shuffled_gap(frames, texts, torch.tensor([0, 0, 1, 1, 2]))
    assert grouped.captions == 3 and grouped.own[0] == once.own[0] and grouped.shuffled[0] != once.shuffled[0]


def test_the_order_of_clips_and_of_frames_is_nothing():
    texts = rows(9, 8)
    frames, order = fitting(texts, 0.7), torch.randperm(9, generator=torch.Generator().manual_seed(3))
    one, other = shuffled_gap(frames, texts), shuffled_gap(frames[order].flip(1), texts[order])
    assert [part[0] for part in (one.own, one.shuffled, one.above)] == pytest.approx(
        [part[0] for part in (other.own, other.shuffled, other.above)]
    )


def test_nine_in_ten_intervals_of_frames_blind_to_their_texts_hold_nothing():
    held = 0
    for seed in range(100):
        texts = rows(40, 16, seed=seed)
        _, low, high = shuffled_gap(fitting(texts, 0.0, seed=1000 + seed), texts, draws=500).above
        held += low <= 0 <= high
    assert 84 <= held <= 97  # 90 % of 100, within two deviations of 3


def test_the_interval_excludes_nothing_when_frames_lean_to_their_texts():
    texts = rows(60, 16)
    _, low, high = shuffled_gap(fitting(texts, 0.5), texts).above
    assert 0 < low < high


def test_one_caption_is_refused_by_the_function_and_left_out_of_the_metric():
    text = rows(1, 6).expand(60, -1)
    frames = fitting(text, 0.5)
    with pytest.raises(UserError, match="all clips have one caption"):
        shuffled_gap(frames, text)
    assert list(measure(parse_protocol("clipsim60_16f"), frames, frames, text)) == ["clipsim"]


def test_the_metric_has_three_parts_and_says_which_way_is_better():
    protocol, texts = parse_protocol("clipsim60_16f"), rows(60, 6)
    frames = fitting(texts, 0.5)
    found = measure(protocol, frames, frames, texts)
    gap = shuffled_gap(frames, texts)
    assert list(found) == ["clipsim", "shuffled", "above_shuffled"]
    assert (found["above_shuffled"].value, found["above_shuffled"].low) == gap.above[:2]
    assert [better(protocol, part) for part in found] == ["higher", "lower", "higher"]
