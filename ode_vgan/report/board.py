"""The report of a study on Weights & Biases: one run, with tables, figures, films and the page itself."""

import os
import re
from collections.abc import Sequence
from io import BytesIO
from pathlib import Path

from ode_vgan.report import reading
from ode_vgan.report.canvas import Picture
from ode_vgan.report.findings import Finding
from ode_vgan.report.page import Table, Video
from ode_vgan.report.sections import sections, study_name
from ode_vgan.report.study import Study

ANSWER_COLUMNS = ("question", "first", "second", "number", "verdict", "kind", "value", "low", "high", "p_holm", "says")
SCORE_COLUMNS = ("family", "number", "seeds", "mean", "sd", "low", "high", "real", "better")
PAIR_COLUMNS = ("first", "second", "number", "value", "low", "high", "p", "p_holm", "apart")


def log_study(
    study: Study, findings: Sequence[Finding], figures: Sequence[Picture], videos: Sequence[Video],
    html: str | Path | None = None, project: str = "ode_vgan",
) -> str:  # fmt: skip
    """Log everything to a W&B run of its own, which is finished in any case.

    Online with WANDB_API_KEY unless WANDB_MODE says otherwise, offline without; `wandb sync` sends an offline one.

    Args:
        html: the page to show.

    Returns:
        Its address, or the folder of an offline run.
    """
    import wandb

    mode = wandb_mode()
    name = study_name(study)
    run = wandb.init(
        project=project, name=f"{name}/report", id=run_id(study), group=name, job_type="report", mode=mode,
        dir=str(study.folder), resume="allow" if mode == "online" else None, reinit="create_new",
        config={"families": reading.families(study), "runs": len(study.runs), "settings": study.settings},
    )  # fmt: skip
    failed = True
    try:
        run.log(tables(study, findings, figures, videos))
        run.log({f"figures/{one.name}": _image(one) for one in figures})
        run.log({f"videos/{one.name}": wandb.Video(str(one.mp4), caption=one.caption, format="mp4") for one in videos})
        if html is not None:
            run.log({"report": wandb.Html(Path(html).read_text(), inject=False, data_is_not_path=True)})
        for one in study.spreads:
            run.summary[f"{one.key}/{one.family}"] = one.mean
        failed = False
        return run.url if mode == "online" else str(Path(run.dir).parent)
    finally:
        run.finish(exit_code=int(failed))


def wandb_mode() -> str:
    """WANDB_MODE, else online with a key and offline without one."""
    return os.environ.get("WANDB_MODE") or ("online" if os.environ.get("WANDB_API_KEY") else "offline")


def run_id(study: Study) -> str:
    """The same for every report of one study, so that a new one takes the old one's place."""
    return re.sub(r"[^A-Za-z0-9_-]+", "-", f"{study_name(study)}-report")[:120]


def tables(study: Study, findings: Sequence[Finding], figures: Sequence, videos: Sequence) -> dict[str, object]:
    """W&B tables: answers, scores, pairs, and every table of the page that names runs."""
    import wandb

    scores = [
        (one.family, one.key, one.n, one.mean, one.sd, one.low, one.high, one.real, reading.better_of(study, one.key))
        for one in study.spreads
    ]
    pairs = [(c.a, c.b, c.key, c.value, c.low, c.high, c.p, c.p_holm, c.significant) for c in study.contrasts]
    found = {
        "answers": (ANSWER_COLUMNS, [_answer(one) for one in findings]),
        "scores": (SCORE_COLUMNS, scores),
        "pairs": (PAIR_COLUMNS, pairs),
    }
    for part in sections(study, findings, figures, videos):
        if part.anchor in ("compared", "times", "provenance"):
            shown = [block for block in part.blocks if isinstance(block, Table)]
            found |= {f"{part.anchor}/{i}": (block.columns, block.rows) for i, block in enumerate(shown)}
    return {
        f"tables/{name}": wandb.Table(columns=list(columns), data=[list(row) for row in rows], allow_mixed_types=True)
        for name, (columns, rows) in found.items()
    }


def _answer(one: Finding) -> tuple:
    found = one.evidence
    numbers = (found.value, found.low, found.high, found.p_holm) if found else (None,) * 4
    return (one.question, *one.pair, one.about, one.verdict, one.kind, *numbers, f"{one.sentence} {one.note}".strip())


def _image(picture: Picture):
    import wandb
    from PIL import Image

    return wandb.Image(Image.open(BytesIO(picture.png)), caption=f"{picture.title}. {picture.caption}")
