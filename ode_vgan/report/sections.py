"""The sections of a study's report, from its data alone."""

from collections.abc import Callable, Iterable, Mapping, Sequence

from ode_vgan.report import reading
from ode_vgan.report.canvas import Picture
from ode_vgan.report.findings import Finding, difference_words, mean_words, p_words, spread_words
from ode_vgan.report.limits import limits
from ode_vgan.report.origins import failures, provenance, tidy
from ode_vgan.report.page import Block, Bullet, Bullets, Heading, Section, Table, Text, Video, table
from ode_vgan.report.statistics import over_seeds
from ode_vgan.report.study import Contrast, Run, Study
from ode_vgan.report.table import differing_keys, plus_minus, protocol_line

OPEN_TABLES = 3  # further ones are folded
OUTCOMES = ("better", "worse", "more", "less")
OTHERWISE = ("mixed", "not told apart", "cannot be compared", "no claim")
NO_BREAK = "\u00a0"
STATES = ("finished", "unfinished", "failed", "refused")
HOW_TO_READ = (
    "A number is the mean over seeds ± their deviation. Intervals are 90 %: over seeds (t for a mean, Welch for a "
    "difference) unless a line says over clips. Two families are told apart only where the interval leaves out 0 and "
    "p, corrected by Holm, is 0.10 at most. One seed supports no claim."
)


def title(study: Study) -> str:
    """What was compared, in a line."""
    names = reading.families(study)
    shown = ", ".join(names[:6]) + (f" and {len(names) - 6} more" if len(names) > 6 else "")
    return f"{study_name(study)}: {shown or 'no run'}"


def study_name(study: Study) -> str:
    """The name of the sweep's folder."""
    folder = study.folder.resolve()
    return folder.parent.name if folder.name == "report" else folder.name


def lead(study: Study) -> str:
    """How many runs in which state, of what."""
    states = [run.state for run in study.runs]
    counts = ", ".join(f"{states.count(state)} {state}" for state in STATES if state in states)
    seeds = {len(reading.runs_of(study, name)) for name in reading.families(study)} or {0}
    each = f"{min(seeds)}" if len(seeds) == 1 else f"{min(seeds)} to {max(seeds)}"
    names = len(reading.families(study))
    return (
        f"{names} famil{'y' if names == 1 else 'ies'} of models, {each} seed{'' if seeds == {1} else 's'} each, "
        f"{len(study.runs)} runs: {counts or 'none'}."
    )


def sections(
    study: Study, found: Sequence[Finding], pictures: Sequence[Picture], videos: Sequence[Video]
) -> list[Section]:
    """The whole page in order; parts without anything to show are left out."""
    parts = (
        ("Answers", "answers", answers(study, found)),
        ("What was compared", "compared", compared(study)),
        ("Figures", "figures", tuple(pictures)),
        ("Side by side", "side-by-side", side_by_side(videos)),
        ("Scores", "scores", scores(study)),
        ("Other frame rates and later windows", "times", other_times(study)),
        ("All pairs", "pairs", pairs(study)),
        ("What went wrong", "failures", failures(study)),
        ("What these numbers do not show", "limits", (Bullets(tuple(map(Bullet, limits(study)))),)),
        ("Where each number is from", "provenance", provenance(study)),
    )
    return [Section(name, anchor, tuple(blocks)) for name, anchor, blocks in parts if blocks]


def answers(study: Study, found: Sequence[Finding]) -> list[Block]:
    """Each question in short, then what it comes to for each pair, and the numbers behind."""
    notes = [Bullet(f"{tidy(study, str(note))}.", "Note:", "warning") for note in study.settings.get("notes") or ()]
    warned: list[Block] = [Bullets(tuple(notes))] if notes else []
    if not found:
        return [*warned, Text("Nothing was measured on two families, so no question has an answer yet.")]
    asked = {question: _by_pair(found, question) for question in dict.fromkeys(one.question for one in found)}
    blocks: list[Block] = [*warned, Text(HOW_TO_READ), table("In short", [_short(*each) for each in asked.items()])]
    for question, by_pair in asked.items():
        blocks += [Heading(question), Bullets(tuple(_bullet(pair, same) for pair, same in by_pair.items()))]
        rows = [_evidence(one) for same in by_pair.values() for one in same if one.evidence]
        blocks += [table("The numbers behind it", rows, folded=True)] if rows else []
    return blocks


def _by_pair(found: Sequence[Finding], question: str) -> dict[tuple[str, str], list[Finding]]:
    own = [one for one in found if one.question == question]
    return {pair: [one for one in own if one.pair == pair] for pair in dict.fromkeys(one.pair for one in own)}


def _short(question: str, by_pair: Mapping[tuple[str, str], Sequence[Finding]]) -> dict[str, str]:
    """A question's pairs by what they come to."""
    told: dict[str, list[str]] = {}
    for (a, b), same in by_pair.items():
        kind = outcome(same)
        told.setdefault(kind, []).append(f"{a} {'than' if kind in OUTCOMES else 'and'} {b}".replace(" ", NO_BREAK))
    parts = [f"{kind}: {', '.join(told[kind])}" for kind in (*OUTCOMES, *OTHERWISE) if kind in told]
    return {"question": question, "what it comes to": "; ".join(parts)}


