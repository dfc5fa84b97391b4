from functools import partial
from statistics import fmean

import pytest
import torch

from ode_vgan.errors import UserError
from ode_vgan.metrics import intervals
from ode_vgan.metrics.frechet import frechet_from_features
from ode_vgan.metrics.intervals import bias_is_regular, effective_rows, estimate, frechet_estimate, paired_difference
from ode_vgan.metrics.mmd import kvd

DIM = 12
SCALES = torch.arange(1, DIM + 1).double() ** -0.5


def rows(law: str, count: int) -> torch.Tensor:
    """Rows of mean 0 and covariance SCALES squared."""
    normal = torch.randn(count, DIM, dtype=torch.float64)
    if law == "two modes":
        normal[:, :3] = 0.6 * normal[:, :3] + 0.8 * (torch.randint(2, (count, 1)) * 2 - 1)
        mixed = 0.36 * torch.eye(3).double() + 0.64
        normal[:, :3] = normal[:, :3] @ torch.linalg.inv(torch.linalg.cholesky(mixed)).T
    if law == "Student 10":
        normal = normal * (torch.randn(count, 10).double().square().sum(1, keepdim=True) / 8).rsqrt()
    return normal * SCALES


def mean_square(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    return (a.mean(0) - b.mean(0)).square().sum()


@pytest.mark.parametrize(("real", "fake", "shape"), [(100, 100, ()), (103, 77, ()), (60, 45, (3,)), (30, 41, ())])
def test_the_fast_estimate_equals_the_generic_one(real, fake, shape):
    real, fake = torch.randn(real, *shape, 10).double(), torch.randn(fake, *shape, 10).double() * 1.2
    fast, generic = frechet_estimate(real, fake, seed=3), estimate(frechet_from_features, real, fake, seed=3)
    assert fast.centre == generic.centre == "debiased"
    for name in ("value", "debiased", "low", "high"):
        assert getattr(fast, name) == pytest.approx(getattr(generic, name), rel=1e-9)


def test_the_correction_reaches_every_distance():
    real, fake = torch.randn(50, 6).double(), torch.randn(50, 6).double()
    generic = estimate(partial(frechet_from_features, correction=0), real, fake)
    assert frechet_estimate(real, fake, correction=0).high == pytest.approx(generic.high, rel=1e-9)
    assert frechet_estimate(real, fake).high != pytest.approx(generic.high, rel=1e-6)


def test_with_few_rows_the_interval_is_that_of_the_plain_value():
    for count in (20, 33, 60):
        found = frechet_estimate(torch.randn(count, 30), torch.randn(count, 30))
        assert found.debiased is None and found.centre == "plain"
        assert (found.low + found.high) / 2 == pytest.approx(found.value, rel=1e-9)


def test_the_debiased_value_is_twice_the_value_less_the_mean_of_halves():
    real, fake = torch.randn(40, 2), torch.randn(60, 2)
    seen = []

    def distance(a, b):
        seen.append((len(a), len(b)))
        return float(mean_square(a, b))

    found = estimate(distance, real, fake)
    assert seen.count((40, 60)) == 1 and seen.count((36, 54)) == 10 and seen.count((20, 30)) == 8
    assert found.low < found.debiased < found.high < 2
    again = estimate(mean_square, real, fake, seed=1)
    assert again.debiased != found.debiased and again.value == pytest.approx(found.value)


def test_for_a_mean_the_interval_is_students():
    real, fake = torch.randn(100, 1).double(), torch.randn(100, 1).double()
    found = estimate(lambda a, b: (a.mean() - b.mean()).item(), real, fake, debias=False)
    means = torch.stack([(real - fake)[i::10].mean() for i in range(10)])
    reach = 1.8331129 * float(means.std()) / 10**0.5  # Student's t with 9 degrees of freedom
    assert (found.low, found.high) == pytest.approx((found.value - reach, found.value + reach), rel=1e-6)


@pytest.mark.parametrize("law", ["Gaussian", "two modes", "Student 10"])
def test_the_interval_holds_the_laws_distance_85_times_in_100(law):
    covers, errors = [], []
    for count, factor in ((34, 1.0), (34, 1.6), (96, 1.0), (96, 1.25)):
        truth = float(((factor - 1) * SCALES).square().sum())
        found = [frechet_estimate(rows(law, count), rows(law, count) * factor) for _ in range(15)]
        covers += [one.low <= truth <= one.high for one in found]
        errors += [(fmean(one.debiased for one in found) - truth, fmean(one.value for one in found) - truth)]
    assert fmean(covers) >= 0.85
    assert all(abs(debiased) < 0.35 * plain for debiased, plain in errors)


def test_the_interval_of_too_few_rows_holds_the_mean_of_the_plain_value():
    found = [frechet_estimate(rows("Gaussian", 20), 1.3 * rows("Gaussian", 24)) for _ in range(50)]
    target = fmean(one.value for one in found)
    assert fmean(one.low <= target <= one.high for one in found) >= 0.85


def test_the_interval_of_kvd_holds_its_expectation():
    found = [estimate(kvd, rows("Gaussian", 60), 1.3 * rows("Gaussian", 60), debias=False) for _ in range(40)]
    target = fmean(one.value for one in found)
    assert fmean(one.low <= target <= one.high for one in found) >= 0.85


def test_frames_count_by_what_they_add():
    alone = torch.randn(400, 8, 5)
    assert effective_rows(alone[:, 0]) == 400
    assert effective_rows(alone) == pytest.approx(3200, rel=0.05)
    assert effective_rows(alone[:, :1].expand(-1, 8, -1)) == pytest.approx(400, rel=1e-6)
    assert effective_rows(torch.ones(20, 8, 5)) == 20
    assert bias_is_regular(alone) and bias_is_regular(torch.randn(10))
    assert not bias_is_regular(torch.randn(20, 8, 30)[:, :1].expand(-1, 8, -1))


def test_shared_latents_and_real_clips_narrow_the_difference_of_two_generators():
    truth = float(((0.4 * SCALES).square() - (0.5 * SCALES).square()).sum())
    together, apart = [], []
    for _ in range(20):
        real, latents, fresh = (rows("Gaussian", 96) for _ in range(3))
        together.append(paired_difference(frechet_from_features, real, 1.4 * latents, 1.5 * latents))
        apart.append(paired_difference(frechet_from_features, real, 1.4 * latents, 1.5 * fresh))
    assert fmean(one.low <= truth <= one.high for one in together) >= 0.85
    assert fmean(one.high - one.low for one in together) < 0.6 * fmean(one.high - one.low for one in apart)
    assert fmean(one.significant for one in together) > fmean(one.significant for one in apart)
    assert all(one.significant == (one.low > 0 or one.high < 0) for one in together)


def test_a_generator_and_itself_do_not_differ():
    real, fake = torch.randn(50, 4), torch.randn(50, 4)
    found = paired_difference(frechet_from_features, real, fake, fake)
    assert (found.value, found.low, found.high, found.significant) == (0, 0, 0, False)


def test_bad_input_is_refused_in_one_line():
    good = torch.randn(30, 3)
    with pytest.raises(UserError, match="19 clips a side; a distance with an interval needs 20"):
        frechet_estimate(good, good[:19])
    with pytest.raises(UserError, match="even number"):
        estimate(mean_square, good, good, groups=5)
    with pytest.raises(UserError, match="pairs need the same"):
        paired_difference(mean_square, good, good, good[:20])
    with pytest.raises(UserError, match="not finite"):
        frechet_estimate(good, good / 0)
    assert intervals.GROUPS == 10
