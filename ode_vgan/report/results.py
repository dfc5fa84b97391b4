"""results.csv: every number of a study beside the run, command, commit and protocol it came from."""

import csv
import io
import os
from collections.abc import Iterator
from pathlib import Path

from ode_vgan.data.clips import write_atomic
from ode_vgan.report.study import Run, Study
from ode_vgan.runs import flatten

COUNTS = ("parameters", "macs")
STARTED = ("command", "commit", "dirty", "machine", "threads", "python", "torch")


def write_results(study: Study, path: Path) -> Path:
    """Write a row a run and number; a run without numbers has one row that says why.

    Columns: the run (its folder relative to that of the file), the number, the checkpoint, what the run cost, how it
    was started, then the protocol, a column a key. Counts are of parameters, and of multiply-accumulates per clip.
    """
    rows = [row for run in study.runs for row in rows_of(run, path.parent)]
    columns = list(dict.fromkeys(name for row in rows for name in row))
    plain = [name for name in columns if not name.startswith("protocol.")]
    buffer = io.StringIO()
    table = csv.DictWriter(buffer, plain + [name for name in columns if name not in plain], lineterminator="\n")
    table.writeheader()
    table.writerows(rows)
    write_atomic(path, buffer.getvalue().encode())
    return path


def rows_of(run: Run, folder: Path) -> Iterator[dict[str, object]]:
    """One run's rows."""
    about = {
        "run": os.path.relpath(run.folder, folder),
        "family": run.family,
        "seed": run.seed,
        "state": run.state,
        "note": run.note,
    }
    rest = _chosen(run) | {name: run.facts.get(name) for name in ("clips_seen", "seconds", "cpu_seconds", "nfe")}
    for part in COUNTS:
        rest |= {f"{part}_{name}": value for name, value in (run.facts.get(part) or {}).items()}
    rest |= {name: (run.facts.get("started") or {}).get(name) for name in STARTED}
    numbers = [*_scores(run), *_answers(run)]
    for number, protocol in numbers or [({"score": "", "split": ""}, {})]:
        told = flatten(protocol, "protocol.")
        yield {name: _cell(value) for name, value in (about | number | rest | told).items()}


def _scores(run: Run) -> Iterator[tuple[dict, dict]]:
    for key, score in run.scores.items():
        metric, split, *part = key.split("/", 2)
        numbers = {"value": score.value, "low": score.low, "high": score.high, "debiased": score.debiased}
        name = "/".join([metric, *part])
        yield {"score": name, "split": split} | numbers | {"real": score.real, "better": score.better}, score.protocol


def _answers(run: Run) -> Iterator[tuple[dict, dict]]:
    for answer in run.answers:
        asked = ", ".join(f"{name} {value}" for name, value in answer["asked"].items())
        numbers = answer["numbers"]
        split = answer["protocol"].get("split", "")
        for name, value in numbers.items():
            if name.endswith(("_low", "_high", "_debiased")) or name == "floor":
                continue
            told = {part: numbers.get(f"{name}_{part}") for part in ("low", "high", "debiased")}
            floor = numbers.get("floor") if name == "fd" else None
            row = {"score": f"{answer['question']} ({asked})/{name}", "split": split, "value": value} | told
            yield row | {"real": floor, "better": "lower" if name == "fd" else ""}, answer["protocol"]


def _chosen(run: Run) -> dict[str, object]:
    chosen = run.facts.get("chosen") or {}
    return {f"chosen_{name}": value for name, value in chosen.items()}


def _cell(value: object) -> object:
    return "" if value is None else value
