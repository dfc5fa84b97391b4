"""Laws of the ODE path, against fields whose flow is known."""

import math
from pathlib import Path

import pytest
import torch
from hydra.utils import instantiate
from omegaconf import OmegaConf
from torch import Tensor, nn

from ode_vgan.errors import UserError
from ode_vgan.generator import Generator, draw_latents
from ode_vgan.metrics.solver import tight, with_solver
from ode_vgan.temporal.fields import Field
from ode_vgan.temporal.ode import ADAPTIVE, OdePath, SolvedPath
from ode_vgan.temporal.timed import TimedPath

CONFIGS = Path(__file__).parents[1] / "conf" / "temporal"
SOLVED = ("ode", "ode2", "ode3", "ode_rk4", "ode_time", "oscillator", "hamiltonian", "driven")
B, Z, E = 5, 2, 3
DEFAULTS = {
    "hidden": 16, "depth": 2, "order": 1, "time_input": True, "text_input": True, "rate": 4.0, "decay": 0.5,
    "solver": "rk4",
}  # fmt: skip


class Turning(Field):
    """Rotation of the plane at 2 + 3 cos(3 t) + c[0] rad/s: stays on a circle, depends on time and text."""

    def context(self, c: Tensor) -> Tensor:
        return c[:, :1]

    def at(self, t: Tensor, state: Tensor, context: Tensor) -> Tensor:
        speed = 2 + 3 * (3 * t).cos().reshape(-1, 1) + context
        return speed * torch.stack([-state[:, 1], state[:, 0]], 1)


def turned(z0: Tensor, times: Tensor, c: Tensor) -> Tensor:
    """The exact flow of `Turning`, (B, T, 2)."""
    times = times.expand(len(z0), -1)
    begin = times[:, :1]
    angle = (2 + c[:, :1]) * (times - begin) + (3 * times).sin() - (3 * begin).sin()
    x, y = z0[:, :1], z0[:, 1:]
    return torch.stack([x * angle.cos() - y * angle.sin(), x * angle.sin() + y * angle.cos()], -1)


def build(field: Field | None = None, **given) -> OdePath:
    torch.manual_seed(0)
    model = OdePath(Z, E, **(DEFAULTS | given)).double()
    if field is not None:
        model.field = field
    return model


def inputs() -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(3)
    z0, c = torch.randn(2, B, E, generator=generator, dtype=torch.float64)
    gaps = 0.05 + 0.3 * torch.rand(B, 6, generator=generator, dtype=torch.float64)
    times = torch.cat([torch.zeros(B, 1), gaps.cumsum(1)], 1) + torch.randn(B, 1, generator=generator)
    return z0[:, :Z].contiguous(), times, c


def error(model: OdePath, times: Tensor) -> float:
    z0, _, c = inputs()
    return float((model(z0, times, c) - turned(z0, times, c)).abs().max())


@pytest.mark.parametrize(("solver", "order"), [("euler", 1), ("midpoint", 2), ("rk4", 4)])
@pytest.mark.parametrize("direction", [1, -1])
@pytest.mark.parametrize("shared", [False, True])
def test_fixed_solver_converges_at_its_order_on_uneven_times_per_clip(
    solver: str, order: int, direction: int, shared: bool
):
    _, times, _ = inputs()
    times = direction * (times[0] if shared else times)
    coarse, fine = (error(build(Turning(), solver=solver, steps_per_frame=steps), times) for steps in (8, 16))
    assert abs(math.log2(coarse / fine) - order) < 0.15


@pytest.mark.parametrize("solver", ADAPTIVE)
@pytest.mark.parametrize("shared", [False, True])
def test_adaptive_solver_error_follows_its_tolerance(solver: str, shared: bool):
    _, times, _ = inputs()
    times = times[0] if shared else times
    loose, tight = (error(build(Turning(), solver=solver, rtol=rtol, atol=rtol), times) for rtol in (1e-3, 1e-5))
    assert loose < 0.1 and tight < 2e-3 and tight < loose / 10


@pytest.mark.parametrize(("solver", "a_step"), [("euler", 1), ("midpoint", 2), ("rk4", 4)])
def test_fixed_solver_counts_its_evaluations_exactly(solver: str, a_step: int):
    z0, times, c = inputs()
    model = build(solver=solver, steps_per_frame=3)
    model(z0, times, c)
    assert model.nfe == a_step * 3 * 6
    model(z0, times[:, :2], c)
    assert model.nfe == a_step * 3


