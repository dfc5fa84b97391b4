"""One checkpoint judged: scores under protocols and answers about other times, each made once and kept."""

import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

from ode_vgan.build import build
from ode_vgan.cli.continuous import QUESTIONS
from ode_vgan.errors import UserError
from ode_vgan.metrics.clipsets import RunSet, Source
from ode_vgan.metrics.collect import default_cache
from ode_vgan.metrics.continuous import Subject
from ode_vgan.metrics.evaluate import check_frames, evaluate, grouped, work
from ode_vgan.metrics.features import Extractor, find_extractor
from ode_vgan.metrics.protocol import Protocol, parse_protocol
from ode_vgan.metrics.weights import MissingWeights
from ode_vgan.report.kept import Kept
from ode_vgan.report.study import Score
from ode_vgan.runs import Trained, load

if TYPE_CHECKING:
    from ode_vgan.data.loader import ClipData

QUESTION_EXTRACTOR = "hog3d"
SETTINGS = {"rates": 4, "horizon": 3}  # of a question, for the progress bar; others have about SOME
SOME = 6
FREE = ("seed", "batch", "workers")  # of a data config: what an evaluation does not depend on


@dataclass(frozen=True)
class Task:
    """What is asked about one checkpoint.

    Attributes:
        folder: the run folder. sha256: of the checkpoint.
        pairs: (protocol key, split). questions: of `ode_vgan.metrics.continuous`, on `clips` clips of `split`.
        seed: of windows and latents.
    """

    folder: Path
    checkpoint: Path
    sha256: str
    pairs: tuple[tuple[str, str], ...] = ()
    questions: tuple[str, ...] = ()
    clips: int = 128
    split: str = "test"
    seed: int = 0
    device: str = "cpu"

    @property
    def kept(self) -> Kept:
        """Where answers are kept."""
        return Kept(self.folder, self.sha256)

    def score(self, key: str, split: str) -> dict:
        """What a score depends on beside the checkpoint."""
        return {"protocol": key, "split": split, "seed": self.seed}

    def question(self, name: str) -> dict:
        """What the answers to a question depend on beside the checkpoint."""
        told = {"clips": self.clips, "split": self.split, "seed": self.seed, "extractor": QUESTION_EXTRACTOR}
        return {"question": name} | told

    def open(self) -> "Task":
        """The same less what is already known."""
        pairs = tuple(pair for pair in self.pairs if self.kept.read(self.score(*pair)) is None)
        questions = tuple(name for name in self.questions if self.kept.read(self.question(name)) is None)
        return Task(**(vars(self) | {"pairs": pairs, "questions": questions}))

    @property
    def work(self) -> int:
        """Clips to make or describe, about."""
        scores = sum(work(1, [parse_protocol(key) for key in keys]) for _, keys in by_split(self.pairs))
        return scores + sum(SETTINGS.get(name, SOME) * self.clips for name in self.questions)


@dataclass
class Verdict:
    """What was found: scores by key, answers, and why something was not; by run, or by protocol for all runs."""

    scores: dict[str, Score] = field(default_factory=dict)
    answers: list[dict] = field(default_factory=list)
    skipped: dict[str, str] = field(default_factory=dict)


