"""Figures with lines: scores and evaluations over training, distances over frame rates and windows."""

from collections.abc import Callable, Iterable, Sequence
from math import log2

from ode_vgan.report import reading
from ode_vgan.report.canvas import (
    FLOOR,
    INK,
    Look,
    Picture,
    dots,
    label_ends,
    line,
    picture,
    plain_ticks,
    title,
    wide_range,
)
from ode_vgan.report.statistics import over_seeds
from ode_vgan.report.study import Run, Study

SPENT = {
    "clips": ("clips seen", 1),
    "cpu_seconds": ("CPU seconds of training steps", 1),
    "macs": ("forward multiply-accumulates, 10¹²", 1e12),
}
LOOKS = dict[str, Look]


def by_spending(study: Study, looks: LOOKS) -> Picture | None:
    """The score at each look against clips, CPU seconds and multiply-accumulates, a line for each seed."""
    column = reading.look_column(study)
    axes_of = [axis for axis in SPENT if column and any(len(reading.looks(run, column, axis)) for run in study.runs)]
    if not axes_of:
        return None
    name = column.removeprefix("score/")

    def draw(figure) -> None:
        panels = figure.subplots(1, len(axes_of), sharey=True, squeeze=False)[0]
        for axes, axis in zip(panels, axes_of, strict=True):
            for run in study.runs:
                points = [(spent / SPENT[axis][1], score) for spent, score in reading.looks(run, column, axis)]
                if points:
                    line(axes, points, looks[run.family])
            axes.set_xlabel(SPENT[axis][0])
            axes.set_xlim(left=0)
        _draw_floor(panels, study, column)
        if wide_range([value for run in study.runs for _, value in reading.looks(run, column)]):
            panels[0].set_yscale("log")
            plain_ticks(panels[0].yaxis)
        label_ends(panels[-1], _ends(study, lambda run: reading.looks(run, column), looks), looks)
        title(panels[0], name, f"at each look; {reading.better_by_name(column)} is better")

    caption = (
        f"{name} of the averaged generator at each look, a line for each seed, named at the height where its family "
        "ends. Looks are for watching; the numbers to compare are in the tables. The dashed line is what other real "
        "clips score."
    )
    alt = f"Line plots of {name} against {', '.join(SPENT[axis][0] for axis in axes_of)}."
    size = (2.4 + 3.2 * len(axes_of), max(3.6, 0.9 + 0.17 * len(looks)))
    return picture("score_by_spending", "Score against what was spent", caption, alt, draw, size)


def _draw_floor(panels, study: Study, column: str) -> None:
    real = [value for run in study.runs for value in run.curves.get(f"{column}_real", ((), ()))[1]]
    for axes in panels if real else ():
        axes.axhline(sum(real) / len(real), color=FLOOR, linestyle="--", linewidth=1)


def evaluations(study: Study, looks: LOOKS) -> Picture | None:
    """Function evaluations a path over training, a line for each seed."""
    lines = [(run, list(zip(*run.curves["nfe"], strict=True))) for run in study.runs if "nfe" in run.curves]
    lines = [(run, points) for run, points in lines if points]
    if not lines:
        return None

    def draw(figure) -> None:
        axes = figure.subplots()
        for run, points in lines:
            line(axes, points, looks[run.family], marked=False)
        axes.set_xlabel("clips seen")
        axes.set_xlim(left=0)
        values = [value for _, points in lines for _, value in points]
        if wide_range(values):
            axes.set_yscale("log")
            plain_ticks(axes.yaxis)
        else:
            axes.set_ylim(0, 1.1 * max(values))
        label_ends(axes, _ends(study, lambda run: next((own for one, own in lines if one is run), []), looks), looks)
        title(axes, "function evaluations a path")

    caption = (
        "Evaluations of the field or cell in a training step, for one path over one window. A line that rises would "
        "be a field that grows stiff; a fixed-step solver's is level by construction."
    )
    last = {run.family: points[-1][1] for run, points in lines}
    alt = "Evaluations at the end: " + "; ".join(f"{name} {value:g}" for name, value in last.items()) + "."
    return picture(
        "evaluations",
        "Function evaluations over training",
        caption,
        alt,
        draw,
        (7.2, max(3.2, 0.9 + 0.17 * len(looks))),
    )


