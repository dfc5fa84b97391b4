"""Laws of the recurrent path."""

import pytest
import torch

from ode_vgan.errors import UserError
from ode_vgan.temporal.rnn import RnnPath

B, Z, E, T = 3, 16, 8, 6


def build(noise_dim: int = 16) -> RnnPath:
    torch.manual_seed(0)
    return RnnPath(Z, E, noise_dim=noise_dim, text_dim=12)


def inputs() -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(6)
    c = torch.randn(B, E, generator=generator)
    return torch.randn(B, Z, generator=generator), torch.nn.functional.normalize(c, dim=1)


def test_rnn_path_is_bounded_by_its_start_and_one_at_any_length():
    z0, c = inputs()
    path = build()(5 * z0, torch.arange(500) * 0.1, c)
    assert (path.abs() <= (5 * z0).abs().clamp(min=1).unsqueeze(1)).all()


def test_rnn_path_sees_the_frame_gap():
    z0, c = inputs()
    model, seeds = build(), torch.arange(B)
    slow, fast = (model(z0, torch.arange(T) * gap, c, seeds) for gap in (0.2, 0.04))
    assert not torch.allclose(slow, fast, atol=0.01)


def test_rnn_path_knows_gaps_not_the_hour():
    z0, c = inputs()
    model, seeds, times = build(), torch.arange(B), torch.arange(T) * 0.1
    assert torch.allclose(model(z0, times, c, seeds), model(z0, times + 7, c, seeds), atol=1e-5)


def test_rnn_path_of_a_seed_begins_alike_at_any_length():
    z0, c = inputs()
    model, seeds, times = build(), torch.arange(B), torch.arange(T) * 0.1
    assert torch.allclose(model(z0, times, c, seeds)[:, :3], model(z0, times[:3], c, seeds), atol=1e-6)


def test_rnn_path_draws_noise_at_each_step():
    z0, c = inputs()
    z0, c = z0[:1].expand(B, Z), c[:1].expand(B, E)
    path = build()(z0, torch.arange(T) * 0.1, c, torch.arange(B))
    spread = path.std(0).mean(1)
    assert spread[0] == 0 and (spread[1:] > 0.01).all()


def test_rnn_path_counts_one_evaluation_a_step():
    z0, c = inputs()
    model = build()
    model(z0, torch.arange(T) * 0.1, c)
    assert model.nfe == T - 1


def test_quiet_rnn_path_is_the_gru_run_by_hand_on_the_gap_and_the_text():
    z0, c = inputs()
    model, times = build(noise_dim=0), torch.tensor([0.0, 0.1, 0.15, 0.4])
    z, states = z0, [z0]
    for gap in (0.1, 0.05, 0.25):
        text = c * E**0.5 @ model.text.weight.T + model.text.bias
        given = torch.cat([torch.full((B, 1), gap / 0.1).log(), text], 1)
        from_input = given @ model.cell.weight_ih.T + model.cell.bias_ih
        from_state = z @ model.cell.weight_hh.T + model.cell.bias_hh
        (reset, keep, new), (old_reset, old_keep, old_new) = from_input.chunk(3, 1), from_state.chunk(3, 1)
        keep = (keep + old_keep).sigmoid()
        z = keep * z + (1 - keep) * (new + (reset + old_reset).sigmoid() * old_new).tanh()
        states.append(z)
    assert torch.allclose(model(z0, times, c), torch.stack(states, 1), atol=1e-6)


def test_quiet_rnn_path_takes_no_draw_from_the_global_generator():
    z0, c = inputs()
    model, times = build(noise_dim=0), torch.arange(T) * 0.1
    before = torch.get_rng_state()
    path = model(z0, times, c)
    assert torch.equal(before, torch.get_rng_state()) and not model.step_noise
    assert torch.equal(path, model(z0, times, c, torch.arange(B)))
    assert build().step_noise


def test_a_negative_noise_width_is_refused():
    with pytest.raises(UserError, match="noise_dim=-1"):
        build(noise_dim=-1)