def test_a_step_is_never_longer_than_step_seconds():
    z0, _, c = inputs()
    model = build(solver="euler", step_seconds=0.1)
    for gap, steps in ((0.05, 1), (0.1, 1), (0.11, 2), (0.35, 4)):
        model(z0, torch.tensor([0.0, gap]), c)
        assert model.nfe == steps


@pytest.mark.parametrize("order", [1, 2, 3])
def test_flow_composes(order: int):
    z0, times, c = inputs()
    model = build(order=order)
    start = model.field.start(z0, c)
    whole = model.flow(start, times, c)
    rest = model.flow(whole[:, 3], times[:, 3:], c)
    assert torch.allclose(rest, whole[:, 3:], atol=1e-12)
    leap = build(order=order, steps_per_frame=60).flow(start, times[:, [0, 6]], c)[:, 1]
    small = build(order=order, steps_per_frame=10).flow(start, times, c)[:, 6]
    assert torch.allclose(leap, small, atol=1e-5)  # solver error of steps of at most 0.2 s


@torch.no_grad()
@pytest.mark.parametrize("order", [1, 2, 3])
def test_flow_reverses(order: int):
    z0, times, c = inputs()
    model = build(order=order, steps_per_frame=10 * order)
    there = model.flow(model.field.start(z0, c), times, c)
    back = model.flow(there[:, -1], times.flip(1), c)
    assert torch.allclose(back.flip(1), there, atol=1e-5)


@pytest.mark.parametrize("order", [2, 3])
def test_higher_order_flow_outputs_its_position(order: int):
    z0, times, c = inputs()
    model = build(order=order)
    states = model.flow(model.field.start(z0, c), times, c)
    assert states.shape == (B, 7, order * Z)
    assert torch.equal(model(z0, times, c), states[..., :Z])


def test_autonomous_flow_does_not_know_what_time_it_is():
    z0, times, c = inputs()
    model = build(time_input=False)
    assert torch.allclose(model(z0, times, c), model(z0, times + 3, c), atol=1e-10)
    assert not torch.allclose(build()(z0, times, c), build()(z0, times + 0.3, c), atol=1e-4)


@pytest.mark.parametrize(
    ("solver", "shared", "order"),
    [("rk4", False, 2), ("rk4", True, 1), ("dopri5", False, 1), ("dopri5", True, 2), ("rk4", True, 3)],
)
def test_adjoint_gradient_equals_the_direct_one(solver: str, shared: bool, order: int):
    gradients = []
    for adjoint in (False, True):
        z0, times, c = inputs()
        times = times[0, :3] if shared else times[:, :3]
        z0.requires_grad_()
        c.requires_grad_()
        model = build(solver=solver, order=order, adjoint=adjoint, steps_per_frame=4, rtol=1e-7, atol=1e-7)
        path = model(z0, times, c)
        path[:, 1:].pow(2).sum().backward()
        gradients.append([z0.grad, c.grad, *(weight.grad for weight in model.parameters())])
    for direct, adjoint in zip(*gradients, strict=True):
        assert torch.allclose(direct, adjoint, rtol=1e-3, atol=1e-4 * float(direct.abs().max()))


def test_adaptive_solver_spends_less_on_uniform_frames_than_on_uneven_ones():
    z0, times, c = inputs()
    model = build(solver="dopri5", rtol=1e-3, atol=1e-4)
    model(z0, times, c)
    uneven = model.nfe
    model(z0, torch.linspace(0, 1, 7, dtype=torch.float64) * times[:, -1:].abs(), c)
    assert model.nfe < uneven


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"order": 4}, "order=4"),
        ({"solver": "rk5"}, "solver='rk5' is unknown; choose one of euler"),
        ({"steps_per_frame": 0}, "steps_per_frame=0"),
        ({"step_seconds": 0.0}, "step_seconds=0.0"),
    ],
)
def test_a_setting_that_cannot_be_is_refused(given: dict, says: str):
    with pytest.raises(UserError, match=says):
        build(**given)


