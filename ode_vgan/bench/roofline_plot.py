"""The roofline as a figure: a marker for each piece of work below what the machine could do with it."""

from collections.abc import Mapping

import numpy as np

from ode_vgan.report.canvas import FLOOR, PALE, Picture, looks_of, picture, plain_ticks


def draw_roofline(content: Mapping) -> Picture | None:
    """Of the content of a file of `ode-vgan bench --json`; None where no row has both operations and bytes.

    A piece of work that was timed against several is one marker, of its first row.
    """
    known = {}
    for row in content["rows"]:
        if row["reached"] and row["reached"]["intensity"] and row["reached"]["flops"]:
            known.setdefault((row["area"], row["name"]), row["reached"])
    if not known:
        return None
    looks, limits = looks_of(list(dict.fromkeys(area for area, _ in known))), content["ceilings"]

    def on(figure) -> None:
        axes = figure.subplots()
        axes.set_xscale("log")
        axes.set_yscale("log")
        for area, look in looks.items():
            points = [(one["intensity"], one["flops"] / 1e9) for (own, _), one in known.items() if own == area]
            axes.plot(
                *zip(*points, strict=True), look.marker, color=look.colour, markersize=5, alpha=0.8, label=area,
                markeredgewidth=0, zorder=3,
            )  # fmt: skip
        _roofs(axes, limits)
        axes.set_xlabel("operations for each byte between memory and cache")
        axes.set_ylabel("GFLOP/s")
        plain_ticks(axes.yaxis)
        plain_ticks(axes.xaxis)
        axes.legend(frameon=False, loc="lower right", ncols=2)

    best = max(known.items(), key=lambda item: item[1]["fraction"])
    alt = (
        f"Operations a second against operations a byte of {len(known)} pieces of work, both logarithmic, below the "
        f"machine's ceilings. Nearest to its ceiling is {' '.join(best[0])}, at {best[1]['fraction']:.0%}."
    )
    caption = "Lines: the measured ceilings of memory and of arithmetic. Markers: pieces of work, by area."
    return picture("roofline", "What is reached of the machine", caption, alt, on, (6.4, 4.2))


def _roofs(axes, limits: Mapping) -> None:
    memory = max(limits["copy"], limits["triad"])
    low, high = axes.get_xlim()
    high = max(high, 4 * limits["bf16"] / memory)
    x = np.geomspace(low, high, 200)
    for name, colour, dash in (("bf16", PALE, "--"), ("fp32", FLOOR, "-")):
        axes.plot(x, np.minimum(limits[name], memory * x) / 1e9, dash, color=colour, linewidth=1.2, zorder=2)
        _told(axes, f"{name} {limits[name] / 1e9:,.0f} GFLOP/s", (high, limits[name] / 1e9), (-3, 3), colour)
    _told(axes, f"{memory / 1e9:,.0f} GB/s", (1.6 * low, memory * 1.6 * low / 1e9), (48, -8), FLOOR)
    axes.set_xlim(low, high)


def _told(axes, text: str, place: tuple[float, float], offset: tuple[float, float], colour: str) -> None:
    """Words left of a place, moved by so many points."""
    axes.annotate(text, place, offset, textcoords="offset points", color=colour, fontsize=8, ha="right")
