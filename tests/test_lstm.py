"""Laws of the running sum of an LSTM's steps."""

import pytest
import torch

from ode_vgan.errors import UserError
from ode_vgan.temporal.lstm import LstmPath

B, Z, E, T = 3, 16, 8, 6


def build(noise_dim: int = 16) -> LstmPath:
    torch.manual_seed(0)
    return LstmPath(Z, E, noise_dim=noise_dim, text_dim=12, hidden=10, step=0.2)


def inputs() -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(6)
    c = torch.randn(B, E, generator=generator)
    return torch.randn(B, Z, generator=generator), torch.nn.functional.normalize(c, dim=1)


def test_quiet_lstm_path_is_the_lstm_run_by_hand_on_the_gap_and_the_text():
    z0, c = inputs()
    model = build(noise_dim=0)
    weights = {name: value.detach() for name, value in model.named_parameters()}
    text = c * E**0.5 @ weights["text.weight"].T + weights["text.bias"]
    hidden, memory = (z0 @ weights["start.weight"].T + weights["start.bias"]).split(10, 1)
    z, states, hidden = z0, [z0], hidden.tanh()
    for gap in (0.1, 0.05, 0.25):
        given = torch.cat([torch.full((B, 1), gap / 0.1).log(), text], 1)
        total = given @ weights["cell.weight_ih"].T + hidden @ weights["cell.weight_hh"].T
        take, keep, new, show = (total + weights["cell.bias_ih"] + weights["cell.bias_hh"]).split(10, 1)
        memory = keep.sigmoid() * memory + take.sigmoid() * new.tanh()
        hidden = show.sigmoid() * memory.tanh()
        z = z + 0.2 * (hidden @ weights["leave.weight"].T + weights["leave.bias"]).tanh()
        states.append(z)
    path = model(z0, torch.tensor([0.0, 0.1, 0.15, 0.4]), c)
    assert torch.allclose(path, torch.stack(states, 1), atol=1e-6)


def test_lstm_path_takes_no_step_longer_than_its_bound():
    z0, c = inputs()
    steps = build()(5 * z0, torch.arange(300) * 0.1, c).diff(dim=1).abs()
    assert steps.max() <= 0.2 + 1e-5 and steps.mean() > 0.01


def test_lstm_path_remembers_where_it_started():
    z0, c = inputs()
    model, times = build(noise_dim=0), torch.arange(T) * 0.1
    one, other = (model(start, times, c).diff(dim=1) for start in (z0, -z0))
    assert not torch.allclose(one, other, atol=0.01)


def test_lstm_path_sees_the_frame_gap_not_the_hour():
    z0, c = inputs()
    model, seeds, times = build(), torch.arange(B), torch.arange(T) * 0.1
    path = model(z0, times, c, seeds)
    assert torch.allclose(path, model(z0, times + 7, c, seeds), atol=1e-5)
    assert not torch.allclose(path, model(z0, 3 * times, c, seeds), atol=1e-3)


def test_lstm_path_draws_noise_at_each_step_or_never():
    z0, c = inputs()
    z0, c = z0[:1].expand(B, Z), c[:1].expand(B, E)
    spread = build()(z0, torch.arange(T) * 0.1, c, torch.arange(B)).std(0).mean(1)
    assert spread[0] == 0 and (spread[1:] > 1e-3).all()
    quiet, before = build(noise_dim=0), torch.get_rng_state()
    assert quiet(z0, torch.arange(T) * 0.1, c).std(0).max() < 1e-6
    assert torch.equal(before, torch.get_rng_state()) and not quiet.step_noise and build().step_noise


def test_lstm_path_counts_one_evaluation_a_step():
    z0, c = inputs()
    model = build()
    model(z0, torch.arange(T) * 0.1, c)
    assert model.nfe == T - 1


def test_a_negative_noise_width_is_refused():
    with pytest.raises(UserError, match="noise_dim=-1"):
        build(noise_dim=-1)
