"""All runs of a sweep judged alike: each at its chosen checkpoint, and where asked at every look."""

import multiprocessing
import queue
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import asdict, dataclass, replace
from functools import cache
from pathlib import Path

import torch
from tqdm import tqdm

from ode_vgan.embed.embedder import file_sha256
from ode_vgan.errors import UserError
from ode_vgan.metrics.continuous import LEAST_CLIPS
from ode_vgan.metrics.protocol import parse_protocol
from ode_vgan.report.chosen import SPENT, WAYS, Budget, Choice, choose, looks
from ode_vgan.report.reading import spent_at
from ode_vgan.report.study import Run
from ode_vgan.report.verdict import QUESTIONS, Judge, Task, Verdict, one_line, read_back

SPLITS = ("test", "train", "val")
POLL_SECONDS = 0.5
Advance = Callable[[int], object]


@dataclass(frozen=True)
class Asked:
    """What every run of a study is asked.

    Attributes:
        protocols: keys. splits: whose real clips and captions; the questions are about the first.
        questions: of `ode-vgan continuous`, on `clips` clips.
        seed: of windows and latents, the same for all runs.
        curves: protocols that are also asked at every look, on the first split. at: of the looks, only those at so
            many clips seen; () is all.
        way, budget: as `choose` takes them.
        device: cpu, cuda, or auto for cuda where there is one.
    """

    protocols: tuple[str, ...]
    splits: tuple[str, ...] = ("test", "train")
    questions: tuple[str, ...] = ()
    clips: int = 128
    seed: int = 0
    curves: tuple[str, ...] = ()
    at: tuple[int, ...] = ()
    way: str | None = None
    budget: Budget | None = None
    device: str = "cpu"

    def check(self) -> "Asked":
        """Refuse what cannot be asked, before any work.

        Raises:
            UserError: naming it.
        """
        for key in (*self.protocols, *self.curves):
            parse_protocol(key)
        for name, given, known in (
            ("split", self.splits, SPLITS),
            ("question", self.questions, tuple(QUESTIONS)),
            ("way to choose a checkpoint", (self.way,) if self.way else (), WAYS),
            ("budget", (self.budget.column,) if self.budget else (), tuple(SPENT)),
        ):
            unknown = [one for one in given if one not in known]
            if unknown:
                raise UserError(f"no {name} {unknown[0]!r}; there are {', '.join(known)}.")
        if not self.splits:
            raise UserError("no split named; use test, train or both.")
        if self.at and not self.curves:
            raise UserError("looks are named, but no protocol to judge them by; give --curves too.")
        if any(clips < 1 for clips in self.at):
            raise UserError(f"no look at {min(self.at)} clips; name clips seen, such as 1024 or 16384.")
        if self.clips < LEAST_CLIPS:
            raise UserError(f"{self.clips} clips; questions need {LEAST_CLIPS} or more.")
        return self

    def to_json(self) -> dict:
        """What was asked, as plain data."""
        told = asdict(self) | {"budget": str(self.budget or "")}
        return {
            name: list(value) if isinstance(value, tuple) else value
            for name, value in told.items()
            if value not in ("", None) and (name != "at" or value)
        }


def judge(runs: Sequence[Run], asked: Asked, *, jobs: int = 1, make: bool = True) -> tuple[list[Run], dict[str, str]]:
    """The runs with scores, answers and the checkpoint they are of; and why what is missing is missing.

    A run that failed or was refused is not judged. What was judged before is read from the run's folder. A run that
    cannot be judged is named and the others go on.

    Args:
        jobs: runs judged at a time, each in a process of one thread; with 1 in this one.
        make: False only reads what was judged before.

    Raises:
        UserError: something asked for does not exist.
    """
    asked.check()
    if jobs < 1:
        raise UserError(f"{jobs} jobs; use 1 or more.")
    chosen, skipped = _choose(runs, asked)
    tasks: list[tuple[int, int | None, Task]] = []  # number of the run, clips of the look for a curve, task
    for i, choice in chosen.items():
        tasks += _tasks(i, runs[i], choice, asked)
        skipped |= _missing(runs[i], asked)
    verdicts = [read_back(task) for *_, task in tasks] if not make else _verdicts([task for *_, task in tasks], jobs)
    found = [_as_judged(run, chosen.get(i), tasks) for i, run in enumerate(runs)]
    points: dict[int, dict[int, Verdict]] = {}
    for (i, clips, _), verdict in zip(tasks, verdicts, strict=True):
        skipped |= verdict.skipped
        if clips is None:
            found[i] = replace(found[i], scores=verdict.scores, answers=verdict.answers)
        else:
            points.setdefault(i, {})[clips] = verdict
    for i, looked in points.items():
        found[i] = replace(found[i], curves=runs[i].curves | _curves(looked))
    return found, skipped


def _choose(runs: Sequence[Run], asked: Asked) -> tuple[dict[int, Choice], dict[str, str]]:
    chosen, skipped = {}, {}
    for i, run in enumerate(runs):
        if run.state in ("failed", "refused"):
            skipped[str(run.folder)] = f"{run.state}: {run.note}"
            continue
        try:
            chosen[i] = choose(run, asked.way, asked.budget)
        except UserError as error:
            skipped[str(run.folder)] = one_line(error)
    return chosen, skipped