def other_times(study: Study, looks: LOOKS) -> Picture | None:
    """Distance above the floor at unseen frame rates, and in later windows, by family."""
    asked = reading.rates(study), list(range(1, reading.windows(study) + 1))
    places = ([log2(float(rate.rstrip("x"))) for rate in asked[0]], asked[1])
    names = (asked[0], [f"{window}." for window in asked[1]])
    of = (reading.at_rate, reading.at_window)
    told = (
        ("at other frame rates", "frame rate, of the trained one"),
        ("in later windows", "window of one long rendering"),
    )
    panels = [i for i in (0, 1) if _measured(study, of[i], asked[i])]
    if not panels:
        return None

    def draw(figure) -> None:
        for axes, i in zip(figure.subplots(1, len(panels), squeeze=False)[0], panels, strict=True):
            _draw_answers(axes, study, of[i], asked[i], places[i], looks)
            axes.set_xticks(places[i], names[i])
            axes.set_xlabel(told[i][1])
            title(axes, told[i][0], "distance above real clips; lower is better")

    caption = (
        "Fréchet distance above that of as many other real clips at the same rate; each marker is one seed, the line "
        "goes through family means, bars are their 90 % intervals. Rates have units of their own: compare families "
        "within a rate, not rates. "
    ) + _cannot(study, of, asked)
    alt = "Distance above the floor by family " + " and ".join(told[i][0] for i in panels) + "."
    return picture(
        "other_times", "Unseen frame rates and later windows", caption, alt, draw, (1 + 4.9 * len(panels), 4)
    )


def _draw_answers(axes, study: Study, of: Callable, asked: Sequence, places: Sequence[float], looks: LOOKS) -> None:
    step = min((b - a for a, b in zip(places, places[1:], strict=False)), default=1.0)
    ends, all_values = [], []
    for i, (name, look) in enumerate(looks.items()):
        shift = step * 0.5 * ((i + 0.5) / len(looks) - 0.5)
        means = []
        for setting, place in zip(asked, places, strict=True):
            values = _excesses(study, name, of, setting)
            if values:
                dots(axes, [place + shift] * len(values), values, look)
                found = over_seeds(dict(enumerate(values)))
                if found.low is not None:
                    axes.vlines(place + shift, found.low, found.high, color=INK, linewidth=1, zorder=4)
                means.append((place + shift, found.mean))
                all_values += values
        if means:
            axes.plot(*zip(*means, strict=True), color=look.colour, linestyle=look.dash, linewidth=1.1, zorder=2)
            ends.append((name, means[-1][1]))
    if wide_range(all_values):
        axes.set_yscale("log")
        plain_ticks(axes.yaxis)
    else:
        axes.axhline(0, color=FLOOR, linewidth=1, linestyle="--")
    label_ends(axes, ends, looks)


def _excesses(study: Study, family: str, of: Callable, setting: object) -> list[float]:
    found = [reading.excess(of(run, setting)) for run in reading.counted(study, family)]
    return [value for value in found if value is not None]


def _measured(study: Study, of: Callable, asked: Iterable) -> bool:
    return any(reading.excess(of(run, setting)) is not None for run in study.runs for setting in asked)


def _cannot(study: Study, of: Sequence[Callable], asked: Sequence[Sequence]) -> str:
    """A sentence on the families that refuse some of these times."""
    refusing = [
        run.family
        for run in study.runs
        for one, settings in zip(of, asked, strict=True)
        if any((one(run, setting) or {}).get("note", "").startswith("cannot") for setting in settings)
    ]
    names = sorted(set(refusing), key=reading.family_rank)
    return f"Cannot be asked for all of these times: {', '.join(names)}." if names else ""


def _ends(study: Study, line_of: Callable[[Run], list], looks: LOOKS) -> list[tuple[str, float]]:
    """Each family with the mean of its lines' last values."""
    ends = []
    for name in looks:
        last = [line[-1][1] for run in reading.runs_of(study, name) if (line := line_of(run))]
        if last:
            ends.append((name, sum(last) / len(last)))
    return ends
