"""Laws of the vector fields."""

import math

import pytest
import torch

from ode_vgan.temporal.fields import MlpField, SecondOrderField, ThirdOrderField, time_features
from ode_vgan.temporal.timed import TimedField

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
    for kind, parts in ((MlpField, 1), (SecondOrderField, 2), (ThirdOrderField, 3)):
        state = z.repeat(1, parts)
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


def test_third_order_force_depends_on_the_whole_state_and_the_rest_is_exact():
    field = build(ThirdOrderField)
    state = torch.randn(B, 3 * Z, requires_grad=True)
    speed = field(torch.tensor(0.0), state, TEXT)
    assert torch.equal(speed[:, : 2 * Z], state[:, Z:])
    (gradient,) = torch.autograd.grad(speed[:, 2 * Z :].sum(), state)
    assert (gradient.unflatten(1, (3, Z)).abs().amax((0, 2)) > 0).all()


@pytest.mark.parametrize(("rate", "decay"), [(3.0, 0.5), (0.1, 0.5), (30.0, 0.5), (3.0, 1e-3)])
def test_third_order_field_without_learning_falls_as_its_three_roots_say(rate: float, decay: float):
    field = build(ThirdOrderField, rate=rate, decay=decay).double()
    torch.nn.init.zeros_(field.mlp.leave.weight)
    start = torch.eye(3, dtype=torch.float64).repeat_interleave(Z, 1)  # one column in q, one in v, one in a
    speed = field(torch.tensor(0.0).double(), start, TEXT[:3].double())
    roots = torch.linalg.eigvals(speed[:, ::Z].T)
    assert (roots.real < 0).all()
    swing = complex(-decay / 2, math.sqrt(max(0.0, 0.25 * rate**2 - decay**2 / 4)))
    for root in (-rate, swing, swing.conjugate()) if 0.25 * rate**2 > decay**2 / 4 else (-rate,):
        assert (roots - root).abs().min() < 1e-4 * rate


def test_third_order_state_starts_with_z0_and_moves_moderately():
    z0 = torch.randn(B, Z)
    field = build(ThirdOrderField, rate=3.0)
    state = field.start(z0, TEXT)
    assert torch.equal(state[:, :Z], z0) and state.shape == (B, 3 * Z)
    v, a = state[:, Z : 2 * Z], state[:, 2 * Z :]
    assert 0.1 < v.std() < 3 and 0.3 < a.std() < 9  # per second, per squared second
    assert not torch.allclose(state[:, Z:], field.start(z0, TEXT.flip(0))[:, Z:])


def test_a_timed_field_knows_time_by_the_share_of_its_horizon():
    def at(horizon: float, t: float) -> torch.Tensor:
        torch.manual_seed(0)
        field = TimedField(
            Z, E, hidden=32, depth=2, text_input=True, rate=3.0, decay=0.5, horizon_seconds=horizon
        )  # fmt: skip
        return field(torch.tensor(t), torch.ones(B, Z), TEXT)

    assert torch.allclose(at(1.0, 0.3), at(2.0, 0.6), atol=1e-5)
    assert not torch.allclose(at(1.0, 0.3), at(2.0, 0.3), atol=1e-2)
    assert torch.allclose(at(0.5, 0.1), at(0.5, 2.1), atol=1e-4)  # four horizons later


def test_the_horizon_is_learned_and_stays_positive():
    field = TimedField(Z, E, hidden=32, depth=2, text_input=True, rate=3.0, decay=0.5, horizon_seconds=1.5)
    assert math.isclose(field.log_horizon.exp().item(), 1.5, rel_tol=1e-6)
    step = torch.optim.SGD([field.log_horizon], lr=100.0)
    before = field(torch.rand(B), torch.ones(B, Z), TEXT).square().mean()
    before.backward()
    assert field.log_horizon.grad.abs() > 1e-5
    step.step()
    assert field.log_horizon.exp() > 0
