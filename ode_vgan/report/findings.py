"""What a study says to each question, in sentences made from the intervals over seeds; never from one seed."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from ode_vgan.report import reading
from ode_vgan.report.questions import Quantity, Question, confound, questions
from ode_vgan.report.statistics import corrected, over_seeds, welch
from ode_vgan.report.study import Contrast, Spread, Study
from ode_vgan.report.table import plus_minus

OTHERS = "How do the other families compare?"
MAX_OTHERS = 40
Pair = tuple[str, str]


@dataclass(frozen=True)
class Finding:
    """One question answered for one pair of families on one number.

    Attributes:
        question: as asked. pair: the two families. about: the number compared; short: the same in a word or two.
        sentence: both sides with spread and seeds, the difference, its interval and p.
        verdict: on the first family, in a few plain words.
        kind: "better", "worse", "more", "less", "equal", "not told apart", "one seed" or "not measured".
        evidence: first minus second; None where nothing was measured. sides: their means over seeds.
        ratio: first by second with its interval, where asked for. note: what else the pair differs in, and what other
            numbers say.
    """

    question: str
    pair: Pair
    sentence: str
    verdict: str
    kind: str
    about: str = ""
    short: str = ""
    evidence: Contrast | None = None
    sides: tuple[Spread, Spread] | None = None
    ratio: str = ""
    note: str = ""


def findings(study: Study) -> list[Finding]:
    """Every question that the study's families can be asked, in order; the rest of the families pair by pair."""
    found = [one for question in questions(study) for one in _answers(study, question)]
    return found + _others(study, {name for one in found if one.evidence for name in one.pair})


def asked_pairs(study: Study) -> list[Pair]:
    """The pairs of the study's families that any question names, in order, each once and one way round."""
    named = [pair for question in questions(study) for pair in _pairs(study, question)]
    return [pair for i, pair in enumerate(named) if pair not in named[:i] and pair[::-1] not in named[:i]]


def difference_words(one: Contrast) -> str:
    """A difference with its interval, or that there is none."""
    value = plus_minus(one.value, None)
    if one.low is None:
        return f"{value} (one seed, no interval)"
    if one.low == one.high:
        return f"{value} (the same in every seed)"
    return f"{value} ({plus_minus(one.low, None)} to {plus_minus(one.high, None)})"


def mean_words(one: Spread) -> str:
    """Mean and deviation; a whole number that no seed differs in as it is."""
    if one.sd or one.mean != round(one.mean):
        return plus_minus(one.mean, one.sd or None)
    return f"{one.mean:,.0f}"


def spread_words(one: Spread) -> str:
    """Mean, deviation and number of seeds."""
    same = one.n > 1 and not one.sd
    return f"{mean_words(one)} ({'each of ' if same else ''}{one.n} seed{'' if one.n == 1 else 's'})"


def verdict_of(one: Contrast, better: str) -> tuple[str, str]:
    """The kind of a difference, and a verdict on the first family: told apart only by interval and Holm together."""
    if min(one.n_a, one.n_b) < 2:
        single = " and ".join(name for name, n in ((one.a, one.n_a), (one.b, one.n_b)) if n < 2)
        return "one seed", f"no claim on {one.a} and {one.b}: one seed of {single}"
    if one.low == one.high == 0:
        return "equal", f"{one.a} and {one.b} are equal"
    if one.low <= 0 <= one.high:
        return "not told apart", f"{one.a} and {one.b} are not told apart"
    if not one.significant:
        return "not told apart", f"{one.a} and {one.b} are not told apart, once corrected for all pairs"
    way, near, far = ("lower", -one.high, -one.low) if one.value < 0 else ("higher", one.low, one.high)
    reach = plus_minus(near, None) + ("" if near == far else f" to {plus_minus(far, None)}")
    if not better:
        return (
            "more" if one.value > 0 else "less"
        ), f"{one.a} takes {'more' if one.value > 0 else 'less'} than {one.b}, by {reach}"
    kind = "better" if way == better else "worse"
    return kind, f"{one.a} is {way} than {one.b}, so {kind}, by {reach}"


def _answers(study: Study, question: Question) -> list[Finding]:
    pairs = _pairs(study, question)
    return _on_scores(study, question, pairs) if question.quantities is None else _on_facts(study, question, pairs)


def _on_scores(study: Study, question: Question, pairs: Sequence[Pair]) -> list[Finding]:
    """Each pair on the most telling score that both have, p corrected over these pairs; others go into the note."""
    contrasts: dict[Pair, dict[str, Contrast]] = {pair: {} for pair in pairs}
    for key in reading.score_keys(study):
        having = {pair: one for pair in pairs if (one := reading.contrast_of(study, *pair, key))}
        for pair, one in zip(having, corrected(list(having.values())), strict=True):
            contrasts[pair][key] = one
    found = []
    for pair, by_key in contrasts.items():
        if not by_key:
            found.append(_not_measured(study, question, pair, ()))
            continue
        key = next(iter(by_key))
        sides = tuple(reading.spread_of(study, name, key) for name in pair)
        one = _finding(question, by_key.pop(key), sides, reading.better_of(study, key), key, key)
        found.append(replace(one, note=" ".join(filter(None, (one.note, _elsewhere(study, pair[0], by_key))))))
    return found


