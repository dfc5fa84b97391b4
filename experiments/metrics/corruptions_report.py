"""The tables and pictures of corruptions.py."""

import csv
import math
from collections.abc import Iterable
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw
from scipy.stats import spearmanr
from torch import Tensor

from ode_vgan.metrics.controls import CORRUPTIONS, PAIRS
from ode_vgan.metrics.motion import FlowHistogram

SEEN_SD = 3  # a level is seen if it is this many deviations of the floor above the clean value
COLOURS = ("#2f6fdb", "#d9582b", "#2a9d6f", "#8a56c2", "#c2992a", "#4b5563", "#d24b8a", "#1aa0b8", "#7a9a2a")
INTRO = """# Spoiled clips: which extractors see what

Made by `python experiments/metrics/corruptions.py --extractors {names}`.
Rows are in `corruptions_*.csv`, curves in `corruptions.png`, the corruptions themselves in `corruptions_clips.png`.

Embedded emoji at {px} px, {frames} frames at stride {stride}: {reference} clean clips are the reference, {clips} others
are spoiled, the same ones at every level. The floor is {draws} draws of {clips} from {pool} clean clips; its deviation
is corrected for drawing from so few. A level is *seen* if its distance is more than {seen} floor deviations above that
of the same clips unspoiled. One seed; the deviation is between draws of clips. Much of an emoji is white, where noise
and brightening are cut off: there they are weaker than their level says, per frame and per clip alike. Loops of emoji
look much the same backwards.

- weakest, strongest: corruptions, of {count}, of which that level is seen.
- rising: of those whose strongest level is seen, how many rise from clean to it at every step (Spearman 1); the next
  column is their mean Spearman correlation of level and distance.
- per frame / per clip: geometric mean, over noise, warp and brightness at all levels, of the excess distance when every
  frame is spoiled differently over that when all frames of a clip are spoiled alike, each frame as much. An excess
  below one floor deviation counts as one. Above 1: time matters more than pictures.
- order: whether full shuffling is seen. CPU: of all threads, without the time to draw the corruptions.
"""

HEAD = ("measure", "F", "clean / floor", "floor sd / floor", "weakest", "strongest", "rising", "Spearman")
HEAD += ("per frame / per clip", "order", "CPU a clip")
RATIOS = """Distance over that of the same clips unspoiled, weakest level to strongest; **bold** where seen,
a star where it does not rise at every step."""
NUMBERS = ("level", "distance", "clean", "floor", "floor_sd", "cpu_ms")


def write_summary(folder: Path) -> Path:
    """corruptions.md from every csv in the folder."""
    results = read_results(folder)
    names = ",".join(sorted(path.stem.removeprefix("corruptions_") for path in folder.glob("corruptions_*.csv")))
    keys = ("px", "frames", "stride", "reference", "clips", "pool", "draws")
    told = {key: "/".join(sorted({rows[0][key] for rows in results.values()}, key=int)) for key in keys}
    text = INTRO.format(names=names, seen=SEEN_SD, count=len(CORRUPTIONS), **told)
    lines = [_line(HEAD), _line(["---"] + ["---:"] * (len(HEAD) - 1))]
    lines += [_line(_verdict(name, rows)) for name, rows in results.items()]
    levels = {name: [f"{level:g}" for level in levels] for name, (_, levels) in CORRUPTIONS.items()}
    text += "\n" + "\n".join(lines) + "\n\n" + RATIOS + "\n\n"
    text += _line(["measure", *(f"{name} {'/'.join(levels[name])}" for name in CORRUPTIONS)]) + "\n"
    text += _line(["---"] * (1 + len(CORRUPTIONS))) + "\n"
    text += "\n".join(_line([name, *(_ratios(rows, one) for one in CORRUPTIONS)]) for name, rows in results.items())
    path = folder / "corruptions.md"
    path.write_text(text + "\n")
    return path


def read_results(folder: Path) -> dict[str, list[dict]]:
    """Rows of every csv in the folder, by measure."""
    found: dict[str, list[dict]] = {}
    for path in sorted(folder.glob("corruptions_*.csv")):
        with open(path, newline="") as file:
            for row in csv.DictReader(file):
                found.setdefault(row["measure"], []).append(row | {key: float(row[key]) for key in NUMBERS})
    return found


