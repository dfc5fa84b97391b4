"""Laws of the solver on a grid of its own: its order, queries that do not disturb each other, its own gradient."""

import copy

import pytest
import torch
from hydra.utils import instantiate
from omegaconf import OmegaConf
from torch import Tensor
from torch.nn.functional import normalize
from torchdiffeq._impl.rk_common import rk4_step_func

from ode_vgan.bench.calls import WAITS, count_calls
from ode_vgan.bench.memory import live_bytes
from ode_vgan.errors import UserError
from ode_vgan.temporal import fused_ode
from ode_vgan.temporal.dense import Nodes, read_off, rk4_nodes, steps_within
from ode_vgan.temporal.ode import OdePath
from tests.test_ode import CONFIGS

FIELD = {"hidden": 12, "depth": 2, "text_input": True, "rate": 3.0, "decay": 0.5}


def path(order: int = 1, time_input: bool = False, step_seconds: float = 0.2, solver: str = "dense_rk4") -> OdePath:
    torch.manual_seed(3)
    model = OdePath(
        5, 7, order=order, time_input=time_input, solver=solver, rtol=1e-10, atol=1e-12, step_seconds=step_seconds,
        **FIELD,
    )  # fmt: skip
    return model.double()


def given(clips: int = 4) -> tuple[Tensor, Tensor]:
    draw = torch.Generator().manual_seed(1)
    z0 = torch.randn(clips, 5, dtype=torch.float64, generator=draw)
    return z0, normalize(torch.randn(clips, 7, dtype=torch.float64, generator=draw), dim=-1)


