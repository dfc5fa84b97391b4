"""Subjects side by side: means over the runs of a family, intervals over concepts, and paired differences."""

import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from ode_vgan.embed.evaluate import Judged, Plan
from ode_vgan.embed.score import Interval, Score, difference, mean_interval


@dataclass(frozen=True)
class Standing:
    """One number of one family of runs.

    Attributes:
        family: of the subjects. score: of its first run; task, metric, chance and guess are every run's.
        runs: value by subject. sd: over the runs, of the sample; None for a single one.
        interval: of the mean over runs, for other concepts; it does not hold other seeds.
    """

    family: str
    score: Score
    runs: dict[str, float]
    sd: float | None
    interval: Interval

    def to_json(self) -> dict:
        """Plain data."""
        score = self.score
        return {
            "family": self.family, "task": score.task, "metric": score.metric, "value": self.interval.value,
            "low": self.interval.low, "high": self.interval.high, "sd_over_runs": self.sd, "runs": self.runs,
            "chance": score.chance, "guess": score.guess, "better": score.better,
            "items": len(score.values), "concepts": len(score.concepts.unique()),
        }  # fmt: skip


@dataclass(frozen=True)
class Gap:
    """A family's number minus that of another, on the same bootstrap samples; `apart` where 0 is outside."""

    a: str
    b: str
    task: str
    metric: str
    interval: Interval

    @property
    def apart(self) -> bool:
        return not self.interval.low <= 0 <= self.interval.high

    def to_json(self) -> dict:
        """Plain data."""
        found = {"a": self.a, "b": self.b, "task": self.task, "metric": self.metric, "value": self.interval.value}
        return found | {"low": self.interval.low, "high": self.interval.high, "apart": self.apart}


def standings(judged: Sequence[Judged], plan: Plan) -> list[Standing]:
    """One row a family and number, in the order in which they were asked for."""
    return [
        Standing(family, scores[0], {run: score.value for run, score in zip(runs, scores, strict=True)}, _sd(scores),
                 mean_interval(scores, draws=plan.draws, seed=plan.seed))
        for (family, *_), (runs, scores) in _by_family(judged).items()
    ]  # fmt: skip


def ledger_scores(one: Judged, split: str, plan: Plan) -> dict[str, dict[str, float | str]]:
    """One run's numbers by name, such as "test/text_to_clip/R@1", as the ledger reads them from its run folder."""
    found = {}
    for score in one.scores:
        own = mean_interval([score], draws=plan.draws, seed=plan.seed)
        name = f"{split}/{score.task}/{score.metric}".replace(",", "").replace(" ", "_")
        found[name] = {"value": own.value, "low": own.low, "high": own.high, "better": score.better}
    return found


def gaps(judged: Sequence[Judged], plan: Plan) -> list[Gap]:
    """Every later family against the first one, on each number that both have."""
    found = _by_family(judged)
    first = next(iter(found))[0]
    made = []
    for (family, task, metric), (_, scores) in found.items():
        if family != first and (first, task, metric) in found:
            theirs = found[first, task, metric][1]
            between = difference(scores, theirs, draws=plan.draws, seed=plan.seed)
            made.append(Gap(family, first, task, metric, between))
    return made


def _by_family(judged: Sequence[Judged]) -> dict[tuple[str, str, str], tuple[list[str], list[Score]]]:
    found: dict[tuple[str, str, str], tuple[list[str], list[Score]]] = {}
    for one in judged:
        for score in one.scores:
            runs, scores = found.setdefault((one.subject.family, score.task, score.metric), ([], []))
            runs.append(one.subject.name)
            scores.append(score)
    return found


def _sd(scores: Sequence[Score]) -> float | None:
    return statistics.stdev(score.value for score in scores) if len(scores) > 1 else None
