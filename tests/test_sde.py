"""Laws of the SDE path, against equations whose solution or law is known."""

import math

import pytest
import torch
from torch import Tensor, nn

from ode_vgan.errors import UserError
from ode_vgan.temporal.milstein import MilsteinPath, OwnDiffusion
from ode_vgan.temporal.noise import clip_noise
from ode_vgan.temporal.reversible import ReversiblePath
from ode_vgan.temporal.sde import STEPS, Diffusion, SdePath, StochasticPath

Z, E = 16, 8
DEFAULTS = {
    "hidden": 16, "depth": 2, "noise_hidden": 8, "time_input": True, "text_input": True, "rate": 4.0, "decay": 0.5,
    "gate": 0.05, "calculus": "ito", "steps_per_frame": 2,
}  # fmt: skip


KINDS = {"milstein": MilsteinPath, "reversible": ReversiblePath}  # beside SdePath's two


class Linear(nn.Module):
    """slope * z + offset, in the place of a drift or a diffusion."""

    def __init__(self, slope: float, offset: float = 0.0):
        super().__init__()
        self.slope, self.offset = slope, offset

    def context(self, c: Tensor) -> Tensor:
        return c

    def at(self, t: Tensor, z: Tensor, context: Tensor) -> Tensor:
        return self.slope * z + self.offset

    def with_slope(self, t: Tensor, z: Tensor, context: Tensor) -> tuple[Tensor, Tensor]:
        return self.at(t, z, context), torch.full_like(z, self.slope)


def build(drift: nn.Module | None = None, diffusion: nn.Module | None = None, **given) -> StochasticPath:
    torch.manual_seed(0)
    given = DEFAULTS | ({"restart_frames": 99} if given.get("calculus") == "reversible" else {}) | given
    kind = KINDS.get(given["calculus"], SdePath)
    model = kind(Z, E, **{key: value for key, value in given.items() if kind is SdePath or key != "calculus"})
    model.drift, model.diffusion = drift or model.drift, diffusion or model.diffusion
    return model


def inputs(batch: int) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(4)
    c = torch.randn(batch, E, generator=generator)
    return torch.randn(batch, Z, generator=generator), nn.functional.normalize(c, dim=1)


