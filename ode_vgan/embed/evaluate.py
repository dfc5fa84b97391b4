"""What an embedder of texts and clips is worth: its tasks, run on clips whose concepts it never saw."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from ode_vgan.embed.captioned import CaptionedClips, Sides
from ode_vgan.embed.direction import probed, told_apart
from ode_vgan.embed.finetune import Tuning, finetune
from ode_vgan.embed.labels import Labels, commonest, labelled, labels_of
from ode_vgan.embed.probe import L2_GRID, choose_probe
from ode_vgan.embed.retrieval import retrieval
from ode_vgan.embed.score import DRAWS, LEVEL, Score
from ode_vgan.embed.subject import Subject
from ode_vgan.embed.zero_shot import NAME_ALONE, TEMPLATES, class_rows, classified
from ode_vgan.errors import UserError

TASKS = ("retrieval", "zeroshot", "probe", "direction", "finetune")
LEARNED = ("probe", "direction", "finetune")  # from the training clips
MOST_COMMON = "always the training clips' commonest class"

Bar = Callable[[Iterable], Iterable]


@dataclass(frozen=True)
class Plan:
    """What is asked of every subject.

    Attributes:
        tasks: of `TASKS`. classes: meta fields whose values are classes, for zero-shot, probe and fine-tuning.
        least: training clips that a class has, at least; those of rarer classes are left out and counted.
        seed: of the bootstrap. seeds: of fine-tuning, counted from 0. draws: of the bootstrap.
    """

    tasks: tuple[str, ...] = ("retrieval", "zeroshot", "probe", "direction")
    classes: tuple[str, ...] = ()
    least: int = 20
    seed: int = 0
    seeds: int = 3
    draws: int = DRAWS
    tuning: Tuning = field(default_factory=Tuning)

    def __post_init__(self):
        unknown = [task for task in self.tasks if task not in TASKS]
        if unknown or not self.tasks:
            raise UserError(f"no task {', '.join(unknown) or 'given'}; choose among {', '.join(TASKS)}.")
        if min(self.least, self.seeds, self.draws) < 1:
            raise UserError(f"least {self.least}, seeds {self.seeds}, draws {self.draws}: each must be 1 or more.")


@dataclass(frozen=True)
class Judged:
    """One subject's scores, and what else is to be known of how they came about."""

    subject: Subject
    scores: list[Score]
    facts: dict


@dataclass(frozen=True)
class Vectors:
    """A subject's rows of one side: of frames (N, T, E), of clips as they run and backwards (N, E)."""

    rows: Tensor
    forward: Tensor
    backward: Tensor


def judge(subject: Subject, sides: Sides, plan: Plan, bar: Bar = lambda parts: parts) -> Judged:
    """Every task of the plan on the held clips; what is learned is learned and chosen on the other two sides."""
    vectors = {"held": embed_side(subject, sides.held, bar)}
    if set(LEARNED) & set(plan.tasks):
        if sides.train is None or sides.choose is None:
            raise UserError("probe, direction and finetune learn from training clips: none are beside this split.")
        vectors |= {name: embed_side(subject, getattr(sides, name), bar) for name in ("train", "choose")}
    scores, facts = [], {"fingerprint": subject.fingerprint}
    kinds = {name: labels_of(name, sides, plan.least) for name in plan.classes}
    held, own = sides.held, vectors["held"].forward
    if "retrieval" in plan.tasks:
        scores += retrieval(subject.encode_text(held.captions), own, held.captions, held.concepts)
    if "zeroshot" in plan.tasks:
        scores += _zero_shot(subject, held, own, kinds)
    if "probe" in plan.tasks:
        scores += _probes(vectors, held, kinds, facts)
    if "direction" in plan.tasks:
        scores += _direction(subject, vectors, held, facts)
    if "finetune" in plan.tasks:
        scores += _finetuned(subject, sides, (vectors, kinds), plan, facts)
    return Judged(subject, scores, facts)


def embed_side(subject: Subject, clips: CaptionedClips, bar: Bar = lambda parts: parts) -> Vectors:
    """Frames are read once; a clip played backwards has the same ones."""
    rows, back = subject.rows(clips.frames, bar), clips.times[:, -1:] - clips.times.flip(1)
    return Vectors(rows, subject.pool(rows, clips.times), subject.pool(rows.flip(1), back))


