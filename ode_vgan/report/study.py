"""A sweep as data: its runs with their numbers, what families score over seeds, and how they differ."""

import csv
import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import yaml

from ode_vgan.errors import UserError
from ode_vgan.report.curves import read_curves
from ode_vgan.runs import MAY_DIFFER, flatten

RUN_FILES = ("config.yaml", "started.json", "failure.json", "metrics.json", "metrics.csv")  # a run has one of them
NOT_SWEPT = ("checkpoints", "samples", "judged", "figures", "videos", "wandb")
NAME = re.compile(r"(?P<head>.+)-seed(?P<seed>\d+)(?P<tag>[^/]*)")
OWN = (*MAY_DIFFER, "name", "tag")  # of a config, beside every seed: what runs of one family may differ in
TOTALS = ("seconds", "cpu_seconds", "nfe")


@dataclass(frozen=True)
class Score:
    """One number of one run.

    Attributes:
        value: plain. low, high: 90 % interval over clips, of the debiased value where there is one.
        debiased: what it would be with endless clips, None where that cannot be told.
        real: other real clips in the place of the generated ones.
        better: "lower" or "higher".
        protocol: all that the number depends on beside the run.
    """

    value: float
    low: float
    high: float
    debiased: float | None
    real: float
    better: str
    protocol: dict


@dataclass(frozen=True)
class Run:
    """One point of a sweep, in whatever state it was left.

    Attributes:
        folder: its run folder. family: the folder's name without -seedN, a tag kept, below the sweep's folder.
        seed: of its config, else of its name.
        state: "finished", "unfinished", "failed" (crashed or diverged) or "refused" (could not start).
        note: why it is not finished.
        facts: of metrics.json: clips_seen, seconds, cpu_seconds, nfe, parameters {}, macs {}, started {}; once judged
            also chosen {clips, value, protocol, by, checkpoint, sha256, seconds, cpu_seconds}.
        curves: column of metrics.csv -> (clips, value); also "seconds" and "cpu_seconds".
        scores: "fvd128_16f/test" -> number; the parts of a metric after a further slash.
        answers: of `ode_vgan.metrics.continuous`, as plain data.
    """

    folder: Path
    family: str
    seed: int
    state: str
    note: str = ""
    facts: dict[str, object] = field(default_factory=dict)
    curves: dict[str, tuple[list[float], list[float]]] = field(default_factory=dict)
    scores: dict[str, Score] = field(default_factory=dict)
    answers: list[dict] = field(default_factory=list)


@dataclass(frozen=True)
class Spread:
    """A family's number over its seeds.

    Attributes:
        n: seeds. sd: None with one. low, high: 90 % t interval of the mean over seeds; None with one.
        values: by seed. real: mean over seeds of the real-vs-real value.
    """

    family: str
    key: str
    n: int
    mean: float
    sd: float | None
    low: float | None
    high: float | None
    values: dict[int, float]
    real: float


@dataclass(frozen=True)
class Contrast:
    """Family a minus family b, with seeds as the unit.

    Attributes:
        low, high: 90 % interval by Welch's t. p: two-sided. p_holm: corrected over the pairs of this key.
        significant: p_holm <= 0.10. All None with one seed on a side.
    """

    a: str
    b: str
    key: str
    value: float
    low: float | None
    high: float | None
    p: float | None
    p_holm: float | None
    significant: bool | None
    n_a: int
    n_b: int


@dataclass(frozen=True)
class Study:
    """All of a comparison.

    Attributes:
        folder: where its report goes. settings: what was asked. skipped: run or protocol -> why it has no number.
    """

    folder: Path
    runs: list[Run]
    spreads: list[Spread]
    contrasts: list[Contrast]
    settings: dict
    skipped: dict


def read_runs(folders: str | Path | Sequence[str | Path]) -> list[Run]:
    """Every run below some sweep folders, in order of their names, in whatever state it was left.

    A family that lies in two folders is one family if its configs agree but for seeds, and no seed is there twice;
    else each gets its folder's name in front. Nothing a run folder holds can raise.

    Raises:
        UserError: a folder does not exist.
    """
    folders = [Path(folder) for folder in ([folders] if isinstance(folders, str | Path) else folders)]
    for folder in folders:
        if not folder.is_dir():
            raise UserError(f"{folder} does not exist; name the folder of a sweep, such as runs/compare_temporal.")
    found = [(folder, read_run(path, folder)) for folder in folders for path in find_runs(folder)]
    once = {run.folder.resolve(): (folder, run) for folder, run in reversed(found)}
    return _told_apart(list(reversed(once.values())))


def find_runs(folder: Path) -> Iterator[Path]:
    """Run folders at or below a folder."""
    if any((folder / name).is_file() for name in RUN_FILES) or (folder / "checkpoints").is_dir():
        yield folder
        return
    below = sorted(path for path in folder.iterdir() if path.is_dir())
    for path in below:
        if path.name not in NOT_SWEPT and not path.name.startswith("."):
            yield from find_runs(path)


