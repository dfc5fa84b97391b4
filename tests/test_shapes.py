"""Laws of the synthetic clips: their physics is exact, at any times and sizes."""

import numpy as np
import pytest

from ode_vgan.data.clips import decode_clip
from ode_vgan.data.shapes import (
    KINDS,
    PAPER,
    bouncing_state,
    drifting_state,
    falling_state,
    pendulum_state,
    shape_clip,
    synthetic_folder,
    write_shapes,
)
from ode_vgan.data.shards import read_index
from ode_vgan.errors import UserError

TIMES = np.sort(np.random.default_rng(0).uniform(0, 6, 400))


def test_falling_ball_is_a_parabola():
    x, y, dx, dy = falling_state(TIMES, (0.5, 0.7), (0.1, 0.4), 1.5).T
    assert np.allclose(x, 0.5 + 0.1 * TIMES) and np.allclose(y, 0.7 + 0.4 * TIMES - 0.75 * TIMES**2)
    assert np.allclose(dx, 0.1) and np.allclose(dy**2 / 2 + 1.5 * y, 0.4**2 / 2 + 1.5 * 0.7)


def test_bouncing_ball_keeps_its_energy_and_never_sinks():
    y, dy = bouncing_state(TIMES, 0.8, 0.3, 2.0, 0.1).T
    assert np.allclose(dy**2 / 2 + 2.0 * y, 0.3**2 / 2 + 2.0 * 0.8, rtol=1e-12)
    assert y.min() >= 0.1 - 1e-12 and len(np.flatnonzero(np.diff(dy) > 1)) >= 3  # it really bounced
    start = bouncing_state(np.zeros(1), 0.8, 0.3, 2.0, 0.1)
    assert np.allclose(start, [[0.8, 0.3]])


def test_bouncing_ball_falls_freely_between_bounces():
    early = np.linspace(0, 0.5, 20)
    y, _ = bouncing_state(early, 0.8, 0.0, 2.0, 0.1).T
    assert np.allclose(y, 0.8 - early**2)


def test_drifting_square_has_constant_speed_between_its_walls():
    x, dx = drifting_state(TIMES, 0.4, -0.7, 0.1, 0.9).T
    assert x.min() >= 0.1 and x.max() <= 0.9 and np.allclose(abs(dx), 0.7)
    fine = np.linspace(0, 6, 60_001)
    path = drifting_state(fine, 0.4, -0.7, 0.1, 0.9)[:, 0]
    assert np.allclose(path[0], 0.4) and abs(np.diff(path)).sum() == pytest.approx(0.7 * 6, rel=1e-3)


def test_pendulum_keeps_its_energy_and_obeys_its_equation():
    angle, rate = 2.0, 4.0  # far from small angles
    position, speed = pendulum_state(TIMES, angle, rate).T
    assert np.allclose(speed**2 / 2 - rate**2 * np.cos(position), -(rate**2) * np.cos(angle), atol=1e-11)
    step = 1e-4
    before, now, after = (pendulum_state(TIMES + shift, angle, rate)[:, 0] for shift in (-step, 0, step))
    assert np.allclose((after - 2 * now + before) / step**2, -(rate**2) * np.sin(now), atol=1e-5)  # step^2 and rounding
    assert np.allclose((after - before) / (2 * step), speed, atol=1e-5)


def test_small_swings_are_harmonic():
    position = pendulum_state(TIMES, 1e-4, 3.0)[:, 0]
    assert np.allclose(position, 1e-4 * np.cos(3.0 * TIMES), atol=1e-11)  # the next term is angle^3


@pytest.mark.parametrize("kind", KINDS)
def test_a_frame_depends_on_its_own_time_only(kind):
    times = np.array([0.0, 0.31, 0.4, 1.7])
    clip, lone = shape_clip(kind, 5, times, size=24), shape_clip(kind, 5, times[2:3], size=24)
    assert np.array_equal(clip.frames[2], lone.frames[0]) and np.allclose(clip.state[2], lone.state[0])
    assert clip.frames.dtype == np.uint8 and clip.frames.shape == (4, 24, 24, 3)
    assert clip.state.shape == (4, len(clip.state_names)) and kind.split("_")[0][:4] in clip.caption


@pytest.mark.parametrize("size", [16, 64, 100])
def test_picture_shows_the_state_at_any_size(size):
    clip = shape_clip("square", 3, np.linspace(0, 1, 5), size=size)
    ink = abs(clip.frames.astype(float) - np.array(PAPER)).sum(-1)
    rows, columns = ink.sum(2), ink.sum(1)
    centres = (np.arange(size) + 0.5) / size
    across, up = columns @ centres / columns.sum(1), 1 - rows @ centres / rows.sum(1)
    assert np.allclose(across, clip.state[:, 0], atol=0.2 / size)  # a fifth of a pixel: 8-bit levels at the edges
    assert np.allclose(up, clip.state[:, 1], atol=0.2 / size)


def test_shards_hold_what_the_seed_says(tmp_path):
    entries = read_index(write_shapes(tmp_path, 5, frames=6, size=32, fps=10))
    assert len(entries) == 5
    for entry in entries:
        clip = decode_clip(entry.read())
        truth = shape_clip(entry.meta["kind"], entry.meta["shape_seed"], clip.times, size=32)
        assert entry.caption == truth.caption and np.allclose(clip.times, np.arange(6) / 10, atol=1e-4)
        assert abs(clip.frames.astype(int) - truth.frames).mean() < 2  # of 255: what the codec loses


def test_default_set_is_written_once(tmp_path, monkeypatch):
    monkeypatch.setenv("ODE_VGAN_CACHE", str(tmp_path))
    folder = synthetic_folder(clips=4)
    stamp = (folder / "00000.tar").stat().st_mtime_ns
    assert synthetic_folder(clips=4) == folder and (folder / "00000.tar").stat().st_mtime_ns == stamp
    assert [path.name for path in tmp_path.iterdir()] == ["shapes-4"]


def test_unknown_shape_is_one_clear_line():
    with pytest.raises(UserError, match="cube.*ball"):
        shape_clip("cube", 0, np.zeros(1))
