import pytest
import torch

from ode_vgan.errors import UserError
from ode_vgan.metrics.frechet import frechet_distance, frechet_from_features, moments


def spectrum(*shape: int) -> torch.Tensor:
    return torch.rand(*shape, dtype=torch.float64) + 0.1


def rotation(dim: int) -> torch.Tensor:
    return torch.linalg.qr(torch.randn(dim, dim, dtype=torch.float64))[0]


def test_diagonal_gaussians_have_the_sum_of_their_one_dimensional_distances():
    mean_a, mean_b, sd_a, sd_b = spectrum(6), spectrum(6), spectrum(6), spectrum(6)
    expected = (mean_a - mean_b).square().sum() + (sd_a - sd_b).square().sum()
    found = frechet_distance(mean_a, sd_a.square().diag(), mean_b, sd_b.square().diag())
    assert torch.allclose(found, expected, rtol=1e-12)


@pytest.mark.parametrize("zeros", [0, 7])
def test_commuting_covariances_have_the_distance_of_their_spectra(zeros):
    basis, a, b = rotation(20), spectrum(20), spectrum(20)
    a[:zeros] = 0  # singular: the slower, exact form
    b[-zeros or 20 :] = 0
    mean = torch.zeros(20)
    found = frechet_distance(mean, basis @ a.diag() @ basis.T, mean, basis @ b.diag() @ basis.T)
    assert torch.allclose(found, (a.sqrt() - b.sqrt()).square().sum(), rtol=1e-9)


def test_scaling_a_gaussian_scales_its_root():
    cov = (root := torch.randn(30, 30, dtype=torch.float64)) @ root.T
    mean = torch.zeros(30)
    assert torch.allclose(frechet_distance(mean, cov, mean, 9 * cov), 4 * cov.trace(), rtol=1e-9)


@pytest.mark.parametrize("condition", [1e2, 1e8, 1e14])
def test_ill_conditioned_covariances_stay_exact(condition):
    basis = rotation(16)
    a = torch.logspace(0, -torch.tensor(condition).log10().item(), 16, dtype=torch.float64)
    cov = basis @ a.diag() @ basis.T
    found = frechet_distance(torch.zeros(16), cov, torch.zeros(16), 4 * cov)
    assert torch.allclose(found, a.sum(), rtol=1e-9)


@pytest.mark.parametrize(("count", "dim"), [(200, 20), (21, 20), (20, 20), (12, 50), (2, 50)])
def test_a_set_is_at_distance_zero_from_itself_and_positive_from_another(count, dim):
    features, other = torch.randn(count, dim).double(), torch.randn(count, dim).double()
    trace = float(moments(features)[1].trace())
    assert 0 <= float(frechet_from_features(features, features)) < 1e-9 * trace
    assert 0 <= float(frechet_distance(*moments(features), *moments(features))) < 1e-9 * trace
    assert float(frechet_from_features(features, other)) > 1e-3 * trace


@pytest.mark.parametrize(("left", "right"), [(30, 30), (25, 200), (200, 25), (49, 60)])
def test_the_form_for_few_samples_equals_the_one_from_moments(left, right):
    a, b = torch.randn(left, 50).double(), torch.randn(right, 50).double() * 2 + 1
    assert torch.allclose(frechet_from_features(a, b), frechet_distance(*moments(a), *moments(b)), rtol=1e-9)


def test_the_distance_is_symmetric_and_ignores_rotations_shifts_and_order():
    a, b, turn = torch.randn(40, 9).double(), torch.randn(50, 9).double() * 2, rotation(9)
    expected = frechet_from_features(a, b)
    assert torch.allclose(frechet_from_features(b, a), expected, rtol=1e-9)
    assert torch.allclose(frechet_from_features(a @ turn + 1000, b @ turn + 1000), expected, rtol=1e-9)
    assert torch.allclose(frechet_from_features(a[torch.randperm(40)], b), expected, rtol=1e-9)


def test_moments_are_the_unbiased_ones():
    features = torch.randn(30, 4).double()
    mean, cov = moments(features)
    assert torch.allclose(mean, features.mean(0))
    assert torch.allclose(cov, torch.cov(features.T))


def test_bad_features_are_refused_in_one_line():
    good = torch.randn(5, 3)
    broken = good.clone()
    broken[1, 2] = torch.nan
    with pytest.raises(UserError, match="1 of 5 feature rows are not finite"):
        frechet_from_features(good, broken)
    with pytest.raises(UserError, match="one extractor"):
        frechet_from_features(good, torch.randn(5, 4))
    with pytest.raises(UserError, match="N >= 2"):
        frechet_from_features(good, good[:1])
    with pytest.raises(UserError, match="one extractor"):
        frechet_distance(torch.zeros(2), torch.eye(2), torch.zeros(3), torch.eye(3))
    with pytest.raises(UserError, match="not finite"):
        frechet_distance(torch.zeros(2), torch.eye(2) * torch.inf, torch.zeros(2), torch.eye(2))