def _tasks(i: int, run: Run, choice: Choice, asked: Asked) -> list[tuple[int, int | None, Task]]:
    """The chosen checkpoint's task, then one a look where curves are asked."""
    common = {"clips": asked.clips, "split": asked.splits[0], "seed": asked.seed}
    common["device"] = find_device(asked.device)
    pairs = tuple((key, split) for split in asked.splits for key in asked.protocols)
    digest = file_sha256(choice.checkpoint)
    tasks = [(i, None, Task(run.folder, choice.checkpoint, digest, pairs, asked.questions, **common))]
    if asked.curves:
        pairs = tuple((key, asked.splits[0]) for key in asked.curves)
        for clips, path in _asked_looks(run, asked).items():
            tasks.append((i, clips, Task(run.folder, path, file_sha256(path), pairs, **common)))
    return tasks


def _asked_looks(run: Run, asked: Asked) -> dict[int, Path]:
    return {clips: path for clips, path in looks(run.folder).items() if not asked.at or clips in asked.at}


def _missing(run: Run, asked: Asked) -> dict[str, str]:
    """Which of the looks asked for a run has not."""
    there = looks(run.folder)
    missing = [f"{clips:,}" for clips in asked.at if clips not in there]
    kept = f"kept are {len(there)} from {min(there):,} to {max(there):,}" if there else "none is kept"
    return {f"{run.folder}: looks": f"no look at {', '.join(missing)} clips; {kept}"} if missing else {}


def find_device(name: str) -> str:
    """The device that a name means."""
    return ("cuda" if torch.cuda.is_available() else "cpu") if name == "auto" else name


def _as_judged(run: Run, choice: Choice | None, tasks: Sequence[tuple[int, int | None, Task]]) -> Run:
    """The run with what is known of the choice."""
    if choice is None:
        return run
    digest = next(task.sha256 for _, clips, task in tasks if clips is None and task.checkpoint == choice.checkpoint)
    spent = {name: spent_at(run, choice.clips, name) for name in SPENT if name != "clips"}
    return replace(run, facts=run.facts | {"chosen": choice.to_json() | spent | {"sha256": digest}})


def _curves(looked: dict[int, Verdict]) -> dict[str, tuple[list[float], list[float]]]:
    """Scores at looks as columns, named as those that training logs, with the split behind the protocol."""
    columns: dict[str, tuple[list[float], list[float]]] = {}
    for clips, verdict in sorted(looked.items()):
        for key, score in verdict.scores.items():
            for column, value in ((f"score/{key}", score.value), (f"score/{key}_real", score.real)):
                x, y = columns.setdefault(column, ([], []))
                x.append(float(clips))
                y.append(value)
    return columns


def _verdicts(tasks: Sequence[Task], jobs: int) -> list[Verdict]:
    """One verdict a task; processes only where there is work for more than one."""
    left = {i: task for i, task in enumerate(tasks) if (missing := task.open()).pairs or missing.questions}
    total = sum(task.open().work for task in left.values())
    found: dict[int, Verdict] = {}
    with tqdm(total=total, unit="clip", desc="judging", smoothing=0, disable=None if total else True) as bar:
        if min(jobs, len(left)) > 1:
            found = dict(_in_processes(left, min(jobs, len(left)), bar.update))
        here = Judge(bar.update)
        return [found[i] if i in found else here(task) for i, task in enumerate(tasks)]


def _in_processes(tasks: dict[int, Task], jobs: int, advance: Advance) -> Iterator[tuple[int, Verdict]]:
    """Verdicts as they come; a process that dies costs the task it was at, which is found out one at a time."""
    context = multiprocessing.get_context("spawn")
    waiting = dict(tasks)
    with context.Manager() as manager:
        done = manager.Queue()
        while waiting:
            pool = ProcessPoolExecutor(min(jobs, len(waiting)), mp_context=context)
            try:
                futures = _submit(pool, waiting, done)
                for future in _as_they_end(list(futures), done, advance):
                    if not isinstance(future.exception(), BrokenProcessPool):
                        yield futures[future], future.result()
                        del waiting[futures[future]]
            finally:
                pool.shutdown(wait=False, cancel_futures=True)
            if waiting and jobs == 1:  # tasks went in order: the first that has no verdict is the one
                i = next(iter(waiting))
                yield (
                    i,
                    Verdict(skipped={str(waiting.pop(i).folder): "the process that judged it died; is memory short?"}),
                )
            jobs = 1


def _submit(pool: ProcessPoolExecutor, tasks: dict[int, Task], done: queue.Queue) -> dict[Future, int]:
    """Futures of the tasks that a pool takes before one of its processes dies."""
    futures: dict[Future, int] = {}
    try:
        for i, task in tasks.items():
            futures[pool.submit(judge_here, task, done)] = i
    except BrokenProcessPool:
        pass
    return futures


def _as_they_end(futures: Sequence[Future], done: queue.Queue, advance: Advance) -> Iterator[Future]:
    left = set(futures)
    while left:
        ended, left = wait(left, timeout=POLL_SECONDS, return_when="FIRST_COMPLETED")
        for _ in range(done.qsize()):
            advance(done.get())
        yield from ended


def judge_here(task: Task, done: queue.Queue) -> Verdict:
    """What a process does with a task."""
    torch.set_num_threads(1)
    judge = _judge()
    judge.advance = done.put
    return judge(task)


@cache
def _judge() -> Judge:
    """The one of this process."""
    return Judge()
