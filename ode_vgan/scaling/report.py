"""A scaling study as a page: what each metric's law is, what it foretells, and whether groups differ."""

import csv
import io
import shlex
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from ode_vgan.data.clips import write_atomic
from ode_vgan.errors import UserError
from ode_vgan.provenance import started
from ode_vgan.report.canvas import Picture
from ode_vgan.report.table import Row, results_table
from ode_vgan.runs import write_json
from ode_vgan.scaling import studies
from ode_vgan.scaling.fit import Difference, compare
from ode_vgan.scaling.fits import Fitted, Recipe, content_of, fit_groups
from ode_vgan.scaling.plot import draw
from ode_vgan.scaling.table import Group, Wanted, narrowed, read_table
from ode_vgan.scaling.words import conclusion, parameters, rests, scatter

if TYPE_CHECKING:
    import pyarrow as pa

OTHERS = (("power", "binned"), ("power", "pareto"), ("power", "all"), ("saturating", "all"))
FIGURES = "figures"


@dataclass(frozen=True)
class Section:
    """One metric of a study: its laws, how they differ, the same under other recipes, and the figure."""

    metric: str
    fitted: Fitted
    pairs: Sequence[Difference]
    others: Sequence[Fitted]
    figure: Picture


@dataclass(frozen=True)
class Report:
    """What was written. conclusions: a line a metric. files: the page first. skipped: metric -> why it has no part."""

    conclusions: list[str]
    files: list[Path]
    skipped: dict[str, str]


def write_report(
    path: str | Path, metrics: Sequence[str] | None, asked: studies.Asked, recipe: Recipe, out: str | Path
) -> Report:
    """Write report.md, figures, fits.json and points.csv of a ledger's metrics.

    Args:
        metrics: in the order of the page; None is all that have a law.

    Raises:
        UserError: no ledger there, a metric that was named and has no points, or no metric with a law.
    """
    table = read_table(path)
    if not studies.is_ledger(table):
        raise UserError(f"{path} is no ledger; `ode-vgan scale collect` makes one, `scale fit` takes any table.")
    sections, skipped = [], {}
    for metric in metrics or _every(table, asked, str(path)):
        try:
            sections.append(_section(table, replace(asked, metric=metric), recipe, str(path)))
        except UserError as error:
            if metrics:
                raise
            skipped[metric] = str(error)
    if not sections:
        raise UserError(f"{path} has no metric with a law: {next(iter(skipped.values()))}")
    conclusions = [conclusion(one.fitted, one.pairs) for one in sections]
    made = command(path, metrics, asked, recipe, str(out))
    files = _write(Path(out), sections, _page(table, sections, skipped, conclusions, made))
    return Report(conclusions, files, skipped)


def fit_table(fitted: Fitted) -> str:
    """Markdown: a row a group, its law with intervals, what it rests on; or why it has none."""
    rows = []
    for group in fitted.chosen.groups:
        cells = {"group": group.name, "points": str(len(group.points)), "runs": str(len(_runs(group)))}
        if group.name in fitted.fits:
            fit = fitted.fits[group.name]
            cells |= parameters(fit) | {"scatter": scatter(fit), "rests on": rests(fit) + (" (few)" if fit.few else "")}
        else:
            cells |= {"rests on": fitted.refused[group.name]}
        rows.append(Row(cells))
    return f"{fitted.chosen.y} against {fitted.chosen.x}: {fitted.recipe.told()}.\n\n{results_table(rows)}"


def held_table(fitted: Fitted) -> str:
    """Markdown: what each law says of the levels that it was not shown; nothing where none was held out."""
    rows = []
    for name, fit in fitted.fits.items():
        for one in fit.held_out:
            cells = {"group": name, "held-out compute": f"{one.compute:.3g}", "measured": f"{one.error:.4g}"}
            cells |= {"foretold": f"{one.predicted:.4g} [{one.low:.4g}, {one.high:.4g}]", "off by": f"{one.off:+.1%}"}
            rows.append(Row(cells))
    return results_table(rows) if rows else ""


def pair_table(pairs: Sequence[Difference]) -> str:
    """Markdown: every pair of groups, the second against the first."""
    rows = []
    for one in pairs:
        turned, shifted = one.exponent_interval, one.offset_interval
        cells = {"pair": f"{one.b} against {one.a}"}
        cells |= {"exponent": f"{one.exponent:+.3f} [{turned[0]:+.3f}, {turned[1]:+.3f}]"}
        cells |= {"error there": f"{one.offset:.3g} [{shifted[0]:.3g}, {shifted[1]:.3g}] times at {one.at:.3g}"}
        rows.append(Row(cells | {"verdict": one.verdict}))
    joint = f" that hold together over {len(pairs)} pairs (Bonferroni)" if len(pairs) > 1 else ""
    return f"Differences with {pairs[0].level:.1%} intervals{joint}:\n\n{results_table(rows)}"


def differences(fitted: Fitted) -> list[Difference]:
    """Every pair of laws, each interval so wide that all hold together at the recipe's level."""
    count = len(fitted.fits) * (len(fitted.fits) - 1) // 2
    if not count:
        return []
    level = 1 - (1 - fitted.recipe.level) / count
    return compare({name: replace(fit, level=level) for name, fit in fitted.fits.items()})