@pytest.mark.parametrize(
    ("calculus", "order"), [("ito", 0.5), ("stratonovich", 1.0), ("milstein", 1.0), ("reversible", 1.0)]
)
def test_sde_path_converges_strongly_at_its_order_on_geometric_brownian_motion(calculus: str, order: float):
    pull, sigma, finest, batch = -0.5, 0.8, 64, 400
    generator = torch.Generator().manual_seed(5)
    gaps = 0.2 + 0.3 * torch.rand(batch, 3, generator=generator, dtype=torch.float64)  # another clock for each clip
    times = torch.cat([torch.zeros(batch, 1), gaps.cumsum(1)], 1)
    fine = torch.randn(batch, 3, finest, Z, generator=generator, dtype=torch.float64)
    brownian = (fine * (gaps / finest).sqrt()[..., None, None]).sum((1, 2))
    z0, c = torch.ones(batch, Z, dtype=torch.float64), torch.ones(batch, E, dtype=torch.float64)
    drift = pull - 0.5 * sigma**2 if calculus in ("ito", "milstein") else pull
    exact = (drift * times[:, -1:] + sigma * brownian).exp()
    errors = []
    for steps in (4, 16, 64):
        model = build(Linear(pull), Linear(sigma), calculus=calculus, steps_per_frame=steps)
        noise = fine.unflatten(2, (steps, finest // steps)).sum(3) / math.sqrt(finest // steps)
        errors.append(float((model.driven_by(noise.flatten(1, 2), z0, times, c)[:, -1] - exact).abs().mean()))
    measured = math.log(errors[0] / errors[-1], 16)
    assert abs(measured - order) < 0.1, errors


@pytest.mark.parametrize(("calculus", "steps"), [("ito", 2), ("ito", 3), ("stratonovich", 1), ("reversible", 2)])
def test_sde_path_has_the_mean_and_variance_of_ornstein_uhlenbeck(calculus: str, steps: int):
    pull, sigma, batch = 1.5, 0.6, 4000
    model = build(Linear(-pull), Linear(0.0, sigma), calculus=calculus, steps_per_frame=steps)
    times = torch.arange(26) * torch.linspace(0.03, 0.05, batch)[:, None]  # frame gaps differ between clips
    z0, c = torch.full((batch, Z), 2.0), torch.ones(batch, E)
    path = model(z0, times, c, seeds=torch.arange(batch))
    for i in (1, 5, 25):
        t = times[:, i : i + 1]
        variance = sigma**2 / (2 * pull) * (1 - (-2 * pull * t).exp())
        standard = (path[:, i] - 2.0 * (-pull * t).exp()) / variance.sqrt()
        # 64,000 values: 0.004 and 0.6 % of sampling error; the rest is the step's own bias, pull * dt / 2
        assert abs(float(standard.mean())) < 0.15
        assert abs(float(standard.var()) - 1) < 0.06


def test_brownian_increments_have_the_variance_of_the_time_between_frames():
    batch = 2000
    model = build(Linear(0.0), Linear(0.0, 1.0), steps_per_frame=3)
    times = torch.tensor([0.0, 0.04, 0.05, 0.25]) * torch.linspace(0.5, 2, batch)[:, None]
    path = model(torch.zeros(batch, Z), times, torch.ones(batch, E), seeds=torch.arange(batch))
    scaled = path.diff(dim=1) / times.diff(dim=1).sqrt()[..., None]
    assert torch.allclose(scaled.var(dim=(0, 2)), torch.ones(3), atol=0.03)  # 32,000 values: 0.8 %
    assert torch.corrcoef(scaled.transpose(0, 1).flatten(1)).triu(1).abs().max() < 0.03


@pytest.mark.parametrize(
    ("calculus", "method"),
    [("ito", "euler"), ("stratonovich", "heun"), ("milstein", "milstein"), ("reversible", "reversible_heun")],
)
def test_sde_path_equals_torchsde_on_the_same_brownian_path(calculus: str, method: str):
    torchsde = pytest.importorskip("torchsde")
    batch, frames, gap = 3, 5, 0.125
    model = build(calculus=calculus, steps_per_frame=2, gate=0.5)
    z0, c = inputs(batch)
    times = torch.arange(frames) * gap
    noise = torch.randn(batch, 2 * (frames - 1), Z)
    walk = torch.cat([torch.zeros(batch, 1, Z), noise.cumsum(1) * math.sqrt(gap / 2)], 1)

    class Brownian(torchsde.BaseBrownian):
        dtype, device, shape, levy_area_approximation = z0.dtype, z0.device, z0.shape, "none"

        def __call__(self, begin, end, return_U=False, return_A=False):
            return walk[:, round(float(end) / gap * 2)] - walk[:, round(float(begin) / gap * 2)]

        def __repr__(self):
            return "a given walk"

    class Equation(nn.Module):
        noise_type, sde_type = "diagonal", {"milstein": "ito", "reversible": "stratonovich"}.get(calculus, calculus)

        def f(self, t, z):
            return model.drift(t, z, c)

        def g(self, t, z):
            return model.diffusion.at(t, z, model.diffusion.context(c))

    theirs = torchsde.sdeint(Equation(), z0, times, bm=Brownian(), method=method, dt=gap / 2).transpose(0, 1)
    assert torch.allclose(model.driven_by(noise, z0, times, c), theirs, atol=1e-5)


def test_ito_and_stratonovich_agree_without_noise_and_differ_with_it():
    z0, c = inputs(4)
    times, seeds = torch.arange(5) * 0.02, torch.arange(4)
    quiet = [build(gate=0.0, calculus=name, steps_per_frame=8)(z0, times, c, seeds) for name in STEPS]
    assert torch.allclose(*quiet, atol=0.01)
    loud = [build(Linear(0.0), Linear(2.0), calculus=name)(z0, times, c, seeds) for name in STEPS]
    assert not torch.allclose(*loud, atol=0.05)


def test_same_seed_same_path_and_other_seed_another():
    z0, c = inputs(2)
    z0, c, times = z0[:1].expand(2, Z), c[:1].expand(2, E), torch.arange(6) * 0.05
    model = build(gate=0.5)
    path = model(z0, times, c, seeds=torch.tensor([3, 4]))
    assert torch.equal(path, model(z0, times, c, seeds=torch.tensor([3, 4])))
    assert torch.allclose(path.flip(0), model(z0, times, c, seeds=torch.tensor([4, 3])))
    assert not torch.allclose(path[0], path[1], atol=0.01)


def test_seeds_leave_the_global_generator_alone():
    z0, c = inputs(2)
    before = torch.get_rng_state()
    build_state = build()
    torch.set_rng_state(before)
    build_state(z0, torch.arange(4) * 0.1, c, seeds=torch.tensor([1, 2]))
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("width", [1, 5, 16, 20])
def test_a_longer_draw_begins_with_the_shorter_one(width: int):
    seeds, like = torch.tensor([11, 12]), torch.zeros(2, width)
    assert torch.equal(clip_noise(seeds, like, 9)[:, :4], clip_noise(seeds, like, 4))


@pytest.mark.parametrize(("calculus", "a_step"), [("ito", 1), ("stratonovich", 2)])
def test_sde_path_counts_its_evaluations_exactly(calculus: str, a_step: int):
    z0, c = inputs(2)
    model = build(calculus=calculus, steps_per_frame=3)
    model(z0, torch.arange(6) * 0.1, c)
    assert model.nfe == 3 * 5 * a_step


def test_diffusion_starts_small_and_stays_bounded():
    torch.manual_seed(0)
    diffusion = Diffusion(Z, E, hidden=24, time_input=False, text_input=True, gate=0.05)
    z, c = inputs(64)
    at_start = diffusion(torch.tensor(0.0), z, c)
    assert torch.allclose(at_start, torch.full_like(at_start, 0.05), atol=0.04)
    assert diffusion(torch.tensor(0.0), 1e4 * z, c).abs().max() <= 0.1


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"calculus": "rough"}, "calculus='rough'"),
        ({"steps_per_frame": 0}, "steps_per_frame=0"),
        ({"calculus": "reversible", "restart_frames": 0}, "restart_frames=0"),
    ],
)
def test_a_setting_that_cannot_be_is_refused(given: dict, says: str):
    with pytest.raises(UserError, match=says):
        build(**given)


