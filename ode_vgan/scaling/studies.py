"""What the numbers of a ledger are taken for where nothing else is asked: points of a law without naming a column."""

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from ode_vgan.errors import UserError
from ode_vgan.scaling.table import Chosen, Wanted, narrowed, select

if TYPE_CHECKING:
    import pyarrow as pa

SPLITS = ("test", "all", "train", "val")  # the first that a metric was taken on
LOOKS = {"clip": "last", "gan": "all"}  # a cosine schedule makes only the last look of a run what its clips can buy
SELECTS = {"clip": "pareto", "gan": "all"}  # a size of model has its compute; one GAN's looks have all of them
GROUPS = {"clip": "distribution", "gan": "family"}
AXES = {
    "macs": "forward multiply-accumulates of training",
    "samples_seen": "clips trained on",
    "clips_data": "different clips in the training set",
    "parameters": "parameters",
    "seconds": "training seconds",
    "cpu_seconds": "CPU seconds of training",
}


@dataclass(frozen=True)
class Asked:
    """What of a ledger is wanted; None and "" are for the ledger to decide.

    Attributes:
        metric, split: of the numbers. kind: gan or clip. study: a run's `name`.
        x: a column of AXES. group, mark: columns. looks: "last" takes each run at its end, "all" at every look.
        where: an SQL condition that rows meet.
    """

    metric: str | None = None
    split: str | None = None
    kind: str | None = None
    study: str | None = None
    x: str = "macs"
    group: str | None = None
    mark: str | None = None
    looks: str | None = None
    where: str = ""


def is_ledger(table: "pa.Table") -> bool:
    """Whether a table has a ledger's columns."""
    return {"run", "metric", "split", "value", "better", "macs", "finished"} <= set(table.column_names)


def metrics_of(table: "pa.Table") -> list[tuple[str, str]]:
    """(metric, split) of all numbers in a ledger, by name."""
    pairs = zip(table["metric"].to_pylist(), table["split"].to_pylist(), strict=True)
    return sorted({(str(metric), str(split or "")) for metric, split in pairs})


def points_of(table: "pa.Table", asked: Asked, name: str = "the ledger") -> Chosen:
    """The points of one metric: error against compute, one law a distribution (CLIP) or a temporal family (GAN).

    A metric of which higher is better is a share: the error is one minus it. CLIP runs count at their end, as a cosine
    schedule fits its length; GAN runs at every look.

    Raises:
        UserError: as `select`; or the ledger has several metrics and none was named, or several kinds.
    """
    only = {part: (given,) for part in ("kind", "study") if (given := getattr(asked, part))}
    rows = narrowed(table, Wanted("macs", "value", where=asked.where, only=only), name)
    metric, split = _metric(rows, asked, name)
    rows = narrowed(rows, Wanted("macs", "value", only={"metric": (metric,), "split": (split,)}), name)
    kinds = sorted({str(kind) for kind in rows["kind"].to_pylist()})
    if len(kinds) > 1:
        raise UserError(
            f"{name} has {metric} of {' and '.join(kinds)} runs, which are not alike; name one with --kind."
        )
    better = set(rows["better"].to_pylist())
    looks = asked.looks or LOOKS.get(kinds[0], "last")
    sizes = "parameters" if not rows["parameters"].null_count else None
    wanted = Wanted(
        asked.x, "value", "higher" in better, group=asked.group or GROUPS.get(kinds[0], "family"),
        mark=asked.mark or ("model" if kinds[0] == "clip" else None), run="family" if looks == "last" else "run",
        seed="seed", parameters=sizes, samples="samples_seen",
        only={"finished": ("true",)} if looks == "last" else {},
    )  # fmt: skip
    chosen = select(rows, wanted, name)
    y = f"{metric} ({split})" if split else metric
    notes = (*chosen.notes, *_mixed(narrowed(rows, wanted, name)))
    y = f"1 - {y}" if wanted.one_minus else y
    return replace(chosen, x=AXES.get(asked.x, asked.x), y=y, notes=notes, select=SELECTS.get(kinds[0], "binned"))


def _metric(rows: "pa.Table", asked: Asked, name: str) -> tuple[str, str]:
    """The metric that is meant, and the split."""
    pairs = metrics_of(rows)
    metrics = list(dict.fromkeys(metric for metric, _ in pairs))
    if asked.metric is None and len(metrics) > 1:
        raise UserError(f"{name} has {', '.join(metrics)}; name one with --metric.")
    metric = asked.metric or metrics[0]
    splits = [split for one, split in pairs if one == metric]
    if not splits:
        raise UserError(f"{name} has no metric {metric!r}; it has {', '.join(metrics)}.")
    if asked.split is not None and asked.split not in splits:
        raise UserError(f"{name} has {metric} on {', '.join(splits)}, not on {asked.split!r}.")
    return metric, asked.split or min(splits, key=lambda one: SPLITS.index(one) if one in SPLITS else len(SPLITS))


def _mixed(rows: "pa.Table") -> tuple[str, ...]:
    """A note where numbers of several protocols stand together."""
    protocols = len(set(rows["protocol"].to_pylist()))
    return (
        (f"numbers of {protocols} protocols stand together; see the ledger's column protocol",) if protocols > 1 else ()
    )
