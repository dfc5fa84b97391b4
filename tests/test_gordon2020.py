"""Laws of the temporal models of 2020: their sizes, their equations, the named defects and the contract."""

from pathlib import Path

import numpy as np
import pytest
import torch
from hydra import compose, initialize_config_dir
from hydra.utils import instantiate
from omegaconf import OmegaConf
from torch import Tensor, nn

from ode_vgan.build import build as build_config
from ode_vgan.errors import UserError
from ode_vgan.temporal.gordon2020 import HigherOrderOde, HigherOrderOdeCorrected, LatentOde
from ode_vgan.temporal.gordon2020_conv import ConvLstmPath, map_shape
from ode_vgan.temporal.gordon2020_fields import TanhField
from ode_vgan.temporal.gordon2020_frames import DeconvPath, GruPath
from ode_vgan.temporal.gordon2020_sde import LatentSde, LatentSdeCorrected
from ode_vgan.temporal.noise import clip_noise
from ode_vgan.temporal.path import TemporalModel, anchored_path
from tests import known2020

CONF = Path(__file__).parents[1] / "conf"
CONFIGS = {path.stem: path for path in sorted((CONF / "temporal" / "gordon2020").glob("*.yaml"))}
B, T, E = 3, 16, 8
EVEN = torch.arange(T) * 0.08
EVERY = pytest.mark.parametrize("name", CONFIGS)

# The figures of the published code, counted by hand from its layers, without TGANv2's first linear layer.
PUBLISHED = {
    "tgan": 826_468, "tgan_ode": 10_100, "tgan_ode_lin": 638_424, "tgan_ode_deep": 648_524, "tgan_ode_eq": 825_002,
    "mocogan": 1_632, "mocogan_ode_lin": 2_400, "mocogan_ode_deep": 2_672, "mocogan_ode_eq": 1_633,
    "mocogan_ode_2": 2_177, "mocogan_ode_3": 2_449, "mocogan_sde": 3_266,
}  # fmt: skip
MILLIONS = {"tgan2": "75.5", "tgan2_ode": "9.44", "tgan2_sde": "18.9"}


def linear(inputs: int, outputs: int) -> int:
    return inputs * outputs + outputs


LIN = linear(100, 512) + 2 * linear(512, 512) + linear(512, 100)
COUNTED = {  # from the arithmetic of layers; `PUBLISHED` where the figure is known from elsewhere
    "tgan_ode_2": LIN + 3 * linear(100, 100),
    "tgan_ode_3": LIN + 4 * linear(100, 100),
    "tgan_sde": LIN + 2 * linear(100, 100),
    "tgan_ode_2_corrected": LIN + linear(200, 100) + 2 * linear(100, 100),
    "tgan_ode_3_corrected": LIN + linear(300, 100) + 3 * linear(100, 100),
    "tgan_sde_corrected": LIN + 2 * linear(100, 100) + 100,
    "mocogan_ode_2_corrected": linear(32, 49) + linear(49, 16) + 2 * linear(16, 16),
    "mocogan_ode_3_corrected": linear(48, 49) + linear(49, 16) + 3 * linear(16, 16),
    "mocogan_sde_corrected": 2 * (linear(16, 49) + linear(49, 16)) + 16,
    "tgan2": 2 * 1024 * 4096 * 9 + 4096,
    "tgan2_ode": 1024 * 1024 * 9 + 1024,
    "tgan2_ode_corrected": 1024 * 1024 * 9 + 1024,
    "tgan2_sde": 2 * (1024 * 1024 * 9 + 1024),
    "tgan2_sde_corrected": 2 * (1024 * 1024 * 9 + 1024) + 9216,
}


def build(name: str, dim: int | None = None, noise_dim: int | None = None, gap: float | None = 0.08) -> TemporalModel:
    dim = dim or (36 if name.startswith("tgan2") else 6)  # 36 numbers are 4 channels of 3 x 3
    given = {
        "motion_dim": dim,
        "noise_dim": noise_dim or dim,
        "embed_dim": E,
        "gap_seconds": gap,
        "data": {"frames": T},
        "temporal": OmegaConf.load(CONFIGS[name]),
    }
    torch.manual_seed(0)
    return instantiate(OmegaConf.create(given).temporal)


def inputs(model: TemporalModel, dtype: torch.dtype = torch.float32) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(1)
    c = nn.functional.normalize(torch.randn(B, E, generator=generator), dim=1)
    return torch.randn(B, model.start_dim, generator=generator).to(dtype), c.to(dtype)


