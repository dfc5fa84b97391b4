"""The contract that every config in conf/temporal obeys."""

from pathlib import Path

import pytest
import torch
from hydra.utils import instantiate
from omegaconf import OmegaConf

from ode_vgan.errors import UserError
from ode_vgan.temporal.path import TemporalModel, anchored_path

CONFIGS = sorted((Path(__file__).parents[1] / "conf" / "temporal").glob("*.yaml"))
B, T, Z, E = 4, 8, 16, 24
EVEN = torch.arange(T) * 0.08
UNEVEN = torch.tensor([0.0, 0.05, 0.1, 0.3, 0.35, 0.5, 0.51, 0.9])


def build(name: str) -> TemporalModel:
    path = next(config for config in CONFIGS if config.stem == name)
    given = {
        "motion_dim": Z,
        "embed_dim": E,
        "gap_seconds": None,
        "data": {"frames": T},
        "temporal": OmegaConf.load(path),
    }
    torch.manual_seed(0)
    return instantiate(OmegaConf.create(given).temporal)


def inputs(batch: int = B) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    c = torch.randn(batch, E, generator=generator)
    return torch.randn(batch, Z, generator=generator), torch.nn.functional.normalize(c, dim=1)


@pytest.fixture(params=[config.stem for config in CONFIGS])
def model(request: pytest.FixtureRequest) -> TemporalModel:
    return build(request.param)


def test_every_family_of_the_study_has_a_config():
    smooth = {"ode", "ode2", "sde", "sde_stratonovich", "driven"}
    stepped = {"rnn", "rnn_quiet", "lstm", "lstm_quiet", "transformer", "ssm"}
    assert smooth | stepped | {"anchors", "discrete"} <= {config.stem for config in CONFIGS}


def test_path_starts_exactly_where_it_is_told_or_declares_that_it_does_not(model: TemporalModel):
    z0, c = inputs()
    for times in (EVEN, EVEN * torch.tensor([1.0, 0.5, 2.0, 3.0])[:, None]):
        path = model(z0, times, c)
        assert path.shape == (B, T, Z)
        assert torch.equal(path[:, 0], z0) == model.starts_at_z0
        assert model.nfe > 0


def test_path_is_float32_and_unchanged_under_autocast(model: TemporalModel):
    z0, c = inputs()
    seeds = torch.arange(B)
    plain = model(z0, EVEN, c, seeds)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        inside = model(z0, EVEN, c, seeds)
        from_half = model(z0.bfloat16(), EVEN, c.bfloat16(), seeds)
    assert inside.dtype == from_half.dtype == torch.float32
    assert torch.equal(inside, plain)


def test_gradient_reaches_the_latent_the_text_and_every_weight(model: TemporalModel):
    z0, c = (value.requires_grad_() for value in inputs())
    path = model(z0, EVEN.expand(B, T), c)
    path[:, 1:].pow(2).sum().backward()
    for name, value in [("z0", z0), ("c", c), *model.named_parameters()]:
        assert value.grad is not None, name
        assert value.grad.isfinite().all() and value.grad.abs().max() > 0, name


def test_a_clip_does_not_depend_on_its_company_or_place(model: TemporalModel):
    z0, c = inputs()
    # gaps of 0.055 to 0.08 s: one longer than `step_seconds` gives an ODE's whole batch finer steps
    times = EVEN * torch.tensor([1.0, 0.7, 0.8, 0.9])[:, None]
    seeds = torch.tensor([7, 8, 9, 10])
    together = model(z0, times, c, seeds)
    order = torch.tensor([2, 0, 3, 1])
    shuffled = model(z0[order], times[order], c[order], seeds[order])
    alone = model(z0[1:2], times[1:2], c[1:2], seeds[1:2])
    assert torch.allclose(shuffled, together[order], atol=1e-5)  # matrix products round by batch shape
    assert torch.allclose(alone, together[1:2], atol=1e-5)


def test_shared_times_equal_the_same_times_per_clip(model: TemporalModel):
    z0, c = inputs()
    seeds = torch.arange(B)
    assert torch.allclose(model(z0, EVEN, c, seeds), model(z0, EVEN.expand(B, T), c, seeds), atol=1e-6)


def test_only_models_with_step_noise_draw_along_the_path(model: TemporalModel):
    z0, c = inputs()
    first, second = model(z0, EVEN, c), model(z0, EVEN, c)
    assert torch.equal(first, second) != model.step_noise
    torch.manual_seed(5)
    third = model(z0, EVEN, c)
    torch.manual_seed(5)
    assert torch.equal(third, model(z0, EVEN, c))


def test_a_seed_names_the_noise_of_a_clip(model: TemporalModel):
    z0, c = inputs()
    path = model(z0, EVEN, c, torch.arange(B))
    assert torch.equal(path, model(z0, EVEN, c, torch.arange(B)))
    other = model(z0, EVEN, c, torch.arange(B) + torch.tensor([100, 0, 0, 100]))
    assert torch.allclose(path[1:3], other[1:3], atol=1e-6)
    for clip in (0, 3):
        assert torch.allclose(path[clip], other[clip], atol=1e-6) != model.step_noise


def test_uneven_frames_are_followed_or_refused_as_declared(model: TemporalModel):
    z0, c = inputs()
    if model.any_gap:
        assert model(z0, UNEVEN, c).isfinite().all()
    else:
        with pytest.raises(UserError, match="uniform"):
            model(z0, UNEVEN, c)


def test_falling_times_are_followed_or_refused_as_declared(model: TemporalModel):
    z0, c = inputs()
    if model.backward:
        path = model(z0, -EVEN, c)
        assert path.isfinite().all() and torch.equal(path[:, 0], z0) == model.starts_at_z0
    else:
        with pytest.raises(UserError, match="cannot run backward"):
            model(z0, -EVEN, c)


