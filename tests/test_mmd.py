import pytest
import torch

from ode_vgan.errors import UserError
from ode_vgan.metrics import mmd
from ode_vgan.metrics.mmd import cmmd, cmmd_unbiased, jedi, jedi_unbiased, kvd, kvd_subsets, polynomial_mmd


@pytest.fixture
def sets() -> tuple[torch.Tensor, torch.Tensor]:
    return torch.randn(23, 6).double(), torch.randn(17, 6).double() * 1.3 + 0.5


def unit(*shape: int) -> torch.Tensor:
    return torch.nn.functional.normalize(torch.randn(*shape, dtype=torch.float64) + 1, dim=-1)


def mean_over_pairs(a: torch.Tensor, b: torch.Tensor, kernel, skip=lambda i, j: False) -> float:
    values = [kernel(x, y) for i, x in enumerate(a) for j, y in enumerate(b) if not skip(i, j)]
    return float(torch.stack(values).mean())


def discrepancy(a: torch.Tensor, b: torch.Tensor, kernel, frames: int = 1) -> float:
    """Unbiased, pair by pair."""

    def skip(i, j):
        return i // frames == j // frames

    within = mean_over_pairs(a, a, kernel, skip) + mean_over_pairs(b, b, kernel, skip)
    return within - 2 * mean_over_pairs(a, b, kernel)


def cubic(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    return (x @ y / len(x) + 1) ** 3


@pytest.mark.parametrize("block", [1024, 5])
def test_kvd_is_the_unbiased_cubic_discrepancy_pair_by_pair(sets, block, monkeypatch):
    monkeypatch.setattr(mmd, "BLOCK", block)
    assert float(kvd(*sets)) == pytest.approx(discrepancy(*sets, cubic), rel=1e-12)


def test_kvd_of_frames_leaves_out_pairs_of_one_clip():
    a, b = torch.randn(6, 3, 4).double(), torch.randn(5, 3, 4).double() + 1
    expected = discrepancy(a.flatten(0, 1), b.flatten(0, 1), cubic, frames=3)
    assert float(kvd(a, b)) == pytest.approx(expected, rel=1e-12)


def test_kvd_is_torch_fidelitys_kid_of_the_same_features():
    kid = pytest.importorskip("torch_fidelity.metric_kid")
    a, b = torch.randn(64, 20).double(), torch.randn(64, 20).double() * 1.5
    given = {"kid_subsets": 1, "kid_subset_size": 64, "kid_kernel": "poly", "kid_kernel_poly_degree": 3}
    given |= {"kid_kernel_poly_gamma": None, "kid_kernel_poly_coef0": 1, "rng_seed": 0, "verbose": False}
    theirs = kid.kid_features_to_metric(a, b, **given)[kid.KEY_METRIC_KID_MEAN]
    assert float(kvd(a, b)) == pytest.approx(theirs, rel=1e-10)


def test_equal_laws_are_at_kvd_zero_in_the_mean():
    values = torch.stack([kvd(torch.randn(30, 8), torch.randn(20, 8)) for _ in range(200)])
    assert abs(float(values.mean())) < 3 * float(values.std()) / 200**0.5
    assert values.min() < 0


def test_subsets_as_large_as_the_sets_are_the_sets(sets):
    draw = torch.Generator().manual_seed(1)
    mean, deviation = kvd_subsets(sets[0][:17], sets[1], subsets=3, size=17, generator=draw)
    assert mean == pytest.approx(float(kvd(sets[0][:17], sets[1])), rel=1e-12)
    assert deviation == pytest.approx(0, abs=1e-12)
    again = [kvd_subsets(*sets, subsets=4, size=9, generator=torch.Generator().manual_seed(2)) for _ in range(2)]
    assert again[0] == again[1] and again[0][1] > 0
    with pytest.raises(UserError, match="23 and 17 rows; subsets of 1000"):
        kvd_subsets(*sets)


def test_jedi_is_the_gap_of_second_moments_and_the_quadratic_discrepancy(sets):
    biased = polynomial_mmd(*sets, degree=2, coef0=0.0, unbiased=False)
    assert float(jedi(*sets)) == pytest.approx(100 * float(biased), rel=1e-12)
    pairs = discrepancy(*sets, lambda x, y: (x @ y / 6) ** 2)
    assert float(jedi_unbiased(*sets)) == pytest.approx(100 * pairs, rel=1e-12)
    assert float(jedi(sets[0], sets[0])) == 0


def test_cmmd_is_the_discrepancy_of_the_wide_gaussian_kernel():
    a, b = unit(12, 5), unit(9, 5)

    def kernel(x, y):
        return (-(x - y).square().sum() / 200).exp()

    assert float(cmmd_unbiased(a, b)) == pytest.approx(1000 * discrepancy(a, b, kernel), rel=1e-9)
    biased = mean_over_pairs(a, a, kernel) + mean_over_pairs(b, b, kernel) - 2 * mean_over_pairs(a, b, kernel)
    assert float(cmmd(a, b)) == pytest.approx(1000 * biased, rel=1e-9)


def test_cmmd_sees_the_means_alone():
    a, b = unit(200, 16), unit(200, 16).flip(1) * torch.linspace(-1, 1, 16).sign()
    of_means = 10 * float((a.mean(0) - b.mean(0)).square().sum())
    assert float(cmmd(a, b)) == pytest.approx(of_means, rel=0.02)  # 1 - |x - y|^2 / 200, with |x - y|^2 <= 4


def test_bad_features_are_refused_in_one_line(sets):
    with pytest.raises(UserError, match="normalise rows"):
        cmmd(*sets)
    with pytest.raises(UserError, match="one extractor"):
        kvd(sets[0], sets[1][:, :3])
    with pytest.raises(UserError, match="1 clip on a side"):
        kvd(sets[0], sets[1][:1])
    broken = sets[1].clone()
    broken[3] = torch.nan
    with pytest.raises(UserError, match="1 of 17 feature rows are not finite"):
        jedi(sets[0], broken)
