"""A sweep becomes a study: its runs are read and judged, families compared over seeds, and a report is written."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from ode_vgan import __version__
from ode_vgan.errors import UserError
from ode_vgan.metrics.i3d_weights import find_weights
from ode_vgan.metrics.weights import MissingWeights
from ode_vgan.report.chosen import SPENT, Budget, reached
from ode_vgan.report.judged import Asked, find_device, judge
from ode_vgan.report.reading import spent_at
from ode_vgan.report.results import write_results
from ode_vgan.report.statistics import LEVEL, contrasts, spreads
from ode_vgan.report.study import Run, Study, read_runs, unlike
from ode_vgan.report.verdict import one_line

WEIGHTLESS = ("fd256_hog3d", "fd256_colour", "motion256")
FVD = "fvd128_16f"


@dataclass(frozen=True)
class Report:
    """What a comparison left.

    Attributes:
        files: written, the page first. board: where it is on W&B, "" where it is not.
    """

    study: Study
    files: list[Path]
    board: str = ""


def compare(
    folders: Sequence[str | Path], asked: Asked, *, out: str | Path | None = None, jobs: int = 1, judged: bool = True,
    wandb: str | None = None,
) -> Report:  # fmt: skip
    """Judge the runs of some sweeps as one study and write its report.

    Args:
        asked: without protocols, those of `default_protocols`.
        out: folder of the report; None is the first sweep's.
        jobs: runs judged at a time.
        judged: False judges nothing and shows what is kept of earlier judgements.
        wandb: project that the report also goes to; None for none.

    Raises:
        UserError: a folder that does not exist or has no run, or something asked for that does not exist.
    """
    asked.check()
    runs = read_runs(folders)
    if not runs:
        raise UserError(f"{', '.join(map(str, folders))} has no run; name the folder of a sweep.")
    skipped: dict[str, str] = {}
    if not asked.protocols:
        protocols, skipped = default_protocols()
        asked = replace(asked, protocols=protocols)
    runs, missing = judge(runs, asked, jobs=jobs, make=judged)
    folder = Path(out or folders[0])
    settings = {"folders": [str(one) for one in folders], **asked.to_json(), "ode_vgan": __version__}
    study = build_study(folder, runs, settings, skipped | missing, asked.budget)
    return write(study, wandb, find_device(asked.device))


def default_protocols() -> tuple[tuple[str, ...], dict[str, str]]:
    """Protocols that need no weights, and FVD where its weights are here; why not where they are not."""
    try:
        find_weights(None)
    except MissingWeights as error:
        return WEIGHTLESS, {FVD: " ".join(str(error).split())}
    return (*WEIGHTLESS, FVD), {}


def build_study(
    folder: str | Path, runs: Sequence[Run], settings: dict, skipped: dict, budget: Budget | None = None
) -> Study:
    """Families over seeds, differences of all pairs, and what to know when reading them.

    Only runs that count enter: finished ones, or those that went on to the budget; all that have numbers where none
    does. `settings` gains `level` and `notes`.
    """
    with_numbers = [run for run in runs if run.scores]
    counted = [run for run in with_numbers if (reached(run, budget) if budget else run.state == "finished")]
    notes = []
    if with_numbers and not counted:
        counted, notes = with_numbers, ["no run is finished: means are over unfinished ones"]
    elif left := [run for run in with_numbers if run not in counted]:
        why = f"they ended before {budget}" if budget else "they are unfinished"
        notes = [f"not in the means, since {why}: {_names(left)}"]
    found = spreads(counted)
    more = {"level": LEVEL, "notes": notes + warnings(counted, budget)}
    return Study(Path(folder), list(runs), found, contrasts(found), settings | more, dict(skipped))


def warnings(runs: Sequence[Run], budget: Budget | None = None) -> list[str]:
    """What makes a mean over seeds, or a difference of families, something else than it looks."""
    found = []
    families: dict[str, list[Run]] = {}
    for run in runs:
        families.setdefault(run.family, []).append(run)
    for family, same in families.items():
        if keys := unlike(same):
            found.append(f"{family}: its runs differ in more than the seed: {', '.join(keys[:6])}")
        seeds = [run.seed for run in same]
        if twice := sorted({seed for seed in seeds if seeds.count(seed) > 1}):
            found.append(f"{family}: seed {', '.join(map(str, twice))} more than once; only the first counts")
    return found if budget else found + _unequal(families)


def _unequal(families: dict[str, list[Run]]) -> list[str]:
    """What families were given more of than others; nothing where all saw as many clips."""
    spent = {column: {name: _mean_spent(same, column) for name, same in families.items()} for column in SPENT}
    known = {column: values for column, values in spent.items() if all(values.values())}
    even = [
        column for column, values in known.items() if values and max(values.values()) <= 1.02 * min(values.values())
    ]
    if "clips" in even or "clips" not in known or not families:
        return []
    told = ", ".join(f"{name} {value:,.0f}" for name, value in known["clips"].items())
    alike = f", but as many {' and '.join(SPENT[column] for column in even)}" if even else ""
    return [f"families saw different numbers of clips{alike}: {told}"]


def write(study: Study, wandb: str | None = None, device: str = "cpu") -> Report:
    """Write the whole report into the study's folder, the numbers first, and to W&B where asked.

    Films or a board that cannot be made are named among what is missing, and the rest is written.
    """
    from ode_vgan.report.board import log_study
    from ode_vgan.report.figures import draw_figures
    from ode_vgan.report.findings import findings
    from ode_vgan.report.html import write_html
    from ode_vgan.report.markdown import FOLDER, write_markdown
    from ode_vgan.report.side_by_side import side_by_side

    folder = study.folder
    table = write_results(study, folder / "results.csv")
    videos, board = [], ""
    try:
        videos = side_by_side(study, folder / FOLDER, device=device)
    except Exception as error:  # of some model, found out after all the judging
        study.skipped["side by side"] = one_line(error)
    said, figures = findings(study), draw_figures(study)
    page = write_html(study, said, figures, videos, folder / "report.html")
    text = write_markdown(study, said, figures, videos, folder / "report.md")
    if wandb:
        try:
            board = log_study(study, said, figures, videos, page, project=wandb)
        except Exception as error:  # the network, or the account
            study.skipped["W&B"] = one_line(error)
    return Report(study, [page, text, table], board)


def _mean_spent(runs: Sequence[Run], column: str) -> float | None:
    values = [spent_at(run, run.facts.get("clips_seen", 0), column) for run in runs]
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else None


def _names(runs: Sequence[Run]) -> str:
    return ", ".join(f"{run.family} seed {run.seed}" for run in runs)