def read_run(folder: Path, sweep: Path) -> Run:
    """A run without its judgement.

    Args:
        sweep: the folder its family is named from.
    """
    name = folder.relative_to(sweep).as_posix() if folder != sweep else folder.resolve().name
    parts = NAME.fullmatch(name)
    config, metrics, failure = read_config(folder), _json(folder / "metrics.json"), _json(folder / "failure.json")
    curves = _curves(folder / "metrics.csv")
    facts = _facts(folder, metrics or {}, failure or {}, curves)
    state, note = _state(config, metrics, failure, facts["clips_seen"])
    told = (config.get("seed"), ((failure or {}).get("config") or {}).get("seed"), parts and int(parts["seed"]))
    seed = next((each for each in told if isinstance(each, int)), 0)
    family = parts["head"] + parts["tag"] if parts else name
    return Run(folder, family, seed, state, note, facts, curves)


def read_config(folder: Path) -> dict:
    """A run's config; {} where it has none that can be read."""
    try:
        config = yaml.safe_load((folder / "config.yaml").read_text())
    except (OSError, ValueError, yaml.YAMLError):
        return {}
    return config if isinstance(config, dict) else {}


def unlike(runs: Sequence[Run]) -> list[str]:
    """Keys, beside seeds and lengths, in which the configs of some runs differ."""
    configs = [flatten(config) for run in runs if (config := read_config(run.folder))]
    keys = sorted({key for config in configs for key in config if not _is_own(key)})
    return [key for key in keys if any(config.get(key) != configs[0].get(key) for config in configs)]


def _is_own(key: str) -> bool:
    return key.split(".")[-1] == "seed" or any(key == own or key.startswith(f"{own}.") for own in OWN)


def _state(config: dict, metrics: dict | None, failure: dict | None, clips: int) -> tuple[str, str]:
    """The state and its note."""
    if failure is not None:
        said = " ".join(str(failure.get("error") or "failure.json cannot be read").split())
        state = "refused" if failure.get("kind") == "refused" else "failed"
        return state, said + (f" (after {clips:,} clips)" if clips and state == "failed" else "")
    if metrics and metrics.get("finished") and metrics.get("clips_seen") == clips:
        return "finished", ""
    goal = config.get("max_clips")
    notes = [f"{clips:,} of {goal:,} clips" if isinstance(goal, int) else f"{clips:,} clips"]
    notes += [] if config else ["no config.yaml that can be read"]
    notes += ["metrics.json cannot be read"] if metrics == {} else []
    return "unfinished", "; ".join(notes)


def _facts(folder: Path, metrics: dict, failure: dict, curves: dict) -> dict[str, object]:
    """What metrics.json says, else the last row of metrics.csv; clips as far as any of them tells."""
    last = {name: y[-1] for name, (_, y) in curves.items() if y}
    facts = {name: value for name, value in metrics.items() if name != "finished"}
    facts |= {name: last[name] for name in TOTALS if name in last and not isinstance(facts.get(name), int | float)}
    told = [each.get("clips_seen") for each in (metrics, failure)] + [x[-1] for x, _ in curves.values() if x]
    facts["clips_seen"] = int(max((each for each in told if isinstance(each, int | float)), default=0))
    started = metrics.get("started") or _json(folder / "started.json")
    parts = {"parameters": metrics.get("parameters"), "macs": metrics.get("macs"), "started": started}
    return facts | {name: part if isinstance(part, dict) else {} for name, part in parts.items()}


def _curves(path: Path) -> dict[str, tuple[list[float], list[float]]]:
    try:
        _, columns = read_curves(path)
    except (OSError, ValueError, csv.Error):  # UserError and broken text are ValueErrors
        return {}
    return {name: (x.tolist(), y.tolist()) for name, (x, y) in columns.items()}


def _json(path: Path) -> dict | None:
    """None without the file, {} where it is half-written or no object."""
    try:
        content = json.loads(path.read_text())
    except FileNotFoundError:
        return None
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


def _told_apart(found: list[tuple[Path, Run]]) -> list[Run]:
    """Runs whose families of the same name in different folders are one, or named apart."""
    families: dict[str, list[tuple[Path, Run]]] = {}
    for folder, run in found:
        families.setdefault(run.family, []).append((folder, run))
    places = _places({folder.resolve() for folder, _ in found})
    runs = []
    for folder, run in found:
        same = families[run.family]
        seeds = [other.seed for _, other in same]
        apart = len({where for where, _ in same}) > 1
        if apart and (len(set(seeds)) < len(seeds) or unlike([other for _, other in same])):
            run = replace(run, family=f"{places[folder.resolve()]}/{run.family}")
        runs.append(run)
    return runs


def _places(folders: set[Path]) -> dict[Path, str]:
    """Names of folders, with as many parents as it takes to tell them apart."""
    deep = 1
    while len({folder.parts[-deep:] for folder in folders}) < len(folders):
        deep += 1
    return {folder: Path(*folder.parts[-deep:]).as_posix() for folder in folders}