def notes(fitted: Fitted) -> list[str]:
    """What a reader should know of the points and the laws."""
    own = [f"{name}: {note}" for name, fit in fitted.fits.items() for note in fit.notes]
    few = [name for name, fit in fitted.fits.items() if fit.few]
    told = (
        [f"{', '.join(few)}: fewer than 5 levels or less than a decade; look at it, and claim no exponent"]
        if few
        else []
    )
    return [*fitted.chosen.notes, *own, *told]


def command(path: str | Path, metrics: Sequence[str] | None, asked: studies.Asked, recipe: Recipe, out: str) -> str:
    """The line that makes a report again."""
    options = [("metric", metric) for metric in metrics or ()]
    for given, default in ((asked, studies.Asked()), (recipe, Recipe())):
        named = {name: value for name, value in vars(given).items() if value != getattr(default, name)}
        options += [(name.replace("_", "-"), value) for name, value in named.items() if name != "metric"]
    words = [
        word for name, value in options for word in ([f"--{name}"] if value is True else [f"--{name}", str(value)])
    ]
    return shlex.join(["ode-vgan", "scale", "report", str(path), *words, "--out", out])


def _runs(group: Group) -> set[tuple[str, int]]:
    return set(zip(group.points.run.tolist(), group.points.seed.tolist(), strict=True))


def _every(table: "pa.Table", asked: studies.Asked, name: str) -> list[str]:
    only = {part: (given,) for part in ("kind", "study", "split") if (given := getattr(asked, part))}
    rows = narrowed(table, Wanted("macs", "value", where=asked.where, only=only), name)
    return list(dict.fromkeys(metric for metric, _ in studies.metrics_of(rows)))


def _section(table: "pa.Table", asked: studies.Asked, recipe: Recipe, name: str) -> Section:
    chosen = studies.points_of(table, asked, name)
    fitted = fit_groups(chosen, recipe)
    others = []
    for law, how in OTHERS:
        if (law, how) != (recipe.law, fitted.recipe.select):
            others.append(fit_groups(chosen, replace(recipe, law=law, select=how, hold_out=0), none_is_fine=True))
    return Section(str(asked.metric), fitted, differences(fitted), others, draw(fitted))


def _page(table: "pa.Table", sections: Sequence[Section], skipped: dict, conclusions: Sequence[str], made: str) -> str:
    runs = {run for one in sections for group in one.fitted.chosen.groups for run in _runs(group)}
    studied = ", ".join(sorted({str(one) for one in table["study"].to_pylist() if one})) or "a study"
    commits = sorted({str(one)[:7] for one in table["commit"].to_pylist() if one})
    parts = [f"# {studied}: error against compute"]
    seeds = sorted({seed for _, seed in runs})
    parts += [
        f"{len(runs)} runs of seeds {', '.join(map(str, seeds))}, trained at commit {', '.join(commits)}. "
        f"Made by `{made}` at commit {str(started([])['commit'])[:7]}."
    ]
    parts += ["\n".join(f"- {line}" for line in conclusions)]
    for one in sections:
        parts += [
            f"## {one.fitted.chosen.y}",
            f"![{one.figure.alt}]({FIGURES}/{one.figure.name}.png)",
            one.figure.caption,
        ]
        parts += [fit_table(one.fitted), held_table(one.fitted)]
        parts += [pair_table(one.pairs)] if one.pairs else []
        parts += [_other_table(one)]
        parts += ["\n".join(f"- {note}." for note in notes(one.fitted))]
    parts += ["\n".join(f"- {metric} has no part here: {why}" for metric, why in skipped.items())]
    return "\n\n".join(part.strip() for part in parts if part.strip()) + "\n"


def _other_table(section: Section) -> str:
    """Markdown: the exponent of each group under other recipes."""
    rows = []
    for one in (section.fitted, *section.others):
        cells = {"recipe": one.recipe.told().rpartition(", ")[0]}
        for group in one.chosen.groups:
            fit = one.fits.get(group.name)
            more = f", E∞ {parameters(fit)['E∞']}" if fit and "e_inf" in fit.parameters else ""
            cells[group.name] = f"{parameters(fit)['α']}{more}" if fit else "-"
        rows.append(Row(cells))
    held = ", which see the held-out points" if section.fitted.recipe.hold_out else ""
    return f"The exponent under other recipes{held}:\n\n{results_table(rows)}"


def _write(out: Path, sections: Sequence[Section], page: str) -> list[Path]:
    for one in sections:
        write_atomic(out / FIGURES / f"{one.figure.name}.png", one.figure.png)
        write_atomic(out / FIGURES / f"{one.figure.name}.svg", one.figure.svg.encode())
    write_json(out / "fits.json", {one.metric: content_of(one.fitted) for one in sections})
    buffer = io.StringIO()
    rows = csv.writer(buffer, lineterminator="\n")
    rows.writerow(("metric", "group", "run", "seed", "mark", "compute", "error", "held_out"))
    for one in sections:
        for group in one.fitted.chosen.groups:
            points, held = group.points, one.fitted.held(group.name)
            columns = (points.run, points.seed, group.marks, points.compute, points.error, held)
            rows.writerows((one.metric, group.name, *cells) for cells in zip(*columns, strict=True))
    write_atomic(out / "points.csv", buffer.getvalue().encode())
    write_atomic(out / "report.md", page.encode())
    return [out / "report.md", out / "points.csv", out / "fits.json", out / FIGURES]
