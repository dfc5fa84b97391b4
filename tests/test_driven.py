"""Laws of the path driven by smooth noise, against equations whose solution or law is known."""

import math

import pytest
import torch
from torch import Tensor, nn

from ode_vgan.errors import UserError
from ode_vgan.metrics.solver import there_and_back
from ode_vgan.temporal.driven import DrivenPath
from ode_vgan.temporal.noise import SmoothNoise, smooth_noise
from ode_vgan.temporal.path import anchored_path

B, Z, E = 4, 3, 8
MEMORY = 0.2
DEFAULTS = {
    "hidden": 16, "depth": 2, "noise_hidden": 8, "time_input": True, "text_input": True, "rate": 4.0, "decay": 0.5,
    "gate": 0.5, "correlation_seconds": MEMORY, "solver": "rk4",
}  # fmt: skip
SEEDS = torch.tensor([7, 8, 9, 10])


class Linear(nn.Module):
    """slope * z + offset, in the place of a drift or a diffusion."""

    def __init__(self, slope: float, offset: float = 0.0):
        super().__init__()
        self.slope, self.offset = slope, offset

    def context(self, c: Tensor) -> Tensor:
        return c[:, :1]

    def at(self, t: Tensor, z: Tensor, context: Tensor) -> Tensor:
        return self.slope * z + self.offset


def build(drift: nn.Module | None = None, diffusion: nn.Module | None = None, **given) -> DrivenPath:
    torch.manual_seed(0)
    model = DrivenPath(Z, E, **(DEFAULTS | given))
    if drift is not None:
        model.field.drift, model.field.diffusion, model.field.drift_context = drift, diffusion, 1
    return model.double()


def inputs(batch: int = B) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(4)
    c = torch.randn(batch, E, generator=generator, dtype=torch.float64)
    return torch.randn(batch, Z, generator=generator, dtype=torch.float64), nn.functional.normalize(c, dim=1)


def integral(noise: SmoothNoise, t: Tensor) -> Tensor:
    """X(t) - X(0), (T, B, Z) at t (T,): the noise's own antiderivative, wave by wave."""
    angle = t[:, None, None] * noise.frequencies
    waves = torch.cat([angle.sin() / noise.frequencies, (1 - angle.cos()) / noise.frequencies], -1)
    return (waves.unsqueeze(2) @ noise.amplitudes).squeeze(2)


def test_the_path_of_an_exact_equation_is_the_noise_integrated():
    z0, c = inputs()
    times = torch.tensor([0.0, 0.03, 0.4, 0.5, 1.7], dtype=torch.float64)
    driver = integral(smooth_noise(SEEDS, z0, MEMORY), times).transpose(0, 1)
    added = build(Linear(0.0), Linear(0.0, 0.7), step_seconds=0.02)(z0, times, c, SEEDS)
    assert torch.allclose(added, z0[:, None] + 0.7 * driver, atol=1e-6)
    scaled = build(Linear(-0.3), Linear(0.7), step_seconds=0.02)(z0, times, c, SEEDS)
    assert torch.allclose(scaled, z0[:, None] * (0.7 * driver - 0.3 * times[None, :, None]).exp(), atol=1e-5)


def test_noise_has_its_variance_and_correlation_time_at_any_time():
    clips = 4000
    noise = smooth_noise(torch.arange(clips), torch.zeros(clips, Z), MEMORY)
    lags = MEMORY * torch.tensor([0.0, 0.5, 1.0, 2.0, 3.0])
    for start in (-7.0, 0.0, 40.0):
        values = torch.stack([noise.at(start + lag) for lag in lags]).flatten(1) * math.sqrt(MEMORY * math.tau**0.5)
        # 12,000 values: 1.3 % of sampling error
        assert abs(float(values[0].mean())) < 0.04
        assert torch.allclose((values * values[0]).mean(1), (-((lags / MEMORY) ** 2) / 2).exp(), atol=0.045)
        assert abs(float(values[0].pow(4).mean()) - 3) < 0.25  # a normal law's fourth moment
    across = torch.corrcoef(noise.at(torch.tensor(0.3)).T)
    assert across.triu(1).abs().max() < 0.06  # coordinates have noise of their own


def test_noise_of_short_memory_drives_ornstein_and_uhlenbecks_law():
    pull, sigma, clips = 1.5, 0.6, 3000
    for memory in (0.05, 0.4):
        model = build(Linear(-pull), Linear(0.0, sigma), correlation_seconds=memory, step_seconds=0.1).float()
        end = model(torch.zeros(clips, Z), torch.tensor([0.0, 3.0]), torch.ones(clips, E), torch.arange(clips))[:, 1]
        white = sigma**2 / (2 * pull)
        coloured = white * math.exp((pull * memory) ** 2 / 2) * math.erfc(pull * memory / math.sqrt(2))
        assert abs(float(end.var()) / coloured - 1) < 0.06  # 9,000 values: 1.5 %
        assert abs(float(end.var()) / white - 1) < 0.12 or memory == 0.4