def outcome(same: Sequence[Finding]) -> str:
    """What a pair's findings come to: one of OUTCOMES and OTHERWISE."""
    kinds = {one.kind for one in same}
    if kinds == {"not measured"} and " cannot: " in same[0].verdict:
        return "cannot be compared"
    if kinds & {"one seed", "not measured"}:
        return "no claim"
    apart = kinds - {"not told apart", "equal"}
    if not apart:
        return "not told apart"
    return apart.pop() if len(apart) == 1 else "mixed"


def _bullet(pair: tuple[str, str], same: Sequence[Finding]) -> Bullet:
    if len(same) == 1:
        one = same[0]
        strong = one.verdict if one.evidence else f"{pair[0]} and {pair[1]} are not compared"
        text = f"{one.sentence} {one.note}" if one.evidence else f"{one.verdict.removeprefix('not measured: ')}."
        return Bullet(text.strip(), f"{strong}.", one.kind)
    kinds = {kind: [one.short for one in same if one.kind == kind] for kind in dict.fromkeys(one.kind for one in same)}
    only = next(iter(kinds)) if len(kinds) == 1 else ""
    told = "; ".join(f"{kind} ({', '.join(of)})" for kind, of in kinds.items())
    strong = same[0].verdict if only == "one seed" else f"{pair[0]} against {pair[1]}: {told}"
    numbers = "; ".join(_number(one) for one in same if one.kind != "equal")
    head = "" if any(one.ratio for one in same) else "Differences: "
    return Bullet(f"{head}{numbers}. {same[0].note}".strip(), f"{strong}.", only or "mixed")


def _number(one: Finding) -> str:
    """A quantity of a pair: both means and their ratio where that was asked for, else the difference."""
    if one.ratio:
        return f"{one.short} {mean_words(one.sides[0])} to {mean_words(one.sides[1])}, which is {one.ratio}"
    single = one.kind == "one seed"
    return f"{one.short} {plus_minus(one.evidence.value, None) if single else difference_words(one.evidence)}"


def _evidence(one: Finding) -> dict[str, str]:
    a, b = one.sides
    return {
        "pair": f"{a.family} − {b.family}",
        "number": one.about,
        "first": spread_words(a),
        "second": spread_words(b),
        "difference (90 %)": difference_words(one.evidence),
        "p (Holm)": "" if one.evidence.p_holm is None else p_words(one.evidence.p_holm).removeprefix("= "),
        "verdict": one.kind,
    }


def compared(study: Study) -> list[Block]:
    """The families with what they were given, and how they were judged."""
    given = [_given(study, name) for name in reading.families(study)]
    if not given:
        return [Text("There is no run.")]
    return [
        table("Families: what each was given", given),
        *([Heading("How they were judged"), Bullets(judged)] if (judged := tuple(_protocols(study))) else []),
        *([table("Settings of the comparison", _settings(study), folded=True)] if study.settings else []),
    ]


def _given(study: Study, family: str) -> dict[str, str]:
    own = reading.runs_of(study, family)
    states = [run.state for run in own]
    return {
        "family": family,
        "seeds": ", ".join(str(run.seed) for run in own),
        "state": ", ".join(f"{states.count(state)} {state}" for state in STATES if state in states),
        "clips seen": _over(own, lambda run: reading.number(run, "clips_seen")),
        "CPU seconds": _over(own, lambda run: reading.number(run, "cpu_seconds")),
        "wall seconds": _over(own, lambda run: reading.number(run, "seconds")),
        "evaluations a path": _over(own, lambda run: reading.number(run, "nfe")),
        "weights of time": _over(own, lambda run: reading.number(run, "parameters", "temporal")),
        "generator": _over(own, lambda run: reading.number(run, "parameters", "generator")),
        "critics": _over(own, lambda run: reading.number(run, "parameters", "critics")),
        "MACs of time": _over(own, lambda run: reading.number(run, "macs", "temporal")),
        "forward MACs a clip": _over(own, reading.macs_per_clip),
        "noise numbers drawn along a path": _over(own, lambda run: reading.number(run, "noise_numbers")),
    }


def _over(runs: Iterable[Run], of: Callable[[Run], float | None]) -> str:
    """A fact over runs: the one value, or the least and the most."""
    found = sorted({value for run in runs if (value := of(run)) is not None})
    shown = list(dict.fromkeys(f"{value:,.0f}" if value < 1e7 else f"{value / 1e6:,.0f} M" for value in found))
    return " to ".join([shown[0], shown[-1]] if len(shown) > 1 else shown)


