"""The one number of a run that a sweeper minimises or maximises."""

import csv
import math
from collections.abc import Sequence
from pathlib import Path

from ode_vgan.metrics.protocol import METRICS, parse_protocol


def best_score(folder: Path, protocols: Sequence[str]) -> float | None:
    """The best value of the first protocol over all looks of a run, in the sense that is better under it.

    Which clips it is on is the run's `metrics.split`: tune on `val`, never on `test`.

    Args:
        folder: the run folder. protocols: keys as in `metrics.protocols`; none gives None.

    Returns:
        None if no look has a finite score, as of a run that failed before its first: a sweeper takes it for a failure.
    """
    path = folder / "metrics.csv"
    if not protocols or not path.exists():
        return None
    key = protocols[0]
    with open(path, newline="") as file:
        rows = list(csv.DictReader(file))
    names = [column.removeprefix("score/") for column in (rows[0] if rows else ()) if column.startswith("score/")]
    name = next((name for name in names if name.partition("/")[0] == key and not name.endswith("_real")), None)
    values = [float(row[f"score/{name}"]) for row in rows if row.get(f"score/{name}")]
    best = min if METRICS[parse_protocol(key).metric].better == "lower" else max
    return best((value for value in values if math.isfinite(value)), default=None)


def told(score: dict[str, float]) -> str:
    """The last scores in words: distances beside those of real clips, validation scores as they are."""
    distances = [
        f"{name.removeprefix('score/')} {value:.1f} (real clips against real clips {score[f'{name}_real']:.1f})"
        for name, value in score.items()
        if f"{name}_real" in score
    ]
    shares = [f"{name} {value:.3f}" for name, value in score.items() if name.startswith("val/")]
    return "".join(
        f"{'; '.join(some)}{rest}. " for some, rest in ((distances, "; lower is better"), (shares, "")) if some
    )
