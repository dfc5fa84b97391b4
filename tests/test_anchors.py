"""Laws of motion between anchors of noise."""

import math

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from ode_vgan.errors import UserError
from ode_vgan.temporal.anchors import AnchorPath, anchor_noise, mixed
from ode_vgan.temporal.path import anchored_path

B, Z, E, N = 3, 8, 6, 5
GAP = 0.4


def build(dim: int = Z, **given) -> AnchorPath:
    torch.manual_seed(0)
    scales = {"anchor_seconds": GAP, "shortest_seconds": 0.5, "longest_seconds": 4.0}
    return AnchorPath(dim, E, **({"noise_dim": N, "hidden": 7, "code_dim": 9, "kernel": 3} | scales | given))


def inputs() -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(10)
    c = torch.randn(B, E, generator=generator)
    return torch.randn(B, Z, generator=generator), F.normalize(c, dim=1)


def motion_by_hand(model: AnchorPath, seed: int, c: Tensor, t: float) -> Tensor:
    """v(t) (Z,) of one clip, written out with sums over anchors."""
    weights = {name: value.detach() for name, value in model.named_parameters()}

    def noise(number: int) -> Tensor:
        return anchor_noise(torch.tensor([seed]), torch.zeros(1, N), number, 1)[0, 0]

    def bend(x: Tensor) -> Tensor:
        return torch.where(x > 0, x, 0.2 * x) * math.sqrt(2)

    def first(number: int) -> Tensor:
        taps = sum(weights["mix.0.weight"][:, :, k] @ noise(number + k - 1) for k in range(3))
        text = weights["text.weight"] @ c * math.sqrt(E) + weights["text.bias"]
        return bend(taps + weights["mix.0.bias"] + text)

    def code(number: int) -> Tensor:
        taps = sum(weights["mix.1.weight"][:, :, k] @ first(number + k - 1) for k in range(3))
        return bend(taps + weights["mix.1.bias"])

    left = math.floor(t / GAP)
    u, after = code(left), code(left + 1)
    periods = 0.5 * 8 ** (torch.arange(Z // 2) / (Z // 2 - 1))

    def waves(tau: float) -> Tensor:
        speed = 2 * math.pi / periods * (1 + (weights["pace.weight"] @ u).tanh())
        angle = speed * tau + math.pi * (weights["phase.weight"] @ u)
        return torch.cat([angle.sin(), angle.cos()])

    share = (t - left * GAP) / GAP
    ends = (1 - share) * waves(0.0) + share * waves(GAP)
    levels = (1 - share) * (weights["level.weight"] @ u) + share * (weights["level.weight"] @ after)
    return waves(t - left * GAP) - ends + levels


def test_anchor_path_is_its_equations_at_any_time():
    z0, c = inputs()
    model, seeds = build(), torch.tensor([3, 4, 2**61 + 5])
    times = torch.tensor([-1.3, -0.41, 0.0, 0.1, 0.39, 0.55, 2.9])
    path = model(z0, times, c, seeds)
    for b in range(B):
        v = torch.stack([motion_by_hand(model, int(seeds[b]), c[b], float(t)) for t in times])
        assert torch.allclose(path[b], z0[b] + v - v[0], atol=1e-4)


def test_anchor_path_is_continuous_where_stretches_meet():
    z0, c = inputs()
    model, seeds = build(), torch.arange(B)
    for meeting in (-GAP, 0.0, GAP, 5 * GAP):
        around = torch.tensor([-2.0, meeting - 1e-4, meeting + 1e-4])
        before, after = model(z0, around, c, seeds)[:, 1:].unbind(1)
        assert (before - after).abs().max() < 0.02  # at most 2 * 2 pi / 0.5 s, for 2e-4 s


def test_anchor_path_bends_at_anchors_only():
    z0, c = inputs()
    path = build()(z0, torch.arange(801) * 1e-3, c, torch.arange(B)).double()
    bend = path.diff(n=2, dim=1).abs().amax((0, 2))  # of frames 1 to 799; the anchor is frame 400
    assert bend.argmax() == 399 and bend[399] > 5 * bend[:390].max()


def test_noise_of_an_anchor_depends_on_the_seed_and_its_number_alone():
    seeds, like = torch.tensor([5, 6]), torch.zeros(2, N)
    whole = anchor_noise(seeds, like, -40, 90)
    for first, count in ((-40, 1), (-17, 3), (-1, 20), (0, 16), (16, 34)):
        assert torch.equal(anchor_noise(seeds, like, first, count), whole[:, first + 40 : first + 40 + count])
    assert torch.equal(anchor_noise(seeds.flip(0), like, -40, 90), whole.flip(0))
    assert len(whole.flatten().unique()) == whole.numel()  # no block and no clip repeats another
    many = anchor_noise(torch.arange(200), torch.zeros(200, N), -20, 40)
    assert abs(float(many.mean())) < 0.02 and abs(float(many.std()) - 1) < 0.02


def test_seeds_of_blocks_differ_in_the_bits_that_torch_looks_at():
    low = {mixed(seed, number) % 2**32 for seed in range(30) for number in range(-15, 15)}
    low |= {mixed(seed << 32, number) % 2**32 for seed in range(1, 30) for number in range(-15, 15)}
    assert len(low) == 30 * 30 + 29 * 30


def test_anchor_path_goes_on_from_any_of_its_states_as_it_would_have():
    z0, c = inputs()
    model, seeds, times = build(), torch.arange(B), torch.linspace(-1.0, 1.0, 11)
    path = model(z0, times, c, seeds)
    assert torch.allclose(model(path[:, 6], times[6:], c, seeds), path[:, 6:], atol=1e-5)
    assert torch.allclose(model(path[:, 6], times[:7].flip(0), c, seeds).flip(1), path[:, :7], atol=1e-5)


def test_anchored_path_is_one_motion_on_both_sides_of_zero():
    z0, c = inputs()
    model, seeds, times = build(), torch.arange(B), torch.arange(-5, 6) * 0.2
    path = anchored_path(model, z0, times, c, seeds)
    assert torch.equal(path[:, 5], z0)
    assert torch.allclose(path, path[:, :1] + model(z0, times, c, seeds) - z0[:, None], atol=1e-5)


def test_stretches_have_the_same_motion_from_the_same_codes():
    model, codes = build(), torch.randn(B, 9, 9)
    left, tau = torch.tensor([[0, 0, 1, 2]]).expand(B, 4), torch.tensor([[0.0, 0.3, 0.1, 0.2]]).expand(B, 4)
    assert torch.allclose(model.motion(codes, left + 5, tau), model.motion(codes[:, 5:], left, tau), atol=1e-6)


def test_anchor_path_keeps_its_spread_far_from_the_start():
    z0, c = inputs()
    model, seeds = build(), torch.arange(60)
    z0, c = z0[:1].expand(60, Z), c[:1].expand(60, E)
    near = model(z0, torch.linspace(0, 4, 20), c, seeds)[:, 10:].std(0).mean()
    for start in (-2000.0, 2000.0):
        far = model(z0, start + torch.linspace(0, 4, 20), c, seeds)[:, 10:].std(0).mean()
        assert 0.8 < far / near < 1.25


def test_anchor_path_sees_the_text_and_shares_motion_between_starts():
    z0, c = inputs()
    model, seeds, times = build(), torch.zeros(B, dtype=torch.long), torch.linspace(0, 1, 5)
    path = model(z0, times, c, seeds)
    assert not torch.allclose(path, model(z0, times, -c, seeds), atol=0.01)
    assert torch.allclose(model(z0 + 1, times, c, seeds), path + 1, atol=1e-5)


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"dim": 7}, "dim=7, kernel=3"),
        ({"kernel": 4}, "dim=8, kernel=4"),
        ({"anchor_seconds": 0.0}, "anchor_seconds=0.0"),
        ({"shortest_seconds": 9.0}, "from 9.0 to 4.0 s"),
    ],
)
def test_a_setting_that_cannot_be_is_refused(given: dict, says: str):
    with pytest.raises(UserError, match=says):
        build(**given)
