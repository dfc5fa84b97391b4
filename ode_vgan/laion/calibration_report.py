"""The calibration as a page and a figure, from what calibration.json holds."""

from math import ceil

from ode_vgan.report.canvas import FLOOR, INK, PALE, Picture, picture, title
from ode_vgan.report.curves import COLOURS

WIDE = 4  # panels in a row
HEADINGS = "| threshold | recall | false positives | precision | at {} |"
AXES = {"phash distance": "bits of 64 that differ, at most"}


def markdown(report: dict) -> str:
    """Tables of thresholds, of recall by kind, and what cannot be told."""
    tasks, rare = report["tasks"], f"1 in {round(1 / report['protocol']['rare'])}"
    lines = ["# Calibration of the scores", "", _protocol(report["protocol"], rare), ""]
    lines += ["![precision and recall against threshold](calibration.png)", "", "## Recommended thresholds", ""]
    lines += ["The highest F1 where half are positive, halfway to the next score.", ""]
    lines += [f"| score | positives from negatives | n | AUROC {HEADINGS.format(rare)}"]
    lines += ["|---|---|---:|---|---:|---|---|---|---|"]
    lines += [_row(name, task, "recommended") for name, task in tasks.items()]
    lines += [
        "",
        "## Thresholds in use",
        "",
        f"| score | whose {HEADINGS.format(rare)}",
        "|---|---|---:|---|---|---|---|",
    ]
    usual = [(name, task) for name, task in tasks.items() if "usual" in task]
    lines += [f"| {name} | {task['usual_of']} {_numbers(task['usual'])}" for name, task in usual]
    lines += ["", "## Recall by kind, at the recommended threshold", ""]
    lines += ["| score | kind | n | recall |", "|---|---|---:|---|"]
    for name, task in tasks.items():
        lines += [
            f"| {name} | {kind} | {one['count']} | {_rate(one)} |" for kind, one in task["recall_by_kind"].items()
        ]
    if report["missing"]:
        lines += ["", "## Not measured", "", *(f"- `{name}`: {why}" for name, why in report["missing"].items())]
    return "\n".join(lines) + "\n"


def _protocol(told: dict, rare: str) -> str:
    return (
        f"{told['clips']} clips of {told['concepts']} held-out concepts, seed {told['seed']}, {told['frames']} frames "
        f"a clip for detector and embedder; detector {told['detector']}, embedder {told['embedder'] or 'none'}; "
        f"commit {told['commit']}. 95 % intervals: Wilson's for shares, a bootstrap over concepts for AUROC. Precision "
        f"is told where half of the clips are positive, and where {rare} is; its interval takes the worse and the "
        "better end of both shares."
    )


def draw_calibration(report: dict) -> Picture:
    """Precision and recall against threshold, a panel for each score, with intervals and the recommended threshold."""
    tasks = report["tasks"]
    rows = ceil(len(tasks) / WIDE)

    def draw(figure) -> None:
        panels = figure.subplots(rows, WIDE, squeeze=False).flat
        for i, axes in enumerate(panels):
            if i < len(tasks):
                _panel(axes, *list(tasks.items())[i])
            else:
                axes.set_visible(False)
        handles, labels = panels[0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside lower center", ncols=3, frameon=False)

    alt = "; ".join(
        f"{name}: AUROC {task['auroc']['value']:.3f}, threshold {task['recommended']['threshold']:.3g}, precision "
        f"{task['recommended']['precision']['value']:.2f}, recall {task['recommended']['recall']['value']:.2f}"
        for name, task in tasks.items()
    )
    caption = (
        "Precision (where half are positive) and recall against the threshold, with their 95 % intervals. Dotted: the "
        "recommended threshold."
    )
    return picture("calibration", "Calibration of the scores", caption, alt, draw, (3.1 * WIDE, 2.7 * rows + 0.35))


def _panel(axes, name: str, task: dict) -> None:
    thresholds = [point["threshold"] for point in task["curve"]]
    step = "pre" if task["passes"] == "at or above" else "post"  # nothing changes between two scores
    for key, colour, dash in (("precision", COLOURS[0], "-"), ("recall", COLOURS[1], "--")):
        points = [(t, p[key]) for t, p in zip(thresholds, task["curve"], strict=True) if p[key]["value"] is not None]
        x = [t for t, _ in points]
        ends = ([p[end] for _, p in points] for end in ("low", "high"))
        axes.fill_between(x, *ends, step=step, color=colour, alpha=0.15, lw=0)
        values = [p["value"] for _, p in points]
        axes.plot(x, values, dash, drawstyle=f"steps-{step}", color=colour, linewidth=1.6, label=key)
    best = task["recommended"]["threshold"]
    axes.axvline(best, color=FLOOR, linestyle=":", linewidth=1.2, label="recommended threshold")
    left = best > (min(thresholds) + max(thresholds)) / 2
    axes.annotate(f"{best:.3g}", (best, 0.03), (-4 if left else 4, 0), textcoords="offset points", color=INK,
                  fontsize=8.5, ha="right" if left else "left")  # fmt: skip
    auroc = task["auroc"]
    title(axes, name, f"AUROC {auroc['value']:.3f} ({auroc['low']:.3f} to {auroc['high']:.3f})")
    axes.set_ylim(0, 1.03)
    axes.margins(x=0.02)
    axes.set_xlabel(AXES.get(name, f"{name}, at least"), fontsize=8.5, color=PALE)


def _row(name: str, task: dict, at: str) -> str:
    auroc = task["auroc"]
    shown = f"{auroc['value']:.3f} ({auroc['low']:.3f} to {auroc['high']:.3f})"
    return f"| {name} | {task['question']} | {task['positives']} + {task['negatives']} | {shown} {_numbers(task[at])}"


def _numbers(point: dict) -> str:
    rates = (point[key] for key in ("recall", "false_positives", "precision", "rare"))
    return f"| {point['threshold']:.3g} | " + " | ".join(map(_rate, rates)) + " |"


def _rate(rate: dict) -> str:
    if rate["value"] is None:
        return "none passes"
    digits = 4 if 0 < rate["value"] < 0.01 or rate["high"] < 0.01 else 2
    return f"{rate['value']:.{digits}f} ({rate['low']:.{digits}f} to {rate['high']:.{digits}f})"
