import math
from dataclasses import replace

import pytest

from ode_vgan.report.findings import OTHERS, asked_pairs, difference_words, findings, spread_words, verdict_of
from ode_vgan.report.questions import questions
from ode_vgan.report.statistics import contrasts, corrected, over_seeds, spreads, welch
from tests.made_study import MEANS, failed_run, made_run, made_study

NOW, RATES, WINDOWS = (one.asks for one in questions(made_study())[:3])


def pick(found, pair, question=None, short=None):
    return next(
        one for one in found
        if one.pair == pair and question in (None, one.question) and short in (None, one.short)
    )  # fmt: skip


def test_a_verdict_turns_round_with_the_data():
    lower = pick(findings(made_study()), ("ode", "rnn"), NOW)
    higher = pick(findings(made_study(means=MEANS | {"ode": 60.0, "rnn": 40.0})), ("ode", "rnn"), NOW)
    assert (lower.kind, higher.kind) == ("better", "worse")
    assert "ode is lower than rnn, so better, by " in lower.verdict
    assert "ode is higher than rnn, so worse, by " in higher.verdict
    assert lower.evidence.value == pytest.approx(-200, abs=5) and higher.evidence.value == pytest.approx(200, abs=5)


def test_a_sentence_has_both_sides_the_difference_its_interval_and_p():
    study = made_study()
    one = pick(findings(study), ("ode", "rnn"), NOW)
    a, b = (next(s for s in study.spreads if (s.family, s.key) == (f, "fvd128_16f/test")) for f in ("ode", "rnn"))
    expected = welch(a, b)
    assert one.about == "fvd128_16f/test"
    assert f"{a.mean:.0f} ± {a.sd:.0f} (3 seeds)" in one.sentence
    assert f"{expected.value:.1f} ({expected.low:.1f} to {expected.high:.1f}), 90 % interval, p " in one.sentence
    assert "by Holm" in one.sentence


def test_families_that_overlap_are_not_told_apart():
    one = pick(findings(made_study(means={"ode": 40.0, "rnn": 40.3})), ("ode", "rnn"), NOW)
    assert one.kind == "not told apart" and one.evidence.low < 0 < one.evidence.high
    assert one.verdict == "ode and rnn are not told apart"


def test_an_interval_without_0_is_not_enough_where_holm_disagrees():
    a, b = over_seeds({0: 1.0, 1: 1.1}, family="a"), over_seeds({0: 0.8, 1: 0.9}, family="b")
    one = welch(a, b)
    kind, verdict = verdict_of(replace(one, low=0.01, p_holm=0.3, significant=False), "lower")
    assert kind == "not told apart" and "once corrected" in verdict


def test_one_seed_makes_no_claim():
    found = findings(made_study(seeds=(0,)))
    kinds = {one.kind for one in found if one.evidence}
    assert kinds == {"one seed"}
    assert all("no claim on" in one.verdict and " ± " not in one.sentence for one in found if one.evidence)
    assert all(one.evidence.low is None for one in found if one.evidence)


def test_p_is_corrected_over_the_pairs_of_the_question():
    study = made_study()
    own = [one for one in findings(study) if one.question == NOW]
    raw = [one.evidence.p for one in own]
    assert min(one.evidence.p_holm for one in own) == pytest.approx(len(own) * min(raw))
    assert len(own) < len([one for one in study.contrasts if one.key == own[0].about])


def test_higher_is_better_where_a_score_says_so():
    study, key = made_study(), "clipsim128/test"
    runs = [replace(run, scores={key: run.scores[key]}) for run in study.runs]
    found = spreads(runs)
    only = replace(study, runs=runs, spreads=found, contrasts=contrasts(found))
    one = pick(findings(only), ("ode", "rnn"), NOW)
    assert one.evidence.value > 0 and one.kind == "better" and "higher being better" in one.sentence


def test_unseen_rates_and_later_windows_are_read_above_their_floor():
    found = findings(made_study())
    rate = pick(found, ("ode", "rnn"), RATES, "4x")
    assert rate.kind == "better" and rate.evidence.value == pytest.approx(-20 - 72, abs=1)
    lost = pick(found, ("ode", "rnn"), RATES, "4x less 1x")
    assert lost.evidence.value == pytest.approx(-72) and lost.evidence.low == lost.evidence.high
    window = pick(found, ("ode", "rnn"), WINDOWS, "window 3")
    assert window.kind == "worse" and window.evidence.value == pytest.approx(-20 + 70, abs=1)


