import pytest
import torch

from ode_vgan.errors import UserError
from ode_vgan.metrics.continuous import pixel_rms
from ode_vgan.metrics.solver import Setting, brownian_path, reversal, solver, there_and_back, tight, with_solver
from tests.known import FRAMES, GAP, WIDTH, Known, generator_of, ode, sde, subjects


@pytest.fixture(scope="module")
def subject_of(tmp_path_factory):
    return subjects(tmp_path_factory.mktemp("shapes"))


def test_another_solver_shares_the_weights_and_leaves_the_original_as_it_is():
    made = generator_of(ode(step_seconds=0.1))
    before = dict(vars(made.temporal))
    other = with_solver(made, solver="dopri5", rtol=1e-5)
    assert all(a is b for a, b in zip(made.parameters(), other.parameters(), strict=True))
    assert (other.temporal.solver, other.temporal.rtol, other.temporal.atol) == ("dopri5", 1e-5, pytest.approx(1e-6))
    assert with_solver(made, solver="rk4", steps_per_frame=3).temporal.step_seconds is None
    assert vars(made.temporal) == before and other.temporal is not made.temporal
    for wrong, told in (
        ({"solver": "leapfrog"}, "unknown"),
        ({"steps_per_frame": 0}, "1 or more"),
        ({"solver": "dopri5", "rtol": 2.0}, "between 0 and 1"),
    ):
        with pytest.raises(UserError, match=told):
            with_solver(made, **wrong)
    with pytest.raises(UserError, match="steps_per_frame alone"):
        with_solver(generator_of(sde()), solver="rk4")
    with pytest.raises(UserError, match="has no solver"):
        with_solver(generator_of(Known()), solver="rk4")


def test_solver_error_falls_as_evaluations_rise(subject_of):
    settings = [Setting("euler", steps) for steps in (1, 4, 16)]
    settings += [Setting("dopri5", rtol=rtol) for rtol in (1e-1, 1e-5, 1e-6)]
    *answers, decoding = solver(subject_of(ode()), settings)
    for part in (answers[:3], answers[3:]):
        errors = [answer.numbers["pixel_rms"] for answer in part]
        assert errors == sorted(errors, reverse=True) and errors[-1] < 0.3 * errors[0]
        calls = [answer.numbers["nfe"] for answer in part]
        assert calls == sorted(set(calls))
    assert [answer.numbers["nfe"] for answer in answers[:3]] == [3, 12, 48]
    assert answers[0].numbers["fd_to_tight"] > answers[2].numbers["fd_to_tight"]
    assert all(answer.numbers["path_ms"] > 0 for answer in (*answers, decoding))


def test_an_sde_is_compared_on_one_brownian_path(subject_of):
    subject = subject_of(sde())
    latents, times, c = subject.latents, subject.times, subject.text
    assert torch.equal(
        brownian_path(subject.generator, 1)(latents, times, c)[1], subject.generator.path(latents, times, c)[1]
    )
    *answers, _ = solver(subject, [Setting(steps_per_frame=steps) for steps in (1, 4, 16)])
    errors = [answer.numbers["pixel_rms"] for answer in answers]
    assert errors[2] < 0.5 * errors[0] and errors == sorted(errors, reverse=True)
    assert errors[0] < 0.5 * float(pixel_rms(subject.base, subject.frames(times, latents=subject.new_paths(1))).mean())


def test_a_tight_solver_comes_back_to_its_start_and_a_coarse_one_does_not(subject_of):
    found = {tuple(answer.asked.values()): answer.numbers for answer in reversal(subject_of(ode()), windows=2)}
    assert found[1, "tight"]["z0_error_most"] < 1e-4 < 1e-2 < found[1, "as trained"]["z0_error"]
    assert found[1, "as trained"]["nfe"] == 2 * (FRAMES - 1) and found[2, "as trained"]["nfe"] == 2 * (2 * FRAMES - 1)
    assert found[1, "as trained"]["pixel_rms"] > found[1, "tight"]["pixel_rms"]


def test_a_second_order_path_is_reversed_with_its_velocity():
    made = tight(generator_of(ode(order=2)))
    z0, times, c = torch.randn(5, WIDTH), torch.arange(FRAMES) * GAP, torch.ones(5, 1)
    back, nfe = there_and_back(made.temporal, z0, times, c)
    assert torch.allclose(back, z0, atol=1e-4) and nfe == 2 * 4 * 32 * (FRAMES - 1)
