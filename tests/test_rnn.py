"""Laws of the recurrent path."""

import torch

from ode_vgan.temporal.rnn import RnnPath

B, Z, E, T = 3, 16, 8, 6


def build() -> RnnPath:
    torch.manual_seed(0)
    return RnnPath(Z, E, noise_dim=16, text_dim=12)


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