def test_a_model_that_cannot_be_asked_is_named_with_its_reason():
    one = pick(findings(made_study()), ("ode", "discrete"), RATES)
    assert one.kind == "not measured" and one.evidence is None
    assert one.verdict == "not measured: discrete cannot: made knows no gap but its own"


def test_noise_in_one_family_alone_is_told_as_a_confound():
    study = made_study(means=MEANS | {"rnn_quiet": 55.0})
    found = findings(study)
    assert "rnn also draws noise" in pick(found, ("ode", "rnn"), NOW).note
    assert "noise" not in pick(found, ("ode", "rnn_quiet"), NOW).note
    assert "noise" not in pick(found, ("sde", "rnn"), NOW).note


def test_a_failed_family_is_not_measured_and_says_why():
    one = pick(findings(made_study(more=[failed_run()])), ("ode2", "ode"))
    assert one.kind == "not measured" and "a loss is nan" in one.verdict


def test_prices_are_told_as_ratios():
    one = pick(findings(made_study()), ("ode", "rnn"), short="evaluations")
    assert one.kind == "more" and one.ratio == "2 times" and "takes more than rnn, by 15" in one.verdict
    seconds = pick(findings(made_study()), ("ode", "rnn"), short="CPU s")
    assert seconds.evidence.value == pytest.approx(1000 * 150 / 8192, rel=0.05) and " to " in seconds.ratio


def test_numbers_that_no_seed_differs_in_are_told_without_a_spread():
    a, b, c = (over_seeds({0: value, 1: value}, family=name) for name, value in (("a", 30.0), ("b", 30.0), ("c", 15.0)))
    assert spread_words(a) == "30 (each of 2 seeds)" and spread_words(over_seeds({0: 7.0})) == "7 (1 seed)"
    assert verdict_of(welch(a, b), "")[0] == "equal"
    assert verdict_of(corrected([welch(a, c)])[0], "") == ("more", "a takes more than c, by 15.00")


def test_published_systems_are_compared_at_equal_spending():
    study = made_study(means=MEANS | {"gordon2020/tgan": 80.0, "gordon2020/tgan_ode_lin": 90.0})
    found = findings(study)
    final = pick(found, ("ode", "gordon2020/tgan_ode_lin"), "Do the published systems hold against ours?")
    assert final.kind == "better" and float(final.ratio.split()[0]) == pytest.approx(40 / 90, abs=0.02)
    assert {one.short for one in found if one.pair == final.pair and one.short.startswith("equal")} == {
        "equal clips", "equal CPU seconds", "equal forward MACs",
    }  # fmt: skip
    clips = pick(found, final.pair, short="equal clips")
    factor = 1 + math.exp(-8192 / 2000)
    assert clips.evidence.value == pytest.approx((40 - 90) * factor, abs=1.0)
    assert pick(found, ("gordon2020/tgan_ode_lin", "gordon2020/tgan")).kind == "worse"


def test_tags_are_compared_with_their_own_tag():
    pairs = asked_pairs(made_study(means={"ode": 40.0, "rnn": 60.0, "ode-wide": 41.0, "rnn-wide": 61.0}))
    assert ("ode-wide", "rnn-wide") in pairs and ("ode", "rnn") in pairs
    assert ("ode-wide", "rnn") not in pairs


def test_unknown_families_are_compared_pair_by_pair():
    found = findings(made_study(means={"first": 40.0, "second": 60.0}))
    assert [one.question for one in found] == [OTHERS] and found[0].kind == "better"
    mixed = findings(made_study(means={"ode": 40.0, "rnn": 60.0, "mystery": 50.0}))
    assert {one.pair for one in mixed if one.question == OTHERS} == {("ode", "mystery"), ("rnn", "mystery")}


def test_unfinished_runs_stay_out_of_every_mean():
    late = [made_run("ode", 7, 500.0, state="unfinished", note="512 of 8,192 clips")]
    study = made_study()
    with_late = replace(study, runs=study.runs + late)
    for one, other in zip(findings(study), findings(with_late), strict=True):
        assert one.evidence == other.evidence


def test_nothing_to_compare_gives_no_finding():
    assert findings(made_study(means={"ode": 40.0})) == []
    assert findings(made_study(means={})) == []
    assert findings(made_study(means={}, more=[failed_run()])) == []


def test_a_difference_without_interval_says_so():
    one = welch(over_seeds({0: 1.0}, family="a"), over_seeds({0: 3.0, 1: 4.0}, family="b"))
    assert difference_words(one) == "-2.500 (one seed, no interval)"