@pytest.mark.parametrize("width", [1, 5, 16, 40])
def test_noise_belongs_to_the_seed_whatever_the_width(width: int):
    like, t = torch.zeros(B, width), torch.tensor(0.37)
    drawn = smooth_noise(SEEDS, like, MEMORY).at(t)
    assert torch.equal(drawn, smooth_noise(SEEDS, like, MEMORY).at(t))
    assert torch.allclose(drawn.flip(0), smooth_noise(SEEDS.flip(0), like, MEMORY).at(t))
    assert torch.allclose(drawn, smooth_noise(SEEDS, like, MEMORY).at(t.expand(B)))
    assert len(drawn[:, 0].unique()) == B
    assert not torch.equal(smooth_noise(None, like, MEMORY).at(t), smooth_noise(None, like, MEMORY).at(t))


@pytest.mark.parametrize(("solver", "order"), [("euler", 1), ("midpoint", 2), ("rk4", 4)])
def test_fixed_solver_keeps_its_order_under_the_noise(solver: str, order: int):
    z0, c = inputs()
    times = torch.tensor([[0.0, 0.3, 0.4], [0.1, 0.2, 0.6], [0.0, 0.1, 0.2], [-1.0, -0.7, -0.5]]).double()
    exact = build(solver="rk4", steps_per_frame=80)(z0, times, c, SEEDS)
    coarse, fine = (
        float((build(solver=solver, steps_per_frame=steps)(z0, times, c, SEEDS) - exact).detach().abs().max())
        for steps in (10, 20)
    )
    assert abs(math.log2(coarse / fine) - order) < 0.3


def test_a_value_does_not_depend_on_which_other_times_are_asked():
    z0, c = inputs()
    model = build(step_seconds=0.02)
    fine = torch.linspace(0, 0.9, 46, dtype=torch.float64)
    path = model(z0, fine, c, SEEDS)
    for asked in ([0, 45], [0, 7, 8, 30], [0, 20, 45]):
        assert torch.allclose(model(z0, fine[asked], c, SEEDS), path[:, asked], atol=1e-5)  # rk4's error
    adaptive = build(solver="dopri5", rtol=1e-7, atol=1e-8)
    assert torch.allclose(adaptive(z0, fine[[0, 7, 30]], c, SEEDS), path[:, [0, 7, 30]], atol=1e-4)


def test_a_clip_does_not_depend_on_its_company_or_place():
    z0, c = inputs()
    model, times = build(), torch.arange(6).double() * 0.08
    together = model(z0, times, c, SEEDS)
    order = torch.tensor([2, 0, 3, 1])
    assert torch.allclose(model(z0[order], times, c[order], SEEDS[order]), together[order], atol=1e-10)
    assert torch.allclose(model(z0[1:2], times, c[1:2], SEEDS[1:2]), together[1:2], atol=1e-10)
    before = torch.get_rng_state()
    model(z0, times, c, SEEDS)
    assert torch.equal(torch.get_rng_state(), before)


def test_another_seed_is_another_path_and_the_noise_is_the_only_difference():
    z0, c = (value[:1].expand(2, -1) for value in inputs())
    times = torch.arange(8).double() * 0.1
    loud, quiet = (build(gate=gate)(z0, times, c, SEEDS[:2]) for gate in (0.5, 0.0))
    assert (loud[0] - loud[1])[-1].abs().max() > 0.1
    assert torch.allclose(quiet[0], quiet[1], atol=1e-12)


def test_path_reverses_along_its_own_noise():
    z0, c = inputs()
    model, times = build(step_seconds=0.01), torch.linspace(0, 0.5, 5, dtype=torch.float64)
    there = model.flow(z0, times, c, SEEDS)
    back = model.flow(there[:, -1], times.flip(0), c, SEEDS)
    assert torch.allclose(back.flip(1), there, atol=1e-6)
    other = model.flow(there[:, -1], times.flip(0), c, SEEDS.flip(0))
    assert not torch.allclose(other.flip(1), there, atol=1e-2)
    assert torch.allclose(there_and_back(model, z0, times, c, SEEDS)[0], z0, atol=1e-6)


def test_path_goes_smoothly_through_its_anchor():
    z0, c = inputs()
    h = 1e-3
    times = torch.tensor([-2 * h, -h, 0, h, 2 * h], dtype=torch.float64)
    path = anchored_path(build(), z0, times, c, SEEDS)
    assert torch.equal(path[:, 2], z0)
    before, after = (path[:, 2] - path[:, 1]) / h, (path[:, 3] - path[:, 2]) / h
    assert torch.allclose(before, after, atol=0.1) and before.abs().max() > 0.5


@pytest.mark.parametrize("shared", [False, True])
def test_adjoint_gradient_equals_the_direct_one(shared: bool):
    gradients = []
    for adjoint in (False, True):
        z0, c = (value.requires_grad_() for value in inputs())
        times = torch.tensor([0.0, 0.2, 0.5]).double()
        model = build(adjoint=adjoint, steps_per_frame=8)
        path = model(z0, times if shared else times.expand(B, 3), c, SEEDS)
        path[:, 1:].pow(2).sum().backward()
        gradients.append([z0.grad, c.grad, *(weight.grad for weight in model.parameters())])
    for direct, adjoint in zip(*gradients, strict=True):
        assert torch.allclose(direct, adjoint, rtol=1e-3, atol=1e-4 * float(direct.abs().max()))


def test_a_memory_that_cannot_be_is_refused():
    with pytest.raises(UserError, match="correlation_seconds=0.0"):
        build(correlation_seconds=0.0)
