import pytest
import torch

from ode_vgan.errors import UserError
from ode_vgan.metrics.features import find_extractor
from ode_vgan.metrics.intervals import estimate
from ode_vgan.metrics.measures import compare, measure
from ode_vgan.metrics.mmd import kvd
from ode_vgan.metrics.motion import motion_distances, motion_features
from ode_vgan.metrics.protocol import METRICS, parse_protocol


def drawn(count=60, dim=6, seed=0, shift=0.0):
    draw = torch.Generator().manual_seed(seed)
    return torch.randn(count, dim, generator=draw).double() + shift


def unit(rows):
    return rows / rows.norm(dim=-1, keepdim=True)


def rows_for(metric, seed, shift=0.0):
    """Rows as the metric's extractor would give them."""
    if metric in ("clipsim", "tempcons", "cmmd"):
        return unit(drawn(240, 6, seed, shift)).unflatten(0, (60, 4))
    if metric == "is":
        return drawn(60, 6, seed, shift).softmax(1)
    if metric == "motion":
        clips = torch.randint(0, 256, (24, 4, 16, 16, 3), generator=torch.Generator().manual_seed(seed))
        return find_extractor("motion")(clips.to(torch.uint8))
    return drawn(60, 6, seed, shift)


@pytest.mark.parametrize("metric", METRICS)
def test_every_metric_gives_finite_numbers_inside_their_intervals(metric):
    protocol = parse_protocol(f"{metric}60_16f")
    found = measure(protocol, rows_for(metric, 0), rows_for(metric, 1, 0.3), unit(drawn(60, 6, 5)))
    assert found
    for name, one in found.items():
        centre = one.value if one.debiased is None else one.debiased
        assert one.low <= centre <= one.high and torch.tensor([one.value, one.low, one.high]).isfinite().all(), name


@pytest.mark.parametrize("metric", ["fvd", "fd", "kvd", "jedi", "cmmd"])
def test_a_distance_to_shifted_rows_is_larger_and_pairs_say_so(metric):
    protocol = parse_protocol(f"{metric}60_16f")
    real, near, far = rows_for(metric, 0), rows_for(metric, 1), rows_for(metric, 1, 1.5)
    close, wide = (next(iter(measure(protocol, real, rows).values())).value for rows in (near, far))
    assert wide > 2 * close
    for one in compare(protocol, real, near, far).values():
        assert one.value < 0 and one.significant


def test_the_covariance_of_the_protocol_reaches_the_distance():
    a, b = drawn(), drawn(seed=1)
    one, other = (measure(parse_protocol(f"fvd60_16f{style}"), a, b)["fvd"].value for style in ("", "_google"))
    assert one != other and abs(one / other - 59 / 60) < 0.02


def test_the_kernel_distance_is_that_of_its_file_with_its_interval():
    a, b = drawn(), drawn(seed=1, shift=1)
    assert measure(parse_protocol("kvd60_16f"), a, b)["kvd"] == estimate(kvd, a, b, debias=False)


def test_motion_rows_give_the_distances_of_their_features():
    clips = torch.randint(0, 256, (2, 24, 4, 16, 16, 3), dtype=torch.uint8)
    extractor = find_extractor("motion")
    found = measure(parse_protocol("motion24"), *(extractor(side) for side in clips))
    expected = motion_distances(*(motion_features(side) for side in clips))
    expected["static_gap"] = abs(expected["static_share_real"] - expected["static_share_fake"])
    for name, one in found.items():
        assert one.value == pytest.approx(expected[name]), name


def test_clipsim_without_unit_rows_is_refused():
    with pytest.raises(UserError):
        measure(parse_protocol("clipsim60_16f"), drawn(), drawn(240).unflatten(0, (60, 4)), drawn(60))
