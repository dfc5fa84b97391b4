"""What thresholds on the scores mean: measured on clips and captions whose label is known, and which to choose.

calibrate(OUT)    # calibration.json, calibration.md, calibration.png
"""

import json
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np

from ode_vgan.data.clips import decode_clip, write_atomic
from ode_vgan.errors import UserError
from ode_vgan.laion.calibration_report import draw_calibration, markdown
from ode_vgan.laion.labelled import EDITS, HARMLESS, TOXIC, Labelled, labelled_clips
from ode_vgan.laion.operating import auroc_interval, operating_points, point_at, recommended
from ode_vgan.laion.pixels import measure_pixels
from ode_vgan.laion.toxicity import REMEDY, Toxicity, why_absent
from ode_vgan.laion.watermark import WatermarkDetector, open_detector
from ode_vgan.provenance import started

FRAMES = 8  # of a clip that detector and embedder see
RARE = 0.05  # about the share of watermarks that LAION-5B reports; precision is told at it and at a half


@dataclass
class Task:
    """Scores of positives and negatives under one question.

    Attributes:
        name: the score. question: which positives from which negatives. above: whether positives score higher.
        usual: a threshold in use elsewhere or by default here, and whose.
        positives, negatives: scores; groups: concepts of both, which are drawn together for intervals.
        kinds: positives by what was done to them.
    """

    name: str
    question: str
    above: bool = True
    usual: tuple[float, str] | None = None
    positives: list[float] = field(default_factory=list)
    negatives: list[float] = field(default_factory=list)
    groups: tuple[list[str], list[str]] = field(default_factory=lambda: ([], []))
    kinds: dict[str, list[float]] = field(default_factory=dict)

    def positive(self, score: float, group: str, kind: str | None = None) -> None:
        """Take in one positive."""
        self.positives.append(score)
        self.groups[0].append(group)
        if kind is not None:
            self.kinds.setdefault(kind, []).append(score)

    def negative(self, score: float, group: str) -> None:
        """Take in one negative."""
        self.negatives.append(score)
        self.groups[1].append(group)


def calibrate(
    out: str | Path,
    *,
    seed: int = 0,
    limit: int | None = None,
    embedder: str | None = "matched",
    watermark: str | None = None,
) -> dict:
    """Score labelled clips of held-out concepts and write what thresholds do: calibration.json, .md and .png.

    Args:
        seed: of the marks and edits, and of the bootstrap.
        limit: clips to start from, 2 or more; None takes every test clip of the embedded set.
        embedder: as `open_embedder` takes it; None leaves out what needs one.
        watermark: weights of another detector.

    Returns:
        What is in calibration.json.

    Raises:
        UserError: limit below 2, or an embedder or weights that do not load.
    """
    if limit is not None and limit < 2:
        raise UserError(f"limit={limit} clips must be at least 2, to tell duplicates from others.")
    detector, commit = open_detector(watermark), started([])["commit"]
    clips = list(labelled_clips(seed=seed, limit=limit))
    tasks, missing = _tasks(clips, detector, embedder)
    protocol = {
        "clips": len({clip.key for clip in clips}),
        "concepts": len({clip.concept for clip in clips}),
        "seed": seed,
        "frames": FRAMES,
        "detector": detector.fingerprint,
        "embedder": embedder,
        "commit": commit,
        "rare": RARE,
    }
    judged = {task.name: _judged(task, seed) for task in tasks}
    return _write(Path(out), _plain({"protocol": protocol, "tasks": judged, "missing": missing}))


def _tasks(clips: list[Labelled], detector: WatermarkDetector, embedder: str | None) -> tuple[list[Task], dict]:
    """What can be measured here, and why the rest cannot."""
    tasks, missing = _pixel_tasks(clips, detector), {}
    if embedder is not None:
        tasks += _embedding_tasks(clips, embedder)
    if why_absent() is None:
        tasks.append(_toxicity(clips))
    else:
        missing["ptoxic"] = f"alt-profanity-check: {why_absent()}. {REMEDY}"
    return tasks, missing


def _write(out: Path, report: dict) -> dict:
    write_atomic(out / "calibration.json", (json.dumps(report, indent=1, allow_nan=False) + "\n").encode())
    write_atomic(out / "calibration.md", markdown(report).encode())
    write_atomic(out / "calibration.png", draw_calibration(report).png)
    return report


def _judged(task: Task, seed: int) -> dict:
    points = operating_points(task.positives, task.negatives, above=task.above)
    best = recommended(points, task.positives, task.negatives, above=task.above)
    at = {"recommended": best}
    if task.usual:
        at["usual"] = point_at(task.usual[0], task.positives, task.negatives, above=task.above)
    return {
        "question": task.question,
        "passes": "at or above" if task.above else "at or below",
        "positives": len(task.positives),
        "negatives": len(task.negatives),
        "auroc": asdict(_signed_auroc(task, seed)),
        "usual_of": task.usual and task.usual[1],
        **{name: asdict(one) | {"rare": asdict(one.precision_at(RARE))} for name, one in at.items()},
        "recall_by_kind": {
            kind: asdict(point_at(best.threshold, scores, task.negatives, above=task.above).recall)
            | {"count": len(scores)}
            for kind, scores in sorted(task.kinds.items())
        },
        "curve": [asdict(point) for point in points],
    }


