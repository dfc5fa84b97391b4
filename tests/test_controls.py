import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch.nn import functional

from ode_vgan.metrics.controls import (
    CORRUPTIONS,
    PAIRS,
    blurred,
    brightened,
    dropped,
    flickering,
    grained,
    held,
    mixed,
    noisy,
    reversed_share,
    warped,
    wobbling,
)

COUNT, FRAMES, PX = 6, 8, 16


def draws(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.fixture(scope="module")
def clips():
    """(6, 8, 16, 16, 3) uint8: smooth pictures in the middle greys, each frame another."""
    noise = torch.rand(COUNT * FRAMES, 3, 4, 4, generator=draws(1))
    smooth = functional.interpolate(noise, size=(PX, PX), mode="bilinear")
    return (80 + 90 * smooth).to(torch.uint8).view(COUNT, FRAMES, 3, PX, PX).movedim(2, -1)


@pytest.fixture(scope="module")
def still():
    """(6, 8, 16, 16, 3) uint8: clips of one frame, held, that differ."""
    noise = functional.interpolate(torch.rand(COUNT, 3, 4, 4, generator=draws(2)), size=(PX, PX), mode="bilinear")
    return (80 + 90 * noise).to(torch.uint8).movedim(1, -1)[:, None].expand(-1, FRAMES, -1, -1, -1).contiguous()


def change(clips: torch.Tensor) -> torch.Tensor:
    return clips.float().diff(dim=1).abs().flatten(1).mean(1)


def error(clips: torch.Tensor, other: torch.Tensor) -> float:
    return float((clips.float() - other.float()).square().mean().sqrt())


@pytest.mark.parametrize("name", CORRUPTIONS)
def test_every_corruption_keeps_the_shape_and_its_input_and_repeats_with_its_seed(name, clips):
    corrupt, levels = CORRUPTIONS[name]
    before = clips.clone()
    for level in levels:
        spoiled = corrupt(clips, draws(), level)
        assert spoiled.shape == clips.shape and spoiled.dtype == torch.uint8
        assert torch.equal(spoiled, corrupt(clips, draws(), level))
    assert torch.equal(clips, before)


@pytest.mark.parametrize("name", ["noise", "noise_still", "blur", "warp", "warp_still", "brightness", "freeze"])
def test_levels_of_a_corruption_leave_clips_further_and_further_behind(name, clips):
    corrupt, levels = CORRUPTIONS[name]
    errors = [error(clips, corrupt(clips, draws(), level)) for level in levels]
    assert errors == sorted(errors) and errors[0] > 0


@pytest.mark.parametrize("deviation", [2, 8, 16])
def test_noise_has_the_stated_deviation_a_frame_and_flickers_only_if_drawn_anew(deviation, still):
    moving, quiet = noisy(still, draws(), deviation), grained(still, draws(), deviation)
    for spoiled in (moving, quiet):
        assert error(spoiled, still) == pytest.approx((deviation**2 + 1 / 12) ** 0.5, rel=0.05)  # 1/12 of rounding
    assert (change(quiet) == 0).all()
    assert torch.allclose(change(moving), torch.tensor(2 * deviation / torch.pi**0.5), rtol=0.1)


@pytest.mark.parametrize(("pair", "level"), [((wobbling, warped), 1.0), ((flickering, brightened), 16)])
def test_spoiling_each_frame_anew_spoils_frames_as_much_and_moves_what_stood_still(pair, level, still):
    anew, alike = (corrupt(still.repeat(8, 1, 1, 1, 1), draws(), level) for corrupt in pair)
    assert error(anew, still.repeat(8, 1, 1, 1, 1)) == pytest.approx(error(alike, still.repeat(8, 1, 1, 1, 1)), rel=0.1)
    assert (change(alike) == 0).all() and (change(anew) > 0).all()


def test_a_warp_displaces_by_the_stated_root_mean_square(still):
    slope = torch.arange(PX, dtype=torch.float32) * 10
    ramp = slope.expand(COUNT, 1, 3, PX, PX).movedim(2, -1)  # grows by 10 a px to the right, so shows x displacements
    moved = (warped(ramp.to(torch.uint8), draws(3), 1.0).float() - ramp)[:, :, :, 3:-3]
    assert 0.5 < float((moved / 10).square().mean().sqrt()) < 0.9  # sqrt(1/2) of it is along x


def test_a_blur_keeps_flat_pictures_and_spreads_a_point_by_its_deviation():
    flat = torch.full((1, 2, PX, PX, 3), 200, dtype=torch.uint8)
    assert torch.equal(blurred(flat, draws(), 1.5), flat)
    line = torch.zeros(1, 1, 33, 33, 3, dtype=torch.uint8)
    line[:, :, :, 16] = 255
    profile = blurred(line, draws(), 2.0)[0, 0, 16, :, 0].double()
    variance = (profile * (torch.arange(33) - 16).square()).sum() / profile.sum()
    assert float(variance.sqrt()) == pytest.approx(2.0, rel=0.03)


@pytest.mark.parametrize("share", [0.0, 0.25, 0.5, 1.0])
def test_held_frames_are_that_share_and_repeat_the_frame_before(share, clips):
    spoiled = held(clips, draws(), share)
    repeats = (spoiled[:, 1:] == spoiled[:, :-1]).flatten(2).all(2)
    assert (repeats.sum(1) == round(share * (FRAMES - 1))).all()
    assert torch.equal(spoiled[:, 0], clips[:, 0])
    shown = ~repeats
    assert torch.equal(spoiled[:, 1:][shown], clips[:, 1:][shown])


def test_mixed_frames_stay_in_their_run_and_none_is_lost(clips):
    same = (clips[:, :, None] == mixed(clips, draws(), 2)[:, None]).flatten(3).all(3)  # (N, true place, shown place)
    run = torch.arange(FRAMES) // 2
    assert torch.equal(same.sum(1), torch.ones(COUNT, FRAMES, dtype=torch.int64))
    assert not same[:, run[:, None] != run].any()
    assert not torch.equal(mixed(clips, draws(), 2), clips)
    assert torch.equal(mixed(clips, draws(), 1), clips)


def test_reversing_all_is_backwards_and_a_share_reverses_that_many(clips):
    assert torch.equal(reversed_share(clips, draws(), 1.0), clips.flip(1))
    spoiled = reversed_share(clips, draws(), 0.5)
    assert sum(torch.equal(a, b) for a, b in zip(spoiled, clips, strict=True)) == COUNT / 2


@pytest.mark.parametrize(("share", "left"), [(0.0, 6), (0.5, 3), (0.9, 1), (0.99, 1)])
def test_dropped_modes_leave_that_share_of_clips_equally_often(share, left, clips):
    spoiled = dropped(clips, draws(), share).flatten(1)
    unique, counts = spoiled.unique(dim=0, return_counts=True)
    assert len(unique) == left and counts.max() - counts.min() <= 1
    assert all((row == clips.flatten(1)).all(1).any() for row in unique)


def test_pairs_name_corruptions_with_the_same_levels():
    for anew, alike in PAIRS.items():
        assert CORRUPTIONS[anew].levels == CORRUPTIONS[alike].levels


@pytest.mark.slow
def test_the_study_of_corruptions_writes_its_table_and_figure_smoke(tmp_path):
    repository = Path(__file__).parent.parent
    script = repository / "experiments" / "metrics" / "corruptions.py"
    few = ["--clips", "20", "--reference", "24", "--pool", "30", "--px", "32", "--frames", "8", "--picture"]
    command = [sys.executable, str(script), "--extractors", "colour", *few, "--out", str(tmp_path)]
    environment = os.environ | {"PYTHONPATH": str(repository)}
    again = [subprocess.run(command, env=environment, check=True, capture_output=True, text=True) for _ in range(2)]
    assert "--again makes it anew" in again[1].stdout
    assert (tmp_path / "corruptions.png").stat().st_size > 10_000
    lines = (tmp_path / "corruptions_colour.csv").read_text().splitlines()
    assert len(lines) == 1 + sum(len(levels) for _, levels in CORRUPTIONS.values())
    assert "| blind |" in (tmp_path / "corruptions.md").read_text()  # colour has no order
