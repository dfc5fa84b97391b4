"""What a study's numbers do not show, said from its data."""

import math
from statistics import median

from ode_vgan.report import reading
from ode_vgan.report.statistics import reaches
from ode_vgan.report.study import Run, Study
from ode_vgan.report.table import plus_minus

UNLIKE = {  # a fact -> how it is called where families differ in it
    ("parameters", "temporal"): "weights of the model of time", ("macs", "forward"): "MACs a clip",
    ("noise_numbers",): "noise numbers drawn along a path",
}  # fmt: skip


def limits(study: Study) -> list[str]:
    """Sentences, the heaviest first."""
    parts = (_seeds, _resolution, _survivors, _length, _falling, _chosen, _extractor, _data, _unequal, _clocks)
    return [sentence for part in parts if (sentence := part(study))]


def _seeds(study: Study) -> str:
    single = [name for name in reading.families(study) if len(reading.counted(study, name)) == 1]
    if not single:
        return ""
    return f"There is no claim about {', '.join(single)}: one seed each, and another may reverse what it seems to do."


def _resolution(study: Study) -> str:
    key = next(iter(reading.score_keys(study)), None)
    widths = [(one.high - one.low) / 2 for one in study.contrasts if one.key == key and one.low is not None]
    if not widths:
        return ""
    reach = reaches(study.runs).get(key, {})
    text = (
        f"Differences in {key} below about {plus_minus(median(widths), None)} could not have been seen: that is half "
    )
    text += "of the median interval. Not told apart does not mean equal."
    if reach.get("seeds"):
        text += (
            f" Another seed moves the number of one run by up to {plus_minus(reach['seeds'], None)}, other clips by "
            f"{plus_minus(reach['clips'], None)} (90 %)."
        )
    return text


def _survivors(study: Study) -> str:
    bad = {run.family for run in study.runs if run.state in ("failed", "refused")}
    names = sorted(bad & {run.family for run in study.runs if run.scores}, key=reading.family_rank)
    return "" if not names else (
        f"Runs that failed have no score, so the means of {', '.join(names)} are of survivors and look better than "
        "choosing that family is."
    )  # fmt: skip


def _length(study: Study) -> str:
    seen = [clips for run in study.runs if (clips := reading.number(run, "clips_seen")) and run.scores]
    if not seen:
        return ""
    span = f"{min(seen):,.0f}" + ("" if min(seen) == max(seen) else f" to {max(seen):,.0f}")
    return f"Training ended at {span} clips. Nothing is known of how the families rank after longer training or larger."


def _falling(study: Study) -> str:
    column = reading.look_column(study)
    lower = column is None or reading.better_by_name(column) == "lower"
    curves = [[value for _, value in reading.looks(run, column)] for run in study.runs] if column else []
    ends = [values for values in curves if len(values) > 1]
    best_last = sum(values[-1] == (min(values) if lower else max(values)) for values in ends)
    if not best_last:
        return ""
    name = column.removeprefix("score/")
    return f"{best_last} of {len(ends)} runs were at their best {name} at the last look: they were still improving."


def _chosen(study: Study) -> str:
    told = {one.get("by") for run in study.runs if isinstance(one := run.facts.get("chosen"), dict) and one.get("by")}
    splits = sorted({key.split("/")[1] for key in reading.score_keys(study) if "/" in key})
    text = f"Checkpoints: {'; '.join(sorted(told))}. " if told else ""
    seen = "train" in splits
    text += f"Scores are on the split{'s' if len(splits) > 1 else ''} {', '.join(splits)}. " if splits else ""
    return (text + ("Scores on training captions do not tell learning from remembering." if seen else "")).strip()


def _extractor(study: Study) -> str:
    keys = reading.score_keys(study)
    if not keys or keys[0].startswith("fvd"):
        return ""
    return (
        f"No FVD was measured: {keys[0]} is a distance on other features, and is not to be read beside published FVD."
    )


def _data(study: Study) -> str:
    told = [score.protocol for run in study.runs for score in run.scores.values() if score.protocol]
    sets = {(str(one.get("source", "?")), str(one.get("size_px", "?")), str(one.get("frames", "?"))) for one in told}
    text = "; ".join(f"{source}, {size} px, {frames} frames" for source, size, frames in sorted(sets))
    return f"All of it is one kind of clip ({text}). Other data may rank the families otherwise." if text else ""


def _unequal(study: Study) -> str:
    told = []
    for path, name in UNLIKE.items():
        means = {family: reading.mean_fact(study, family, *path) for family in reading.families(study)}
        known = {family: value for family, value in means.items() if value}
        if len(known) > 1 and max(known.values()) > 1.05 * min(known.values()):
            least, most = min(known, key=known.get), max(known, key=known.get)
            told.append(f"{name} ({least} {_short(known[least])}, {most} {_short(known[most])})")
    return f"Families are not equal in {'; '.join(told)}." if told else ""


def _clocks(study: Study) -> str:
    machines = {str(_started(run).get("machine")) for run in study.runs if _started(run).get("machine")}
    if len(machines) > 1:
        return f"Seconds are of {len(machines)} machines ({'; '.join(sorted(machines))}): compare them within one only."
    return "Wall-clock seconds are those of a machine that may have done other work; CPU seconds are the fairer clock."


def _started(run: Run) -> dict:
    started = run.facts.get("started")
    return started if isinstance(started, dict) else {}


def _short(value: float) -> str:
    return f"{value:,.0f}" if math.fabs(value) < 1e7 else f"{value:.3g}"
