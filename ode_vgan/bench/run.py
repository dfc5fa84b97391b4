"""Contests run: both ways in turn, their results compared, their work counted."""

import math
import statistics
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib import import_module

from ode_vgan.bench.contest import AREAS, Asked, Contest, Work
from ode_vgan.bench.machine import Ceilings, Timer, peak_bytes, timer
from ode_vgan.bench.roofline import Reached, reached
from ode_vgan.bench.traffic import count_work
from ode_vgan.errors import UserError

ELSEWHERE = ("loader",)  # other processes do their work, whose seconds ours do not hold
NOT_TORCH = ("loader", "decode", "search")  # nothing for a counter of torch's operators
LEAST_SECONDS, MOST_CALLS = 0.02, 200  # of one measurement
Tell = Callable[[str], object]


@dataclass(frozen=True)
class Outcome:
    """What a contest came to.

    Attributes:
        ours, theirs: seconds of one call in each round.
        differ: relative difference of the results; None where they are not comparable.
        work: of one call of ours. reached: what that is of the machine's ceilings; None where nothing was counted.
        peak: bytes of GPU memory at the worst moment of a call of ours; None on a CPU.
    """

    contest: Contest
    ours: list[float]
    theirs: list[float]
    differ: float | None
    work: Work
    reached: Reached | None
    peak: int | None

    @property
    def ratios(self) -> list[float]:
        """Our time over theirs within each round, so that a slow round cancels."""
        return [self.contest.share * one / other for one, other in zip(self.ours, self.theirs, strict=True)]

    @property
    def equal(self) -> bool:
        """Whether the results are not known to differ."""
        return self.differ is None or self.differ <= self.contest.tolerance

    @property
    def held(self) -> bool | None:
        """Whether the target is held; None without one."""
        return None if self.contest.target is None else statistics.median(self.ratios) <= self.contest.target


def gather(area: str, asked: Asked) -> list[Contest]:
    """The contests of an area, from the file of its name.

    Raises:
        UserError: what it needs is absent, in one line.
    """
    try:
        found = import_module(f"ode_vgan.bench.{area}").contests(asked)
    except ImportError as error:
        if (error.name or "").startswith("ode_vgan.") and error.name != f"ode_vgan.bench.{area}":
            raise  # ours, and broken
        raise UserError(f"{error.name or error} is not installed") from error
    if not found:
        raise UserError("nothing to compare here")
    return found


def run_area(area: str, asked: Asked, ceilings: Ceilings, repeats: int, tell: Tell) -> Iterator[Outcome]:
    """The outcomes of an area, one after the other; its contests' memory is given back at the end."""
    seconds = timer(asked.device, asked.threads, wall=area in ELSEWHERE)
    for contest in gather(area, asked):
        tell(f"{area}: {contest.name} against {contest.against}")
        yield play(contest, repeats, seconds, ceilings, asked)


def play(contest: Contest, repeats: int, seconds: Timer, ceilings: Ceilings, asked: Asked) -> Outcome:
    """Compare the results, warm up, time in turn, count."""
    differ = None if contest.differ is None else float(contest.differ())
    differ = math.inf if differ is not None and math.isnan(differ) else differ
    ours, theirs = race(contest, repeats, seconds, LEAST_SECONDS * (not asked.quick))
    work, counted = contest.work, contest.area in NOT_TORCH or contest.work.flops or contest.work.bytes
    if not counted:
        work = count_work(contest.ours, ceilings.cache_bytes, work)
    return Outcome(
        contest=contest,
        ours=ours,
        theirs=theirs,
        differ=differ,
        work=work,
        reached=reached(work, statistics.median(ours), ceilings),
        peak=peak_bytes(contest.ours, asked.device),
    )


def race(contest: Contest, repeats: int, seconds: Timer, least: float) -> tuple[list[float], list[float]]:
    """Seconds of a call of each side in each round; who begins changes from round to round.

    Short jobs are called several times for one measurement, as often as their warm-up tells.
    """
    jobs = contest.ours, contest.theirs
    calls = [warmed(job, seconds, least) for job in jobs]
    spent: tuple[list[float], list[float]] = [], []
    for number in range(repeats):
        for side in (0, 1) if number % 2 == 0 else (1, 0):
            spent[side].append(seconds(jobs[side], calls[side]))
    return spent


def warmed(job: Callable[[], object], seconds: Timer, least: float) -> int:
    """Call a job until it is warm; the calls that make up the least time of a measurement."""
    spent = seconds(job, 1)
    if spent >= least:
        return 1
    return min(MOST_CALLS, math.ceil(least / max(seconds(job, 1), 1e-9)))


def parse_areas(text: str) -> list[str]:
    """Areas that stand between commas.

    Raises:
        UserError: there is none of that name.
    """
    names = list(dict.fromkeys(name.strip() for name in text.split(",")))
    if unknown := [name for name in names if name not in AREAS]:
        raise UserError(f"--areas has no {unknown[0]!r}; there are {', '.join(AREAS)}, and models alone.")
    return names
