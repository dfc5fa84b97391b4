import pytest
import torch

from ode_vgan.errors import UserError
from ode_vgan.metrics.rates import at_stride, blend, decimation, fine_times, horizon, rates, seen, shift, stride_at
from tests.known import FPS, FRAMES, STRIDE, Counting, Known, Walk, by, shapes_data, subjects


@pytest.fixture(scope="module")
def subject_of(tmp_path_factory):
    return subjects(tmp_path_factory.mktemp("shapes"))


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return shapes_data(tmp_path_factory.mktemp("shapes"))


def test_held_back_windows_have_the_gap_of_their_rate_and_were_not_trained_on(data):
    trained = data.real_clips(8, split="train")
    for rate, stride in ((2.0, 1), (1.0, 2), (0.5, 4)):
        assert stride_at(data, rate) == stride
        real = at_stride(data, stride).real_clips(8, split="train")
        assert torch.allclose(real.times.diff(dim=1), torch.tensor(stride / FPS), atol=1e-3)  # files round to ms
        assert real.captions == trained.captions
        assert seen(data, stride) == ("yes" if rate == 1 else "no")
    assert data.sampling.strides == (STRIDE,)


def test_a_stride_is_whole_or_none(data):
    strides = {3: {2.0: None, 1.5: 2, 3.0: 1, 0.5: 6, 1 / 3: 9}, 4: {2.0: 2, 4.0: 1, 8.0: None}}
    for stride, answers in strides.items():
        assert {rate: stride_at(at_stride(data, stride), rate) for rate in answers} == answers
    with pytest.raises(UserError, match="more than 0"):
        stride_at(data, 0.0)


def test_a_rate_without_real_frames_has_a_reason_and_no_number(subject_of):
    found = by(rates(subject_of(Known()), (0.5, 1.0, 2.0, 4.0)), "rate")
    assert "not a whole number" in found["4x"].note and not found["4x"].numbers
    for rate in ("0.5x", "1x", "2x"):
        numbers = found[rate].numbers
        assert numbers["fd_low"] < numbers["fd"] < numbers["fd_high"] and numbers["floor"] > 0
    assert "blend" in found["2x"].numbers and "blend" not in found["1x"].numbers
    assert found["2x"].asked["trained on"] == "no" and found["1x"].asked["trained on"] == "yes"


def test_a_linear_path_is_its_own_blend():
    frames, positions = (
        torch.arange(4.0)[None, :, None].expand(2, 4, 3),
        torch.tensor([[0.0, 0.5, 3.0], [1.0, 2.25, 2.5]]),
    )
    assert torch.equal(blend(frames, positions), positions[..., None].expand(2, 3, 3))


def test_every_factor_th_fine_time_is_a_coarse_one_to_the_bit():
    times = torch.arange(16, dtype=torch.float64) * 0.126
    for factor in (2, 3, 4, 7):
        fine = fine_times(times, factor)
        assert torch.equal(fine[::factor], times) and len(fine) == 15 * factor + 1
        assert torch.allclose(fine.diff(), times.diff()[0] / factor)


def test_decimating_a_function_of_time_changes_nothing(subject_of):
    for rendered, found in by(decimation(subject_of(Known())), "rendered").items():
        if rendered != "1x":
            assert found.numbers["pixel_rms"] == found.numbers["pixel_rms_most"] == 0
            assert found.numbers["fd_to_1x"] < 1e-6
            assert abs(found.numbers["change"]) < 1e-6
            assert not found.note


def test_decimating_a_path_that_counts_its_frames_changes_it(subject_of):
    plain, twice, four = decimation(subject_of(Counting()))
    assert 1 < twice.numbers["pixel_rms"] < four.numbers["pixel_rms"]
    assert twice.numbers["fd_to_1x"] > 1 and plain.numbers["fd"] > 0


def test_decimated_noise_of_the_right_law_scores_as_other_paths_do_and_noise_a_step_does_not(subject_of):
    def ratio(power, size):
        found = by(decimation(subject_of(Walk(size, power), clips=64)), "rendered")
        numbers = {name: answer.numbers for name, answer in found.items()}
        return numbers["4x, every 4. kept"]["fd_to_1x"] / numbers["1x, other paths"]["fd_to_1x"]

    assert 0.8 < ratio(power=0.5, size=1.0) < 1.25  # 64 clips vary by 8 %
    assert ratio(power=0.0, size=0.1) > 2


def test_windows_of_a_periodic_path_score_alike_and_those_of_a_growing_one_do_not(subject_of):
    first, second, third = (answer.numbers for answer in horizon(subject_of(Known())))
    assert second["fd"] == pytest.approx(first["fd"], rel=1e-3) and abs(third["change"]) < 1e-3 * first["fd"]
    one, _, three = (answer.numbers for answer in horizon(subject_of(Counting())))
    assert three["fd"] != pytest.approx(one["fd"], rel=1e-2)


def test_a_shift_by_no_gap_or_one_period_changes_nothing_and_half_a_gap_does(subject_of):
    found = by(shift(subject_of(Known()), (0.0, 0.5, float(FRAMES))), "start (gaps)")
    assert found["0.5"].numbers["fd"] != pytest.approx(found["0"].numbers["fd"], rel=1e-3)
    assert found[f"{FRAMES}"].numbers["fd"] == pytest.approx(found["0"].numbers["fd"], rel=1e-3)