def test_milsteins_diffusion_sees_its_own_coordinate_and_knows_its_slope():
    torch.manual_seed(0)
    diffusion = OwnDiffusion(Z, E, hidden=8, text_input=True, gate=0.05).double()
    z, c = (value.double() for value in inputs(1))
    context, t = diffusion.context(c), torch.tensor(0.0)
    g, slope = diffusion.with_slope(t, z, context)
    whole = torch.autograd.functional.jacobian(lambda z: diffusion.with_slope(t, z, context)[0][0], z)[:, 0]
    assert torch.allclose(whole, slope[0].diag(), atol=1e-12) and slope.abs().min() > 0
    assert torch.allclose(g, torch.full_like(g, 0.05), atol=0.04)
    assert diffusion.with_slope(t, 1e4 * z, context)[0].abs().max() <= 0.1
    assert not torch.allclose(g, diffusion.with_slope(t, z, diffusion.context(-c))[0])


def test_milstein_is_closer_than_euler_to_one_brownian_path():
    z0, c = (value.double() for value in inputs(64))
    times, finest = torch.tensor([0.0, 0.25, 0.5]).double(), 64
    fine = torch.randn(64, 2 * finest, Z, dtype=torch.float64)

    def path(model: StochasticPath, steps: int) -> Tensor:
        model.steps_per_frame = steps
        noise = fine.unflatten(1, (2 * steps, -1)).sum(2) / math.sqrt(finest // steps)
        return model.driven_by(noise, z0, times, c).detach()[:, -1]

    milstein = build(calculus="milstein", gate=1.5).double()
    milstein.diffusion.heights.data.mul_(10)

    euler = build(milstein.drift, milstein.diffusion).double()
    exact = path(milstein, finest)
    assert (path(milstein, 8) - exact).abs().mean() < 0.5 * (path(euler, 8) - exact).abs().mean()


def test_reversible_heun_undoes_its_steps():
    model, (z0, c) = build(calculus="reversible", gate=0.5, steps_per_frame=3), inputs(5)
    times = torch.arange(9) * torch.linspace(0.05, 0.12, 5)[:, None]
    coefficients = model.coefficients(model.drift.context(c), model.diffusion.context(c))
    grid = model.grid(torch.randn(5, 24, Z), times)
    with torch.no_grad():
        state = begin = model.begin(coefficients, times[:, 0], z0)
        for t, dt, dw in grid:
            state = model.advance(coefficients, t, dt, state, dw)
        assert (state[0] - z0).abs().max() > 0.5
        for t, dt, dw in reversed(grid):
            state = model.retreat(coefficients, t, dt, state, dw)
    for there, back in zip(begin, state, strict=True):
        assert torch.allclose(there, back, atol=1e-5)


@pytest.mark.parametrize(("steps", "restart", "restarts"), [(1, 99, 0), (3, 2, 2)])
def test_undoing_the_steps_gives_the_same_path_and_gradient_as_remembering_them(
    steps: int, restart: int, restarts: int
):
    noise, gradients, paths = torch.randn(4, 5 * steps, Z).double(), [], []
    for adjoint in (False, True):
        z0, c = (value.double().requires_grad_() for value in inputs(4))
        model = build(calculus="reversible", gate=0.5, adjoint=adjoint, steps_per_frame=steps, restart_frames=restart)
        model = model.double()
        paths.append(model.driven_by(noise, z0, torch.arange(6).double() * 0.1, c))
        (paths[-1] * torch.linspace(-1, 2, 6)[:, None]).pow(2).sum().backward()
        gradients.append([z0.grad, c.grad, *(weight.grad for weight in model.parameters())])
        assert model.nfe == (5 * steps + 1) + restarts
    assert torch.equal(*paths)
    for direct, adjoint in zip(*gradients, strict=True):
        assert torch.allclose(direct, adjoint, rtol=1e-8, atol=1e-10) and direct.abs().max() > 0


@pytest.mark.parametrize("calculus", ["milstein", "reversible"])
def test_other_steppers_count_their_evaluations_exactly_and_belong_to_the_seed(calculus: str):
    (z0, c), times = inputs(3), torch.arange(6) * 0.1
    model, seeds = build(calculus=calculus, steps_per_frame=3), torch.tensor([3, 4, 5])
    path = model(z0, times, c, seeds)
    assert model.nfe == 3 * 5 + (calculus == "reversible")
    assert torch.allclose(model(z0.flip(0), times, c.flip(0), seeds.flip(0)), path.flip(0), atol=1e-6)


def test_reversible_heun_follows_heun_over_a_long_path_if_it_starts_anew_and_not_otherwise():
    (z0, c), times = inputs(4), torch.arange(121) / 12
    noise = torch.randn(4, 240, Z)

    def path(calculus: str, steps: int, noise: Tensor, **given) -> Tensor:
        model = build(calculus=calculus, steps_per_frame=steps, gate=0.2, **given).requires_grad_(False)
        model.drift.mlp.leave.weight.mul_(4)  # as strong as training makes it
        return model.driven_by(noise, z0, times, c)

    heun = path("stratonovich", 2, noise)
    held, lost = (path("reversible", 2, noise, restart_frames=count) for count in (4, 999))
    apart = [(other - heun).square().mean((0, 2)).sqrt() for other in (held, lost)]
    assert apart[0][:13].max() < 0.05 and apart[1][:13].max() < 0.05  # a window of 1 s
    assert apart[0].max() < 0.3 < 1 < apart[1].max()


@pytest.mark.parametrize(("depth", "text_input"), [(1, True), (2, True), (3, False)])
def test_the_fused_steps_and_their_gradient_are_autograds_own(depth: int, text_input: bool):
    torch.manual_seed(0)
    given = DEFAULTS | {"depth": depth, "text_input": text_input, "time_input": False, "calculus": "ito"}
    model = SdePath(5, 7, **given | {"steps_per_frame": 2, "gate": 0.3}).double()
    z0 = torch.randn(4, 5, dtype=torch.float64, requires_grad=True)
    c = nn.functional.normalize(torch.randn(4, 7, dtype=torch.float64), dim=1)
    times, noise = torch.rand(4, 6, dtype=torch.float64).cumsum(1), torch.randn(4, 10, 5, dtype=torch.float64)
    found = []
    for follow in (StochasticPath.follow, SdePath.follow):
        model.nfe = 0
        path = follow(model, noise, z0, times, model.drift.context(c), model.diffusion.context(c))
        weights = [weight for weight in model.parameters()]
        found.append((path, *torch.autograd.grad((path * torch.arange(5)).sin().sum(), [z0, *weights])))
        assert model.nfe == 10
    for ours, plain in zip(*found[::-1], strict=True):
        assert torch.allclose(ours, plain, rtol=1e-10, atol=1e-12)
