"""The figures of a study: scores by family, against what was spent, evaluations, other times, and differences."""

from collections.abc import Sequence
from math import ceil

from ode_vgan.report import reading
from ode_vgan.report.canvas import (
    FLOOR,
    INK,
    PALE,
    Look,
    Picture,
    dots,
    looks_of,
    picture,
    plain_ticks,
    title,
    wide_range,
)
from ode_vgan.report.findings import Finding, difference_words, findings
from ode_vgan.report.study import Spread, Study
from ode_vgan.report.table import plus_minus
from ode_vgan.report.trends import by_spending, evaluations, other_times

MAX_PANELS, MAX_ROWS = 6, 40
LOOKS = dict[str, Look]
PLATE = {"facecolor": "white", "edgecolor": "none", "pad": 1.5}  # behind text that crosses a line


def draw_figures(study: Study, found: Sequence[Finding] | None = None) -> list[Picture]:
    """Every figure that the study has numbers for.

    Args:
        found: what `findings` makes of the study; made here where it is not given.
    """
    looks = looks_of(reading.families(study))
    drawn = [make(study, looks) for make in (by_family, by_spending, evaluations, other_times)]
    drawn.append(differences(study, findings(study) if found is None else found))
    return [one for one in drawn if one is not None]


def by_family(study: Study, looks: LOOKS) -> Picture | None:
    """Each seed a dot, the mean and its interval, and what other real clips score; a panel for each number."""
    keys = [key for key in reading.score_keys(study) if key.count("/") == 1][:MAX_PANELS]
    keys = keys or reading.score_keys(study)[:MAX_PANELS]
    if not keys:
        return None
    rows = [name for name in looks if any(reading.spread_of(study, name, key) for key in keys)]
    wide = {1: 1, 2: 2, 4: 2}.get(len(keys), 3)

    def draw(figure) -> None:
        panels = figure.subplots(ceil(len(keys) / wide), wide, sharey=True, squeeze=False).flat
        for i, axes in enumerate(panels):
            if i < len(keys):
                _draw_spreads(axes, study, keys[i], rows, looks)
            else:
                axes.set_visible(False)
        panels[0].set_yticks(range(len(rows)), [_counted(study, name) for name in rows])
        panels[0].set_ylim(len(rows) - 0.4, -0.6)

    caption = (
        "Each marker is one seed; the black bar is the mean over seeds with its 90 % interval (none with one seed). "
        "The dashed line is what other real clips score in place of generated ones."
    )
    size = (2.0 + 2.9 * wide, (1.0 + (0.34 if len(rows) < 12 else 0.27) * len(rows)) * ceil(len(keys) / wide))
    alt = "Dot plot by family. " + " ".join(_told(study, key, rows) for key in keys[:2])
    return picture("score_by_family", "Score by family", caption, alt, draw, size)


def _draw_spreads(axes, study: Study, key: str, rows: Sequence[str], looks: LOOKS) -> None:
    shown = [(i, one) for i, name in enumerate(rows) if (one := reading.spread_of(study, name, key))]
    everything = [value for _, one in shown for value in one.values.values()]
    real = sum(one.real for _, one in shown) / len(shown)
    axes.axvline(real, color=FLOOR, linestyle="--", linewidth=1, zorder=1)
    if wide_range([*everything, real]):
        axes.set_xscale("log")
        plain_ticks(axes.xaxis)
    for i, one in shown:
        dots(axes, list(one.values.values()), [i - 0.08] * one.n, looks[one.family])
        if one.low is not None:
            axes.hlines(i + 0.24, one.low, one.high, color=INK, linewidth=1.6, zorder=4)
        axes.plot([one.mean], [i + 0.24], "|", color=INK, markersize=9, markeredgewidth=2, zorder=5)
    axes.annotate("real", (real, 0), (2, 3), xycoords=("data", "axes fraction"), textcoords="offset points",
                  color=FLOOR, fontsize=7.5)  # fmt: skip
    title(axes, key, f"{reading.better_of(study, key)} is better")
    axes.grid(axis="y", visible=False)
    axes.margins(x=0.08)


def differences(study: Study, found: Sequence[Finding]) -> Picture | None:
    """Differences of the pairs that questions ask for, on the study's first number, with their intervals."""
    key = next(iter(reading.score_keys(study)), None)
    rows = [one for one in found if one.evidence and one.evidence.key == key][:MAX_ROWS]
    if not rows:
        return None
    heads = [i for i, one in enumerate(rows) if i == 0 or rows[i - 1].question != one.question]
    better = reading.better_of(study, key)

    def draw(figure) -> None:
        axes = figure.subplots()
        axes.axvline(0, color=FLOOR, linewidth=1.2)
        for i, one in enumerate(rows):
            y = i + 0.9 * sum(head <= i for head in heads)
            if i in heads:
                axes.annotate(one.question, (0, y - 0.85), (4, 0), ("axes fraction", "data"), fontweight="bold",
                              textcoords="offset points", va="center", fontsize=8, bbox=PLATE)  # fmt: skip
            _draw_difference(axes, y, one)
        last = len(rows) - 1 + 0.9 * len(heads)
        axes.set_yticks([])
        axes.set_ylim(last + 0.6, -0.4)
        axes.set_xlabel(
            f"first minus second, {key}: {'left' if better == 'lower' else 'right'} of 0 the first is better"
        )
        title(axes, key, "differences, 90 % interval over seeds")

    caption = (
        "Filled: told apart after Holm's correction over the pairs of its question. Open: not told apart, or one seed, "
        "which has no interval."
    )
    told = [f"{one.pair[0]} minus {one.pair[1]} {difference_words(one.evidence)}" for one in rows[:12]]
    alt = f"Forest plot of {key}: {'; '.join(told)}."
    size = (9.0, 1.3 + 0.27 * (len(rows) + 0.9 * len(heads)))
    return picture("differences", "Differences by question", caption, alt, draw, size)


def _draw_difference(axes, y: float, finding: Finding) -> None:
    one, apart = finding.evidence, finding.kind in ("better", "worse")
    if one.low is not None:
        axes.hlines(y, one.low, one.high, color=INK if apart else PALE, linewidth=1.8)
    axes.plot([one.value], [y], "o", color=INK, markerfacecolor=INK if apart else "white", markersize=6)
    for text, side, way, size in ((difference_words(one), 1, "left", 7.5), (f"{one.a} − {one.b}", 0, "right", 8.5)):
        axes.annotate(
            text, (side, y), (6 if side else -6, 0), ("axes fraction", "data"), textcoords="offset points",
            va="center", ha=way, fontsize=size, color=INK, annotation_clip=False,
        )  # fmt: skip


def _counted(study: Study, family: str) -> str:
    own = reading.runs_of(study, family)
    judged = sum(bool(run.scores) for run in own)
    return f"{family} ({judged})" if judged == len(own) else f"{family} ({judged} of {len(own)})"


def _told(study: Study, key: str, rows: Sequence[str]) -> str:
    spreads: list[Spread] = [one for name in rows if (one := reading.spread_of(study, name, key))]
    told = "; ".join(f"{one.family} {plus_minus(one.mean, one.sd)}" for one in spreads)
    return f"{key}: {told}; real {plus_minus(spreads[0].real, None)}." if spreads else ""