def write_figure(folder: Path) -> Path:
    """corruptions.png: a panel a corruption, a line a Frechet distance, filled marks where the level is seen."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.ticker import LogLocator, NullLocator

    results = {name: rows for name, rows in read_results(folder).items() if not _scalar(name)}
    figure = Figure(figsize=(13, 9), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(3, 4, sharey=True).flatten()
    for panel, corruption in zip(axes, CORRUPTIONS, strict=False):
        for (name, rows), colour in zip(results.items(), COLOURS * 2, strict=False):
            chosen = [row for row in rows if row["corruption"] == corruption]
            ratios = [1.0] + [row["distance"] / row["clean"] for row in chosen]
            panel.plot(range(len(ratios)), ratios, color=colour, label=name, linewidth=1.5)
            for i, row in enumerate(chosen, 1):
                face = colour if _seen(row) else "white"
                panel.plot(i, ratios[i], "o", color=colour, markerfacecolor=face, markersize=5)
        panel.axhline(1, color="#9aa0a6", linewidth=0.8, zorder=0)
        panel.set(title=corruption.replace("_", " "), yscale="log")
        levels = CORRUPTIONS[corruption].levels
        panel.set_xticks(range(len(levels) + 1), ["clean", *(f"{level:g}" for level in levels)])
        panel.yaxis.set_major_locator(LogLocator(subs=(1, 3)))
        panel.yaxis.set_major_formatter("{x:g}")
        panel.yaxis.set_minor_locator(NullLocator())
        panel.grid(axis="y", color="#e3e5e8", linewidth=0.6)
        panel.spines[["top", "right"]].set_visible(False)
    for panel in axes[len(CORRUPTIONS) :]:
        panel.axis("off")
    axes[-1].legend(*axes[0].get_legend_handles_labels(), loc="center", frameon=False, title="filled: seen (> 3 sd)")
    figure.supylabel("Fréchet distance / that of the same clips unspoiled")
    path = folder / "corruptions.png"
    figure.savefig(path, dpi=110)
    return path


def write_picture(clean: Tensor, sets: Iterable[tuple[str, float, Tensor]], path: Path, shown: int = 8) -> None:
    """The first of some clips, clean and at every level, in two columns; of dropped ones the first frame of each."""
    strips = [("clean", clean)] + [(f"{name} {level:g}", clips) for name, level, clips in sets]
    frames, height, width = clean.shape[1:4]
    step, tall, label = max(1, frames // shown), -(-len(strips) // 2), 130
    sheet = Image.new("RGB", (2 * (label + shown * width + 10), tall * (height + 2)), "white")
    draw = ImageDraw.Draw(sheet)
    for i, (name, clips) in enumerate(strips):
        left, top = (i // tall) * (label + shown * width + 10), (i % tall) * (height + 2)
        draw.text((left + 4, top + height // 2 - 6), name, fill="black")
        pictures = clips[:shown, 0] if name.startswith("drop") else clips[0, ::step][:shown]
        pictures = np.concatenate(list(pictures.numpy()), 1)
        sheet.paste(Image.fromarray(pictures), (left + label, top))
    sheet.save(path, optimize=True)


def _verdict(name: str, rows: list[dict]) -> list[str]:
    curves = {one: [row for row in rows if row["corruption"] == one] for one in CORRUPTIONS}
    orders = [_spearman(chosen) for chosen in curves.values() if _seen(chosen[-1])]
    sides = [(_excess(t), _excess(s)) for a, b in PAIRS.items() for t, s in zip(curves[a], curves[b], strict=True)]
    ratio = math.exp(sum(math.log(t / s) for t, s in sides) / len(sides))
    first = rows[0]
    return [
        name,
        "1" if _scalar(name) else f"{FlowHistogram.dim}" if name == "motion flow" else first["dim"],
        f"{first['clean'] / first['floor']:.2f}",
        f"{first['floor_sd'] / first['floor']:.3f}",
        f"{sum(_seen(chosen[0]) for chosen in curves.values())}",
        f"{len(orders)}",
        f"{sum(order > 0.999 for order in orders)} of {len(orders)}",
        f"{sum(orders) / max(1, len(orders)):.2f}",
        f"{ratio:.3g}",
        "seen" if _seen(curves["shuffle"][-1]) else "blind",
        f"{first['cpu_ms']:.0f} ms",
    ]


def _scalar(name: str) -> bool:
    return name.startswith("motion ") and name != "motion flow"


def _spearman(chosen: list[dict]) -> float:
    values = [1.0] + [round(row["distance"] / row["clean"], 6) for row in chosen]  # less is rounding, not an order
    return 0.0 if len(set(values)) == 1 else float(spearmanr(range(len(values)), values).statistic)


def _ratios(rows: list[dict], corruption: str) -> str:
    chosen = [row for row in rows if row["corruption"] == corruption]
    ratios = [(f"{row['distance'] / row['clean']:.3g}", _seen(row)) for row in chosen]
    told = " / ".join(f"**{ratio}**" if seen else ratio for ratio, seen in ratios)
    return told + ("" if _spearman(chosen) > 0.999 else " \\*")


def _seen(row: dict) -> bool:
    return row["distance"] - row["clean"] > SEEN_SD * row["floor_sd"]


def _excess(row: dict) -> float:
    return max(row["distance"] - row["clean"], row["floor_sd"])


def _line(cells: list[str]) -> str:
    return f"| {' | '.join(cells)} |"
