"""How a study is read: the order of its families and numbers, and the numbers of one run that are no scores."""

import os
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from statistics import fmean

import numpy as np

from ode_vgan.metrics.protocol import METRICS
from ode_vgan.report.study import Contrast, Run, Spread, Study

# Families in the order of tables and figures; others follow by name, published systems last.
ORDER = ("ode", "ode_rk4", "ode_time", "ode2", "ode3", "oscillator", "hamiltonian", "driven", "sde", "sde_milstein")
ORDER += ("sde_stratonovich", "sde_reversible", "rnn", "rnn_quiet", "lstm", "lstm_quiet", "anchors", "ssm")
ORDER += ("transformer", "discrete")
# Which number answers a question: the first of these that both sides have. FVD proper, then other Fréchet distances.
PREFERRED = (r"fvd\d+", r"fd\d+.*i3d", r"fd\d+", r"kvd\d+", r"jedi\d+", r"cmmd\d+", r"fid\d+", r"motion\d+", r"is\d+")
SPLITS = ("test", "all", "train", "val")  # test first; checkpoints may have been chosen on val
PUBLISHED = "gordon2020/"
FAMILY = re.compile(rf"(?:(?P<folder>.+?)/)??(?P<model>(?:{PUBLISHED})?[^/-]*)(?P<tag>(?:-[^/]*)?)", re.S)


def parts(family: str) -> tuple[str, str, str]:
    """Sweep folder, temporal model and tag of a family's name: ("", "gordon2020/tgan", "-long")."""
    found = FAMILY.fullmatch(family)
    return (found["folder"] or "", found["model"], found["tag"]) if found else ("", family, "")


def base(family: str) -> str:
    """A family's temporal model, without the tag that tells its runs apart: `rnn` of `rnn-wide`."""
    return parts(family)[1]


def family_rank(family: str) -> tuple:
    """Sorts families: known ones first, in the order of ORDER, then others, then published systems."""
    folder, model, tag = parts(family)
    return (model.startswith(PUBLISHED), ORDER.index(model) if model in ORDER else len(ORDER), model, tag, folder)


def families(study: Study) -> list[str]:
    """Families with a run in any state, in the order of tables."""
    return sorted({run.family for run in study.runs}, key=family_rank)


def runs_of(study: Study, family: str) -> list[Run]:
    """Runs of a family, by seed."""
    return sorted((run for run in study.runs if run.family == family), key=lambda run: run.seed)


def counted(study: Study, family: str) -> list[Run]:
    """The runs that a family's means are over, one a seed; the finished ones where it has no score."""
    seeds = {seed for one in study.spreads if one.family == family for seed in one.values}
    own = {run.seed: run for run in reversed(runs_of(study, family)) if run.scores or not seeds}
    return [run for seed, run in sorted(own.items()) if (seed in seeds if seeds else run.state == "finished")]


def key_rank(key: str) -> tuple:
    """Sorts score keys: by metric as PREFERRED has it, whole metrics before their parts, then test before train."""
    metric, _, rest = key.partition("/")
    split, _, part = rest.partition("/")
    kind = next((i for i, one in enumerate(PREFERRED) if re.match(one, metric)), len(PREFERRED))
    return (bool(part), kind, SPLITS.index(split) if split in SPLITS else len(SPLITS), key)


def score_keys(study: Study) -> list[str]:
    """Keys of all scores, the most telling first."""
    return sorted({one.key for one in study.spreads}, key=key_rank)


def better_of(study: Study, key: str) -> str:
    """Whether lower or higher is better; lower where no run says."""
    return next((run.scores[key].better for run in study.runs if key in run.scores), "lower")


def spread_of(study: Study, family: str, key: str) -> Spread | None:
    """A family's number over seeds, if it has one."""
    return next((one for one in study.spreads if (one.family, one.key) == (family, key)), None)


def contrast_of(study: Study, a: str, b: str, key: str) -> Contrast | None:
    """Family a minus family b, whichever way round the study has it."""
    for one in study.contrasts:
        if (one.a, one.b, one.key) == (a, b, key):
            return one
        if (one.a, one.b, one.key) == (b, a, key):
            low, high = (None, None) if one.low is None else (-one.high, -one.low)
            return Contrast(a, b, key, -one.value, low, high, one.p, one.p_holm, one.significant, one.n_b, one.n_a)
    return None


def find_answer(run: Run, question: str, **asked: object) -> dict | None:
    """The run's answer to a setting of a question of `ode_vgan.metrics.continuous`."""
    for one in run.answers:
        if one.get("question") == question and all(one["asked"].get(key) == value for key, value in asked.items()):
            return one
    return None


def excess(answer: dict | None) -> float | None:
    """Fréchet distance above that of as many other real clips; None where it was not measured."""
    numbers = (answer or {}).get("numbers", {})
    return numbers["fd"] - numbers["floor"] if {"fd", "floor"} <= numbers.keys() else None


