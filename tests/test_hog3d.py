import math

import pytest
import torch

from ode_vgan.errors import UserError
from ode_vgan.metrics.controls import backwards, frozen, noisy, shuffled
from ode_vgan.metrics.hog3d import (
    ORIENTATIONS,
    SPEEDS,
    Hog3d,
    hog3d,
    normal_speeds,
    orientation_weights,
    speed_weights,
)

CENTRES = torch.tensor([-1.0, -0.2, -0.04, 0.04, 0.2, 1.0])


def grating(speed: float, *, angle: float = 0.0, px: int = 32, frames: int = 5, wave: float = 16.0) -> torch.Tensor:
    """(T, H, W) grey levels of a sine that moves along `angle` at `speed` px a frame."""
    y, x = torch.meshgrid(torch.arange(px).float(), torch.arange(px).float(), indexing="ij")
    along = x * math.cos(angle) + y * math.sin(angle)
    phase = along - speed * torch.arange(frames)[:, None, None]
    return 127.5 + 100 * torch.sin(2 * math.pi * phase / wave)


def as_clip(grey: torch.Tensor) -> torch.Tensor:
    return grey.round().clamp(0, 255).to(torch.uint8)[None, ..., None].expand(-1, -1, -1, -1, 3)


def speed_shares(clip: torch.Tensor) -> torch.Tensor:
    """(orientations, speeds) shares of the finer scale, over all cells."""
    return hog3d(clip)[0, :192].square().view(-1, ORIENTATIONS, SPEEDS).sum(0)


def moving_blobs(count: int, speed: float, seed: int = 0) -> torch.Tensor:
    """(N, 6, 24, 24, 3) uint8: a soft disc each, moving in a direction of its own."""
    draw = torch.Generator().manual_seed(seed)
    y, x = torch.meshgrid(torch.arange(24.0), torch.arange(24.0), indexing="ij")
    start, turn = 8 + 8 * torch.rand(count, 2, generator=draw), math.tau * torch.rand(count, generator=draw)
    step = torch.stack([turn.cos(), turn.sin()], 1)[:, None] * speed * torch.arange(6)[None, :, None]
    centre = (start[:, None] + step)[..., None, None, :]
    grey = 230 * torch.exp(-((x - centre[..., 0]) ** 2 + (y - centre[..., 1]) ** 2) / 18)
    return grey.to(torch.uint8)[..., None].expand(-1, -1, -1, -1, 3)


@pytest.mark.parametrize("speed", [0.1, 0.3, -0.5, 1.0])
@pytest.mark.parametrize("angle", [0.0, 0.7, math.pi / 2])
def test_a_moving_grating_has_its_own_speed_in_px_a_frame(speed, angle):
    inner = (part[..., 2:-2, 2:-2] for part in normal_speeds(grating(speed, angle=angle)[None]))
    direction, measured, strength = inner  # edges are repeated, which is not what a grating does
    strong = strength > 5
    along = torch.cos(direction - angle)[strong]
    assert torch.allclose(measured[strong] * along.sign(), torch.tensor(speed), rtol=0.08)  # 3 % is the blur and sine


