"""Laws of the vector fields."""

import torch

from ode_vgan.temporal.fields import MlpField, SecondOrderField, time_features

B, Z, E = 32, 16, 24
TEXT = torch.nn.functional.normalize(torch.randn(B, E, generator=torch.Generator().manual_seed(2)), dim=1)


def build(kind: type = MlpField, **given):
    torch.manual_seed(0)
    return kind(Z, E, **({"hidden": 32, "depth": 2, "time_input": True, "text_input": True} | given))


def test_first_order_field_is_bounded_by_its_rate_and_decay():
    field = build(rate=3.0, decay=0.25)
    for size in (1.0, 10.0, 1000.0):
        z = size * torch.randn(B, Z)
        speed = field(torch.tensor(0.5), z, TEXT)
        assert ((speed + 0.25 * z).abs() <= 3.0 * 1.01).all()  # float rounding at |z| = 1000


def test_first_order_field_points_inward_beyond_rate_over_decay():
    field = build(rate=3.0, decay=0.25)
    z = torch.randn(B, Z).sign() * 12.5  # a little over 3.0 / 0.25
    assert (field(torch.tensor(0.0), z, TEXT) * z < 0).all()


def test_motion_starts_moderate_whatever_the_width():
    for hidden, depth in ((32, 1), (144, 2), (512, 4)):
        field = build(hidden=hidden, depth=depth, rate=8.0, decay=0.0)
        rms = field(torch.tensor(0.0), torch.randn(256, Z), TEXT[:1].expand(256, E)).square().mean().sqrt()
        assert 0.4 < rms < 5  # per second: a clip of one second moves by about the width of the latent's law


def test_second_order_force_depends_on_position_and_velocity():
    field = build(SecondOrderField)
    q = torch.randn(B, Z, requires_grad=True)
    v = torch.randn(B, Z, requires_grad=True)
    force = field(torch.tensor(0.0), torch.cat([q, v], 1), TEXT)[:, Z:]
    for gradient in torch.autograd.grad(force.sum(), (q, v)):
        assert gradient.abs().max() > 0


def test_second_order_field_moves_position_by_velocity_exactly():
    field = build(SecondOrderField)
    state = torch.randn(B, 2 * Z)
    assert torch.equal(field(torch.tensor(0.0), state, TEXT)[:, :Z], state[:, Z:])


def test_second_order_field_without_learning_is_a_damped_oscillator():
    field = build(SecondOrderField, rate=4.0, decay=0.5, pull=0.25)
    torch.nn.init.zeros_(field.mlp.leave.weight)
    q, v = torch.randn(B, Z), torch.randn(B, Z)
    force = field(torch.tensor(0.0), torch.cat([q, v], 1), TEXT)[:, Z:]
    assert torch.allclose(force, -4.0 * q - 0.5 * v, atol=1e-5)


def test_second_order_state_starts_with_z0():
    z0 = torch.randn(B, Z)
    state = build(SecondOrderField).start(z0, TEXT)
    assert torch.equal(state[:, :Z], z0) and state.shape == (B, 2 * Z)


def test_field_ignores_time_and_text_when_told_to():
    z = torch.randn(B, Z)
    for kind, state in ((MlpField, z), (SecondOrderField, torch.cat([z, z], 1))):
        blind = build(kind, time_input=False, text_input=False)
        seeing = build(kind)
        early, late = torch.tensor(0.0), torch.tensor(0.7)
        assert torch.equal(blind(early, state, TEXT), blind(late, state, TEXT.flip(0)))
        assert not torch.allclose(seeing(early, state, TEXT), seeing(late, state, TEXT))
        assert not torch.allclose(seeing(early, state, TEXT), seeing(early, state, TEXT.flip(0)))


def test_time_per_clip_equals_time_alone():
    field, z = build(), torch.randn(B, Z)
    t = torch.rand(B)
    together = field(t, z, TEXT)
    for i in range(3):
        assert torch.allclose(field(t[i], z[i : i + 1], TEXT[i : i + 1]), together[i : i + 1], atol=1e-5)


def test_time_features_are_bounded_at_any_time():
    features = time_features(torch.tensor([0.0, 1.3, -4.0, 1e4]))
    assert features.shape == (4, 8) and features.abs().max() <= 1
