"""Laws of the losses and penalties."""

import math

import pytest
import torch

from ode_vgan.discriminator.critics import Critics
from ode_vgan.losses import adversarial
from ode_vgan.losses.matching import mean_frame_distance, mismatched_caption
from ode_vgan.losses.penalty import gradient_penalty
from tests.test_discriminator import batch, critics


def test_relativistic_loss_depends_on_differences_only():
    real, fake = torch.randn(5), torch.randn(5)
    shifted = adversarial.relativistic_critic(real + 3, fake + 3)
    torch.testing.assert_close(shifted, adversarial.relativistic_critic(real, fake))
    assert float(adversarial.relativistic_critic(real, real)) == pytest.approx(math.log(2))


@pytest.mark.parametrize("loss", [adversarial.Relativistic, adversarial.NonSaturating, adversarial.Hinge])
def test_critic_and_generator_pull_fake_logits_apart(loss):
    real, fake = torch.zeros(4), torch.zeros(4, requires_grad=True)
    (down,) = torch.autograd.grad(loss.critic(real, fake), fake)
    (up,) = torch.autograd.grad(loss.generator(real, fake), fake)
    assert (down > 0).all() and (up < 0).all()


def test_penalty_of_a_linear_critic_is_half_its_squared_norm():
    weight = torch.randn(2 * 3 * 4 * 4)
    x = torch.randn(5, 2, 3, 4, 4)
    value = gradient_penalty(lambda clips: clips.flatten(1) @ weight, x)
    torch.testing.assert_close(value, weight.square().sum() / 2)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_r1_reaches_the_weights_of_both_critics(dtype):
    model, (x, times, c) = critics(), batch()
    picks = model.choose(3, 5, torch.Generator().manual_seed(0))
    with torch.autocast("cpu", dtype, enabled=dtype is torch.bfloat16):
        value = gradient_penalty(lambda clips: total(model, clips, times, c, picks), x)
        value.backward()
    assert value.dtype == torch.float32 and value > 0
    for name in ("frame.stem.weight", "clip.stem.weight", "frame.project.text.weight", "clip.project.text.weight"):
        assert model.get_parameter(name).grad.abs().sum() > 0, name


def total(model: Critics, clips, times, c, picks):
    logits = model(clips, times, c, picks)
    return logits["clip"] + logits["frame"].view(len(clips), -1).mean(1)


def test_a_wrong_caption_costs_when_it_scores_as_well_as_the_right_one():
    good, bad = torch.tensor([2.0]), torch.tensor([-2.0])
    assert mismatched_caption(good, bad) < mismatched_caption(good, good) < mismatched_caption(bad, good)


def test_mean_frame_distance_ignores_motion_and_sees_appearance():
    x = torch.rand(2, 6, 3, 8, 8)
    assert float(mean_frame_distance(x, x[:, torch.randperm(6)])) == pytest.approx(0, abs=1e-6)
    assert float(mean_frame_distance(x, x + 0.5)) == pytest.approx(0.5, abs=1e-6)
