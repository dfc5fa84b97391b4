"""What a run folder tells of its run: what the run is, and every number that was taken of it, wherever it was left."""

import hashlib
import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from ode_vgan.embed.embedder import file_sha256
from ode_vgan.metrics.protocol import METRICS, parse_protocol
from ode_vgan.report.chosen import looks
from ode_vgan.report.study import RUN_FILES, Run
from ode_vgan.runs import CHECKPOINT, MAY_DIFFER, flatten

SPLITS = ("train", "val", "test", "all")
LOWER = ("loss", "error", "seconds")  # words of a logged name that lower values of are better
EVALUATIONS = "evaluations"  # folder of a run


@dataclass(frozen=True)
class Measured:
    """One number of a run.

    Attributes:
        samples: clips trained on when it was taken. better: "lower" or "higher".
        low, high: its interval over clips; None where none was made. real: as `report.study.Score` has it.
        protocol: all else it depends on.
    """

    metric: str
    split: str
    samples: int
    value: float
    better: str
    low: float | None = None
    high: float | None = None
    real: float | None = None
    protocol: Mapping[str, object] = field(default_factory=dict)


def about(run: Run, config: dict) -> dict[str, object]:
    """The columns of a ledger that all numbers of a run share."""
    model, data = config.get("model") or {}, config.get("data") or {}
    kind = "gan" if "generator" in model else "clip" if "clip" in model else _class(model)
    study = str(config.get("name") or run.folder.resolve().parent.name)
    return {
        "run": f"{study}/{run.folder.resolve().name}",
        "config": _digest(config),
        "study": study,
        "kind": kind,
        "family": run.family,
        "model": _towers(model) or _class(model),
        "distribution": _distribution(data),
        "seed": run.seed,
        "clips_data": next((data[name] for name in ("clips", "limit") if isinstance(data.get(name), int)), None),
        "macs_per_sample": _number(run.facts["macs"].get("forward")),
        "nfe": _number(run.facts.get("nfe")),
        "parameters": _parameters(run.facts["parameters"]),
        "commit": run.facts["started"].get("commit"),
        "date": _date(run.folder),
    }


def measurements(run: Run, config: dict) -> list[Measured]:
    """Every number of a run, each once: judged ones first, then evaluations, looks of training, and the last scores."""
    found: dict[tuple[str, str, int], Measured] = {}
    for source in (_judged(run), _evaluations(run), _logged(run, config), _last(run, config)):
        for one in source:
            found.setdefault((one.metric, one.split, one.samples), one)
    return sorted(found.values(), key=lambda one: (one.metric, one.split, one.samples))


def parse_name(name: str, split: str = "") -> tuple[str, str] | None:
    """The metric and the split of a logged name; None for what is no score.

    "score/fd256_hog3d" was taken on the split that the config says; "score/fvd128_16f/test" and "val/R@1" say theirs.
    """
    words = name.split("/")
    if words[0] == "score" and len(words) > 1:
        words = words[1:]
    elif words[0] not in SPLITS[1:]:  # of "train/..." are the losses of batches
        return None
    said = next((word for word in words if word in SPLITS), split)
    metric = "/".join(word for word in words if word not in SPLITS)
    return (metric, said) if metric else None


def better_of(metric: str) -> str:
    """Whether lower or higher values of a metric are better."""
    try:
        return METRICS[parse_protocol(metric.partition("/")[0]).metric].better
    except ValueError:
        return "lower" if any(word in metric.lower() for word in LOWER) else "higher"


def _judged(run: Run) -> Iterator[Measured]:
    """Scores that `ode-vgan compare` kept, at the checkpoints that are still there."""
    files = sorted((run.folder / "judged").glob("*.json"))
    contents = [content for path in files if (content := _json(path)) and "protocol" in (content.get("asked") or {})]
    if not contents:
        return
    last = run.folder / CHECKPOINT
    seen = {file_sha256(path): clips for clips, path in looks(run.folder).items()}
    if last.exists():
        seen.setdefault(file_sha256(last), run.facts["clips_seen"])
    for content in contents:
        samples = seen.get(content["asked"].get("checkpoint_sha256"))
        for one in (content.get("found") or {}).get("results", ()) if samples is not None else ():
            told = {name: one.get(name) for name in ("low", "high", "real", "better")}
            yield Measured(
                one["name"], content["asked"]["split"], samples, one["value"], **told, protocol=one["protocol"]
            )