@pytest.mark.parametrize("centre", [1, 2, 3, 4])
def test_known_motion_lands_in_its_bin(centre):
    speed = float(CENTRES[centre])
    shares = speed_shares(as_clip(grating(speed, wave=16)))
    rightwards, leftwards = shares[0], shares[ORIENTATIONS // 2]
    assert rightwards.argmax() == centre
    assert rightwards[centre] > 0.7 * rightwards.sum()  # uint8 rounding and the blur spread the rest to neighbours
    assert leftwards.argmax() == SPEEDS - 1 - centre  # the edge that darkens towards the motion


def test_faster_than_the_last_bin_stays_in_it():
    assert torch.equal(speed_weights(torch.tensor([-1e6, 1e6]))[[0, 1], [0, -1]], torch.ones(2))


def test_speed_weights_share_each_vote_and_hit_their_centres():
    assert torch.allclose(speed_weights(CENTRES), torch.eye(6), atol=1e-5)
    assert torch.allclose(speed_weights(torch.linspace(-5, 5, 999)).sum(-1), torch.ones(999), atol=1e-6)
    assert torch.allclose(speed_weights(torch.zeros(1)), torch.tensor([[0, 0, 0.5, 0.5, 0, 0]]))


def test_orientation_weights_share_each_vote_and_close_the_circle():
    angle = torch.linspace(-math.pi, math.pi, 1001)
    weights = orientation_weights(angle)
    assert torch.allclose(weights.sum(-1), torch.ones(1001), atol=1e-5)
    assert torch.allclose(weights[0], weights[-1], atol=1e-5)
    assert weights[0].argmax() == ORIENTATIONS // 2


def test_turning_a_clip_by_half_turns_its_histogram():
    clip = as_clip(grating(0.3, angle=0.5, px=36))
    turned = clip.flip(2, 3)
    shares, back = speed_shares(clip), speed_shares(turned)
    assert torch.allclose(back, shares.roll(ORIENTATIONS // 2, 0), atol=1e-5)


def test_time_reversal_mirrors_the_speeds():
    clip = moving_blobs(1, 0.6)
    assert torch.allclose(speed_shares(backwards(clip)), speed_shares(clip).flip(1), atol=1e-5)


def test_brightness_changes_nothing_and_contrast_little():
    clip, weaker = as_clip(grating(0.3)), as_clip((grating(0.3) - 127) * 0.5 + 127)
    assert torch.allclose(hog3d(clip - 20), hog3d(clip), atol=1e-4)
    assert (hog3d(weaker) - hog3d(clip)).norm() < 0.1 * hog3d(clip).norm()


def test_a_blank_clip_is_the_zero_row():
    assert torch.equal(hog3d(torch.full((1, 3, 16, 16, 3), 200, dtype=torch.uint8)), torch.zeros(1, 384).double())


@pytest.mark.parametrize(("frames", "px"), [(2, 12), (3, 32), (8, 33), (16, 64)])
def test_every_size_gives_384_numbers_with_two_unit_scales(frames, px):
    clips = torch.randint(0, 256, (2, frames, px, px, 3), dtype=torch.uint8)
    rows = hog3d(clips)
    assert rows.shape == (2, 384) and rows.dtype == torch.float64
    assert torch.allclose(rows.view(2, 2, 192).square().sum(-1), torch.ones(2, 2).double(), atol=0.1)


def test_a_row_does_not_depend_on_its_company_or_the_run(monkeypatch):
    clips = torch.randint(0, 256, (7, 4, 24, 24, 3), dtype=torch.uint8)
    together = hog3d(clips)
    assert torch.equal(hog3d(clips), together)
    monkeypatch.setattr(Hog3d, "chunk_pixels", 1)
    assert torch.allclose(hog3d(clips), together, atol=1e-6)  # float32 sums over another batch


def test_spoiled_motion_moves_every_row_further_than_it_drifts_by_itself():
    clips, draw = moving_blobs(16, 0.6), torch.Generator().manual_seed(0)
    rows = hog3d(clips)
    for spoiled in (frozen(clips, draw), shuffled(clips, draw), backwards(clips), noisy(clips, draw, 8.0)):
        assert (hog3d(spoiled) - rows).norm(dim=1).min() > 0.1


@pytest.mark.parametrize(
    ("clips", "told"),
    [
        (torch.zeros(1, 1, 32, 32, 3, dtype=torch.uint8), "1 frames, needs 2"),
        (torch.zeros(1, 4, 8, 32, 3, dtype=torch.uint8), "8x32 px, needs 12"),
        (torch.zeros(1, 4, 32, 32, 3), "torch.float32"),
        (torch.zeros(0, 4, 32, 32, 3, dtype=torch.uint8), "N >= 1"),
    ],
)
def test_clips_it_cannot_describe_are_refused_in_one_line(clips, told):
    with pytest.raises(UserError, match=told):
        Hog3d()(clips)
