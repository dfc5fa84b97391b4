"""Laws of counting multiply-accumulates: exact answers for layers and solvers, and nothing left changed."""

import copy
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ode_vgan.build import build
from ode_vgan.errors import UserError
from ode_vgan.scaling.count import clips_within, count_macs, macs_of, noise_numbers, temporal_macs
from tests.test_conf import CONF, config

B, T, N, H = 2, 5, 3, 7
SMALL = ["noise_dim=8", "motion_dim=16", "style_dim=16", "data.size=16", "data.frames=6"]
SMALL += [f"{part}.channel_base=128" for part in ("decoder", "discriminator.frame", "discriminator.clip")]
TEMPORAL = sorted(path.stem for path in Path(CONF / "temporal").glob("*.yaml"))
LAYERS = {
    "linear": (nn.Linear(N, H), (B, T, N), B * T * N * H),
    "linear without bias": (nn.Linear(N, H, bias=False), (B, N), B * N * H),
    "convolution": (nn.Conv2d(N, H, 3, padding=1), (B, N, 8, 8), B * 64 * 9 * N * H),
    "grouped convolution": (nn.Conv3d(4, 8, 3, padding=1, groups=2), (B, 4, T, 8, 8), B * T * 64 * 27 * 2 * 8),
    "transposed convolution": (nn.ConvTranspose1d(N, H, 4, stride=2, padding=1), (B, N, 8), B * 8 * 4 * N * H),
    "GRU cell": (nn.GRUCell(N, H), (B, N), B * 3 * H * (N + H)),
    "LSTM cell": (nn.LSTMCell(N, H), (B, N), B * 4 * H * (N + H)),
    "GRU": (nn.GRU(N, H, batch_first=True), (B, T, N), B * T * 3 * H * (N + H)),
    "LSTM of two layers": (nn.LSTM(N, H, num_layers=2, batch_first=True), (B, T, N), B * T * 4 * H * (N + 3 * H)),
    "transformer layer": (
        nn.TransformerEncoderLayer(8, 2, 16, batch_first=True).eval(),
        (B, T, 8),
        B * T * 8 * (4 * 8 + 2 * 16) + 2 * B * T * T * 8,  # projections and feed-forward; scores and their mixture
    ),
}


@pytest.mark.parametrize("name", LAYERS)
@pytest.mark.parametrize("gradients", [True, False])
def test_a_layer_counts_its_products(name: str, gradients: bool):
    layer, shape, expected = LAYERS[name]
    x = torch.randn(shape)
    with torch.set_grad_enabled(gradients):
        assert macs_of(lambda: layer(x)) == expected


def test_attention_and_products_of_batches_are_counted_too():
    q = torch.randn(B, 2, T, 8)
    assert macs_of(lambda: F.scaled_dot_product_attention(q, q, q, is_causal=True)) == 2 * B * 2 * T * T * 8
    assert macs_of(lambda: torch.einsum("bti,bih->bth", torch.randn(B, T, N), torch.randn(B, N, H))) == B * T * N * H


@pytest.mark.parametrize("name", ["linear", "convolution", "transposed convolution"])
def test_a_backward_pass_costs_two_forward_ones(name: str):
    layer, shape, expected = LAYERS[name]
    x = torch.randn(shape, requires_grad=True)

    assert macs_of(lambda: layer(x).sum().backward()) == 3 * expected


@pytest.mark.parametrize("solver", ["euler", "rk4", "dopri5"])
@pytest.mark.parametrize("order", [1, 2])
def test_an_ode_counts_its_field_as_often_as_the_solver_asks_it(solver: str, order: int):
    node = config("temporal=ode", f"temporal.solver={solver}", f"temporal.order={order}", *SMALL, "embed_dim=12")
    model = build(node["temporal"])
    c, z0 = F.normalize(torch.randn(1, 12), dim=-1), torch.randn(1, 16)
    context = model.field.context(c)
    state = model.field.start(z0, c)
    field = macs_of(lambda: model.field.at(torch.zeros(()), state, context))
    once = macs_of(lambda: model.field.context(c)) + macs_of(lambda: model.field.start(z0, c))
    model(z0, torch.arange(6.0)[None] * 0.1, c)
    counted = temporal_macs(model, 6, 0.1)
    assert (counted - once) % field == 0
    if solver != "dopri5":  # whose steps depend on the start
        assert counted == once + model.nfe * field
    assert (counted - once) / field >= 5


@pytest.mark.parametrize("temporal", TEMPORAL)
def test_a_clip_costs_the_same_in_any_company_and_its_parts_add_up(temporal: str):
    made = config(f"temporal={temporal}", *SMALL, "embed_dim=12", "gap_seconds=0.1")
    module = build(made["model"], trusted=("",))
    alone, together = (count_macs(module, 6, 16, 0.1, 12, clips=clips) for clips in (1, 3))
    assert alone == together
    generator = module.generator
    latents, c = torch.randn(1, 8), torch.randn(1, 12)
    maps = macs_of(lambda: (generator.to_start(latents, c), generator.to_style(latents, c)))
    assert alone["generator"] == alone["temporal"] + alone["decoder"] + maps
    module.step_frames = 0  # all 6 frames; before, a step decoded and judged 4, from the whole path
    whole = count_macs(module, 6, 16, 0.1, 12)
    w, z = torch.randn(1, 16), torch.randn(1, 6, 16)
    thinned = macs_of(lambda: generator.decoder(w, z[:, :4], c))
    assert thinned < alone["decoder"] and alone["critics"] < whole["critics"]
    assert alone["forward"] == alone["temporal"] + thinned + maps + 2 * alone["critics"]
    assert whole["forward"] == whole["generator"] + 2 * whole["critics"]
    assert 2 * alone["forward"] < alone["training"] <= 3 * (alone["forward"] + alone["critics"])
    assert alone["temporal"] == temporal_macs(generator.temporal, 6, 0.1)


