"""Laws of the oscillator path: its energy, and its closed form where it has one."""

import math

import pytest
import torch
from torch import Tensor

from ode_vgan.errors import UserError
from ode_vgan.temporal.oscillator import HamiltonianField, OscillatorPath

B, Z, E = 6, 4, 8
WINDOW = torch.linspace(0, 1.25, 16, dtype=torch.float64)


def build(damping: float, learned: float = 1.0, **given) -> OscillatorPath:
    torch.manual_seed(0)
    defaults = {"hidden": 24, "text_input": True, "rate": 3.0, "solver": "rk4", "steps_per_frame": 8}
    model = OscillatorPath(Z, E, damping=damping, **(defaults | given)).double().requires_grad_(False)
    model.field.heights.mul_(learned)
    return model


def inputs() -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(4)
    c = torch.randn(B, E, generator=generator, dtype=torch.float64)
    return torch.randn(B, Z, generator=generator, dtype=torch.float64), torch.nn.functional.normalize(c, dim=1)


def energies(model: OscillatorPath, times: Tensor) -> Tensor:
    """(B, T) along the path."""
    z0, c = inputs()
    field = model.field
    states = model.flow(field.start(z0, c), times, c)
    return torch.stack([field.energy(state, field.context(c)) for state in states.unbind(1)], 1)


def test_motion_is_the_gradient_of_the_energy_turned_by_a_quarter():
    z0, c = inputs()
    field = build(0.7).field
    state, context = field.start(z0, c).requires_grad_(), field.context(c)
    (slope,) = torch.autograd.grad(field.energy(state, context).sum(), state)
    by_q, by_p = slope.chunk(2, 1)
    friction = 0.7 / 3.0 * by_p
    expected = torch.cat([by_p, -by_q - friction], 1)
    assert torch.allclose(field.at(torch.tensor(0.0), state, context), expected, atol=1e-10)


@pytest.mark.parametrize("damping", [0.0, 0.6, 2.0])
def test_without_learning_it_is_the_damped_oscillator_of_the_textbook(damping: float):
    z0, c = inputs()
    model = build(damping, learned=0.0)
    p0, rate = model.field.start(z0, c)[:, Z:], 3.0
    omega = math.sqrt(rate**2 - damping**2 / 4)
    t = 4 * WINDOW[None, :, None]
    speed = rate * p0[:, None]  # q' at the start
    swing = (omega * t).cos() * z0[:, None] + (omega * t).sin() / omega * (speed + damping / 2 * z0[:, None])
    assert torch.allclose(model(z0, 4 * WINDOW, c), (-damping / 2 * t).exp() * swing, atol=1e-4)


def test_energy_is_kept_without_damping_over_several_windows():
    energy = energies(build(0.0, learned=3.0), torch.cat([WINDOW + i * 1.4 for i in range(5)]))
    assert energy.std(0).min() > 1  # clips differ: there is something to keep
    assert (energy - energy[:, :1]).abs().max() < 1e-4 * energy.abs().max()


def test_energy_falls_with_damping_and_never_rises():
    energy = energies(build(0.5, learned=3.0), torch.cat([WINDOW + i * 1.4 for i in range(5)]))
    assert (energy.diff(dim=1) <= 1e-9).all()
    assert (energy[:, -1] < energy[:, 0] - 1).all()


def test_path_reverses_and_stays_bounded_for_a_minute():
    z0, c = inputs()
    model = build(0.0, learned=3.0)
    start = model.field.start(z0, c)
    there = model.flow(start, WINDOW, c)
    assert torch.allclose(model.flow(there[:, -1], WINDOW.flip(0), c).flip(1), there, atol=1e-5)
    assert model(3 * z0, torch.linspace(0, 60, 61, dtype=torch.float64), c).abs().max() < 50


def test_without_damping_there_is_nothing_to_learn_it_with_and_with_it_friction_cannot_turn_into_a_drive():
    assert build(0.0).field.log_damping is None
    model = build(0.5)
    model.field.log_damping.fill_(-30.0)  # as far as training may push it
    kept = energies(model, WINDOW)
    assert (kept.diff(dim=1) < 1e-4 * kept[:, :1].abs()).all()


def test_energy_depends_on_the_text_unless_told_not_to():
    z0, c = inputs()
    for text_input in (True, False):
        field = HamiltonianField(Z, E, hidden=24, text_input=text_input, rate=3.0, damping=0.5).double()
        one, other = (field.energy(torch.cat([z0, z0], 1), field.context(text)) for text in (c, c.flip(0)))
        assert torch.equal(one, other) != text_input
        assert torch.equal(field.start(z0, c), field.start(z0, c.flip(0))) != text_input


def test_energy_does_not_overflow_far_out():
    field = build(0.0).field.float()
    far = torch.full((B, 2 * Z), 1e3)
    assert field.energy(far, torch.zeros(B, 24)).isfinite().all()


@pytest.mark.parametrize(
    ("given", "says"), [({"damping": -0.1}, "damping=-0.1"), ({"damping": 0.0, "rate": 0.0}, "rate=0.0")]
)
def test_a_setting_that_cannot_be_is_refused(given: dict, says: str):
    with pytest.raises(UserError, match=says):
        build(**given)
