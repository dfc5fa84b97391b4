import sys

import pytest
import torch
from torch.nn import functional

from ode_vgan.errors import UserError
from ode_vgan.metrics.controls import frozen, shuffled
from ode_vgan.metrics.motion import (
    CELL_BINS,
    SCALARS,
    SPEEDS,
    FlowHistogram,
    acceleration,
    dense_flow,
    flicker_share,
    flow_histograms,
    follow,
    luma,
    motion_distances,
    motion_features,
)

cv2 = pytest.importorskip("cv2", reason="needs opencv-python-headless")


def sliding(offsets, px: int = 32, seed: int = 0) -> torch.Tensor:
    """(1, T, px, px, 3) uint8: a smooth texture, moved to the right by whole px from its first place."""
    noise = torch.randn(1, 3, px // 4, 16 + px // 2, generator=torch.Generator().manual_seed(seed))
    wide = functional.interpolate(noise, scale_factor=4, mode="bicubic")[0]
    shade = (128 + 60 * wide).round().clamp(0, 255).to(torch.uint8).movedim(0, -1)
    return torch.stack([shade[:px, 60 - step : 60 - step + px] for step in offsets])[None]


def constant_flow(*velocities: tuple[float, float], px: int = 12) -> torch.Tensor:
    """(1, K, 2, px, px): one velocity a frame, the same everywhere."""
    return torch.tensor(velocities)[None, :, :, None, None].expand(-1, -1, -1, px, px)


def bins(rows: torch.Tensor) -> torch.Tensor:
    """Rows of histograms -> (N, 2, CELL_BINS) shares of velocity and of acceleration, over all cells."""
    return rows.square().view(len(rows), 2, -1, CELL_BINS).sum(2)


def distances(real: torch.Tensor, fake: torch.Tensor) -> dict[str, float]:
    return motion_distances(motion_features(real), motion_features(fake))


@pytest.fixture(scope="module")
def clips():
    """(12, 6, 24, 24, 3): textures at one of three steady speeds."""
    return torch.cat([sliding([(1 + i % 3) * t for t in range(6)], 24, seed=i) for i in range(12)])


@pytest.mark.parametrize("step", [1, 2, 4, -3])
def test_a_translated_texture_flows_by_its_translation(step):
    flow = dense_flow(luma(sliding([0, step, 2 * step])))
    inner = flow[..., 8:-8, 8:-8]
    assert flow.shape == (1, 2, 2, 32, 32)
    assert abs(float(inner[:, :, 0].median()) - step) < 0.02
    assert abs(float(inner[:, :, 1].median())) < 0.02


def test_flow_is_the_same_for_any_number_of_threads_and_leaves_that_number():
    grey, before = luma(sliding([0, 1, 3], 64)), cv2.getNumThreads()
    try:
        found = []
        for threads in (1, 4):
            cv2.setNumThreads(threads)
            found.append(dense_flow(grey))
            assert cv2.getNumThreads() == threads
    finally:
        cv2.setNumThreads(before)
    assert torch.equal(*found)


def test_following_whole_pixels_shifts_a_map_exactly():
    maps = torch.rand(1, 2, 6, 8)
    values, inside = follow(maps, torch.tensor([2.0, -1.0])[None, :, None, None].expand(1, 2, 6, 8))
    assert torch.allclose(values[..., 1:, :-2], maps[..., :-1, 2:], atol=1e-6)
    assert inside[:, 1:, :-2].all() and not inside[:, 0].any() and not inside[:, :, -2:].any()


def test_steady_motion_has_velocity_and_no_acceleration():
    velocity, change = bins(flow_histograms(constant_flow((1.8, 0.0), (1.8, 0.0), (1.8, 0.0))))[0]
    right = velocity[1 : 1 + SPEEDS]
    assert torch.allclose(right[2], torch.tensor(1.0), atol=1e-4)  # 1.8 px is the centre of the third speed
    assert torch.allclose(change[0], torch.tensor(1.0))


def test_acceleration_is_the_difference_of_successive_velocities():
    change, inside = acceleration(constant_flow((0.5, 0.0), (1.5, 0.25), (2.5, 0.5)))
    assert change.shape == (1, 2, 2, 12, 12)
    assert torch.allclose(change, constant_flow((1.0, 0.25), (1.0, 0.25)), atol=1e-5)
    assert inside[:, :, :11, :10].all() and not inside[:, 1, :, 11].any()


def test_acceleration_follows_the_path_of_a_thing_that_moves_steadily():
    flow = torch.zeros(1, 2, 2, 12, 12)
    flow[0, 0, 0, :, 2:6] = 3.0  # a bar, three px to the right a frame
    flow[0, 1, 0, :, 5:9] = 3.0
    change, _ = acceleration(flow)
    assert change[0, 0, :, :, 2:6].abs().max() < 1e-6
    assert (flow[:, 1] - flow[:, 0])[0, 0, :, 2:5].abs().min() == 3  # as at one place it would have been


def test_the_acceleration_half_sees_what_the_velocity_half_cannot():
    steady, jerky = [0, 2, 4, 6, 8], [0, 1, 4, 5, 8]  # 2, 2, 2, 2 and 1, 3, 1, 3 px
    (_, calm), (_, rough) = bins(FlowHistogram()(torch.cat([sliding(steady), sliding(jerky)])))
    assert calm[0] > 0.8 and rough[0] < 0.2
    assert rough[1 : 1 + SPEEDS].sum() > 0.2 and rough[1 + 4 * SPEEDS : 1 + 5 * SPEEDS].sum() > 0.2  # forth and back


def test_a_histogram_is_shares_of_pixels_of_every_cell():
    flow = torch.randn(3, 4, 2, 13, 17) * 3
    rows = flow_histograms(flow)
    assert rows.shape == (3, FlowHistogram.dim) and (rows >= 0).all()
    assert torch.allclose(bins(rows).sum(2), torch.ones(3, 2), atol=1e-5)


def test_turning_a_flow_by_an_eighth_moves_every_moving_share_to_the_next_direction():
    flow = torch.randn(2, 3, 2, 12, 12)
    c = 0.5**0.5
    turned = torch.stack([c * (flow[:, :, 0] - flow[:, :, 1]), c * (flow[:, :, 0] + flow[:, :, 1])], 2)
    velocity, moved = bins(flow_histograms(flow))[:, 0], bins(flow_histograms(turned))[:, 0]
    assert torch.allclose(velocity[:, 0], moved[:, 0], atol=1e-5)
    ways, moved_ways = (part[:, 1:].view(2, 8, SPEEDS) for part in (velocity, moved))
    assert torch.allclose(ways.roll(1, 1), moved_ways, atol=1e-5)


def test_frozen_clips_are_static_and_nothing_moves(clips):
    found = motion_features(frozen(clips, torch.Generator().manual_seed(0)))
    assert found["static"].all() and not motion_features(clips)["static"].any()
    assert (found["mean_change"] == 0).all() and (found["flicker"] == 0).all()
    assert (found["warp_error"] < 1e-4).all()  # of linear interpolation at 1e-7 px
    assert (found["dynamic_degree"] < 1e-3).all() and (found["untracked"] == 0).all()
    assert torch.allclose(bins(found["flow"])[:, :, 0], torch.ones(12, 2).double(), atol=1e-2)


def test_the_flow_explains_a_translation_that_changes_every_pixel(clips):
    found = motion_features(clips[1::3])  # 2 px a frame
    assert (found["warp_error"] < 0.1 * found["mean_change"]).all()
    assert ((found["dynamic_degree"] - 2).abs() < 0.3).all()


def test_mean_change_is_the_mean_absolute_difference_of_frames():
    clip = torch.zeros(1, 3, 12, 12, 3, dtype=torch.uint8)
    clip[:, 1] = 10
    clip[:, 2] = 16
    assert motion_features(clip)["mean_change"].item() == 8


@pytest.mark.parametrize("frames", [8, 16, 32])
def test_flicker_is_one_for_black_and_white_in_turn_and_zero_for_a_slow_wave(frames):
    turns = torch.arange(frames).view(1, -1, 1, 1, 1).expand(1, -1, 4, 4, 3)
    assert float(flicker_share(255 * (turns % 2))) == pytest.approx(1, abs=1e-6)
    wave = torch.sin(2 * torch.pi * turns / frames)
    assert float(flicker_share(wave)) < 1e-6
    assert float(flicker_share(turns.float())) < 0.01  # a drift ends elsewhere than it began


def test_a_clip_without_change_has_no_flicker():
    assert float(flicker_share(torch.full((1, 5, 4, 4, 3), 77))) == 0


def test_features_are_float64_rows_a_clip_that_do_not_depend_on_the_others(clips):
    found, alone = motion_features(clips), motion_features(clips[5:6])
    assert found.keys() == {"flow", "static", *SCALARS}
    assert found["flow"].shape == (12, FlowHistogram.dim) and found["static"].dtype == torch.bool
    for name, rows in found.items():
        assert name == "static" or (rows.dtype == torch.float64 and rows.isfinite().all())
        assert torch.allclose(rows[5:6].double(), alone[name].double(), atol=1e-6)
    assert torch.equal(found["flow"], FlowHistogram()(clips))


def test_a_set_is_at_distance_zero_from_itself_and_in_any_order(clips):
    found = distances(clips, clips.flip(0))
    assert found.pop("static_share_real") == found.pop("static_share_fake") == 0
    assert found.keys() == {"fmd_flow", *(f"w1_{name}" for name in SCALARS)}
    assert all(abs(value) < 1e-9 for value in found.values())


def test_the_order_of_frames_matters_to_the_distances(clips):
    mixed = distances(clips, shuffled(clips, torch.Generator().manual_seed(0)))
    assert mixed["fmd_flow"] > 1 and mixed["w1_flicker"] > 0.05 and mixed["w1_dynamic_degree"] > 0.5


def test_the_distance_of_shifted_scalars_is_the_shift(clips):
    real = motion_features(clips)
    fake = real | {"mean_change": real["mean_change"] + 2.5, "static": torch.arange(12) < 3}
    found = motion_distances(real, fake)
    assert found["w1_mean_change"] == pytest.approx(2.5)
    assert (found["w1_flicker"], found["static_share_fake"]) == (0, 0.25)


def test_the_extractor_passes_its_self_test_and_says_when_it_fails(monkeypatch):
    FlowHistogram().self_test()
    monkeypatch.setattr("ode_vgan.metrics.motion.dense_flow", lambda grey: torch.zeros(1, 3, 2, 24, 24))
    with pytest.raises(UserError, match="fails its self test"):
        FlowHistogram().self_test()


@pytest.mark.parametrize(("shape", "message"), [((2, 2, 16, 16, 3), "needs 3"), ((2, 4, 8, 16, 3), "needs 12")])
def test_clips_too_short_or_small_are_refused(shape, message):
    with pytest.raises(UserError, match=message):
        motion_features(torch.zeros(shape, dtype=torch.uint8))


def test_without_opencv_the_remedy_is_named(monkeypatch, clips):
    monkeypatch.setitem(sys.modules, "cv2", None)
    with pytest.raises(UserError, match=r"pip install 'ode_vgan\[metrics\]'"):
        motion_features(clips[:1])