def trained(name: str) -> tuple[Generator, tuple]:
    """A generator around a config's model with a field as strong as training makes it, and what to ask it."""
    given = {"motion_dim": 16, "embed_dim": 24, "temporal": OmegaConf.load(CONFIGS / f"{name}.yaml")}
    torch.manual_seed(0)
    model = instantiate(OmegaConf.create(given).temporal)
    assert isinstance(model, SolvedPath)
    with torch.no_grad():
        for key, weight in model.named_parameters():
            weight.mul_(3.0 if key.endswith(("mlp.leave.weight", "heights")) else 1.0)
    generator = Generator(model, nn.Identity(), noise_dim=4, style_dim=4, embed_dim=24).requires_grad_(False)
    times = torch.arange(9) / 12 * torch.tensor([1.0, 0.5, 0.9, 0.7, 0.8])[:, None]
    text = nn.functional.normalize(torch.randn(B, 24), dim=1)
    return generator, (draw_latents(B, 4), times, text)


@pytest.mark.parametrize("name", SOLVED)
def test_every_solver_finds_the_same_path_of_a_configs_field_within_its_error(name: str):
    generator, (latents, times, text) = trained(name)
    times, text = times.double(), text.double()
    start = generator.double().to_start(latents.motion.double(), text)

    def path(**solver) -> Tensor:
        return with_solver(generator, **solver).temporal(start, times, text, latents.seeds)

    truth = tight(generator).temporal(start, times, text, latents.seeds)
    assert truth.diff(dim=1).abs().amax() > 0.1  # it moves
    # twice what was measured, on paths of about unit size; a tolerance holds for a step, so the path's error is larger
    for solver, limit in (
        ({}, 0.02),  # as trained
        ({"solver": "dopri5", "rtol": 1e-4}, 3e-3),
        ({"solver": "dopri5", "rtol": 1e-6}, 2e-5),
        ({"solver": "bosh3", "rtol": 1e-5}, 2e-3),
        ({"solver": "midpoint", "steps_per_frame": 4}, 3e-3),
        ({"solver": "rk4", "steps_per_frame": 2}, 1e-5),
    ):
        apart = float((path(**solver) - truth).abs().max())
        assert apart < limit, (solver, apart)


def test_rk4_is_closer_than_midpoint_at_the_same_evaluations():
    generator, (latents, times, text) = trained("ode")
    truth = tight(generator).path(latents, times, text)[1]
    errors = {}
    for solver, steps in (("midpoint", 2), ("rk4", 1)):
        other = with_solver(generator, solver=solver, steps_per_frame=steps)
        errors[solver] = float((other.path(latents, times, text)[1] - truth).abs().mean())
        assert other.temporal.nfe == 4 * 8
    assert errors["rk4"] < 0.2 * errors["midpoint"]


def test_rk4_config_differs_from_ode_in_the_solver_alone():
    ours, ode = (OmegaConf.load(CONFIGS / f"{name}.yaml") for name in ("ode_rk4", "ode"))
    assert {key for key in ode if ode._get_node(key)._value() != ours._get_node(key)._value()} == {"solver"}
    assert set(ours) == set(ode)


def test_timed_path_runs_faster_through_a_shorter_horizon_and_refuses_none():
    z0, _, c = inputs()
    given = {key: DEFAULTS[key] for key in ("hidden", "depth", "text_input", "solver")}

    def path(horizon: float, scale: float) -> Tensor:
        torch.manual_seed(0)
        model = TimedPath(
            Z, E, **given, rate=4.0 / scale, decay=0.5 / scale, horizon_seconds=horizon, steps_per_frame=8
        )  # fmt: skip
        return model.double()(z0, scale * torch.arange(5).double() * 0.1, c)

    assert torch.allclose(path(1.0, 1.0), path(3.0, 3.0), atol=1e-6)  # another unit of time, the same path
    with pytest.raises(UserError, match="horizon_seconds=0.0"):
        path(0.0, 1.0)


def test_every_continuous_config_has_the_size_of_the_first():
    sizes = {}
    for name in (*SOLVED, "sde", "sde_stratonovich", "sde_milstein", "sde_reversible"):
        given = {"motion_dim": 64, "embed_dim": 384, "temporal": OmegaConf.load(CONFIGS / f"{name}.yaml")}
        model = instantiate(OmegaConf.create(given).temporal)
        sizes[name] = sum(weight.numel() for weight in model.parameters())
    assert all(abs(size / sizes["ode"] - 1) < 0.1 for size in sizes.values()), sizes
