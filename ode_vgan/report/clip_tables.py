"""Tables of what embedders of texts and clips are worth, readable in a terminal and as Markdown."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from ode_vgan.embed.standings import Gap, Standing
from ode_vgan.embed.subject import Subject
from ode_vgan.report.table import Row, results_table


def report(said: dict, rows: Sequence[Standing], between: Sequence[Gap], subjects: Sequence[Subject]) -> str:
    """The tables: every number by family, then the differences from the first family."""
    families = list(dict.fromkeys(row.family for row in rows))
    titles = short_titles(families)
    counted = {family: sum(one.family == family for one in subjects) for family in families}
    headings = {name: titles[name] + (f", {n} runs" if (n := counted[name]) > 1 else "") for name in families}
    parts = [summary(said), results_table(table_rows(rows, headings))]
    for family in families[1:]:
        heading = f"{titles[family]} minus {titles[families[0]]}, on the same clips:"
        parts.append(f"{heading}\n\n{difference_table(between, family)}")
    return "\n\n".join(part.strip() for part in parts) + "\n"


def summary(said: dict) -> str:
    """The protocol in a few lines."""
    held = said["held"]
    height, width = said["size_px"]
    lines = [
        f"{said['data']}, {said['split']} split: {held['clips']} clips of {held['concepts']} concepts, "
        f"{said['frames']} frames of {width}x{height} px evenly from first to last, digest {held['digest'][:12]}.",
        f"[ ] is a 90 % interval for other concepts: {said['draws']} bootstrap draws of concepts, seed {said['seed']}, "
        "the gallery fixed; ± is the deviation over runs. Ties count against the right answer.",
        "Chance is a random order or class; of a probe's accuracy, the commonest class; of direction, the order-blind.",
    ]
    if "train" in said:
        train, choose = said["train"], said["choose"]
        other = "of {} other concepts" if said["disjoint"] else "of {} concepts, the same ones,"
        lines.append(
            f"Probes learn {train['clips']} clips {other.format(train['concepts'])}; {choose['clips']} clips "
            f"{other.format(choose['concepts'])} choose their regularisation."
        )
    for name, kind in said["classes"].items():
        out = ", ".join(f"{count} {value}" for value, count in kind["left out"].items())
        lines.append(f"{name}: {len(kind['names'])} classes" + (f"; too rare and left out: {out}." if out else "."))
    return "\n".join(lines)


def short_titles(families: Sequence[str]) -> dict[str, str]:
    """A title by family: the last part of its path, where no other family has the same."""
    last = {family: Path(family).name or family for family in families}
    names = list(last.values())
    return {family: name if names.count(name) == 1 else family for family, name in last.items()}


def table_rows(rows: Sequence[Standing], headings: Mapping[str, str]) -> list[Row]:
    """One row a number, one column a family.

    Args:
        headings: of the columns, by family.
    """
    found: dict[tuple[str, str], dict[str, object]] = {}
    for row in rows:
        score = row.score
        told_chance = "-" if score.chance is None else f"{score.chance:.3f}"
        first = {"task": score.task, "metric": score.metric, "chance": told_chance}
        cells = found.setdefault((score.task, score.metric), first | dict.fromkeys(headings.values(), "-"))
        cells[headings[row.family]] = told(row)
    return [Row(cells) for cells in found.values()]


def told(row: Standing) -> str:
    """Such as 0.348 ± 0.017 [0.250, 0.450]."""
    spread = "" if row.sd is None else f" ± {row.sd:.3f}"
    return f"{row.interval.value:.3f}{spread} [{row.interval.low:.3f}, {row.interval.high:.3f}]"


def difference_table(between: Sequence[Gap], family: str) -> str:
    """Markdown of one family's differences."""
    lines = []
    for gap in between:
        if gap.a == family:
            found = f"{gap.interval.value:+.3f} [{gap.interval.low:+.3f}, {gap.interval.high:+.3f}]"
            verdict = "apart" if gap.apart else "not told apart"
            lines.append(Row({"task": gap.task, "metric": gap.metric, "difference": found, "at 90 %": verdict}))
    return results_table(lines)
