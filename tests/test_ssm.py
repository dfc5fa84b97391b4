"""Laws of the diagonal state-space path."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from ode_vgan.errors import UserError
from ode_vgan.temporal.ssm import DiagonalSystem, SsmPath

B, Z, E, T = 3, 8, 6, 7
GAPS = torch.tensor([[0.1, 0.05, 0.3, 2.0], [0.01, 0.2, 0.2, 0.2], [1.0, 1e-3, 0.4, 0.1]], dtype=torch.float64)


def system(modes: int = 10) -> DiagonalSystem:
    torch.manual_seed(0)
    return DiagonalSystem(3, modes, 4, shortest_seconds=0.5, longest_seconds=4.0).double()


def build(**given) -> SsmPath:
    torch.manual_seed(0)
    sizes = {"modes": 12, "width": 10, "layers": 2, "shortest_seconds": 0.5, "longest_seconds": 2.0}
    return SsmPath(Z, E, **({"noise_dim": 4, "text_dim": 5} | sizes | given))


def inputs(batch: int = B) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(9)
    c = torch.randn(batch, E, generator=generator)
    return torch.randn(batch, Z, generator=generator), F.normalize(c, dim=1)


def test_a_system_equals_the_matrix_exponential_of_the_dense_real_one_with_held_input():
    it, modes = system(), 10
    u, start = torch.randn(B, 4, 3).double(), torch.randn(B, 2 * modes).double()
    real, imaginary = torch.diag(-it.log_decay.exp()), torch.diag(it.frequency)
    dense = torch.cat([torch.cat([real, -imaginary], 1), torch.cat([imaginary, real], 1)])  # on [Re x, Im x]
    drive, read = (torch.cat([w[..., 0::2], w[..., 1::2]], -1) for w in (it.drive.weight.T, it.read.weight))
    for b in range(B):
        x = torch.cat([start[b, 0::2], start[b, 1::2]])
        states = [x]
        for i in range(4):
            whole = torch.zeros(2 * modes + 1, 2 * modes + 1).double()  # the input as a state that stands still
            whole[:-1, :-1], whole[:-1, -1] = dense, u[b, i] @ drive
            x = (torch.matrix_exp(whole * GAPS[b, i]) @ torch.cat([x, torch.ones(1)]))[:-1]
            states.append(x)
        expected = torch.stack(states) @ read.T + it.read.bias
        assert torch.allclose(it(u, GAPS, start)[b], expected, rtol=1e-9, atol=1e-9)


def test_a_gap_may_be_cut_where_the_input_stays_the_same():
    it, u = system(), torch.randn(B, 1, 3).double()
    start = torch.randn(B, 20).double()
    whole = it(u, torch.full((B, 1), 0.7), start)[:, -1]
    cut = it(u.expand(-1, 3, -1), torch.tensor([[0.1, 0.25, 0.35]]).expand(B, 3), start)[:, -1]
    assert torch.allclose(whole, cut, atol=1e-6)


def test_a_system_forgets_its_start_whatever_is_learnt():
    it = system()
    torch.nn.init.normal_(it.log_decay, std=0.5)
    torch.nn.init.normal_(it.frequency, std=30)
    apart = it(torch.zeros(1, 1, 3).double(), torch.tensor([[200.0]]), torch.randn(1, 20).double())[0]
    assert (apart[1] - it.read.bias).abs().max() < 1e-6 < (apart[0] - it.read.bias).abs().max()


def test_short_gaps_keep_their_digits_in_single_precision():
    exact = system()
    u, start, gaps = torch.randn(B, 1, 3).double(), torch.zeros(B, 20).double(), torch.full((B, 1), 1e-5).double()
    change = exact(u, gaps, start).diff(dim=1)
    exact.read.bias.data.zero_()
    single = exact.float()(u.float(), gaps.float(), start.float()).diff(dim=1)
    assert torch.allclose(single.double(), change, rtol=1e-3)


def test_modes_share_time_scales_in_groups():
    it = DiagonalSystem(3, 20, 4, shortest_seconds=1.0, longest_seconds=4.0)
    scale = torch.tensor([1.0] * 8 + [2.0] * 8 + [4.0] * 4)
    assert torch.allclose(it.log_decay.exp(), 0.5 / scale)
    assert torch.allclose(it.frequency * scale / torch.pi, torch.arange(20) % 8.0)


def test_ssm_path_hardly_changes_its_law_when_gaps_are_halved():
    z0, c = inputs(1)
    z0, c = z0.expand(2000, Z), c.expand(2000, E)
    model = build(layers=1, shortest_seconds=2.0, longest_seconds=4.0)  # below 2 Hz, for 10 frames a second
    with torch.no_grad():
        coarse, fine = (
            model(z0, torch.arange(0, 1.01, gap), c, torch.arange(2000) + start)[:, -1]
            for gap, start in ((0.1, 0), (0.05, 5000))
        )
    assert (coarse.mean(0) - fine.mean(0)).abs().max() < 0.15 * coarse.std(0).mean()  # 0.07 is three standard errors
    assert (fine.std(0) / coarse.std(0) - 1).abs().max() < 0.1  # white noise that forgot the gap: 0.71


def test_ssm_path_moves_without_noise_too_and_by_the_text():
    z0, c = inputs()
    model, times, seeds = build(), torch.arange(T) * 0.1, torch.zeros(B, dtype=torch.long)
    path = model(z0, times, c, seeds)
    assert not torch.allclose(path, model(z0, times, -c, seeds), atol=0.01)
    moved = model(z0 + 1, times, c, seeds) - model(z0, times, c, seeds)
    assert not torch.allclose(moved[:, -1], torch.ones(B, Z), atol=0.01)


def test_ssm_path_stays_in_its_range_at_any_length():
    z0, c = inputs()
    with torch.no_grad():
        path = build()(z0, torch.arange(600) * 0.25, c, torch.arange(B))
    apart = (path - z0[:, None]).square().mean((0, 2)).sqrt()
    assert apart[300:].mean() < 1.5 * apart[40:300].mean() < 10


def test_ssm_path_knows_gaps_not_the_hour():
    z0, c = inputs()
    model, seeds, times = build(), torch.arange(B), torch.arange(T) * 0.1
    assert torch.allclose(model(z0, times, c, seeds), model(z0, times + 7, c, seeds), atol=1e-4)


def test_ssm_path_counts_one_evaluation_a_step():
    z0, c = inputs()
    model = build()
    model(z0, torch.arange(T) * 0.1, c)
    assert model.nfe == T - 1


@pytest.mark.parametrize(
    ("given", "says"),
    [({"noise_dim": 0}, "noise_dim=0"), ({"layers": 0}, "layers=0"), ({"shortest_seconds": 3.0}, "from 3.0 to 2.0 s")],
)
def test_a_setting_that_cannot_be_is_refused(given: dict, says: str):
    with pytest.raises(UserError, match=says):
        build(**given)
