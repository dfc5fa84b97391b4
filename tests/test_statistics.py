"""Laws of comparing families: against scipy on known numbers, and that intervals cover what they say."""

import math
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from ode_vgan.report.statistics import contrasts, corrected, holm, over_seeds, reaches, spreads, welch
from ode_vgan.report.study import Contrast, Run, Score

A, B = [3.1, 4.4, 2.7, 5.0], [7.2, 6.1, 9.9]


def run(family: str, seed: int, value: float, key: str = "fvd128_16f/test", reach: float = 1.0) -> Run:
    score = Score(value, value - reach, value + reach, None, 0.5 + seed, "lower", {})
    return Run(Path(f"{family}-seed{seed}"), family, seed, "finished", scores={key: score})


def spread(values, family: str = "a"):
    return over_seeds(dict(enumerate(values)), family=family, key="k")


def test_the_interval_of_a_mean_is_students():
    found = spread(A)
    expected = stats.t.interval(0.9, len(A) - 1, loc=np.mean(A), scale=stats.sem(A))
    assert found.n == 4 and found.mean == pytest.approx(np.mean(A)) and found.sd == pytest.approx(np.std(A, ddof=1))
    assert (found.low, found.high) == pytest.approx(expected)


def test_a_contrast_is_welchs():
    found = welch(spread(A), spread(B, "b"))
    expected = stats.ttest_ind(A, B, equal_var=False)
    interval = expected.confidence_interval(0.9)
    assert (found.a, found.b, found.n_a, found.n_b) == ("a", "b", 4, 3)
    assert found.value == pytest.approx(np.mean(A) - np.mean(B)) and found.p == pytest.approx(expected.pvalue)
    assert (found.low, found.high) == pytest.approx((interval.low, interval.high))


def test_one_seed_a_side_gives_no_interval_and_no_verdict():
    alone = spread([4.0])
    assert (alone.mean, alone.sd, alone.low, alone.high) == (4.0, None, None, None)
    for found in (welch(alone, spread(B)), welch(spread(A), alone), *corrected([welch(alone, alone)])):
        assert (found.low, found.high, found.p, found.p_holm, found.significant) == (None,) * 5
    assert welch(alone, spread([1.5])).value == 2.5


def test_numbers_that_do_not_vary_have_no_error():
    same = welch(spread([0.0, 0.0]), spread([0.0, 0.0]))
    assert (same.low, same.high, same.p) == (0, 0, 1)
    assert welch(spread([1.0, 1.0]), spread([0.0, 0.0])).p == 0


def test_holm_on_a_worked_example_and_against_its_definition():
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.4, 0.9]) == pytest.approx([0.8, 0.9]) and holm([0.7, 0.6]) == [1.0, 1.0] and holm([]) == []
    p = np.random.default_rng(0).uniform(0, 0.2, 9)
    for level in (0.05, 0.1, 0.4):  # Holm's steps: stop at the first rank that fails
        order, rejected = np.argsort(p), set()
        for rank, i in enumerate(order):
            if p[i] > level / (len(p) - rank):
                break
            rejected.add(int(i))
        assert {i for i, one in enumerate(holm(list(p))) if one <= level} == rejected


def test_families_are_spread_over_seeds_and_compared_under_each_key_alone():
    runs = [run("ode", seed, value) for seed, value in enumerate(A)] + [run("rnn", i, v) for i, v in enumerate(B)]
    runs += [run("sde", 0, 1.0), run("ode", 0, 99.0, "fd/test"), run("rnn", 0, 98.0, "fd/test")]
    found = spreads(runs[:-2] + [run("ode", 0, 77.0)])  # a second run of ode's seed 0
    assert [(one.family, one.n) for one in found] == [("ode", 4), ("rnn", 3), ("sde", 1)]
    assert found[0].values == dict(enumerate(A)) and found[0].real == pytest.approx(2.0)
    pairs = contrasts(spreads(runs[:-2]))
    assert [(one.a, one.b) for one in pairs] == [("ode", "rnn"), ("ode", "sde"), ("rnn", "sde")]
    assert pairs[0].p_holm == pytest.approx(pairs[0].p), "pairs without p are not counted"
    assert pairs[0].significant is True and pairs[1].significant is None


def test_more_pairs_need_more_evidence():
    runs = [run(f"f{i}", seed, 3 * i + 0.1 * seed * (-1) ** seed) for i in range(4) for seed in range(3)]
    for one in contrasts(spreads(runs)):
        assert one.p < one.p_holm <= 1 and one.significant == (one.p_holm <= 0.1)


def test_intervals_cover_and_false_findings_are_rare():
    draw, rounds, n = np.random.default_rng(0), 1500, 3
    means, differences, families, any_found = 0, 0, 5, 0
    for _ in range(rounds):
        sides = [spread(draw.normal(2.0, 1.0, n)), spread(draw.normal(5.0, 3.0, n))]
        means += sides[0].low <= 2.0 <= sides[0].high
        one = welch(*sides)
        differences += one.low <= -3.0 <= one.high
    for _ in range(rounds // 5):
        same = [over_seeds(dict(enumerate(draw.normal(0, 1, n))), family=str(i), key="k") for i in range(families)]
        any_found += any(one.significant for one in contrasts(same))
    error = math.sqrt(0.9 * 0.1 / rounds)
    assert abs(means / rounds - 0.9) < 3 * error
    assert 0.9 - 3 * error < differences / rounds < 0.97, "Welch at n = 3 covers somewhat more"
    assert any_found / (rounds // 5) < 0.1 + 3 * math.sqrt(0.09 / (rounds // 5))


def test_how_far_a_number_reaches_by_clips_and_by_seed():
    runs = [run("ode", i, v, reach=0.2) for i, v in enumerate(A)] + [
        run("rnn", i, v, reach=0.4) for i, v in enumerate(B)
    ]
    found = reaches(runs)["fvd128_16f/test"]
    pooled = math.sqrt((3 * np.var(A, ddof=1) + 2 * np.var(B, ddof=1)) / 5)
    assert found == {"clips": pytest.approx(0.2), "seeds": pytest.approx(stats.t.ppf(0.95, 5) * pooled), "freedom": 5}
    assert reaches([run("ode", 0, 1.0)])["fvd128_16f/test"]["seeds"] is None


def test_a_contrast_is_plain_data():
    assert isinstance(welch(spread(A), spread(B)), Contrast)
