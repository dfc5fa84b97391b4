"""Figures of growth: time above, memory below, one panel an axis, each line with the exponent that was fitted."""

from collections.abc import Sequence

import numpy as np

from ode_vgan.bench.growth import Curve
from ode_vgan.report.canvas import PALE, Picture, looks_of, picture, plain_ticks, title

UNITS = {"time": ("processor seconds", 1.0), "memory": ("MB at the peak", 1e6)}


def draw_growth(name: str, heading: str, curves: Sequence[Curve]) -> Picture:
    """One figure of curves: a column for each axis, a colour for each piece of work; dotted is what it needs."""
    looks = looks_of(list(dict.fromkeys(curve.what for curve in curves)))
    axes_names = list(dict.fromkeys(curve.axis for curve in curves))

    def on(figure) -> None:
        panels = figure.subplots(2, len(axes_names), squeeze=False, sharex="col")
        for column, axis in enumerate(axes_names):
            own = [curve for curve in curves if curve.axis == axis]
            for row, kind in enumerate(UNITS):
                _panel(panels[row][column], own, kind, looks)
            panels[1][column].set_xlabel(axis)
            title(panels[0][column], f"against {axis}")
        for row, (unit, _) in enumerate(UNITS.values()):
            panels[row][0].set_ylabel(unit)

    told = "; ".join(
        f"{curve.what} against {curve.axis}: time {curve.slopes['time'].value:.2f}, "
        f"memory {curve.slopes['memory'].value:.2f}"
        for curve in curves
    )
    alt = f"Time and memory on logarithmic axes. Fitted exponents: {told}."
    caption = "Markers are medians; lines fitted powers, their exponents beside the names; dotted: what it needs."
    return picture(name, heading, caption, alt, on, (3.3 * len(axes_names) + 0.4, 5.6))


def _panel(axes, curves: Sequence[Curve], kind: str, looks: dict) -> None:
    axes.set_xscale("log")
    axes.set_yscale("log")
    for curve in curves:
        x, y = np.array(curve.sizes, float), _values(curve, kind)
        look, found = looks[curve.what], curve.slopes[kind]
        level = np.exp(np.log(y).mean() - found.value * np.log(x).mean())
        axes.plot(x, y, look.marker, color=look.colour, markersize=4.5, markeredgewidth=0, zorder=3)
        axes.plot(x, level * x**found.value, color=look.colour, linewidth=1.2, label=f"{curve.what} {found.value:.2f}")
        need = curve.power if kind == "time" else curve.memory_power
        axes.plot(x, y[-1] * (x / x[-1]) ** need, ":", color=PALE, linewidth=0.8, zorder=1)
    plain_ticks(axes.yaxis)
    sizes = sorted({size for curve in curves for size in curve.sizes})
    sizes = sizes if len(sizes) < 7 else sizes[::2]
    axes.set_xticks(sizes, [f"{size:g}" for size in sizes])
    axes.xaxis.minorticks_off()
    axes.legend(frameon=False, fontsize=7, handlelength=1.2, loc="upper left")
    low, high = axes.get_ylim()
    axes.set_ylim(low, high * (high / low) ** (0.09 * len(curves)))  # room for the names


def _values(curve: Curve, kind: str) -> np.ndarray:
    values = [np.median(own) for own in curve.seconds] if kind == "time" else curve.bytes
    return np.array(values, float) / UNITS[kind][1]
