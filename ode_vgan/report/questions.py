"""The questions of the study as data: what is asked, of which families, on which numbers."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

from ode_vgan.report import reading
from ode_vgan.report.study import Run, Study

Pairs = tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Quantity:
    """A number of one run that families are compared on.

    Attributes:
        says: what it is. short: the same in a table's cell.
        of: the number, None where the run has none. why: why not, where the run says.
        better: "lower", or nothing where neither is.
    """

    says: str
    short: str
    of: Callable[[Run], float | None]
    why: Callable[[Run], str] = lambda run: ""
    better: str = "lower"


@dataclass(frozen=True)
class Question:
    """One question, answered by pairs of families: is the first lower than the second, and by how much.

    Attributes:
        asks: the question. pairs: of temporal models; each is asked for every tag that both have.
        quantities: from the study and a pair; None for the study's own scores.
        ratio: whether a ratio is told beside the difference. any_tag: runs of different tags are compared too.
        without_noise: whether noise along the path in one family alone stands in the way of the answer.
    """

    asks: str
    pairs: Pairs
    quantities: Callable[[Study, str, str], Sequence[Quantity]] | None = None
    ratio: bool = False
    any_tag: bool = False
    without_noise: bool = False


NOISY = ("driven", "sde", "sde_milstein", "sde_stratonovich", "sde_reversible")  # along the path
NOISY += ("rnn", "lstm", "anchors", "ssm", "transformer")
CONTINUOUS: Pairs = (
    ("ode", "rnn_quiet"), ("ode", "lstm_quiet"), ("ode", "discrete"), ("driven", "rnn"), ("driven", "lstm"),
    ("driven", "anchors"), ("driven", "ssm"), ("driven", "transformer"), ("sde", "rnn"), ("ode", "rnn"),
    ("ode", "lstm"), ("ode", "anchors"), ("ode", "ssm"), ("ode", "transformer"),
)  # fmt: skip
NOISE: Pairs = (
    ("rnn", "rnn_quiet"), ("lstm", "lstm_quiet"), ("driven", "ode"), ("sde", "ode"), ("sde_stratonovich", "ode"),
)  # fmt: skip
ORDER: Pairs = (
    ("ode2", "ode"), ("ode3", "ode"), ("ode3", "ode2"), ("oscillator", "ode"), ("hamiltonian", "ode"),
    ("gordon2020/tgan_ode_2", "gordon2020/tgan_ode"), ("gordon2020/tgan_ode_3", "gordon2020/tgan_ode"),
    ("gordon2020/mocogan_ode_2", "gordon2020/mocogan_ode_eq"),
    ("gordon2020/mocogan_ode_3", "gordon2020/mocogan_ode_eq"),
)  # fmt: skip
DETAILS: Pairs = (
    ("ode_time", "ode"), ("ode_rk4", "ode"), ("sde_milstein", "sde"), ("sde_stratonovich", "sde"),
    ("sde_reversible", "sde_stratonovich"),
)  # fmt: skip
PRICE: Pairs = (
    ("ode", "rnn"), ("ode", "discrete"), ("ode2", "ode"), ("ode3", "ode"), ("driven", "ode"), ("sde", "ode"),
    ("sde", "rnn"), ("ode", "transformer"), ("ode", "gordon2020/tgan_ode_lin"),
)  # fmt: skip


def questions(study: Study) -> list[Question]:
    """What is asked of this study; pairs whose families it lacks are left out by who evaluates them."""
    present = sorted({reading.base(name) for name in reading.families(study)}, key=reading.family_rank)
    published = [name for name in present if name.startswith(reading.PUBLISHED)]
    hold = tuple(("ode", one) for one in published)
    corrected = tuple((f"{one}_corrected", one) for one in published)
    now, times, later = (
        f"Does continuous time help {where}?"
        for where in ("at the trained frame rate", "at frame rates not trained on", "beyond the trained window")
    )
    return [
        Question(now, CONTINUOUS, without_noise=True),
        Question(times, CONTINUOUS, other_rates, without_noise=True),
        Question(later, CONTINUOUS, later_windows, without_noise=True),
        Question("Does fresh noise at each step help?", NOISE),
        Question("Does second or third order, or an energy, help?", ORDER),
        Question("Does a clock in the field, another solver or another calculus help?", DETAILS),
        Question("At what price?", PRICE, prices, ratio=True),
        Question("Do the published systems hold against ours?", hold, ratio=True, any_tag=True),
        Question("Do they at equal clips, seconds and compute?", hold, equal_spending, ratio=True, any_tag=True),
        Question("Does the published ODE help in its own system?", own_system(published), ratio=True),
        Question("Does correcting the published equations help?", corrected, ratio=True),
    ]


def confound(question: Question, a: str, b: str) -> str:
    """What else a pair differs in that stands in the way of the answer, as a sentence, or nothing."""
    noisy = [name for name in (a, b) if reading.base(name) in NOISY]
    if not question.without_noise or len(noisy) != 1:
        return ""
    return f"{noisy[0]} also draws noise along its path, so this pair alone does not say what continuous time does."


def other_rates(study: Study, a: str, b: str) -> list[Quantity]:
    """Distance above the floor at each unseen rate, and how much of that is more than at the trained rate."""
    found = []
    for rate in reading.rates(study):
        if rate != "1x":
            why = partial(_note, of=reading.at_rate, asked=rate)
            at = f"distance above real clips at {rate} the trained frame rate"
            found.append(Quantity(at, rate, partial(_at, rate=rate), why))
            found.append(Quantity(f"{at}, less that at 1x", f"{rate} less 1x", partial(_lost, rate=rate), why))
    return found


def later_windows(study: Study, a: str, b: str) -> list[Quantity]:
    """Distance above the floor in each later window, and how much of that is more than in its own first window."""
    found = []
    for window in range(2, reading.windows(study) + 1):
        why = partial(_note, of=reading.at_window, asked=window)
        at = f"distance above real clips in window {window} of a long rendering"
        found.append(Quantity(at, f"window {window}", partial(_in_window, window=window), why))
        less = f"window {window} less 1"
        found.append(Quantity(f"{at}, less that in window 1", less, partial(_drift, window=window), why))
    return found


def prices(study: Study, a: str, b: str) -> list[Quantity]:
    """Evaluations, processor and wall-clock seconds, multiply-accumulates."""
    found = {
        "evaluations": ("function evaluations a path", lambda run: reading.number(run, "nfe")),
        "CPU s": ("CPU seconds for 1,000 training clips", lambda run: reading.per_thousand_clips(run, "cpu_seconds")),
        "wall s": (
            "wall-clock seconds for 1,000 training clips",
            lambda run: reading.per_thousand_clips(run, "seconds"),
        ),
        "MACs": ("million forward MACs a training clip", _million_macs),
    }
    return [Quantity(says, short, of, better="") for short, (says, of) in found.items()]


def equal_spending(study: Study, a: str, b: str) -> list[Quantity]:
    """The score of looks at the most clips, CPU seconds and MACs that every run of the two families reached."""
    column = reading.look_column(study)
    both = [run for name in (a, b) for run in reading.counted(study, name)]
    found = []
    for axis, word in (("clips", "clips"), ("cpu_seconds", "CPU seconds"), ("macs", "forward MACs")):
        budget = reading.common_budget(both, column, axis) if column and both else None
        if budget:
            says = f"{column.removeprefix('score/')} at the last look within {budget:,.4g} {word}"
            of = partial(reading.score_at, column=column, axis=axis, budget=budget)
            found.append(Quantity(says, f"equal {word}", of, better=reading.better_by_name(column)))
    return found


def own_system(published: Sequence[str]) -> Pairs:
    """Each published variant against the temporal model that its system came with."""
    roots = {name.split("_")[0] for name in published}
    return tuple(
        (name, name.split("_")[0]) for name in published if name not in roots and name.split("_")[0] in published
    )


def _at(run: Run, rate: str) -> float | None:
    return reading.excess(reading.at_rate(run, rate))


def _lost(run: Run, rate: str) -> float | None:
    return _less(_at(run, rate), _at(run, "1x"))


def _in_window(run: Run, window: int) -> float | None:
    return reading.excess(reading.at_window(run, window))


def _drift(run: Run, window: int) -> float | None:
    return _less(_in_window(run, window), _in_window(run, 1))


def _less(a: float | None, b: float | None) -> float | None:
    return None if a is None or b is None else a - b


def _million_macs(run: Run) -> float | None:
    macs = reading.macs_per_clip(run)
    return None if macs is None else macs / 1e6


def _note(run: Run, of: Callable, asked: object) -> str:
    return (of(run, asked) or {}).get("note", "")