def _on_facts(study: Study, question: Question, pairs: Sequence[Pair]) -> list[Finding]:
    """Each pair on each quantity, p corrected over the pairs of a quantity."""
    wanted = {pair: question.quantities(study, *pair) for pair in pairs}
    measured = {(pair, one): _measure(study, one, pair) for pair, each in wanted.items() for one in each}
    found: dict[Pair, list[Finding]] = {pair: [] for pair in pairs}
    for short in dict.fromkeys(one.short for _, one in measured):
        same = [(*of, sides) for of, sides in measured.items() if of[1].short == short and sides]
        contrasts = corrected([welch(*sides) for *_, sides in same])
        for contrast, (pair, one, sides) in zip(contrasts, same, strict=True):
            found[pair].append(_finding(question, contrast, sides, one.better, one.says, short))
    return [
        finding
        for pair, each in wanted.items()
        for finding in found[pair] or [_not_measured(study, question, pair, each)]
    ]


def _pairs(study: Study, question: Question) -> list[Pair]:
    """Families of the study for the models that a question names: of one folder and tag, or of any."""
    named = [(reading.parts(name), name) for name in reading.families(study)]
    return [
        (a, b)
        for wanted in question.pairs
        for (folder_a, model_a, tag_a), a in named
        for (folder_b, model_b, tag_b), b in named
        if (model_a, model_b) == wanted and (question.any_tag or (folder_a, tag_a) == (folder_b, tag_b))
    ]


def _finding(
    question: Question, one: Contrast, sides: tuple[Spread, Spread], better: str, about: str, short: str
) -> Finding:
    a, b = (f"{side.family} has {spread_words(side)}" for side in sides)
    kind, verdict = verdict_of(one, better)
    which = f", {better} being better," if better else ""
    sentence = f"For {about}{which} {a} and {b}: the difference is {difference_words(one)}"
    if one.low is not None and one.low < one.high:
        sentence += f", 90 % interval, p {p_words(one.p_holm)} by Holm"
    ratio = _ratio_words(*sides) if question.ratio and one.value else ""
    note = confound(question, one.a, one.b)
    times = f" That is {ratio} {one.b}'s." if ratio else ""
    return Finding(
        question.asks, (one.a, one.b), f"{sentence}.{times}", verdict, kind, about, short, one, sides, ratio, note
    )


def _not_measured(study: Study, question: Question, pair: Pair, wanted: Sequence[Quantity]) -> Finding:
    reasons = [reason for name in pair if (reason := _reason(study, name, wanted))]
    why = "; ".join(reasons) or "no run of either was judged on it"
    sentence = f"{pair[0]} and {pair[1]} are not compared: {why}."
    return Finding(question.asks, pair, sentence, f"not measured: {why}", "not measured")


def _reason(study: Study, family: str, wanted: Sequence[Quantity]) -> str:
    """Why a family has none of some quantities, or no score; "" where it has one."""
    own = reading.runs_of(study, family)
    if any(one.of(run) is not None for one in wanted for run in own) or (not wanted and any(run.scores for run in own)):
        return ""
    said = next((note for run in own for one in wanted if (note := one.why(run))), "")
    return f"{family} {said.rstrip('.')}" if said else reading.why_missing(study, family)


def _measure(study: Study, quantity: Quantity, pair: Pair) -> tuple[Spread, Spread] | None:
    sides = []
    for name in pair:
        own = {run.seed: quantity.of(run) for run in reading.counted(study, name)}
        values = {seed: _rounded(value) for seed, value in own.items() if value is not None and math.isfinite(value)}
        sides.append(over_seeds(values, family=name, key=quantity.says) if values else None)
    return None if None in sides else tuple(sides)


def _rounded(value: float) -> float:
    """Without the last digits, in which differences of equal numbers differ."""
    return float(f"{value:.10g}")


def _elsewhere(study: Study, family: str, contrasts: dict[str, Contrast]) -> str:
    """What the same pair is on the other scores, in one sentence."""
    kinds: dict[str, list[str]] = {}
    for key, one in contrasts.items():
        kinds.setdefault(verdict_of(one, reading.better_of(study, key))[0], []).append(key)
    told = [f"{kind} on {', '.join(kinds[kind])}" for kind in ("better", "worse") if kind in kinds]
    same = len(kinds.get("not told apart", ()))
    told += [f"not told apart on {same}"] if same else []
    return f"Of {len(contrasts)} other scores, {family} is {'; '.join(told)}." if told else ""


def _ratio_words(a: Spread, b: Spread) -> str:
    """The ratio of geometric means with its interval, where all values are above 0."""
    if min([*a.values.values(), *b.values.values()]) <= 0:
        return ""
    one = welch(*(over_seeds({seed: math.log(value) for seed, value in side.values.items()}) for side in (a, b)))
    apart = one.low is not None and one.low < one.high
    interval = f" ({_times(one.low)} to {_times(one.high)})" if apart else ""
    return f"{_times(one.value)} times{interval}"


def _times(log: float) -> str:
    """A ratio from its logarithm, with a digit more near 1."""
    return f"{math.exp(log):.{4 if abs(log) < 0.05 else 3}g}"


def p_words(p: float) -> str:
    """A p value with its sign of equality."""
    return f"= {p:.2g}" if p >= 1e-4 else "< 0.0001"


def _others(study: Study, asked: set[str]) -> list[Finding]:
    """Pairs with a family that no question named, on the first score."""
    left = [name for name in reading.families(study) if name not in asked]
    key = next((key for key in reading.score_keys(study) if any(one.key == key for one in study.contrasts)), None)
    question = Question(OTHERS, ())
    pairs = [one for one in study.contrasts if one.key == key and {one.a, one.b} & set(left)]
    sides = [tuple(reading.spread_of(study, name, key) for name in (one.a, one.b)) for one in pairs]
    better = reading.better_of(study, key) if key else "lower"
    return [
        _finding(question, one, both, better, key, key)
        for one, both in list(zip(pairs, sides, strict=True))[:MAX_OTHERS]
    ]
