import pytest
import torch

from ode_vgan.errors import UserError
from ode_vgan.metrics.frechet import frechet_distance, frechet_from_features, moments


def spectrum(*shape: int) -> torch.Tensor:
    return torch.rand(*shape, dtype=torch.float64) + 0.1


def rotation(dim: int) -> torch.Tensor:
    return torch.linalg.qr(torch.randn(dim, dim, dtype=torch.float64))[0]


def stretch(dim: int) -> torch.Tensor:
    """A symmetric positive definite map: what carries one Gaussian to another at the least cost."""
    basis = rotation(dim)
    return basis @ (spectrum(dim) + 0.3).diag() @ basis.T


def test_diagonal_gaussians_have_the_sum_of_their_one_dimensional_distances():
    mean_a, mean_b, sd_a, sd_b = spectrum(6), spectrum(6), spectrum(6), spectrum(6)
    expected = (mean_a - mean_b).square().sum() + (sd_a - sd_b).square().sum()
    found = frechet_distance(mean_a, sd_a.square().diag(), mean_b, sd_b.square().diag())
    assert torch.allclose(found, expected, rtol=1e-12)


def test_one_dimensional_gaussians_have_the_closed_form():
    found = frechet_distance(torch.tensor([1.0]), torch.tensor([[4.0]]), torch.tensor([4.0]), torch.tensor([[9.0]]))
    assert float(found) == pytest.approx(3**2 + (2 - 3) ** 2, rel=1e-14)
    rows = torch.tensor([[0.0], [2.0]])  # mean 1, deviation sqrt 2, or 1 when over N
    assert float(frechet_from_features(rows, 3 * rows)) == pytest.approx(2**2 + 2 * 2**2, rel=1e-14)
    assert float(frechet_from_features(rows, 3 * rows, correction=0)) == pytest.approx(2**2 + 2**2, rel=1e-14)


@pytest.mark.parametrize("zeros", [0, 7])
def test_commuting_covariances_have_the_distance_of_their_spectra(zeros):
    basis, a, b = rotation(20), spectrum(20), spectrum(20)
    a[:zeros] = 0  # singular: the slower, exact form
    b[-zeros or 20 :] = 0
    mean = torch.zeros(20)
    found = frechet_distance(mean, basis @ a.diag() @ basis.T, mean, basis @ b.diag() @ basis.T)
    assert torch.allclose(found, (a.sqrt() - b.sqrt()).square().sum(), rtol=1e-9)


@pytest.mark.parametrize("rank", [24, 10, 1])
@pytest.mark.parametrize("condition", [1, 1e6, 1e12])
def test_a_gaussian_carried_by_a_positive_map_is_at_the_cost_of_that_map(rank, condition):
    # B = T A T has tr sqrt(A B) = tr(T A), so the distance is tr((T - 1) A (T - 1)): the two do not commute
    basis, carry, mean = rotation(24), stretch(24), torch.zeros(24, dtype=torch.float64)
    spread = torch.logspace(0, -torch.tensor(condition).log10().item(), rank, dtype=torch.float64)
    root = basis[:, :rank] * spread.sqrt()
    cov_b = carry @ root @ root.T @ carry
    expected = ((carry - torch.eye(24)) @ root).square().sum()
    assert torch.allclose(frechet_distance(mean, root @ root.T, mean, (cov_b + cov_b.T) / 2), expected, rtol=1e-9)


@pytest.mark.parametrize(
    ("count", "condition"), [(300, 1), (300, 1e12), (31, 1e6), (30, 1), (12, 1), (12, 1e12), (2, 1)]
)
def test_rows_carried_by_a_positive_map_are_at_its_cost_also_with_few_rows(count, condition):
    scale = torch.logspace(0, -torch.tensor(condition).log10().item() / 2, 30, dtype=torch.float64)
    rows, carry = (torch.randn(count, 30, dtype=torch.float64) * scale) @ rotation(30), stretch(30)
    moved = rows @ carry + 3
    step = moved - rows
    expected = step.mean(0).square().sum() + (step - step.mean(0)).square().sum() / (count - 1)
    assert torch.allclose(frechet_from_features(rows, moved), expected, rtol=1e-9)