class Judge:
    """Judges checkpoints one after another; extractors and real clips are made once.

    Args:
        advance: told of each number of clips done, of `Task.work` in all.
    """

    def __init__(self, advance: Callable[[int], object] = lambda n: None):
        self.advance = advance
        self._extractors: dict[tuple[str, str], Extractor] = {}
        self._trained: tuple[Path, str, Trained] | None = None
        self._data: tuple[str, ClipData] | None = None

    def __call__(self, task: Task) -> Verdict:
        """Make what is missing, keep it, and read all of it back. Whatever goes wrong is said in `skipped`."""
        verdict = Verdict()
        try:
            missing = task.open()
            for split, keys in by_split(missing.pairs):
                for group in grouped([parse_protocol(key) for key in keys]):
                    self._score(task, split, group, verdict)
            if missing.questions:
                self._answer(missing, verdict)
        except Exception as error:  # one run's trouble is not the others'
            verdict.skipped[str(task.folder)] = one_line(error)
        return read_back(task, verdict.skipped)

    def _score(self, task: Task, split: str, group: list[Protocol], verdict: Verdict) -> None:
        """Judge under protocols that judge the same clips."""
        try:
            trained, data = self._open(task)
            usable = [one for one in group if self._can(task, one, split, data, verdict)]
            if not usable:
                self.advance(work(1, group))
                return
            found = evaluate(
                Source(data.windows(split), data.source, split),
                {"run": lambda protocol, other, seed: RunSet(trained, other, seed=seed)},
                usable,
                {one.extractor: self._extractor(one.extractor, task.device) for one in usable},
                seed=task.seed, cache=default_cache(), advance=self.advance,
            )  # fmt: skip
        except UserError as error:
            told = one_line(error)
            verdict.skipped |= {f"{task.folder}: {one.key}/{split}": told for one in group}
            return
        for one in usable:
            results = [each.to_json() for each in found.results if own_part(one.key, each.name) is not None]
            task.kept.write(task.score(one.key, split), {"results": results, "skipped": found.skipped})

    def _can(self, task: Task, protocol: Protocol, split: str, data: "ClipData", verdict: Verdict) -> bool:
        """Whether the extractor is here and describes such windows; else why not goes into the verdict."""
        try:
            extractor = self._extractor(protocol.extractor, task.device)
            check_frames(protocol, protocol.frames or data.frames, extractor)
        except (MissingWeights, ImportError) as error:
            verdict.skipped[protocol.key] = one_line(error)
            return False
        except UserError as error:
            verdict.skipped[f"{task.folder}: {protocol.key}/{split}"] = one_line(error)
            return False
        return True

    def _answer(self, task: Task, verdict: Verdict) -> None:
        trained, data = self._open(task)
        extractor = self._extractor(QUESTION_EXTRACTOR, task.device)
        options = {"clips": task.clips, "split": task.split, "seed": task.seed}
        subject = Subject(trained, data, extractor, **options, watch=partial(self._watch, task.clips))
        for name in task.questions:
            try:
                found = getattr(import_module(QUESTIONS[name]), name)(subject)
            except UserError as error:
                verdict.skipped[f"{task.folder}: {name}"] = one_line(error)
                continue
            task.kept.write(task.question(name), {"answers": [answer.to_json() for answer in found]})

    def _watch(self, clips: int, settings: Sequence, question: str) -> Iterable:
        for setting in settings:
            yield setting
            self.advance(clips)

    def _open(self, task: Task) -> tuple[Trained, "ClipData"]:
        """The run and its real clips, kept for the next task where that needs the same."""
        if self._trained is None or self._trained[:2] != (task.checkpoint, task.sha256):
            self._trained = task.checkpoint, task.sha256, load(task.checkpoint, device=task.device)
        trained = self._trained[2]
        if not all(bool(weight.isfinite().all()) for weight in trained.generator.parameters()):
            raise UserError(f"{task.checkpoint.name} has weights that are not finite: the run diverged.")
        needed = {name: value for name, value in trained.config["data"].items() if name not in FREE}
        told = json.dumps([needed, trained.config["embed"]], sort_keys=True)
        if self._data is None or self._data[0] != told:
            self._data = told, build(trained.config["data"], embed=trained.embed)
        return trained, self._data[1]

    def _extractor(self, name: str, device: str) -> Extractor:
        if (name, device) not in self._extractors:
            self._extractors[name, device] = find_extractor(name).to(device)
        return self._extractors[name, device]


def read_back(task: Task, skipped: dict[str, str] | None = None) -> Verdict:
    """All that is kept about a task, in the order in which it was asked."""
    verdict = Verdict(skipped=skipped or {})
    for key, split in task.pairs:
        for one in (task.kept.read(task.score(key, split)) or {}).get("results", ()):
            part = own_part(key, one["name"])
            name = f"{key}/{split}" + (f"/{part}" if part else "")
            verdict.scores[name] = Score(**{field: one[field] for field in Score.__dataclass_fields__})
    for name in task.questions:
        verdict.answers += (task.kept.read(task.question(name)) or {}).get("answers", ())
    return verdict


def own_part(key: str, name: str) -> str | None:
    """Which part of a protocol's result a result's name says: "" for the only one; None if it is another's."""
    return "" if name == key else name[len(key) + 1 :] if name.startswith(f"{key}/") else None


def by_split(pairs: Iterable[tuple[str, str]]) -> list[tuple[str, list[str]]]:
    """Protocol keys by split."""
    found: dict[str, list[str]] = {}
    for key, split in pairs:
        found.setdefault(split, []).append(key)
    return list(found.items())


def one_line(error: Exception) -> str:
    """A user's error as it is; another with its kind before it."""
    line = " ".join(str(error).split())
    return line if isinstance(error, UserError) and line else f"{type(error).__name__}: {line[:300]}"
