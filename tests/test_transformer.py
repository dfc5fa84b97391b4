"""Laws of the causal transformer over frames."""

import math

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from ode_vgan.errors import UserError
from ode_vgan.temporal.transformer import TransformerPath, rotate

B, Z, E, T = 3, 8, 6, 9
UNEVEN = torch.tensor([0.0, 0.05, 0.15, 0.3, 0.35, 0.5, 0.51, 0.9, 1.0])


def build(**given) -> TransformerPath:
    torch.manual_seed(0)
    sizes = {"width": 16, "heads": 2, "layers": 2, "hidden": 24} | {"step": 0.2, "decay": 0.5, "memory_seconds": 5.0}
    return TransformerPath(Z, E, **({"noise_dim": 4, "text_dim": 5} | sizes | given))


def inputs() -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(8)
    c = torch.randn(B, E, generator=generator)
    return torch.randn(B, Z, generator=generator), F.normalize(c, dim=1)


def all_at_once(model: TransformerPath, path: Tensor, times: Tensor, c: Tensor, seeds: Tensor) -> Tensor:
    """Frames 1 to T - 1 foretold from frames 0 to T - 2 in one pass: a dense mask and relative turns, no memory."""
    z, at = path[:, :-1], times[:-1]
    x = model.enter(torch.cat([z, model.given(path[:, 0], times, c, seeds)], -1))
    ages = at[:, None] - at
    shown = (ages >= 0) & (ages <= model.memory_seconds)
    half = x.shape[-1] // model.blocks[0].heads // 2
    speed = 100.0 ** -(torch.arange(half) / half) / 0.1
    turn = torch.exp(1j * ages[..., None] * speed)  # (T - 1, T - 1, half), depends on elapsed time alone
    for block in model.blocks:
        query, key, value = block.attend(block.norm(x)).unflatten(-1, (3, block.heads, 2 * half)).unbind(2)
        query, key = (torch.complex(*half_and_half.chunk(2, -1)) for half_and_half in (query, key))
        match = torch.einsum("bihk,bjhk,ijk->bhij", query, key.conj(), turn).real / math.sqrt(2 * half)
        weight = match.masked_fill(~shown, -torch.inf).softmax(-1)
        x = x + block.joined(torch.einsum("bhij,bjhk->bihk", weight, value).flatten(2))
        x = x + block.mlp(x)
    kept = (-model.decay * times.diff())[:, None].exp()
    return kept * z + 0.2 * model.leave(model.norm(x)).tanh()


@pytest.mark.parametrize("memory_seconds", [5.0, 0.32])
def test_transformer_path_equals_one_dense_causal_pass_over_its_own_frames(memory_seconds: float):
    z0, c = inputs()
    model, seeds = build(memory_seconds=memory_seconds), torch.arange(B)
    path = model(z0, UNEVEN, c, seeds)
    assert torch.allclose(path[:, 1:], all_at_once(model, path, UNEVEN, c, seeds), atol=1e-5)


def test_frames_up_to_a_time_do_not_depend_on_later_times():
    z0, c = inputs()
    model, seeds, other = build(), torch.arange(B), UNEVEN.clone()
    other[5:] += 0.4
    path, changed = model(z0, UNEVEN, c, seeds), model(z0, other, c, seeds)
    assert torch.equal(path[:, :5], changed[:, :5])
    assert not torch.allclose(path[:, 5:], changed[:, 5:], atol=1e-3)
    assert torch.allclose(path[:, :4], model(z0, UNEVEN[:4], c, seeds), atol=1e-6)


def test_a_frame_older_than_the_memory_is_not_attended_to():
    z0, c = (value.double() for value in inputs())
    times = torch.arange(T).double() * 0.1
    earlier = times - 0.05 * (torch.arange(T) == 0)  # another first gap: token 0 is another, and older
    change = []
    for memory in (0.2, 5.0):
        model = build(memory_seconds=memory, layers=1, step=1e-6, decay=0.0).double()  # states hardly move
        one, other = (model(z0, at, c, torch.arange(B)).diff(dim=1) / 1e-6 for at in (times, earlier))
        change.append((one - other).abs().amax((0, 2)))
    within, always = change
    assert (within[:2] > 1e-3).all() and (within[3:] < 1e-5).all()
    assert (always > 1e-3).all()


def test_turned_products_depend_on_elapsed_time_alone():
    query, key = torch.randn(2, B, 2, 6)
    speed = torch.tensor([1.0, 3.0, 10.0])
    dots = [
        (rotate(query, (later * speed).expand(B, 3)) * rotate(key, (earlier * speed).expand(B, 3))).sum(-1)
        for earlier, later in ((0.0, 0.4), (2.0, 2.4))
    ]
    assert torch.allclose(*dots, atol=1e-5)
    assert torch.allclose(rotate(query, torch.zeros(B, 3)), query)


def test_transformer_path_knows_gaps_not_the_hour():
    z0, c = inputs()
    model, seeds = build(), torch.arange(B)
    path = model(z0, UNEVEN, c, seeds)
    assert torch.allclose(path, model(z0, UNEVEN + 7, c, seeds), atol=1e-4)
    assert not torch.allclose(path, model(z0, 2 * UNEVEN, c, seeds), atol=1e-3)


def test_transformer_path_runs_far_beyond_its_memory_and_stays_bounded():
    z0, c = inputs()
    model = build(memory_seconds=0.3)
    with torch.no_grad():
        path = model(3 * z0, torch.arange(150) * 0.1, c)
    assert path.shape == (B, 150, Z)
    assert path[:, 50:].abs().max() <= 0.2 / (1 - math.exp(-0.05)) + 3 * z0.abs().max() * math.exp(-2.5)


def test_transformer_path_counts_one_evaluation_a_step():
    z0, c = inputs()
    model = build()
    model(z0, UNEVEN, c)
    assert model.nfe == T - 1


@pytest.mark.parametrize(
    ("given", "says"),
    [({"width": 18, "heads": 2}, "width=18, heads=2"), ({"memory_seconds": 0.0}, "memory_seconds=0.0")],
)
def test_a_setting_that_cannot_be_is_refused(given: dict, says: str):
    with pytest.raises(UserError, match=says):
        build(**given)