@pytest.mark.parametrize("name", [*PUBLISHED, *COUNTED])
def test_every_variant_has_the_published_number_of_parameters(name: str):
    dim = {"tgan": 100, "mocogan": 16, "tgan2": 9216}[name.split("_")[0]]
    with torch.device("meta"):
        model = build(name, dim, 256 if dim == 9216 else dim)
    sizes = {key: weight.numel() for key, weight in model.named_parameters()}
    start = linear(256, 9216) if dim == 9216 else 0
    count = sum(sizes.values()) - start
    assert count == (PUBLISHED | COUNTED)[name]
    if name in MILLIONS:
        assert f"{count / 1e6:.3g}" == MILLIONS[name]
    assert f"{count:,}" in CONFIGS[name].read_text().splitlines()[0]
    assert not start or start == sizes["start.layer.weight"] + sizes["start.layer.bias"]


def test_every_config_is_counted():
    assert CONFIGS.keys() == (PUBLISHED | COUNTED).keys()


@EVERY
def test_every_variant_follows_its_equations(name: str):
    model = build(name, noise_dim=5 if name.startswith("tgan2") else None).double()
    generator = torch.Generator().manual_seed(2)
    for weight in model.parameters():  # none of them stays at the 0 or 1 it starts from
        weight.data += 0.3 * torch.randn(weight.shape, generator=generator)
    x, c = inputs(model, torch.float64)
    times = (EVEN.double() * torch.tensor([[1.0], [0.7], [1.3]])).contiguous()
    if model.any_gap:
        times += 0.03 * torch.rand(B, T, generator=generator)
        times -= times[:, :1].clone()
    seeds = torch.tensor([4, 5, 6])
    found = model(x, times, c, seeds)
    noise = clip_noise(seeds, torch.empty(B, model.dim, dtype=torch.float64), 64)
    weights = {key: value.detach().numpy() for key, value in model.named_parameters()}
    unit = times.numpy() / (15 * 0.08)
    known = known2020.path(name, weights, x.numpy(), unit, noise.numpy())
    assert found.shape == known.shape == (B, T, model.dim)
    np.testing.assert_allclose(found.detach().numpy(), known, rtol=1e-9, atol=1e-7)


@pytest.mark.parametrize(
    ("name", "nfe"),
    [
        ("tgan_ode_lin", {60}), ("tgan_ode_3", {60}), ("mocogan_ode_2_corrected", {60}), ("tgan2_ode", {60}),
        ("tgan_sde", {40, 41}), ("mocogan_sde_corrected", {45}), ("tgan2_sde", {20, 21}), ("tgan2_sde_corrected", {30}),
        ("tgan", {1}), ("mocogan", {16}), ("tgan2", {16}),
    ],
)  # fmt: skip
def test_sixteen_frames_cost_as_many_evaluations_as_published(name: str, nfe: set[int]):
    model = build(name)  # a Brownian path gets one more step where 40 of 0.025 fall short of 1 by rounding
    model(inputs(model)[0], EVEN, inputs(model)[1])
    assert model.nfe in nfe


def test_one_frame_gap_is_one_step_of_torchdiffeqs_rk4():
    from torchdiffeq import odeint

    model = build("tgan_ode_lin")
    x, c = inputs(model)
    theirs = odeint(lambda t, z: model.field(z), model.start(x), torch.linspace(0, 1, T), method="rk4").transpose(0, 1)
    assert torch.allclose(model(x, EVEN, c), theirs, atol=1e-6)


# The named defects, and their corrections.


@pytest.mark.parametrize("name", ["tgan_ode_2", "tgan_ode_3", "mocogan_ode_2", "mocogan_ode_3"])
def test_published_higher_orders_ignore_position_and_corrected_ones_do_not(name: str):
    moved = 0.5
    drift = {}
    for model in (build(name), build(f"{name}_corrected")):
        state = model.begin(inputs(model)[0])
        elsewhere = state.clone()
        elsewhere[:, -model.dim :] += moved
        path, other = (model.flow(start, EVEN)[..., -model.dim :] for start in (state, elsewhere))
        drift[type(model)] = float((other - path - moved).abs().max().detach())
    assert drift[HigherOrderOde] < 1e-5
    assert drift[HigherOrderOdeCorrected] > 1e-3


