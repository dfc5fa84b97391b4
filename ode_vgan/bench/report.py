"""Outcomes of contests as a table, as plain data, and beside those of another day."""

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import asdict

from ode_vgan.bench.clock import spread
from ode_vgan.bench.run import Outcome
from ode_vgan.errors import UserError
from ode_vgan.report.table import Row

SAME = ("device", "threads", "torch")  # of a machine: without them times are not comparable


def row(outcome: Outcome, protocol: Mapping[str, object]) -> Row:
    """One line of the table."""
    contest, spent = outcome.contest, statistics.median(outcome.ours)
    cells = {
        "area": contest.area,
        "ours": contest.name,
        "against": contest.against,
        "x its time": spread(outcome.ratios, digits=2),
        "asked": asked(outcome),
        "ms": milliseconds(spent),
        "its ms": milliseconds(statistics.median(outcome.theirs)),
        "rate": rate(outcome.work.items / spent, outcome.work.unit) if outcome.work.items else "-",
        "difference": difference(outcome),
    }
    cells |= roof(outcome)
    if outcome.peak is not None:
        cells["peak MB"] = f"{outcome.peak / 1e6:,.0f}"
    return Row(cells | {"note": contest.note}, protocol)


def asked(outcome: Outcome) -> str:
    """The target, and whether it is held."""
    if outcome.held is None:
        return "-"
    return f"{outcome.contest.target:.2f} {'held' if outcome.held else 'MISSED'}"


def difference(outcome: Outcome) -> str:
    """Relative, of the two results; loud where they should be equal and are not."""
    if outcome.differ is None:
        return "-"
    return f"{outcome.differ:.0e}" if outcome.equal else f"{outcome.differ:.0e} DIFFERS"


def roof(outcome: Outcome) -> dict[str, str]:
    """What is reached of the machine."""
    found = outcome.reached
    if found is None:
        return dict.fromkeys(("GFLOP/s", "GB/s", "FLOP/byte", "of the ceiling"), "-")
    cells = {
        "GFLOP/s": f"{found.flops / 1e9:.1f}",
        "GB/s": f"{found.bytes / 1e9:.1f}",
        "FLOP/byte": "-" if math.isinf(found.intensity) else f"{found.intensity:.1f}",
        "of the ceiling": f"{found.fraction:.0%} {found.bound}",
    }
    return cells | ({"MFU": f"{found.utilisation:.0%}"} if outcome.peak is not None else {})


def milliseconds(seconds: float) -> str:
    """Three digits."""
    found = 1e3 * seconds
    return f"{found:.{max(0, 2 - math.floor(math.log10(max(found, 1e-3))))}f}"


def rate(value: float, unit: str) -> str:
    """Such as `1,234 clips/s`."""
    return f"{value:,.0f} {unit}/s" if value >= 10 else f"{value:.2f} {unit}/s"


def record(outcome: Outcome) -> dict:
    """An outcome as plain data, every single time in it."""
    contest = outcome.contest
    return {
        "area": contest.area,
        "name": contest.name,
        "against": contest.against,
        "seconds": {"ours": outcome.ours, "theirs": outcome.theirs},
        "share": contest.share,
        "ratio": quartiles(outcome.ratios),
        "target": contest.target,
        "difference": outcome.differ if outcome.differ is None or math.isfinite(outcome.differ) else "not finite",
        "tolerance": contest.tolerance,
        "equal": outcome.equal,
        "work": asdict(outcome.work),
        "reached": None if outcome.reached is None else finite(asdict(outcome.reached)),
        "peak_bytes": outcome.peak,
        "note": contest.note,
    }


def finite(values: dict) -> dict:
    """The same without infinities, which JSON has no word for."""
    return {name: None if value == math.inf else value for name, value in values.items()}


def quartiles(values: Sequence[float]) -> list[float]:
    """First quartile, median, third."""
    return list(statistics.quantiles(values, n=4, method="inclusive")) if len(values) > 1 else [values[0]] * 3


def compared(before: Mapping, after: Mapping) -> list[Row]:
    """What became of each row between two files of `ode-vgan bench --json`.

    A ratio changed where its quartiles no longer overlap; its own time is told beside it on one machine only.

    Raises:
        UserError: they share no row.
    """
    old, new = ({key(one): one for one in side["rows"]} for side in (before, after))
    if not old.keys() & new.keys():
        raise UserError("the two files share no row; give files of the same areas, frames and batches.")
    alike = all(before["machine"].get(name) == after["machine"].get(name) for name in SAME)
    rows = [change(old[name], new[name], alike=alike) for name in old if name in new]
    for told, side, other in (("gone", old, new), ("new", new, old)):
        rows += [Row(labels(one) | {"": told}) for name, one in side.items() if name not in other]
    return rows


def key(one: Mapping) -> tuple[str, str, str]:
    """What makes a row the same on another day."""
    return one["area"], one["name"], one["against"]


def labels(one: Mapping) -> dict[str, str]:
    """The cells that name a row."""
    return {"area": one["area"], "ours": one["name"], "against": one["against"]}


def change(old: Mapping, new: Mapping, *, alike: bool) -> Row:
    """One row on both days."""
    (low, middle, high), (new_low, new_middle, new_high) = old["ratio"], new["ratio"]
    told = "dearer" if new_low > high else "cheaper" if new_high < low else "as before"
    if old["equal"] != new["equal"]:
        told += ", and equal again" if new["equal"] else ", but DIFFERS"
    cells = labels(old) | {
        "x before": f"{middle:.2f} ({low:.2f} to {high:.2f})",
        "x now": f"{new_middle:.2f} ({new_low:.2f} to {new_high:.2f})",
    }
    if alike:
        cells |= {"ms before": own(old), "ms now": own(new)}
    return Row(cells | {"": told})


def own(one: Mapping) -> str:
    """Milliseconds of ours."""
    return milliseconds(statistics.median(one["seconds"]["ours"]))