def test_constant_features_are_as_far_as_their_means():
    still = torch.full((40, 6), 2.0)
    assert float(frechet_from_features(still, still + 1)) == pytest.approx(6, rel=1e-12)
    rows = torch.randn(40, 6)
    trace = float(moments(rows)[1].trace())
    shift = float((moments(rows)[0] - 2).square().sum())
    assert float(frechet_from_features(rows, still)) == pytest.approx(shift + trace, rel=1e-12)


def test_a_law_without_spread_is_at_the_trace_of_the_other():
    mean, none, cov = torch.zeros(4), torch.zeros(4, 4), spectrum(4).diag()
    assert float(frechet_distance(mean, none, mean + 1, none)) == 4
    assert float(frechet_distance(mean, none, mean + 1, cov)) == pytest.approx(4 + float(cov.trace()), rel=1e-14)
    assert float(frechet_distance(mean, cov, mean + 1, none)) == pytest.approx(4 + float(cov.trace()), rel=1e-14)


def test_a_translation_adds_its_square():
    a, b = torch.randn(50, 8).double(), torch.randn(60, 8).double() * 2
    b = b - b.mean(0) + a.mean(0)
    far = torch.arange(8).double()
    assert torch.allclose(
        frechet_from_features(a, b + far), frechet_from_features(a, b) + far.square().sum(), rtol=1e-9
    )


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


@pytest.mark.parametrize(("left", "right"), [(30, 30), (25, 200), (200, 25), (49, 60), (90, 90)])
@pytest.mark.parametrize("correction", [0, 1])
def test_the_form_for_few_samples_equals_the_one_from_moments(left, right, correction):
    a, b = torch.randn(left, 50).double(), torch.randn(right, 50).double() * 2 + 1
    of_moments = frechet_distance(*moments(a, correction=correction), *moments(b, correction=correction))
    assert torch.allclose(frechet_from_features(a, b, correction=correction), of_moments, rtol=1e-9)


def test_the_distance_is_symmetric_and_ignores_rotations_shifts_and_order():
    a, b, turn = torch.randn(40, 9).double(), torch.randn(50, 9).double() * 2, rotation(9)
    expected = frechet_from_features(a, b)
    assert torch.allclose(frechet_from_features(b, a), expected, rtol=1e-9)
    assert torch.allclose(frechet_from_features(a @ turn + 1000, b @ turn + 1000), expected, rtol=1e-9)
    assert torch.allclose(frechet_from_features(a[torch.randperm(40)], b), expected, rtol=1e-9)


def test_frames_of_clips_are_rows():
    a, b = torch.randn(20, 3, 5), torch.randn(30, 3, 5) + 1
    assert torch.equal(frechet_from_features(a, b), frechet_from_features(a.flatten(0, 1), b.flatten(0, 1)))


@pytest.mark.parametrize("count", [150, 30])
def test_the_distance_is_torch_fidelitys_fid_of_the_same_features(count):
    fid = pytest.importorskip("torch_fidelity.metric_fid")
    a, b = torch.randn(count, 40).double(), torch.randn(count, 40).double() @ stretch(40) + 0.5
    theirs = fid.fid_statistics_to_metric(*map(fid.fid_features_to_statistics, (a, b)), verbose=False)
    # with few rows theirs takes roots of rounded zeros, 1e-8 each
    tolerance = 1e-9 if count > 40 else 1e-6
    assert float(frechet_from_features(a, b)) == pytest.approx(theirs[fid.KEY_METRIC_FID], rel=tolerance)


def test_moments_are_the_unbiased_ones():
    features = torch.randn(30, 4).double()
    mean, cov = moments(features)
    assert torch.allclose(mean, features.mean(0))
    assert torch.allclose(cov, torch.cov(features.T))
    assert torch.allclose(moments(features, correction=0)[1], torch.cov(features.T, correction=0))


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