def test_four_horizons_stay_finite_or_are_refused_as_declared(model: TemporalModel):
    z0, c = inputs()
    times = torch.arange(4 * T) * 0.25
    if model.extrapolates:
        assert model(3 * z0, times, c).abs().max() < 100
    else:
        with pytest.raises(UserError, match="frames asked"):
            model(z0, times, c)


def test_path_at_a_time_is_independent_of_other_times_as_declared(model: TemporalModel):
    if not model.continuous:
        pytest.skip("declares that it is not continuous")
    z0, c = inputs()
    fine, seeds = torch.linspace(0, 0.6, 61), torch.arange(B)  # one noise, where there is noise
    few, many = model(z0, fine[::10], c, seeds), model(z0, fine, c, seeds)
    assert torch.allclose(many[:, ::10], few, atol=0.05)  # midpoint's error


def test_first_frames_are_the_same_however_many_are_asked_for(model: TemporalModel):
    if not model.extrapolates:
        pytest.skip("declares that it makes one number of frames")
    z0, c = inputs()
    times = (UNEVEN if model.any_gap else EVEN).expand(B, T)
    seeds = torch.arange(B)
    path = model(z0, times, c, seeds)
    for count in (1, 2, 5):
        assert torch.allclose(model(z0, times[:, :count], c, seeds), path[:, :count], atol=1e-5)
    later = times.clone()
    later[:, 5:] += 0.2
    assert torch.allclose(model(z0, later, c, seeds)[:, :5], path[:, :5], atol=1e-5)


@pytest.mark.parametrize(
    ("times", "says"),
    [
        (torch.tensor([0.0, 0.1, 0.1]), r"times\[1\]=0.1 s, times\[2\]=0.1 s"),
        (torch.tensor([0.0, 0.2, 0.1]), r"times\[1\]=0.2 s, times\[2\]=0.1 s"),
        (torch.tensor([0.0, float("nan")]), "not finite"),
        (torch.tensor([0.0, float("inf")]), "not finite"),
        (torch.zeros(B + 1, 3), r"shape \(5, 3\)"),
        (torch.zeros(B, 0), r"shape \(4, 0\)"),
        (torch.zeros(()), r"shape \(\)"),
    ],
)
def test_times_that_no_path_can_follow_are_refused_in_one_line(model: TemporalModel, times: torch.Tensor, says: str):
    z0, c = inputs()
    with pytest.raises(UserError, match=says) as caught:
        model(z0, times, c)
    assert "\n" not in str(caught.value)


def test_one_frame_is_the_start(model: TemporalModel):
    z0, c = inputs()
    if model.starts_at_z0:
        assert torch.equal(model(z0, torch.zeros(1), c), z0.unsqueeze(1))


def test_anchored_path_passes_through_z0_at_zero_seconds():
    z0, c = inputs()
    model = build("ode")
    path = anchored_path(model, z0, torch.tensor([-0.2, -0.1, 0.0, 0.1]), c)
    assert model.nfe == 6  # midpoint, one step to each frame on either side
    assert torch.equal(path[:, 2], z0)
    assert torch.allclose(path[:, 3], model(z0, torch.tensor([0.0, 0.1]), c)[:, 1])
    assert torch.allclose(path[:, :2], model(z0, torch.tensor([0.0, -0.1, -0.2]), c)[:, 1:].flip(1))


def test_anchored_path_prepends_the_anchor_when_times_start_later(model: TemporalModel):
    if not model.starts_at_z0:
        pytest.skip("maps a window from 0 s")
    (z0, c), seeds = inputs(), torch.arange(B)
    whole = model(z0, torch.tensor([0.0, 0.1, 0.2]), c, seeds)
    assert torch.equal(anchored_path(model, z0, torch.tensor([0.1, 0.2]), c, seeds), whole[:, 1:])
    assert torch.equal(anchored_path(model, z0, torch.tensor([0.0, 0.1, 0.2]), c, seeds), whole)


def test_anchored_path_serves_clips_that_cross_zero_at_different_frames():
    z0, c = inputs()
    times = torch.tensor([[-0.1, 0.0, 0.1], [-0.2, -0.1, 0.1], [0.0, 0.1, 0.2], [0.1, 0.2, 0.3]])
    model = build("ode2")
    path = anchored_path(model, z0, times, c)
    for i in range(B):
        alone = anchored_path(model, z0[i : i + 1], times[i], c[i : i + 1])
        assert torch.allclose(path[i : i + 1], alone, atol=1e-5)


@pytest.mark.parametrize(
    ("name", "times", "says"),
    [
        ("rnn", torch.tensor([-0.1, 0.0]), "cannot run before 0 s"),
        ("discrete", EVEN + 0.5, "maps a window from 0 s"),
        ("ode", torch.tensor([0.1, -0.1]), "must rise"),
    ],
)
def test_anchored_path_refuses_what_the_model_cannot_do(name: str, times: torch.Tensor, says: str):
    z0, c = inputs()
    with pytest.raises(UserError, match=says):
        anchored_path(build(name), z0, times, c)


def test_every_model_has_the_size_of_the_default_one_within_ten_percent():
    sizes = {}
    for path in CONFIGS:
        config = OmegaConf.load(path)
        given = {"motion_dim": 64, "embed_dim": 384, "gap_seconds": None, "data": {"frames": 16}, "temporal": config}
        built = instantiate(OmegaConf.create(given).temporal)
        sizes[path.stem] = sum(weight.numel() for weight in built.parameters())
    apart = {name: round(size / sizes["ode"] - 1, 3) for name, size in sizes.items()}
    assert max(map(abs, apart.values())) <= 0.1, apart
