"""What all figures of a report share: one style, one look a family, labels that keep apart, SVG and PNG."""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from io import BytesIO
from typing import TYPE_CHECKING

from ode_vgan.report.curves import COLOURS

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

INK, PALE, RULE, FLOOR = "#1c1e22", "#6b7280", "#eceef1", "#4b5563"
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "<", ">", "p", "h")
DASHES = ("-", "--", "-.", ":")
STYLE = {
    "font.size": 9, "axes.titlesize": 9.5, "legend.fontsize": 8, "axes.spines.top": False, "axes.spines.right": False,
    "axes.edgecolor": "#8a919c", "xtick.color": "#555b66", "ytick.color": "#555b66", "text.color": INK,
    "axes.labelcolor": "#374151", "axes.grid": True, "grid.color": RULE, "axes.axisbelow": True,
    "figure.facecolor": "white", "savefig.facecolor": "white", "svg.hashsalt": "ode_vgan", "svg.fonttype": "path",
}  # fmt: skip
DPI = 130
MAX_POINTS = 300  # of a line


@dataclass(frozen=True)
class Picture:
    """A figure as it goes into a page.

    Attributes:
        name: of its files, without ending. title, caption: for the page. alt: what it shows, for those who do not see
            it.
        svg: text of one SVG file. png: bytes of one PNG file.
    """

    name: str
    title: str
    caption: str
    alt: str
    svg: str
    png: bytes


@dataclass(frozen=True)
class Look:
    """How a family is drawn, in every figure of one report."""

    colour: str
    marker: str
    dash: str


def looks_of(families: Sequence[str]) -> dict[str, Look]:
    """A colour, a marker and a dash for each family, no two alike among the first 88."""
    return {
        family: Look(COLOURS[i % len(COLOURS)], MARKERS[i % len(MARKERS)], DASHES[i // len(COLOURS) % len(DASHES)])
        for i, family in enumerate(families)
    }


def picture(name: str, title: str, caption: str, alt: str, draw: Callable[["Figure"], None], size: tuple) -> Picture:
    """Draw on a figure of (width, height) inches and render it both ways; the same input gives the same bytes."""
    import matplotlib

    with matplotlib.rc_context(STYLE):
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure

        figure = Figure(figsize=size, layout="constrained")
        FigureCanvasAgg(figure)
        draw(figure)
        svg, png = BytesIO(), BytesIO()
        figure.savefig(png, format="png", dpi=DPI, metadata={"Software": None})
        figure.set_layout_engine("none")  # as it was laid out for the first
        figure.savefig(svg, format="svg", metadata={"Date": None, "Creator": None})
    return Picture(name, title, caption, alt, _plain_svg(svg.getvalue().decode()), png.getvalue())


def title(axes: "Axes", text: str, below: str = "") -> None:
    """A panel's title at the left, and a paler line below it."""
    axes.set_title(text + ("\n" if below else ""), loc="left", fontweight="bold")
    if below:
        axes.annotate(below, (0, 1), (0, 4), "axes fraction", textcoords="offset points", color=PALE, fontsize=8)


def dots(axes: "Axes", x: Sequence[float], y: Sequence[float], look: Look) -> None:
    """A marker for each seed."""
    axes.plot(x, y, look.marker, color=look.colour, markersize=5.5, alpha=0.85, markeredgewidth=0, zorder=3)


def line(axes: "Axes", points: Sequence[tuple[float, float]], look: Look, marked: bool = True) -> None:
    """A run's line through (x, y) points, thinned to a few hundred."""
    step = max(1, len(points) // MAX_POINTS)
    axes.plot(
        *zip(*points[:-1:step], points[-1], strict=True), color=look.colour, linestyle=look.dash, linewidth=1.2,
        alpha=0.85, marker=look.marker if marked else None, markersize=3.2, markeredgewidth=0,
    )  # fmt: skip


def label_ends(axes: "Axes", ends: Sequence[tuple[str, float]], looks: dict[str, Look], size: float = 8) -> None:
    """Write each name, with its marker, right of the axes at its line's height (data units), moved to keep apart."""
    low, high = sorted(axes.get_ylim())
    x = axes.get_xlim()[1]
    bottom, top = (axes.transData.transform((x, value))[1] for value in (low, high))
    at = [(axes.transData.transform((x, value))[1] - bottom) / (top - bottom) for _, value in ends]
    inches = axes.get_position().height * axes.figure.get_figheight()
    for (name, _), y in zip(ends, spread_out(at, 1.3 * size / 72 / max(inches, 0.5)), strict=True):
        look = looks[name]
        axes.annotate(
            name, (1.03, y), (7, 0), "axes fraction", textcoords="offset points", va="center", fontsize=size,
            color=look.colour, fontweight="bold", annotation_clip=False,
        )  # fmt: skip
        axes.plot(
            [1.03], [y], look.marker, transform=axes.transAxes, color=look.colour, markersize=4.5, clip_on=False,
            markeredgewidth=0,
        )  # fmt: skip


def spread_out(values: Sequence[float], gap: float) -> list[float]:
    """Values moved so that any two are a gap apart, their order kept, from 0 to 1 if there is room."""
    order = sorted(range(len(values)), key=lambda i: values[i])
    gap = min(gap, 1 / max(1, len(values) - 1))
    moved = [min(max(values[i], 0.0), 1.0) for i in order]
    for i in range(1, len(moved)):
        moved[i] = max(moved[i], moved[i - 1] + gap)
    ceiling = 1.0
    for i in reversed(range(len(moved))):
        moved[i] = min(moved[i], ceiling)
        ceiling = moved[i] - gap
    placed = dict(zip(order, moved, strict=True))
    return [placed[i] for i in range(len(values))]


def wide_range(values: Sequence[float], factor: float = 6.0) -> bool:
    """Whether positive values span enough for a logarithmic axis."""
    return bool(values) and min(values) > 0 and max(values) > factor * min(values)


def plain_ticks(axis) -> None:
    """A logarithmic axis labelled in plain numbers, a few of them."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    axis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,g}"))
    axis.set_minor_formatter(NullFormatter())


def _plain_svg(text: str) -> str:
    """Without the prologue and the metadata, which name addresses elsewhere and say nothing."""
    text = text[text.index("<svg") :]
    return re.sub(r"\s*<metadata>.*?</metadata>", "", text, flags=re.S)
