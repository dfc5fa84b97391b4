"""What moves in a clip, and for how much of its time nothing does."""

import numpy as np
import pytest

from ode_vgan.data.clips import Clip, decode_clip, encode_clip
from ode_vgan.data.emoji import embedded_folder
from ode_vgan.data.shards import read_index
from ode_vgan.errors import UserError
from ode_vgan.laion.stillness import VISIBLE_LEVELS, stillness

FLAT = np.full((32, 32, 3), 100, np.uint8)


def _clip(*levels: int, times=None) -> Clip:
    """Frames of one grey level each."""
    frames = np.stack([np.full_like(FLAT, level) for level in levels])
    return Clip(frames, np.arange(len(levels)) / 10 if times is None else np.array(times, float))


def _emoji(i: int) -> Clip:
    return decode_clip(read_index(embedded_folder())[i].read())


def test_a_frame_alone_and_a_held_frame_are_all_static():
    for clip in (_clip(7), _clip(9, 9, 9)):
        found = stillness(clip)
        assert (found.motion, found.static_share) == (0.0, 1.0)


def test_motion_is_grey_levels_a_second():
    found = stillness(_clip(100, 110, 90, 90, times=(0, 0.5, 1.0, 2.0)))
    assert found.motion == pytest.approx((10 + 20) / 2.0, rel=1e-5)
    assert found.static_share == pytest.approx(0.5)  # the last second of two


def test_static_share_is_a_share_of_time_not_of_gaps():
    assert stillness(_clip(0, 0, 200, times=(0, 3.0, 3.1))).static_share == pytest.approx(3.0 / 3.1)


def test_a_fade_too_slow_for_any_gap_is_seen_when_it_has_gone_far():
    gaps_a_change = int(VISIBLE_LEVELS) + 1
    found = stillness(_clip(*range(0, 3 * gaps_a_change + 1)))
    assert found.static_share == pytest.approx(1 - 1 / gaps_a_change)


def test_a_frame_shown_twice_changes_no_motion_and_double_speed_doubles_it():
    clip = _emoji(40)
    half = (clip.times + np.append(clip.times[1:], clip.times[-1] + 0.04)) / 2
    twice = Clip(np.repeat(clip.frames, 2, 0)[:-1], np.stack([clip.times, half], 1).ravel()[:-1])
    once = stillness(clip).motion
    assert stillness(twice).motion == pytest.approx(once, rel=1e-9)
    assert stillness(Clip(clip.frames, clip.times / 2)).motion == pytest.approx(2 * once, rel=1e-9)


def test_every_gap_of_a_long_clip_counts():
    levels = np.random.default_rng(0).integers(0, 256, 200)
    expected = np.abs(np.diff(levels)).sum() / 19.9
    assert stillness(_clip(*levels)).motion == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize(("crf", "pixels"), [(18, "yuv444p"), (24, "yuv444p"), (28, "yuv420p")])
def test_a_still_picture_stays_still_when_encoded(crf, pixels):
    clip = _emoji(100)
    still = np.repeat(clip.frames[20][None], len(clip.frames), 0)
    found = stillness(decode_clip(encode_clip(None, still, clip.times, crf=crf, pix_fmt=pixels)))
    assert found.static_share == 1.0
    assert stillness(clip).static_share < 0.9


def test_a_small_thing_that_moves_is_seen():
    frames = np.repeat(FLAT[None], 8, 0).copy()
    for i in range(8):
        frames[i, 10:13, 3 * i : 3 * i + 3] = 255
    assert stillness(Clip(frames, np.arange(8) / 8)).static_share == 0.0


@pytest.mark.parametrize("side", [33, 47, 100])
def test_any_side_will_do(side):
    frames = np.zeros((2, side, side + 5, 3), np.uint8)
    frames[1] = 50
    assert stillness(Clip(frames, np.array([0, 1.0]))) == stillness(_clip(0, 50, times=(0, 1.0)))


def test_what_is_no_clip_is_refused():
    with pytest.raises(UserError, match="uint8"):
        stillness(Clip(np.zeros((2, 8, 8, 3)), np.arange(2.0)))
