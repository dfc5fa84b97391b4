"""Laws of poolings: which see order, and that time is seconds."""

import pytest
import torch

from ode_vgan.embed.pooling import AttentionPooling, MeanPooling, MomentPooling, time_weights

E = 8
KINDS = {"mean": MeanPooling, "moment": lambda: MomentPooling(E), "attention": lambda: AttentionPooling(E, 2)}


def given(kind: str):
    torch.manual_seed(0)
    pooling = KINDS[kind]().double()
    for weight in pooling.parameters():
        weight.data.add_(0.3 * torch.randn_like(weight))
    return pooling, torch.randn(3, 5, E, dtype=torch.float64), torch.rand(3, 5, dtype=torch.float64).cumsum(1)


@pytest.mark.parametrize(("kind", "sees"), [("mean", False), ("moment", True), ("attention", True)])
def test_only_those_that_see_order_tell_a_clip_from_its_reversal(kind: str, sees: bool):
    pooling, rows, times = given(kind)
    apart = (pooling(rows, times) - pooling(rows.flip(1), times)).abs().max()
    assert apart > 1e-2 if sees else apart < 1e-12


@pytest.mark.parametrize("kind", KINDS)
def test_another_clock_of_the_same_clip_gives_the_same_vector(kind: str):
    pooling, rows, times = given(kind)
    assert torch.allclose(pooling(rows, times), pooling(rows, 60 + 3.7 * times), atol=1e-12)


@pytest.mark.parametrize("kind", KINDS)
def test_a_frame_belongs_to_its_time_and_not_to_its_row(kind: str):
    pooling, rows, times = given(kind)
    order = torch.tensor([3, 0, 4, 1, 2])
    assert torch.allclose(pooling(rows, times), pooling(rows[:, order], times[:, order]), atol=1e-12)


def test_the_moments_weights_are_odd_sum_to_zero_and_turn_with_time():
    times = torch.tensor([[0.0, 0.5, 1.0], [0.0, 0.1, 1.0]], dtype=torch.float64)
    weights = time_weights(times)
    assert torch.allclose(weights[0], torch.tensor([-1.0, 0.0, 1.0], dtype=torch.float64))
    assert torch.allclose(weights.sum(1), torch.zeros(2, dtype=torch.float64), atol=1e-12)
    assert torch.allclose(time_weights(-times), -weights, atol=1e-12)
    assert torch.equal(time_weights(torch.zeros(1, 4)), torch.zeros(1, 4))


def test_one_frame_has_no_moment():
    pooling, rows, _ = given("moment")
    one = pooling(rows[:, :1], torch.zeros(3, 1, dtype=torch.float64))
    assert torch.isfinite(one).all()