class Maker(nn.Module):
    """One number of a path, as a clip of one pixel: products that can be told by hand."""

    noise_dim = 4

    def __init__(self):
        super().__init__()
        self.temporal = build({"_target_": "tests.test_count.Line"}, trusted=("",))
        self.to_start, self.to_style = (build({"_target_": "tests.test_count.Plain"}, trusted=("",)) for _ in range(2))
        self.decoder = build({"_target_": "tests.test_count.Pixel"}, trusted=("",))

    def path(self, latents, times: Tensor, c: Tensor) -> tuple[Tensor, Tensor]:
        return latents.content, self.temporal(self.to_start(latents.motion, c), times, c, latents.seeds)

    def forward(self, latents, times: Tensor, c: Tensor) -> Tensor:
        w, z = self.path(latents, times, c)
        return self.decoder(w, z, c)

    def shown(self, latents, times: Tensor, c: Tensor, draw: torch.Generator) -> Tensor:
        return self(latents, times, c)[:, ::2]  # critics see half of the frames


class Plain(nn.Module):
    def forward(self, noise: Tensor, c: Tensor) -> Tensor:
        return noise


class Pixel(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(4, 3)

    def forward(self, w: Tensor, z: Tensor, c: Tensor) -> Tensor:
        return self.layer(z)[..., None, None]


def Line():  # noqa: N802  a target of `build`
    from ode_vgan.temporal.path import TemporalModel

    class LinePath(TemporalModel):
        continuous = any_gap = backward = extrapolates = starts_at_z0 = True
        step_noise = False

        def __init__(self):
            super().__init__(4, 2)
            self.speed = nn.Linear(4, 4)

        def path(self, z0: Tensor, times: Tensor, c: Tensor, seeds: Tensor | None) -> Tensor:
            return z0[:, None] + times[..., None] * self.speed(z0)[:, None]

    return LinePath()


class Critic(nn.Module):
    def __init__(self):
        super().__init__()
        self.norm = nn.BatchNorm1d(3)
        self.layer = nn.Linear(3, 1)

    def views(self, shown: Tensor, draw: torch.Generator) -> dict[str, Tensor]:
        return {"frames": shown.flatten(0, 1).flatten(1)}

    def forward(self, views: dict[str, Tensor]) -> dict[str, Tensor]:
        return {"frames": self.layer(self.norm(views["frames"]))}


class Pair(nn.Module):
    def __init__(self):
        super().__init__()
        self.generator, self.critics = Maker(), Critic()


def test_a_published_module_is_counted_by_what_its_critics_are_shown():
    counts = count_macs(Pair(), 8, 1, 0.1, 2)
    speed, pixels, critics = 16, 8 * 12, 8 * 3
    assert counts["temporal"] == speed and counts["decoder"] == pixels and counts["critics"] == critics
    assert counts["generator"] == speed + pixels
    assert counts["forward"] == speed + pixels + critics + critics // 2  # all real frames, half of the generated ones
    onto_weights = 2 * (critics + critics // 2)  # the norm before the layer wants the gradient of its input
    through_critics = critics // 2
    generator = 2 * pixels + speed  # no gradient is asked of the noise, so the path's layer has one product
    once = counts["forward"] + critics // 2
    assert counts["training"] == once + onto_weights + through_critics + generator


def test_counting_changes_nothing():
    torch.manual_seed(5)
    pair = Pair().train()
    before, seed = copy.deepcopy(pair.state_dict()), torch.get_rng_state()
    count_macs(pair, 8, 1, None, 2, clips=2)
    assert torch.equal(seed, torch.get_rng_state())
    assert pair.training and pair.critics.norm.training and pair.generator.temporal.nfe == 0
    assert all(torch.equal(value, before[name]) for name, value in pair.state_dict().items())
    assert all(weight.grad is None and weight.requires_grad for weight in pair.parameters())


def test_a_budget_buys_whole_clips_and_at_least_one():
    assert clips_within(1000, {"forward": 300.0}) == 3
    with pytest.raises(UserError, match="max_macs=200 is less than the 300 of one clip"):
        clips_within(200, {"forward": 300.0})


def test_noise_numbers_are_those_drawn_along_the_path():
    def drawn(name: str, *more: str) -> int:
        return noise_numbers(build(config(f"temporal={name}", "gap_seconds=0.1", *more)["temporal"]), 16, 0.1)

    assert drawn("ode") == drawn("discrete") == drawn("rnn_quiet") == 0
    assert drawn("rnn") == 15 * 64
    assert drawn("sde") == 15 * 2 * 64  # two steps a gap