def at_rate(run: Run, rate: str) -> dict | None:
    """The answer at a multiple of the trained frame rate, such as `0.5x`."""
    return find_answer(run, "rates", rate=rate)


def rates(study: Study) -> list[str]:
    """Multiples of the trained frame rate that any run was asked for, rising."""
    told = {one["asked"]["rate"] for run in study.runs for one in run.answers if one.get("question") == "rates"}
    return sorted(told, key=lambda rate: float(rate.rstrip("x")))


def at_window(run: Run, window: int) -> dict | None:
    """The answer in the window numbered from 1, of one long rendering."""
    asked = [one for one in run.answers if one.get("question") == "horizon"]
    return asked[window - 1] if 0 < window <= len(asked) else None


def windows(study: Study) -> int:
    """Most windows that any run was asked for."""
    return max((sum(one.get("question") == "horizon" for one in run.answers) for run in study.runs), default=0)


def number(run: Run, *path: str) -> float | None:
    """A fact of a run, inside nested facts by several names; None where it is missing or no number."""
    found: object = run.facts
    for name in path:
        found = found.get(name) if isinstance(found, Mapping) else None
    return float(found) if isinstance(found, int | float) and not isinstance(found, bool) else None


def macs_per_clip(run: Run) -> float | None:
    """Forward multiply-accumulates of one clip of training, as `max_macs` counts them."""
    return number(run, "macs", "forward")


def per_thousand_clips(run: Run, name: str) -> float | None:
    """A total of the run, such as seconds, for each 1,000 clips seen."""
    total, clips = number(run, name), number(run, "clips_seen")
    return None if total is None or not clips else 1000 * total / clips


def look_column(study: Study) -> str | None:
    """The most telling column of scores at looks among those that at least half as many runs have as any."""
    columns = [name for run in study.runs for name in run.curves if is_look(name)]
    count = {name: columns.count(name) for name in columns}
    common = [name for name in count if 2 * count[name] >= max(count.values())]
    return min(common, key=lambda name: key_rank(name.removeprefix("score/")), default=None)


def is_look(column: str) -> bool:
    """Whether a column holds scores of looks, and not the real clips' beside them."""
    return column.startswith("score/") and not column.endswith("_real")


def better_by_name(column: str) -> str:
    """Whether lower or higher is better, by the metric that a key or column of scores begins with."""
    metric = METRICS.get(re.match(r"[a-z]*", column.removeprefix("score/"))[0])
    return metric.better if metric else "lower"


def looks(run: Run, column: str, axis: str = "clips") -> list[tuple[float, float]]:
    """(spent, score) at each look, what was spent in clips, seconds, cpu_seconds or macs; empty where unknown."""
    clips, values = run.curves.get(column, ((), ()))
    spent = [spent_at(run, one, axis) for one in clips]
    return [(x, y) for x, y in zip(spent, values, strict=True) if x is not None]


def spent_at(run: Run, clips: float, axis: str) -> float | None:
    """What a run had spent when it had seen so many clips, between logged rows by interpolation."""
    if axis == "clips":
        return clips
    if axis == "macs":
        macs = macs_per_clip(run)
        return None if macs is None else macs * clips
    xs, ys = run.curves.get(axis, ((), ()))
    if not xs:
        return None
    return float(np.interp(clips, [0.0, *xs], [0.0, *ys]))


def score_at(run: Run, column: str, axis: str, budget: float) -> float | None:
    """The score at the last look that had spent no more than a budget."""
    within = [value for spent, value in looks(run, column, axis) if spent <= budget * (1 + 1e-9)]
    return within[-1] if within else None


def common_budget(runs: Iterable[Run], column: str, axis: str) -> float | None:
    """The most that all of some runs have spent at a look; None if one has none."""
    last = [max((spent for spent, _ in looks(run, column, axis)), default=None) for run in runs]
    return None if not last or None in last else min(last)


def mean_fact(study: Study, family: str, *path: str) -> float | None:
    """The mean of a fact over a family's runs that have it."""
    found = [value for run in counted(study, family) if (value := number(run, *path)) is not None]
    return fmean(found) if found else None


def why_missing(study: Study, family: str) -> str:
    """Why a family has no number, in words."""
    own = runs_of(study, family)
    bad = [run for run in own if run.state in ("failed", "refused")]
    if not own:
        return f"{family} has no run"
    if len(bad) == len(own):
        return f"{family} has no run that trained (seed {bad[0].seed}: {bad[0].note or bad[0].state})"
    left = [run for run in own if run.state == "unfinished"]
    if left and not any(run.state == "finished" for run in own):
        return f"{family} is unfinished"
    return f"{family} was not judged on it"


def place(study: Study, folder: Path) -> str:
    """A run folder as seen from the report's own, as in results.csv; by its last names where that is far away."""
    found = Path(os.path.relpath(folder, study.folder))
    far = found.parts[:3] == ("..",) * 3
    return Path(*found.parts[-3:]).as_posix() if far else found.as_posix()