def uneven(clips: int = 4, frames: int = 6) -> Tensor:
    gaps = 0.05 + 0.4 * torch.rand(clips, frames - 1, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    return torch.cat([torch.zeros(clips, 1, dtype=torch.float64), gaps.cumsum(1)], 1)


@pytest.mark.parametrize(("order", "time_input"), [(1, False), (1, True), (2, False), (3, True)])
def test_the_path_converges_at_fourth_order_between_nodes_too(order: int, time_input: bool):
    z0, c = given()
    times = uneven()
    exact = path(order, time_input, solver="dopri5")(z0, times, c)
    far, near = ((path(order, time_input, step)(z0, times, c) - exact).norm() for step in (0.05, 0.025))
    assert float(far / near) == pytest.approx(16, rel=0.35) and near < 1e-5


def test_evaluations_depend_on_seconds_and_not_on_frames():
    z0, c = given()
    model = path(step_seconds=0.3)
    for frames in (2, 16, 256):
        model(z0, torch.linspace(0, 1.2, frames, dtype=torch.float64), c)
        assert model.nfe == 4 * 4 + 1
    assert steps_within(1.2001, 0.3) == 4 and steps_within(1.21, 0.3) == 5 and steps_within(0.0, 0.3) == 1


def test_a_time_asked_alone_has_the_same_value_whatever_the_company():
    z0, c = given()
    model, times = path(), uneven()
    together = model(z0, times, c)
    for clip in range(len(z0)):
        alone = model(z0[clip : clip + 1], times[clip : clip + 1, [0, 3]], c[clip : clip + 1])
        assert torch.allclose(alone[0], together[clip, [0, 3]], atol=1e-12)
    assert torch.equal(together[:, 0], z0)


@pytest.mark.parametrize("order", [1, 2])
def test_time_runs_backward_and_clips_may_differ_in_direction(order: int):
    z0, c = given()
    times = uneven()
    mixed = times * torch.tensor([1.0, -1.0, 1.0, -1.0], dtype=torch.float64)[:, None]
    exact = path(order, solver="dopri5")
    for asked in (-times, mixed):
        expected = torch.cat([exact(z0[i : i + 1], asked[i : i + 1], c[i : i + 1]) for i in range(len(z0))])
        assert torch.allclose(path(order, step_seconds=0.02)(z0, asked, c), expected, atol=1e-6)


def test_times_need_not_start_at_zero_where_the_field_sees_time():
    z0, c = given()
    times = uneven() + torch.tensor([0.0, 0.3, 1.0, 2.0], dtype=torch.float64)[:, None]
    exact = path(time_input=True, solver="dopri5")(z0, times, c)
    assert torch.allclose(path(time_input=True, step_seconds=0.02)(z0, times, c), exact, atol=1e-6)


@pytest.mark.parametrize("sign", [1.0, -1.0])
@pytest.mark.parametrize("depth", [1, 3])
def test_the_fused_solve_and_its_gradient_are_autograds_own(sign: float, depth: int):
    torch.manual_seed(0)
    settings = FIELD | {"depth": depth}
    model = OdePath(5, 7, order=1, time_input=False, solver="dense_rk4", step_seconds=0.2, **settings).double()
    z0, c = given()
    z0.requires_grad_()
    field, steps = model.field, 4

    def plain() -> Nodes:
        context = field.context(c)
        return rk4_nodes(lambda s, z: field.at(s, z, context) * sign, z0, 0.2, steps)

    found = []
    for nodes in (plain(), field.rk4_nodes(z0, field.context(c), sign * 0.2, steps)):
        loss = nodes.states.sin().sum() + (nodes.speeds * torch.arange(5.0)).cos().sum()
        found.append((*nodes, *torch.autograd.grad(loss, [z0, *field.parameters()])))
    for ours, theirs in zip(*found, strict=True):
        assert torch.allclose(ours, theirs, rtol=1e-10, atol=1e-12)


def test_the_fused_solve_is_what_the_model_takes_and_a_field_that_sees_time_takes_the_other():
    z0, c = given()
    calls = []
    for time_input in (False, True):
        model = path(time_input=time_input)
        own = model.field.rk4_nodes
        model.field.rk4_nodes = lambda *a, own=own: calls.append(own(*a)) or calls[-1]
        model(z0, uneven(), c)
    assert isinstance(calls[0], Nodes) and calls[1] is None


def test_reading_off_is_exact_for_cubics():
    at = torch.arange(4, dtype=torch.float64) * 0.5
    nodes = Nodes(*(row[:, None, None].expand(-1, 2, 1) for row in (at**3 - at, 3 * at**2 - 1)))
    since = torch.tensor([[1.5, 0.0, 0.7, 0.5], [0.2, 1.1, 1.49, 1.0]], dtype=torch.float64)
    assert torch.allclose(read_off(nodes, since, 0.5)[..., 0], since**3 - since, atol=1e-12)
    assert torch.allclose(read_off(nodes, since[0], 0.5)[1, :, 0], since[0] ** 3 - since[0], atol=1e-12)


def test_a_noise_driven_path_is_solved_on_the_grid_too():
    torch.manual_seed(0)
    given_dims = {"motion_dim": 5, "embed_dim": 7, "temporal": OmegaConf.load(CONFIGS / "driven.yaml")}
    tight = {"solver": "dopri5", "rtol": 1e-8, "atol": 1e-9}
    fine = instantiate(OmegaConf.create(given_dims).temporal, **tight).double()
    grid = copy.deepcopy(fine)
    grid.solver, grid.step_seconds = "dense_rk4", 0.01
    z0, c = given()
    seeds = torch.arange(4)
    times = uneven()
    assert torch.allclose(grid(z0, times, c, seeds), fine(z0, times, c, seeds), atol=1e-4)


@pytest.mark.parametrize("wrong", [{"step_seconds": None}, {"step_seconds": 0.1, "adjoint": True}])
def test_what_the_grid_cannot_do_is_refused(wrong: dict):
    with pytest.raises(UserError, match="dense_rk4 takes steps of step_seconds and no adjoint"):
        OdePath(5, 7, order=1, time_input=False, solver="dense_rk4", **FIELD, **wrong)


def test_the_config_differs_from_ode_in_the_solver_alone():
    ours, ode = (OmegaConf.load(CONFIGS / f"{name}.yaml") for name in ("ode_dense", "ode"))
    differing = {key for key in ode if ode._get_node(key)._value() != ours._get_node(key)._value()}
    assert differing == {"solver", "step_seconds"} and set(ours) == set(ode)


def test_a_step_is_torchdiffeqs_classical_step_to_round_off():
    """Its method called rk4 is the 3/8 rule; the classical step is beside it."""
    z0, c = given()
    field = path().field
    context = field.context(c)
    nodes, state, dt = field.rk4_nodes(z0, context, 0.2, 5), z0, torch.tensor(0.2, dtype=torch.float64)
    for k in range(5):
        t = k * dt
        state = state + rk4_step_func(lambda s, z, perturb=None: field.at(s, z, context), t, dt, t + dt, state)
        assert torch.allclose(nodes.states[k + 1], state, rtol=1e-13, atol=1e-14)


def gradients(model: OdePath, z0: Tensor, times: Tensor, c: Tensor) -> tuple[Tensor, ...]:
    z0 = z0.clone().requires_grad_()
    z = model(z0, times, c)
    return z, *torch.autograd.grad(z.sin().sum(), [z0, *model.parameters()])


def test_a_long_path_goes_over_its_steps_twice_and_finds_the_same(monkeypatch):
    z0, c = given()
    times = uneven() * 4
    for sign in (1.0, -1.0):
        monkeypatch.setattr(fused_ode, "KEPT_STEPS", 128)
        whole = gradients(path(), z0, sign * times, c)
        monkeypatch.setattr(fused_ode, "KEPT_STEPS", 7)
        pieces = gradients(path(), z0, sign * times, c)
        assert path().nfe == 0 and torch.equal(whole[0], pieces[0])
        assert all(torch.allclose(a, b, rtol=1e-10, atol=1e-12) for a, b in zip(whole, pieces, strict=True))


def test_memory_of_a_long_path_grows_by_its_states_and_not_by_activations(monkeypatch):
    monkeypatch.setattr(fused_ode, "KEPT_STEPS", 4)
    z0, c = given()
    model = path(step_seconds=0.1)
    peaks = []
    for seconds in (3.2, 6.4):
        times = torch.linspace(0, seconds, 16, dtype=torch.float64)
        peaks.append(live_bytes(lambda times=times: model(z0, times, c).square().sum().backward()).peak)
    states = 32 * z0.numel() * 8  # of the further steps
    assert peaks[1] - peaks[0] <= 6 * states


def test_reading_off_takes_memory_of_the_path_and_not_of_times_by_steps():
    nodes = Nodes(*torch.randn(2, 401, 2, 3))
    since = torch.rand(2, 1000) * 40
    assert live_bytes(lambda: read_off(nodes, since, 0.1)).peak <= 12 * 2 * 1000 * 3 * 4


def test_the_solve_and_its_gradient_read_no_number_from_their_device():
    """On meta, where reading one is an error."""
    model = path().to("meta")
    z0, times, c = (tensor.to("meta") for tensor in (given()[0], uneven(), given()[1]))
    for field_solves in (True, False):
        context = model.field.context(c)
        motion = model.field.at if field_solves else lambda *a: model.field.at(*a)  # the latter step by step
        z = model._on_grid(motion, z0, times, context, way=-1.0, steps=3)
        z.square().sum().backward()
        assert z.shape == (4, 6, 5)


HINTED = [(1, False), (1, True), (2, False), (3, True)]


@pytest.mark.parametrize(("order", "time_input"), HINTED)
def test_a_path_within_given_seconds_is_the_same_and_waits_for_nothing(order: int, time_input: bool):
    z0, c = given()
    model, times = path(order, time_input), uneven()
    span = float((times[:, -1] - times[:, 0]).max())
    for sign in (1.0, -1.0):
        assert torch.equal(model.within(z0, sign * times, c, sign * span), model(z0, sign * times, c))
    calls = count_calls(lambda: model.within(z0, times, c, span).square().sum().backward())
    assert calls.of(WAITS) == 0 and calls.by_name["lift_fresh"] == 0  # numbers neither read back nor sent
    with pytest.raises(UserError, match="solver=dopri5 asks its times for its steps"):
        path(solver="dopri5").within(z0, times, c, span)


SLOW = pytest.mark.slow


@pytest.mark.parametrize(
    ("order", "backend"),
    [(1, "eager"), (2, "eager"), pytest.param(3, "aot_eager", marks=SLOW), pytest.param(1, "inductor", marks=SLOW)],
)
def test_torch_compile_takes_the_whole_path_in_one_graph(order: int, backend: str):
    z0, c = given()
    model, times = path(order), uneven(frames=3)
    compiled = torch.compile(model.within, fullgraph=True, backend=backend)
    found = []
    for solve in (model.within, compiled):
        z = solve(z0, times, c, 0.35 if backend == "eager" else 1.0)
        found.append((z, *torch.autograd.grad(z.sin().sum(), list(model.field.parameters()))))
    assert all(torch.allclose(a, b, rtol=1e-9, atol=1e-11) for a, b in zip(*found, strict=True))