def test_a_corrected_second_order_can_be_a_spring():
    field = TanhField(2, derivatives=2, gain=None)
    model = HigherOrderOdeCorrected(
        2, E, frames=T, gap_seconds=None, start=None, field=field, order=2, gain=None
    ).double()
    turns, small = 2 * np.pi, 1e-3
    with torch.no_grad():
        field.layer.weight.copy_(torch.cat([torch.zeros(2, 2), -(turns**2) * torch.eye(2)], 1))  # z'' = -turns^2 z
        field.layer.bias.zero_()
        start = torch.tensor([[0.0, 0.0, small, -small]], dtype=torch.float64)
        times = torch.linspace(0, 1, T, dtype=torch.float64)
        z = model.flow(start, times)[0, :, -2:] / small
    assert torch.allclose(z[:, 0], (turns * times).cos(), atol=5e-3)  # 15 steps a period, and tanh bends by z^2 / 3
    assert torch.allclose(z[:, 0], -z[:, 1])


class Constant(nn.Module):
    """A drift or diffusion that is the same everywhere."""

    def __init__(self, value: float):
        super().__init__()
        self.value = value

    def forward(self, state: Tensor) -> Tensor:
        return torch.full_like(state, self.value)


def walk(kind: type, dim: int = 16, **given) -> TemporalModel:
    return kind(dim, E, frames=T, gap_seconds=0.08, start=None, drift=Constant(0.0), diffusion=Constant(1.0), **given)


def increments(model: TemporalModel, batch: int = 1500) -> Tensor:
    """Variance of the noise between frames over what it should be, for each of the 15 gaps."""
    path = model(torch.zeros(batch, 16), EVEN, torch.zeros(batch, E), torch.arange(batch))
    return path.diff(dim=1).var(dim=(0, 2)) * 15


def test_published_steps_lose_noise_between_frames_and_corrected_ones_do_not():
    published = increments(walk(LatentSde, dt=0.025))
    assert 0.79 < published.min() < 0.84 and 0.91 < published.max() < 0.97  # 0.81 to 0.94; 24,000 values: 1 %
    assert torch.allclose(published[:3], published[3:6], atol=0.04)  # 8 steps are 3 frames
    assert torch.allclose(
        increments(walk(LatentSdeCorrected, steps_per_frame=3, gate=1.0)), torch.ones(T - 1), atol=0.04
    )


@pytest.mark.parametrize(("name", "dt"), [("tgan_sde", 0.025), ("mocogan_sde", 0.025), ("tgan2_sde", 0.05)])
def test_published_sde_equals_torchsde_on_the_same_brownian_path(name: str, dt: float):
    torchsde = pytest.importorskip("torchsde")
    model = build(name)
    state = model.begin(inputs(model)[0]).detach()
    times = torch.linspace(0, 1, T) * model.window_seconds
    nodes = model.nodes(model.unit(times))[0]
    noise = torch.randn(B, len(nodes) - 1, model.dim, generator=torch.Generator().manual_seed(3))
    steps = noise * nodes.diff().sqrt()[:, None]

    class Brownian(torchsde.BaseBrownian):
        dtype, device, shape, levy_area_approximation = state.dtype, state.device, state.shape, "none"

        def __call__(self, begin, end, return_U=False, return_A=False):  # noqa: N803
            i = int((nodes - begin).abs().argmin())
            assert torch.isclose(nodes[i + 1], end, atol=1e-6)  # theirs steps where ours does
            return steps[:, i]

        def __repr__(self):
            return "a given walk"

    class Equation(nn.Module):
        noise_type, sde_type = "diagonal", "ito"

        def f(self, t, z):
            return model.drift(z)

        def g(self, t, z):
            return model.diffusion(z)

    with torch.no_grad():
        theirs = torchsde.sdeint(Equation(), state, model.unit(times)[0], bm=Brownian(), method="euler", dt=dt)
        ours = model.driven_by(noise, state, times)
    assert torch.allclose(ours, theirs.transpose(0, 1), atol=1e-5)


@pytest.mark.parametrize("family", ["tgan", "mocogan", "tgan2"])
def test_corrected_noise_starts_a_twentieth_of_the_published_and_is_learnable(family: str):
    published, corrected = build(f"{family}_sde"), build(f"{family}_sde_corrected")
    z = torch.randn(500, corrected.dim, generator=torch.Generator().manual_seed(4))
    ratio = corrected.diffusion(z).pow(2).mean() / published.diffusion(z).pow(2).mean()
    assert corrected.diffusion.gate.requires_grad and 0.02 < ratio.sqrt() < 0.06
    assert torch.allclose(corrected.diffusion(z), 0.05 * corrected.diffusion.inner(z))