def _signed_auroc(task: Task, seed: int):
    sign = 1 if task.above else -1
    scores = (sign * np.array(side) for side in (task.positives, task.negatives))
    return auroc_interval(*scores, task.groups, seed=seed)


def _pixel_tasks(clips: list[Labelled], detector: WatermarkDetector) -> list[Task]:
    mark = Task("pwatermark", "a mark on every frame, from none", usual=(0.8, "LAION-5B"))
    stays = Task("watermark_persistence", "a mark that stays, from one shown half of the time")
    still = Task("static_share", "one picture held, from the clip that moves")
    near = Task("phash distance", "an edited clip, from clips of other concepts", above=False, usual=(7, "our default"))
    clean: list[tuple[str, int]] = []
    found = [measure_pixels(clip.content, detector, FRAMES) for clip in clips]
    for clip, scores in zip(clips, found, strict=True):
        group, bits = clip.concept, int(scores["phash"], 16)
        if clip.label == "clean":
            mark.negative(scores["pwatermark"], group)
            still.negative(scores["static_share"], group)
            clean.append((group, bits))
        elif clip.label == "marked":
            mark.positive(scores["pwatermark"], group, clip.detail["kind"])
            mark.kinds.setdefault(_strength(clip.detail["opacity"]), []).append(scores["pwatermark"])
            stays.positive(scores["watermark_persistence"], group)
        elif clip.label == "passing":
            stays.negative(scores["watermark_persistence"], group)
        elif clip.label == "still":
            still.positive(scores["static_share"], group)
        elif clip.label in EDITS:
            near.positive((bits ^ clean[-1][1]).bit_count(), group, clip.label)
    for group, bits in clean:
        for other, others in clean:
            if group < other:
                near.negative((bits ^ others).bit_count(), group)
    return [mark, stays, still, near]


def _strength(opacity: float) -> str:
    return (
        "opacity 0.15 to 0.3" if opacity < 0.3 else "opacity 0.3 to 0.45" if opacity < 0.45 else "opacity 0.45 to 0.6"
    )


def _embedding_tasks(clips: list[Labelled], name: str) -> list[Task]:
    from ode_vgan.embed.frames import even_frames
    from ode_vgan.embed.matched import open_embedder

    embedder = open_embedder(name)
    near = Task("embedding cosine", "an edited clip, from clips of other concepts", usual=(0.94, "clip-retrieval"))
    match = Task(
        "similarity", "a clip's own caption, from another concept's", usual=(0.28, "LAION-5B, of another CLIP")
    )
    shown = [clip for clip in clips if clip.label == "clean" or clip.label in EDITS]
    each = [_frame_vectors(embedder, even_frames(decode_clip(clip.content).frames, FRAMES)) for clip in shown]
    vectors = np.stack([rows.mean(0) / np.linalg.norm(rows.mean(0)) for rows in each])
    clean = [i for i, clip in enumerate(shown) if clip.label == "clean"]
    texts = embedder.encode_text([shown[i].caption for i in clean]).numpy()
    for i, clip in enumerate(shown):
        own = max(one for one in clean if one <= i)
        if i != own:
            near.positive(float(vectors[i] @ vectors[own]), clip.concept, clip.label)
    for place, i in enumerate(clean):
        group = shown[i].concept
        match.positive(float((each[i] @ texts[place]).mean()), group)
        for other, j in enumerate(clean):
            if shown[j].concept != group:
                match.negative(float((each[i] @ texts[other]).mean()), group)
            if group < shown[j].concept:
                near.negative(float(vectors[i] @ vectors[j]), group)
    return [near, match]


def _frame_vectors(embedder, frames: np.ndarray) -> np.ndarray:
    return embedder.encode_each_frame(frames[None])[0].numpy()


def _toxicity(clips: list[Labelled]) -> Task:
    captions = {clip.key: clip.caption for clip in clips}
    task = Task("ptoxic", "words that offend, from plain captions and harmless words that look like them")
    model = Toxicity()
    for text, score in zip(TOXIC, model.score(list(TOXIC)), strict=True):
        task.positive(score, text)
    plain = [*captions.values(), *HARMLESS]
    for text, score in zip(plain, model.score(plain), strict=True):
        task.negative(score, text)
    return task


def _plain(value):
    """Numbers at six digits, without those that are not finite, for JSON."""
    if isinstance(value, dict):
        return {key: _plain(one) for key, one in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [_plain(one) for one in value]
    if isinstance(value, float):
        return round(value, 6) if math.isfinite(value) else None
    return value
