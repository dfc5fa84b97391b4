"""Figures of scaling laws: points by group, the fit, its band, what the fit rests on and what it was not shown."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ode_vgan.data.clips import write_atomic
from ode_vgan.errors import UserError
from ode_vgan.report.canvas import INK, MARKERS, PALE, Look, Picture, looks_of, picture, title
from ode_vgan.scaling.words import short

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from ode_vgan.scaling.fits import Fitted
    from ode_vgan.scaling.table import Group

BEYOND = 2.0  # how far a law is drawn beyond its points, a factor of compute
SMOOTH = 200  # points of a curve
ENDINGS = (".png", ".svg")


def draw(fitted: "Fitted", heading: str = "") -> Picture:
    """Error against compute on logarithmic axes, a colour a group, a marker a kind of point within groups.

    Full markers are points the law may rest on, hollow ones were held out; a cross is a point that the recipe made of
    them (a bin's best at its centre). The line is dashed where it goes beyond the points.
    """
    groups = fitted.chosen.groups
    looks = looks_of([group.name for group in groups])
    shapes = _shapes(groups)

    def on(figure) -> None:
        axes = figure.subplots()
        axes.set_xscale("log")
        axes.set_yscale("log")
        for group in groups:
            _points(axes, fitted, group, looks[group.name], shapes)
        shown = axes.get_ylim()
        for group in groups:
            if group.name in fitted.fits:
                _law(axes, fitted, group, looks[group.name])
        _limit(axes, groups, shown)
        axes.set_xlabel(fitted.chosen.x)
        axes.set_ylabel(fitted.chosen.y)
        title(axes, heading or fitted.chosen.y, fitted.recipe.told())
        _legend(axes, fitted, looks, shapes)

    laws = "; ".join(short(fitted, group.name) for group in groups)
    alt = f"{fitted.chosen.y} against {fitted.chosen.x}, both logarithmic: {laws}."
    caption = _caption(fitted)
    return picture(slug(fitted.chosen.y), heading or fitted.chosen.y, caption, alt, on, (7.6, 4.6))


def write(drawn: Picture, path: str | Path) -> Path:
    """Write a picture as the ending of its path says; see `check_ending`."""
    path = check_ending(path)
    write_atomic(path, drawn.png if path.suffix.lower() == ".png" else drawn.svg.encode())
    return path


def check_ending(path: str | Path) -> Path:
    """The path of a picture.

    Raises:
        UserError: another ending than .png or .svg.
    """
    path = Path(path)
    if path.suffix.lower() not in ENDINGS:
        raise UserError(f"{path} is no picture; end its name in {' or '.join(ENDINGS)}.")
    return path


def slug(text: str) -> str:
    """A file name of a text."""
    return re.sub(r"[^a-z0-9]+", "_", text.lower().replace("1 - ", "")).strip("_") or "law"


def _shapes(groups: Sequence["Group"]) -> dict[str, str]:
    """A marker for each mark, those of less compute first; none where marks tell nothing apart."""
    spent: dict[str, list[float]] = {}
    for group in groups:
        for mark, compute in zip(group.marks, np.log(group.points.compute), strict=True):
            spent.setdefault(mark, []).append(float(compute))
    marks = sorted(spent, key=lambda mark: (np.mean(spent[mark]), mark))
    return dict(zip(marks, MARKERS * (1 + len(marks) // len(MARKERS)), strict=False)) if len(marks) > 1 else {}


def _points(axes: "Axes", fitted: "Fitted", group: "Group", look: Look, shapes: Mapping[str, str]) -> None:
    points = group.points
    held = fitted.held(group.name)
    for i, mark in enumerate(group.marks):
        axes.plot(
            points.compute[i], points.error[i], shapes.get(mark, look.marker), color=look.colour, markersize=5.5,
            alpha=0.85, markeredgewidth=1.1 if held[i] else 0, zorder=3,
            markerfacecolor="white" if held[i] else look.colour,
        )  # fmt: skip


def _law(axes: "Axes", fitted: "Fitted", group: "Group", look: Look) -> None:
    fit, points = fitted.fits[group.name], group.points
    low, high = points.compute.min(), points.compute.max()
    for start, end, dash in ((low, high, "-"), (high, high * BEYOND, "--")):
        at = np.geomspace(start, end, SMOOTH)
        axes.plot(at, fit.predict(at), color=look.colour, linewidth=1.4, linestyle=dash, zorder=2)
    at = np.geomspace(low, high * BEYOND, SMOOTH)
    axes.fill_between(at, *fit.predict_interval(at), color=look.colour, alpha=0.14, linewidth=0, zorder=1)
    if fitted.recipe.select != "all":
        axes.plot(*fit.rests_on, "x", color=INK, markersize=5, markeredgewidth=1.1, zorder=5)


def _limit(axes: "Axes", groups: Sequence["Group"], shown: tuple[float, float]) -> None:
    """Axes over points and laws, not over what a wide band runs off to; ticks in plain numbers."""
    from matplotlib.ticker import FuncFormatter, LogFormatterSciNotation, LogLocator, MaxNLocator, NullFormatter

    bottom, top = shown
    for line in axes.get_lines():
        there = np.asarray(line.get_ydata(), dtype=float)
        there = there[np.isfinite(there) & (there > 0)]
        if len(there):
            bottom, top = min(bottom, there.min() * 0.97), max(top, there.max() * 1.03)
    axes.set_ylim(bottom, top)
    few = LogLocator(subs=(1, 2, 5) if top > 12 * bottom else (1, 1.5, 2, 3, 4, 6, 8))
    axes.yaxis.set_major_locator(few if top > 2.5 * bottom else MaxNLocator(7, steps=[1, 2, 2.5, 5, 10]))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,g}" if value > 0 else ""))
    axes.yaxis.set_minor_formatter(NullFormatter())
    start, end = axes.get_xlim()
    if end < 1000 * start:  # else decades suffice
        axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes.xaxis.set_major_formatter(LogFormatterSciNotation(labelOnlyBase=False, minor_thresholds=(9, 9)))
    axes.xaxis.set_minor_formatter(NullFormatter())


def _legend(axes: "Axes", fitted: "Fitted", looks: Mapping[str, Look], shapes: Mapping[str, str]) -> None:
    """Groups with their laws, then marks, then what hollow and crossed markers are; right of the axes."""
    from matplotlib.lines import Line2D

    def handle(marker: str, colour: str, label: str, **more) -> Line2D:
        return Line2D([], [], marker=marker, color=colour, label=label, markersize=5.5, **more)

    named = fitted.chosen.groups
    entries = [
        handle("" if shapes else looks[one.name].marker, looks[one.name].colour, short(fitted, one.name), linewidth=1.4)
        for one in named
    ]
    entries += [handle(shape, PALE, mark, linewidth=0) for mark, shape in shapes.items()]
    if any(fitted.held(one.name).any() for one in named):
        entries.append(handle("o", PALE, "held out", linewidth=0, markerfacecolor="white"))
    if fitted.recipe.select != "all" and fitted.fits:
        entries.append(handle("x", INK, "what the fit rests on", linewidth=0))
    axes.legend(
        handles=entries, loc="center left", bbox_to_anchor=(1.01, 0.5), frameon=False, handlelength=1.6, fontsize=7.5
    )


def _caption(fitted: "Fitted") -> str:
    held = any(fitted.held(group.name).any() for group in fitted.chosen.groups)
    parts = ["Each marker is one number of one run."]
    if held:
        parts.append("Hollow ones were held out of the fit.")
    if fitted.fits:
        if fitted.recipe.select != "all":
            parts.append("Crosses are what the fit rests on.")
        parts.append(f"The band is the law's {fitted.recipe.level:.0%} interval over runs and seeds.")
        parts.append("The line is dashed beyond the points.")
    return " ".join(parts)
