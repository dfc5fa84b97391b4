"""Laws of the losses that keep a path easy to solve."""

import torch
from torch import nn

from ode_vgan.losses.kinetic import jacobian_norm, kinetic_energy
from ode_vgan.temporal.ode import OdePath

B, Z = 16, 2


def test_kinetic_energy_of_straight_motion_is_its_squared_speed_whatever_the_clock():
    speed = torch.randn(B, Z)
    for times in (torch.linspace(0, 2, 5), torch.rand(B, 6).cumsum(1), -torch.rand(B, 3).cumsum(1)):
        path = speed[:, None] * times.expand(B, -1)[..., None] + torch.randn(B, 1, Z)
        assert torch.allclose(kinetic_energy(path, times), speed.square().mean(), rtol=1e-4)


def test_kinetic_energy_of_a_linear_field_is_exact_in_the_limit_of_short_gaps():
    # z' = -z from 1 over one second: mean of exp(-2 t) is (1 - exp(-2)) / 2
    exact = (1 - torch.tensor(-2.0).exp()) / 2
    errors = []
    for frames in (5, 9, 17):
        times = torch.linspace(0, 1, frames)
        path = (-times).exp()[None, :, None].expand(B, -1, Z)
        errors.append(float(exact - kinetic_energy(path, times)))
    assert 0 < errors[2] < 1e-3 and abs(errors[0] / errors[1] - 4) < 0.1  # from below, of order 2


def test_jacobian_norm_of_a_linear_field_is_its_squared_frobenius_norm():
    matrix, state = torch.randn(Z, Z), torch.randn(5000, Z)
    probe = torch.randint(0, 2, state.shape).float() * 2 - 1
    assert torch.allclose(jacobian_norm(lambda z: z @ matrix.T, state, probe), matrix.square().sum() / Z, rtol=0.05)
    axes = torch.eye(Z)  # each row of the Jacobian once: no chance in it
    exact = sum(jacobian_norm(lambda z: z @ matrix.T, state[:1], axis[None]) for axis in axes)
    assert torch.allclose(exact, matrix.square().sum() / Z)


def test_jacobian_norm_has_a_gradient_for_the_field():
    layer = nn.Linear(Z, Z)
    jacobian_norm(lambda z: layer(z).tanh(), torch.randn(B, Z), torch.randn(B, Z)).backward()
    assert layer.weight.grad.abs().max() > 0


def fitted(kinetic: float, jacobian: float) -> tuple[float, int]:
    """Error of a stiff field taught to end where it should, and what an adaptive solver then spends on it."""
    torch.manual_seed(0)
    model = OdePath(
        Z, 1, hidden=16, depth=2, order=1, time_input=False, text_input=False, rate=4.0, decay=0.0, solver="midpoint"
    )  # fmt: skip
    model.field.mlp.leave.weight.data.mul_(3)
    z0, c, times = torch.randn(B, Z), torch.ones(B, 1), torch.linspace(0, 1, 7)
    goal = 0.5 * z0 + 0.3
    optimizer = torch.optim.Adam(model.parameters(), lr=0.05)
    for _ in range(50):
        path = model(z0, times, c)
        loss = (path[:, -1] - goal).square().mean() + kinetic * kinetic_energy(path, times)
        if jacobian:
            state = path.flatten(0, 1)
            ones = torch.ones(len(state), 1)
            probe = torch.randn_like(state)
            loss = loss + jacobian * jacobian_norm(lambda z, ones=ones: model.field(times[0], z, ones), state, probe)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    model.solver, model.rtol, model.atol = "dopri5", 1e-5, 1e-6
    with torch.no_grad():
        end = model(z0, times[[0, -1]], c)[:, -1]
    return float((end - goal).square().mean()), model.nfe


def test_less_kinetic_energy_or_a_smaller_jacobian_takes_fewer_evaluations_to_the_same_end():
    error, nfe = fitted(0.0, 0.0)
    for weights in ((0.3, 0.0), (0.0, 0.03)):
        eased_error, eased_nfe = fitted(*weights)
        print(weights, error, nfe, eased_error, eased_nfe)
        assert eased_nfe < 0.6 * nfe  # 26 and 104 were measured with the first
        assert eased_error < max(error, 0.05)  # the goal's variance is 0.25
