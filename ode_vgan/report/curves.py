"""The curves of a training run, read from the csv logger's sparse table."""

import csv
from io import BytesIO
from pathlib import Path

import numpy as np

from ode_vgan.data.clips import write_atomic
from ode_vgan.errors import UserError

AXES = ("clips_seen", "clips", "step")  # the first one present is the horizontal axis
# Panel title, words that a column's name has one of (the first panel to match takes it), logarithmic.
PANELS = (
    ("score (lower is better)", ("score",), True),
    ("right answers (higher is better)", ("accuracy", "val", "test"), False),
    ("scale of the logits", ("scale",), False),
    ("penalties", ("r1", "r2", "penalty"), True),
    ("losses", ("loss",), False),
    ("critic outputs", ("real", "fake", "logit", "margin", "mismatch", "sign"), False),
    ("augmentation", ("augment", "probability"), False),
    ("speed", ("second", "speed", "nfe"), False),
)
COLOURS = ("#2f6fdb", "#d9582b", "#2a9d6f", "#8a56c2", "#c2992a", "#4b5563", "#d24b8a", "#1aa0b8")


def plot_curves(metrics_csv: str | Path, out_png: str | Path) -> Path:
    """Draw losses, critic outputs, penalties and scores against clips seen, a panel for each kind present.

    Columns are placed by the words in their names; missing columns, blank cells and a half-written last line are
    passed over. A panel of positive values that span more than a decade is logarithmic where that is customary.

    Raises:
        UserError: the file has no number to draw.
    """
    import matplotlib

    axis, columns = read_curves(metrics_csv)
    panels = [(title, log, found) for title, words, log in PANELS if (found := _matching(columns, words))]
    if not panels:
        raise UserError(f"{metrics_csv} has no loss, penalty or score to draw; train for a logging interval or more.")
    wide = min(len(panels), 3)
    tall = -(-len(panels) // wide)
    with matplotlib.rc_context(_style()):
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure

        figure = Figure(figsize=(4.6 * wide, 3.1 * tall), layout="constrained")
        FigureCanvasAgg(figure)
        for i, (title, log, found) in enumerate(panels):
            _draw(figure.add_subplot(tall, wide, i + 1), title, log, {name: columns[name] for name in found})
        figure.supxlabel(axis.replace("_", " "), fontsize=9)
        buffer = BytesIO()
        figure.savefig(buffer, format="png", dpi=130)
    write_atomic(out_png, buffer.getvalue())
    return Path(out_png)


def read_curves(metrics_csv: str | Path) -> tuple[str, dict[str, tuple[np.ndarray, np.ndarray]]]:
    """Read a sparse metrics table as the axis name and {column: (x, values)}, finite values only, x rising.

    Rows that lack the axis get it by interpolation along `step`.
    """
    with open(metrics_csv, newline="") as file:
        rows = list(csv.DictReader(file))
    table = {name: np.array([_number(row.get(name)) for row in rows]) for name in (rows[0] if rows else ())}
    axis = next((name for name in AXES if np.isfinite(table.get(name, np.nan)).any()), None)
    if axis is None:
        raise UserError(f"{metrics_csv} has none of the axes {', '.join(AXES)}; is it a csv logger's metrics.csv?")
    x, step = table[axis], table.get("step", table[axis])
    known = np.isfinite(x) & np.isfinite(step)
    if axis != "step" and known.any() and not known.all():
        order = np.argsort(step[known], kind="stable")
        x = np.where(np.isfinite(x), x, np.interp(step, step[known][order], x[known][order]))
    curves = {}
    for name, values in table.items():
        there = np.isfinite(values) & np.isfinite(x)
        if name not in (*AXES, "epoch") and there.any():
            order = np.argsort(x[there], kind="stable")
            curves[name] = (x[there][order], values[there][order])
    return axis, curves


def _number(cell: str | None) -> float:
    try:
        return float(cell)
    except (TypeError, ValueError):
        return np.nan


def _matching(columns: dict, words: tuple[str, ...]) -> list[str]:
    """Columns whose name has one of the words and that no earlier panel has taken."""
    earlier = [word for _, taken, _ in PANELS[: [w for _, w, _ in PANELS].index(words)] for word in taken]
    return [name for name in columns if _has(name, words) and not _has(name, earlier)]


def _has(name: str, words) -> bool:
    parts = name.lower().replace("/", "_").split("_")
    return any(part.startswith(word) for part in parts for word in words)


def _draw(axes, title: str, log: bool, curves: dict[str, tuple[np.ndarray, np.ndarray]]) -> None:
    everything = np.concatenate([values for _, values in curves.values()])
    positive = everything[everything > 0]
    if log and len(positive) and positive.max() > 10 * positive.min():
        axes.set_yscale("log", nonpositive="mask")
    elif everything.min() < 0 < everything.max():
        axes.axhline(0, color="#c9ced6", linewidth=0.8, zorder=0)
    for i, (name, (x, values)) in enumerate(curves.items()):
        colour = COLOURS[i % len(COLOURS)]
        dense = len(x) > 60
        axes.plot(x, values, color=colour, linewidth=0.6 if dense else 1.4, alpha=0.25 if dense else 1.0,
                  marker=None if dense else ".", label=None if dense else name)  # fmt: skip
        if dense:
            axes.plot(x, _smoothed(values), color=colour, linewidth=1.5, label=name)
    axes.set_title(title, loc="left")
    axes.ticklabel_format(axis="x", style="sci", scilimits=(-3, 5), useMathText=True)
    axes.legend(frameon=False, ncols=1 if len(curves) < 4 else 2)


def _smoothed(values: np.ndarray) -> np.ndarray:
    """Running mean over a fiftieth of the points, of those there are at the ends."""
    half = max(1, len(values) // 100)
    total = np.concatenate([[0.0], np.cumsum(values)])
    index = np.arange(len(values))
    low, high = np.maximum(index - half, 0), np.minimum(index + half + 1, len(values))
    return (total[high] - total[low]) / (high - low)


def _style() -> dict:
    return {
        "font.size": 9, "axes.titlesize": 10, "legend.fontsize": 7.5, "axes.spines.top": False,
        "axes.spines.right": False, "axes.edgecolor": "#8a919c", "xtick.color": "#555b66", "ytick.color": "#555b66",
        "axes.grid": True, "grid.color": "#eceef1", "axes.axisbelow": True,
    }  # fmt: skip