def test_the_published_conv_field_grows_and_the_corrected_one_is_bounded():
    times = torch.arange(4 * T) * 0.08
    peak = {}
    for name in ("tgan2_ode", "tgan2_ode_corrected"):
        model = build(name, 64 * 9, 16)
        path = model(inputs(model)[0], times, inputs(model)[1])
        peak[name] = float((path - path[:, :1]).abs().amax().detach())
    horizon = float(times[-1]) / (15 * 0.08)
    assert peak["tgan2_ode_corrected"] <= horizon < peak["tgan2_ode"]


# The contract.


@EVERY
def test_a_path_starts_at_the_noise_or_declares_that_it_does_not(name: str):
    model = build(name)
    x, c = inputs(model)
    assert model.starts_at_z0 == (name in {"tgan_ode", "mocogan_ode_eq", "mocogan_sde", "mocogan_sde_corrected"})
    for times in (EVEN, EVEN * torch.tensor([[1.0], [0.5], [2.0]])):
        path = model(x, times, c)
        assert path.shape == (B, T, model.dim) and model.nfe > 0
        assert torch.equal(path[:, 0], x) == model.starts_at_z0


@EVERY
def test_a_path_is_float32_and_unchanged_under_autocast(name: str):
    model = build(name)
    x, c = inputs(model)
    seeds = torch.arange(B)
    plain = model(x, EVEN, c, seeds)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        inside = model(x, EVEN, c, seeds)
    assert inside.dtype == torch.float32 and torch.equal(inside, plain)


@EVERY
def test_the_gradient_reaches_the_noise_and_every_weight(name: str):
    model = build(name)
    x = inputs(model)[0].requires_grad_()
    model(x, EVEN, inputs(model)[1])[:, 1:].pow(2).sum().backward()
    dead = {f"layers.{i}.bias" for i in (0, 3, 6, 9)} if name == "tgan" else set()  # batch norm takes it off again
    for key, value in [("x", x), *model.named_parameters()]:
        assert value.grad is not None and value.grad.isfinite().all(), key
        assert value.grad.abs().max() > 0 or key in dead, key


@EVERY
def test_a_clip_does_not_depend_on_its_company_or_place(name: str):
    model = build(name).eval()  # in training TGAN normalises by the batch
    x, c = inputs(model)
    times = EVEN * torch.tensor([[1.0], [0.6], [0.8]])
    seeds, order = torch.tensor([7, 8, 9]), torch.tensor([2, 0, 1])
    together = model(x, times, c, seeds)
    assert torch.equal(together, model(x, times, c, seeds))
    assert torch.allclose(model(x[order], times[order], c[order], seeds[order]), together[order], atol=1e-5)
    assert torch.allclose(model(x[1:2], times[1:2], c[1:2], seeds[1:2]), together[1:2], atol=1e-5)
    assert torch.allclose(model(x, EVEN, c, seeds), model(x, EVEN.expand(B, T), c, seeds), atol=1e-6)


@EVERY
def test_only_models_with_step_noise_draw_along_the_path(name: str):
    model = build(name)
    x, c = inputs(model)
    assert model.step_noise == ("sde" in name or name == "mocogan")
    assert torch.equal(model(x, EVEN, c), model(x, EVEN, c)) != model.step_noise
    torch.manual_seed(5)
    path = model(x, EVEN, c)
    torch.manual_seed(5)
    assert torch.equal(path, model(x, EVEN, c))