def _protocols(study: Study) -> list[Bullet]:
    """What all numbers share, then what each adds; a key whose runs were judged unalike says so."""
    told = {key: _told(study, key) for key in reading.score_keys(study)}
    first = [each[0] for each in told.values() if each]
    apart = differing_keys(first)
    shared = {name: value for name, value in first[0].items() if name not in apart} if first else {}
    found = [Bullet(protocol_line(shared) + ".", "All scores:")] if shared else []
    for key, each in told.items():
        own = protocol_line({name: value for name, value in each[0].items() if name in apart}) if each else ""
        unlike = differing_keys(each)
        text = own or ("as above" if each and each[0] else "no protocol is stated")
        more = f" Not comparable between runs, which differ in {', '.join(unlike)}." if unlike else ""
        found.append(Bullet(f"{text}.{more}", f"{key}:"))
    return found


def _told(study: Study, key: str) -> list[Mapping[str, object]]:
    return [run.scores[key].protocol for run in study.runs if key in run.scores]


def _settings(study: Study) -> list[dict[str, str]]:
    return [
        {"setting": str(key), "value": tidy(study, _plain(value))}
        for key, value in study.settings.items()
        if key != "notes"
    ]


def _plain(value: object) -> str:
    if isinstance(value, Mapping):
        return "; ".join(f"{key}: {_plain(item)}" for key, item in value.items())
    return ", ".join(map(_plain, value)) if isinstance(value, list | tuple) else str(value)


def scores(study: Study) -> list[Block]:
    """A table for each number, under its protocol."""
    blocks: list[Block] = []
    for i, key in enumerate(reading.score_keys(study)):
        rows = []
        for name in reading.families(study):
            one = reading.spread_of(study, name, key)
            if one is not None:
                interval = "" if one.low is None else f"{plus_minus(one.low, None)} to {plus_minus(one.high, None)}"
                seeds = "; ".join(f"{seed}: {plus_minus(value, None)}" for seed, value in sorted(one.values.items()))
                rows.append(
                    {"family": name, "mean ± deviation": plus_minus(one.mean, one.sd), "seeds": str(one.n)}
                    | {"90 % interval of the mean": interval, "by seed": seeds, "real": plus_minus(one.real, None)}
                )
        note = protocol_line(next(iter(_told(study, key)), {})) or "No protocol is stated."
        better = reading.better_of(study, key)
        blocks.append(table(f"{key}, {better} is better", rows, note=note, folded=i >= OPEN_TABLES))
    return blocks


def other_times(study: Study) -> list[Block]:
    """Distance above the floor at each rate and in each window."""
    windows = range(1, reading.windows(study) + 1)
    asked = (
        ("At other frame rates", {rate: (reading.at_rate, rate) for rate in reading.rates(study)}),
        ("In later windows of one long rendering", {f"window {i}": (reading.at_window, i) for i in windows}),
    )
    return [_times(study, caption, settings) for caption, settings in asked if settings]


def _times(study: Study, caption: str, settings: Mapping[str, tuple[Callable, object]]) -> Table:
    rows, protocols = [], []
    for name in reading.families(study):
        row, notes = {"family": name}, []
        for column, (of, setting) in settings.items():
            found = {run.seed: of(run, setting) for run in reading.counted(study, name)}
            values = {seed: value for seed, one in found.items() if (value := reading.excess(one)) is not None}
            row[column] = spread_words(over_seeds(values)) if values else ""
            notes += [one["note"] for one in found.values() if one and one.get("note") and not values]
            protocols += [one["protocol"] for one in found.values() if one and one.get("protocol")]
        rows.append(row | {"note": "; ".join(dict.fromkeys(notes))})
    line = protocol_line(protocols[0]) if protocols else "no protocol is stated"
    apart = differing_keys(protocols)
    line += f". Not comparable between runs: they differ in {', '.join(apart)}" if apart else ""
    return table(f"{caption}: Fréchet distance above that of other real clips, lower is better", rows, note=line)


def pairs(study: Study) -> list[Block]:
    """Every pair of families on every number, told apart or not after correction over all pairs."""
    blocks = []
    for key in reading.score_keys(study):
        rows = [_pair(one) for one in study.contrasts if one.key == key]
        if rows:
            note = "p is corrected over all pairs of this table, which is stricter than a question's own pairs."
            blocks.append(table(f"{key}: first minus second", rows, note=note, folded=True))
    return blocks


def _pair(one: Contrast) -> dict[str, str]:
    verdict = "one seed" if one.significant is None else "apart" if one.significant else "not told apart"
    p = ["" if value is None else p_words(value).removeprefix("= ") for value in (one.p, one.p_holm)]
    told = {"pair": f"{one.a} − {one.b}", "seeds": f"{one.n_a}, {one.n_b}", "difference (90 %)": difference_words(one)}
    return told | {"p": p[0], "p (Holm)": p[1], "verdict": verdict}


def side_by_side(videos: Sequence[Video]) -> list[Block]:
    """Films of the same prompts and latents."""
    blocks: list[Block] = []
    for video in videos:
        blocks.append(video)
        blocks += [Bullets(tuple(map(Bullet, video.notes)))] if video.notes else []
    return blocks
