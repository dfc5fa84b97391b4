"""Where the numbers of a report are from, and what is missing from them."""

import os
from collections.abc import Mapping
from pathlib import Path

from ode_vgan.report import reading
from ode_vgan.report.page import Block, Bullet, Bullets, Text, table
from ode_vgan.report.study import Run, Study

NO_REASON = "no reason is told"


def failures(study: Study) -> list[Block]:
    """Runs that are not finished and what could not be judged; that there are none, where there are none."""
    bad = [run for run in study.runs if run.state != "finished"]
    named = {str(run.folder) for run in bad}
    items = [
        Bullet(
            f"{tidy(study, run.note or NO_REASON).rstrip('.')}.", f"{reading.place(study, run.folder)}, {run.state}:"
        )
        for run in bad
    ]
    items += [
        Bullet(f"{tidy(study, str(why)).rstrip('.')}.", f"{tidy(study, str(what))}:")
        for what, why in study.skipped.items()
        if str(what) not in named
    ]
    missing = [
        Bullet("trained, but has no score.", f"{reading.place(study, run.folder)}:")
        for run in study.runs
        if run.state == "finished" and not run.scores
    ]
    if not items + missing:
        return [Text("Every run finished and was judged on everything that was asked.")]
    return [Text("What is named here is missing from every number above."), Bullets(tuple(items + missing))]


def provenance(study: Study) -> list[Block]:
    """Each run's folder, checkpoint, commit, command and machine."""
    rows = [_origin(study, run) for run in study.runs]
    if not rows:
        return []
    text = "Re-typing a command in its commit makes the run again; results.csv beside this page has every number."
    return [Text(text), table("Runs", rows, code=("run", "commit", "command"))]


def _origin(study: Study, run: Run) -> dict[str, str]:
    told = (run.facts.get(name) for name in ("started", "chosen"))
    started, chosen = (one if isinstance(one, Mapping) else {} for one in told)
    commit = str(started.get("commit") or "")[:12]
    judged = f"{chosen['clips']:,} clips" if isinstance(chosen.get("clips"), int) else ""
    return {
        "run": reading.place(study, run.folder),
        "state": run.state,
        "judged at": judged + (f", {chosen['by']}" if judged and chosen.get("by") else ""),
        "commit": commit + (" + changes" if started.get("dirty") else ""),
        "command": tidy(study, str(started.get("command") or "")),
        "machine": str(started.get("machine") or ""),
        "torch": str(started.get("torch") or ""),
        "threads": str(started.get("threads") or ""),
    }


def tidy(study: Study, text: str) -> str:
    """Text without the folders of this machine in front of what is below the study or the working folder."""
    for folder in (study.folder.resolve().parent, Path.cwd(), Path.home()):
        if folder != Path(folder.anchor):
            text = text.replace(f"{folder}{os.sep}", "")
    return text