@EVERY
def test_other_times_are_followed_or_refused_as_declared(name: str):
    model = build(name)
    x, c = inputs(model)
    assert model.continuous == model.backward == ("ode" in name)
    uneven = EVEN.clone()
    uneven[T // 2 :] += 0.05
    asked = {"any_gap": (uneven, "uniform"), "backward": (-EVEN, "cannot run backward")}
    asked["extrapolates"] = (torch.arange(2 * T) * 0.08, "32 frames asked")
    for can, (times, says) in asked.items():
        if getattr(model, can):
            assert model(x, times, c).isfinite().all()
        else:
            with pytest.raises(UserError, match=says):
                model(x, times, c)
    if not model.any_gap:
        with pytest.raises(UserError, match=r"gap 0.16 s; \w+ was trained at 0.08 s"):
            model(x, 2 * EVEN, c)
        assert torch.equal(model.eval()(x, EVEN, c, torch.arange(B)), model(x, EVEN + 3, c, torch.arange(B)))


@pytest.mark.parametrize("name", [name for name in CONFIGS if "ode" in name])
def test_an_ode_is_continuous_and_can_be_run_backward(name: str):
    model = build(name)
    x, c = inputs(model)
    fine = torch.linspace(0, 1.2, 61)
    assert torch.allclose(model(x, fine, c)[:, ::5], model(x, fine[::5], c), atol=2e-3)
    state = model.begin(x)
    there = model.flow(state, EVEN)
    assert torch.allclose(model.flow(there[:, -1], EVEN.flip(0)).flip(1), there, atol=2e-3)  # a LeakyReLU has kinks


@pytest.mark.parametrize("name", ["tgan_ode", "tgan_ode_lin", "tgan_ode_2"])
def test_a_window_that_starts_later_is_the_end_of_a_longer_one(name: str):
    x, c = inputs(build(name))
    later = torch.tensor([0.08, 0.16])
    whole = build(name)(x, torch.tensor([0.0, 0.08, 0.16]), c)
    assert torch.equal(anchored_path(build(name), x, later, c), whole[:, 1:])


@pytest.mark.parametrize("name", ["tgan", "mocogan"])
def test_what_knows_no_time_makes_windows_from_zero(name: str):
    x, c = inputs(build(name))
    with pytest.raises(UserError, match="maps a window from 0 s"):
        anchored_path(build(name), x, torch.tensor([0.08, 0.16]), c)


@pytest.mark.parametrize("name", ["tgan_ode_lin", "tgan_sde", "mocogan_sde_corrected", "mocogan", "tgan2"])
def test_one_frame_is_a_path_and_time_has_no_origin(name: str):
    model = build(name).eval()
    x, c = inputs(model)
    seeds = torch.arange(B)
    assert torch.allclose(model(x, torch.tensor([2.0]), c, seeds)[:, 0], model(x, EVEN, c, seeds)[:, 0], atol=1e-6)


def test_without_a_gap_the_window_is_one_second():
    x, c = inputs(build("tgan_ode_lin"))
    second = build("tgan_ode_lin", gap=None)(x, torch.linspace(0, 1, T), c)
    assert torch.allclose(second, build("tgan_ode_lin")(x, torch.linspace(0, 1, T) * 15 * 0.08, c), atol=1e-6)


def test_the_state_of_tgan2_is_a_map():
    assert map_shape(9216, 3) == (1024, 3, 3) and map_shape(64, 3) == (16, 2, 2) and map_shape(7, 3) == (7, 1, 1)


def refused(**given) -> dict:
    return {"frames": T, "gap_seconds": None, "start": None} | given


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: LatentOde(2, E, **refused(frames=1, field=Constant(0))), "frames=1"),
        (lambda: HigherOrderOde(2, E, **refused(field=Constant(0), order=1, gain=None)), "order=1"),
        (
            lambda: HigherOrderOdeCorrected(
                2, E, **refused(field=TanhField(2, derivatives=1, gain=None), order=2, gain=None)
            ),
            "field.derivatives=1; .* sees 2",
        ),
        (lambda: walk(LatentSde, dt=0.0), "dt=0.0"),
        (lambda: walk(LatentSdeCorrected, steps_per_frame=0, gate=1.0), "steps_per_frame=0"),
        (lambda: DeconvPath(4, E, widths=[8], frames=1, gap_seconds=None), "frames=1"),
        (lambda: map_shape(8, 0), "side=0"),
        (lambda: build("tgan2", noise_dim=5)(torch.zeros(2, 36), EVEN, torch.zeros(2, E)), "36 numbers of noise"),
    ],
)
def test_a_setting_that_cannot_be_is_refused_in_one_line(make, says: str):
    with pytest.raises(UserError, match=says) as caught:
        make()
    assert "\n" not in str(caught.value)


def test_frames_are_numbers_to_models_without_time():
    for kind in (DeconvPath, GruPath, ConvLstmPath):
        assert not (kind.continuous or kind.any_gap or kind.backward or kind.starts_at_z0)


@pytest.fixture(scope="module")
def plain_run() -> dict:
    small = ["data.size=16", "style_dim=16", "embed_dim=8", "gap_seconds=0.08"]
    small += [f"{part}.channel_base=128" for part in ("decoder", "discriminator.frame", "discriminator.clip")]
    with initialize_config_dir(str(CONF), version_base="1.3"):
        return {
            name: OmegaConf.to_container(compose("train", [*small, f"temporal=gordon2020/{name}"]), resolve=True)
            for name in ("tgan_ode_lin", "mocogan", "tgan2_sde")
        }


def test_the_modern_generator_takes_them_as_any_other_temporal_model(plain_run: dict):
    for made in plain_run.values():
        generator = build_config(made["model"]["generator"])
        assert generator.temporal.dim == 64
        z0 = generator.to_start(torch.randn(2, 64), torch.zeros(2, 8))
        assert generator.temporal(z0, EVEN, torch.zeros(2, 8)).shape == (2, T, 64)