def _zero_shot(subject: Subject, held: CaptionedClips, own: Tensor, kinds: Mapping[str, Labels]) -> list[Score]:
    asked = {name: (labels.names, *labels.held) for name, labels in kinds.items()}
    concepts = held.concept_names()
    if concepts is not None and len(set(concepts)) > 1:
        names = sorted(set(concepts))
        asked = {"concept": (names, *labelled(concepts, names))} | asked
    scores = []
    for name, (names, index, labels) in asked.items():
        for says, templates in ((f"{len(TEMPLATES)} templates", TEMPLATES), ("name alone", NAME_ALONE)):
            nearness = own[index] @ class_rows(subject.encode_text, names, templates).T
            scores += classified(f"zero-shot {name}, {says}", nearness, labels, held.concepts[index])
    return scores


def _probes(
    vectors: Mapping[str, Vectors], held: CaptionedClips, kinds: Mapping[str, Labels], facts: dict
) -> list[Score]:
    scores = []
    for name, labels in kinds.items():
        sides = [_chosen(vectors[side].forward, getattr(labels, side)) for side in ("train", "choose", "held")]
        chosen = choose_probe(*sides[:2], len(labels.names))
        facts[f"probe {name}"] = {"l2": chosen.probe.l2, "validation loss": chosen.validation}
        index, own = labels.held
        common = commonest(labels)
        scores += classified(
            f"probe {name}", chosen.probe(sides[2][0]), own, held.concepts[index], chance=common, guess=MOST_COMMON
        )
    return scores


def _direction(subject: Subject, vectors: Mapping[str, Vectors], held: CaptionedClips, facts: dict) -> list[Score]:
    both = {side: (one.forward, one.backward) for side, one in vectors.items()}
    own = told_apart(subject.encode_text, held.captions, *both["held"], held.concepts)
    learned, chosen = probed(both["train"], both["choose"], (*both["held"], held.concepts))
    facts["direction probe"] = {"l2": chosen.probe.l2}
    return [*own, learned]


def _finetuned(subject: Subject, sides: Sides, given: tuple, plan: Plan, facts: dict) -> list[Score]:
    vectors, kinds = given
    if subject.model is None:
        facts["finetune"] = "left out: only models of +experiment=clip_tiny and their exports are fine-tuned"
        return []
    scores = []
    for name, labels in kinds.items():
        kept, (index, own) = (labels.train, labels.choose, labels.held), labels.held
        told = {"chance": commonest(labels), "guess": MOST_COMMON}
        rows = [vectors[side].forward for side in ("train", "choose")]
        tuned = [
            finetune(subject.model, sides, kept, rows, seed=seed, recipe=plan.tuning) for seed in range(plan.seeds)
        ]
        runs = [classified(f"fine-tuned {name}", one.logits, own, sides.held.concepts[index], **told) for one in tuned]
        scores += [mean_score(same) for same in zip(*runs, strict=True)]
        facts[f"finetune {name}"] = {
            "by seed": {score.metric: [run[i].value for run in runs] for i, score in enumerate(runs[0])},
            "epochs": [one.epoch for one in tuned],
            "validation loss": [one.validation for one in tuned],
        }
    return scores


def mean_score(same: Sequence[Score]) -> Score:
    """One number over several seeds on the same items: each item's contribution is its mean."""
    return replace(same[0], values=torch.stack([score.values for score in same]).mean(0))


def _chosen(rows: Tensor, kept: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
    return rows[kept[0]], kept[1]


def protocol(source: str, split: str, sides: Sides, plan: Plan) -> dict:
    """Everything that the numbers depend on besides the subject."""
    kinds = {name: labels_of(name, sides, plan.least) for name in plan.classes}
    told = {
        "data": source, "split": split, "tasks": list(plan.tasks), "frames": sides.held.frames.shape[1],
        "size_px": list(sides.held.frames.shape[2:4]), "times": "evenly from the first frame to the last, seconds",
        "level": LEVEL, "draws": plan.draws, "seed": plan.seed, "interval": "bootstrap over concepts, gallery fixed",
        "templates": list(TEMPLATES), "ties": "count against the right answer",
        "classes": {name: {"names": one.names, "left out": one.left_out} for name, one in kinds.items()},
        "probe": {"l2 grid": list(L2_GRID), "chosen by": "validation loss, then fitted on both"},
        "finetune": plan.tuning.told() | {"seeds": plan.seeds},
    }  # fmt: skip
    told["disjoint"] = sides.disjoint
    for side in ("held", "train", "choose"):
        clips = getattr(sides, side)
        if clips is not None:
            kinds_of = len(clips.concepts.unique())
            told[side] = {"clips": len(clips), "concepts": kinds_of, "digest": clips.digest, "skipped": clips.skipped}
    return told