def _evaluations(run: Run) -> Iterator[Measured]:
    """evaluations/*.json: {"samples_seen": N or absent, "protocol": {}, "scores": {"test/NAME": VALUE or {value, low,
    high, better}}}."""
    for path in sorted((run.folder / EVALUATIONS).glob("*.json")):
        content = _json(path) or {}
        samples = content.get("samples_seen", run.facts["clips_seen"])
        for name, told in (content.get("scores") or {}).items():
            told = told if isinstance(told, dict) else {"value": told}
            parsed = parse_name(name)
            if parsed and _number(told.get("value")) is not None:
                rest = {part: told.get(part) for part in ("low", "high", "real")}
                better = told.get("better") or better_of(parsed[0])
                yield Measured(*parsed, samples, told["value"], better, **rest, protocol=content.get("protocol") or {})


def _logged(run: Run, config: dict) -> Iterator[Measured]:
    for name, (clips, values) in run.curves.items():
        for at, value in zip(clips, values, strict=True):
            reals = dict(zip(*run.curves.get(f"{name}_real", ((), ())), strict=True))
            yield from _scored(name, int(at), value, reals.get(at), config)


def _last(run: Run, config: dict) -> Iterator[Measured]:
    scores = run.facts.get("score")
    for name, value in (scores if isinstance(scores, dict) else {}).items():
        yield from _scored(name, run.facts["clips_seen"], value, scores.get(f"{name}_real"), config)


def _scored(name: str, samples: int, value: object, real: object, config: dict) -> Iterator[Measured]:
    metrics = config.get("metrics") or {}
    parsed = None if name.endswith("_real") else parse_name(name, str(metrics.get("split") or ""))
    value = _number(value)
    if parsed is None or value is None:
        return
    protocol = {"taken": "during training"} | {key: metrics[key] for key in ("seed",) if key in metrics}
    yield Measured(*parsed, samples, value, better_of(parsed[0]), real=_number(real), protocol=protocol)


def _digest(config: dict) -> str:
    flat = flatten(config)
    kept = {
        key: flat[key] for key in sorted(flat) if not any(key == one or key.startswith(f"{one}.") for one in MAY_DIFFER)
    }
    return hashlib.sha256(json.dumps(kept, default=str).encode()).hexdigest()[:12]


def _class(node: dict) -> str:
    return str(node.get("_target_", "")).rpartition(".")[2]


def _towers(model: dict) -> str:
    """The name of a CLIP model's towers."""
    clip = model.get("clip")
    name = clip.get("model") if isinstance(clip, dict) else clip
    return name if isinstance(name, str) else ""


def _distribution(data: dict) -> str:
    node = data.get("distribution")
    if isinstance(node, dict):
        return _class(node).lower()
    return str(node or data.get("source") or _class(data))


def _parameters(parts: dict) -> int | None:
    """The generator's, or all parts of another model, whose parts do not overlap; `total` where it is told."""
    told = {name: number for name, number in parts.items() if isinstance(number, int)}
    return told.get("total") or told.get("generator") or sum(told.values()) or None


def _date(folder: Path) -> str:
    newest = max(path.stat().st_mtime for name in RUN_FILES if (path := folder / name).is_file())
    return datetime.fromtimestamp(newest, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _number(value: object) -> float | None:
    plain = isinstance(value, int | float) and not isinstance(value, bool)
    return float(value) if plain and math.isfinite(value) else None


def _json(path: Path) -> dict | None:
    try:
        content = json.loads(path.read_text())
    except (OSError, ValueError):
        return None
    return content if isinstance(content, dict) else None
