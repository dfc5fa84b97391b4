"""Laws of the transposed convolutions over time."""

import pytest
import torch

from ode_vgan.errors import UserError
from ode_vgan.temporal.discrete import DiscretePath

B, Z, E = 3, 16, 8


def build(frames: int = 8, **given) -> DiscretePath:
    torch.manual_seed(0)
    return DiscretePath(Z, E, **({"text_dim": 8, "widths": [32, 16, 8, 8], "frames": frames} | given))


def inputs() -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(7)
    c = torch.randn(B, E, generator=generator)
    return torch.randn(B, Z, generator=generator), torch.nn.functional.normalize(c, dim=1)


@pytest.mark.parametrize("frames", [2, 3, 8, 13, 16, 32, 100])
def test_discrete_path_makes_exactly_its_frames(frames: int):
    z0, c = inputs()
    path = build(frames)(z0, torch.arange(frames) * 0.1, c)
    assert path.shape == (B, frames, Z) and path.abs().max() < 1


def test_discrete_path_refuses_another_number_of_frames():
    z0, c = inputs()
    for frames in (1, 7, 9):
        with pytest.raises(UserError, match=f"{frames} frames asked; DiscretePath makes exactly 8"):
            build()(z0, torch.arange(frames) * 0.1, c)


def test_discrete_path_ignores_the_gap_it_was_not_given():
    z0, c = inputs()
    model = build()
    assert torch.equal(model(z0, torch.arange(8) * 0.1, c), model(z0, 5 + torch.arange(8) * 0.3, c))


def test_discrete_path_accepts_timestamps_rounded_to_milliseconds():
    z0, c = inputs()
    for fps in (12, 23.976, 24, 30, 60):
        assert build(gap_seconds=1 / fps)(z0, (torch.arange(8) / fps).round(decimals=3), c).isfinite().all()


def test_discrete_path_refuses_a_gap_it_was_not_trained_at():
    z0, c = inputs()
    with pytest.raises(UserError, match=r"gap 0.08 s; DiscretePath was trained at 0.04 s"):
        build(gap_seconds=0.04)(z0, torch.arange(8) * 0.08, c)


def test_discrete_path_refuses_uneven_times_that_somebody_asks_for():
    z0, c = inputs()
    times = torch.arange(8) * 0.1
    times[4:] += 0.05
    with pytest.raises(UserError, match="from 0.1 to 0.15 s"):
        build()(z0, times, c)


def test_discrete_path_takes_the_times_of_real_clips_as_frame_numbers():
    z0, c = inputs()
    held = (torch.arange(8) * 0.1).repeat(B, 1)
    held[1, 4:] += 0.05
    assert torch.equal(build()(z0, held, c), build()(z0, torch.arange(8) * 0.1, c))


@pytest.mark.parametrize(
    ("given", "says"), [({"frames": 1}, "frames=1"), ({"widths": []}, "widths="), ({"widths": [20]}, "multiple of 8")]
)
def test_a_setting_that_cannot_be_is_refused(given: dict, says: str):
    with pytest.raises(UserError, match=says):
        build(**given)
