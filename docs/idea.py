"""Draws docs/idea.png: one start, four models of time, asked at the frames of training and at other times.

python docs/idea.py [FILE]
"""

import sys
from pathlib import Path

import matplotlib
import torch
from matplotlib.axes import Axes
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch
from omegaconf import OmegaConf
from torch import Tensor

from ode_vgan.build import build
from ode_vgan.temporal.path import anchored_path

matplotlib.use("Agg")
import matplotlib.pyplot as plt  # noqa: E402

ROOT = Path(__file__).resolve().parents[1]
Z, E, T, GAP = 64, 384, 9, 0.125  # a trained window of 1 s
BLUE, ORANGE, GREEN, RED, INK, PALE = "#2563eb", "#d97706", "#059669", "#be185d", "#1c1e22", "#6b7280"
FRAMES = torch.arange(T) * GAP
BEFORE, AFTER = 0.5, 1.75
SEED, COORDINATE = 28, 19  # of untrained weights, and of Z: one that turns
PANELS = {
    "ode": ("neural ODE", BLUE, "any time, before and beyond"),
    "sde": ("neural SDE", GREEN, "one start, many futures"),
    "rnn": ("GRU with noise", ORANGE, "from frame to frame"),
    "discrete": ("transposed convolutions", RED, "this window and no other"),
}


def path(name: str, times: Tensor, seed: int = 0) -> Tensor:
    """One coordinate (T,) of an untrained model's path from the picture's start; the same start for all models."""
    node = OmegaConf.load(ROOT / "conf" / "temporal" / f"{name}.yaml")
    given = {"motion_dim": Z, "embed_dim": E, "gap_seconds": GAP, "data": {"frames": T}, "temporal": node}
    torch.manual_seed(SEED)
    model = build(OmegaConf.to_container(OmegaConf.create(given), resolve=True)["temporal"])
    draw = torch.Generator().manual_seed(1)
    z0 = torch.randn(1, Z, generator=draw)
    c = torch.nn.functional.normalize(torch.randn(1, E, generator=draw), dim=1)
    with torch.no_grad():
        return anchored_path(model, z0, times, c, torch.tensor([seed]))[0, :, COORDINATE]


def draw(file: Path) -> None:
    """Write the picture: the pipeline above, the four paths below."""
    figure = plt.figure(figsize=(10, 5.6), dpi=130)
    rows = figure.add_gridspec(
        2, 4, height_ratios=[1, 1.75], hspace=0.34, wspace=0.08, left=0.045, right=0.985, top=0.98, bottom=0.1
    )
    pipeline(figure.add_subplot(rows[0, :]))
    first = None
    for column, name in enumerate(PANELS):
        axes = figure.add_subplot(rows[1, column], sharey=first)
        first = first or axes
        panel(axes, name)
        axes.tick_params(labelleft=column == 0)
    first.set_ylabel("one coordinate of z", color=PALE)
    figure.savefig(file, facecolor="white")
    plt.close(figure)


def pipeline(axes: Axes) -> None:
    """Boxes from words and noise to frames and critics; the box that the study varies is filled."""
    axes.set(xlim=(0, 100), ylim=(0, 30))
    axes.axis("off")
    boxes = {
        "caption": (1, 18, 13, 'a caption\n"person surfing"'),
        "noise": (1, 4, 13, "noise, a start $z_0$"),
        "time": (25, 6, 22, "model of time\n$(z_0,\\ times,\\ c) \\rightarrow z(t)$"),
        "decoder": (58, 8, 14, "decoder\n$z(t_i) \\rightarrow$ frame i"),
        "critics": (83, 8, 16, "critics of frames\nand of clips"),
    }
    for name, (x, y, width, text) in boxes.items():
        chosen, height = name == "time", 8 if name in ("caption", "noise") else 16 if name == "time" else 12
        edge, fill = (BLUE, "#dbeafe") if chosen else ("#9ca3af", "#f9fafb")
        look = {"boxstyle": "round,pad=0.6", "lw": 1.6 if chosen else 1, "ec": edge, "fc": fill}
        axes.add_patch(FancyBboxPatch((x, y), width, height, **look))
        axes.text(
            x + width / 2, y + height / 2, text, ha="center", va="center", fontsize=9.5 if chosen else 8.5, color=INK
        )
    arrows = [
        ((15, 22), (24, 17), "c"),
        ((15, 8), (24, 11), ""),
        ((48, 14), (57, 14), "z"),
        ((73, 14), (82, 14), "frames"),
    ]
    for start, end, text in arrows:
        axes.add_patch(FancyArrowPatch(start, end, arrowstyle="-|>", mutation_scale=11, color="#4b5563", lw=1.1))
        axes.text((start[0] + end[0]) / 2, (start[1] + end[1]) / 2 + 1.6, text, ha="center", fontsize=8.5, color=PALE)
    axes.text(36, 27.2, "the one part that the study changes", ha="center", fontsize=8.5, color=BLUE)
    axes.text(36, 1.4, "times: seconds, any gaps", ha="center", fontsize=8.5, color=PALE)


def panel(axes: Axes, name: str) -> None:
    """What one model makes of the start: dots at trained frames, circles at times that it was not trained on."""
    title, colour, says = PANELS[name]
    axes.axvspan(0, FRAMES[-1], color="#f3f4f6", zorder=0)
    axes.axvline(0, color="#d1d5db", lw=0.8, zorder=0)
    later = FRAMES[-1] + GAP * torch.arange(1, 7)
    if name == "ode":
        fine = torch.linspace(-BEFORE, AFTER, 226)
        axes.plot(fine, path(name, fine), color=colour, lw=1.8)
        asked = torch.cat([torch.tensor([-0.4, -0.2]), FRAMES, torch.tensor([1.15, 1.2, 1.5, 1.7])])
        dots(axes, asked, path(name, asked), colour)
    elif name == "sde":
        fine = torch.arange(0, AFTER + 1e-6, GAP / 10)  # every tenth is a frame
        for seed in range(5):
            alpha = 0.45 if seed else 1
            values = path(name, fine, seed)
            axes.plot(fine, values, color=colour, lw=0.8 if seed else 1.4, alpha=alpha)
            if not seed:
                dots(axes, fine[::10], values[::10], colour)
    elif name == "rnn":
        asked = torch.cat([FRAMES, later])
        for seed in range(3):
            values = path(name, asked, seed)
            axes.plot(asked, values, color=colour, lw=0.7, ls=":", alpha=0.9 if not seed else 0.4)
            dots(axes, asked, values, colour, 1 if not seed else 0.35)
    else:
        dots(axes, FRAMES, path(name, FRAMES), colour)
    axes.set_title(title, fontsize=10, color=colour, pad=17)
    axes.text(0.5, 1.025, says, transform=axes.transAxes, ha="center", fontsize=8.5, color=PALE)
    axes.set(xlim=(-BEFORE - 0.05, AFTER + 0.05), xticks=[0, 1], xticklabels=["0 s", "1 s, trained"], yticks=[])
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.tick_params(labelsize=8, colors=PALE)


def dots(axes: Axes, times: Tensor, values: Tensor, colour: str, alpha: float = 1.0) -> None:
    """Filled at frames of the trained window, hollow elsewhere."""
    trained = (times >= 0) & (times <= FRAMES[-1])
    axes.plot(times[trained], values[trained], "o", ms=4.5, color=colour, alpha=alpha)
    axes.plot(times[~trained], values[~trained], "o", ms=4.5, mfc="white", mec=colour, alpha=alpha)


if __name__ == "__main__":
    draw(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).with_suffix(".png"))
