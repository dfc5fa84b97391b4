"""The model card of an exported folder: what it is, what it was trained on, what it scored and where it fails."""

import json
from pathlib import Path
from typing import TYPE_CHECKING

import yaml

if TYPE_CHECKING:
    from ode_vgan.runs import Trained

CODE_LICENCE = "The code of ode_vgan is under the Apache License 2.0."
SOURCES = {
    "emoji": "732 looping clips of animated emoji, 64x64 px, captioned with their Unicode names; the artwork is "
    "Microsoft's Fluent Emoji, under the MIT licence",
    "shapes": "synthetic clips of moving shapes, drawn by ode_vgan itself",
}
CAN = {
    "continuous": ("any time between frames may be asked for, and gives one and the same path",
                   "a path asked for at other times is another path"),
    "any_gap": ("any gap between frames", "only the frame gap it was trained at"),
    "backward": ("times before the clip's start", "no times before the clip's start"),
    "extrapolates": ("times beyond the trained window (what is shown there was never judged)",
                     "no times beyond the trained window"),
    "step_noise": ("a seed draws a path's own noise, so that one start has many paths",
                   "one start and one text have one path"),
}  # fmt: skip


def card(
    trained: "Trained",
    results: list[dict],
    *,
    name: str,
    licence: str,
    texts: list[str],
    started: dict,
    extras: list[str],
) -> str:
    """Markdown with front matter as model hubs read it.

    Args:
        results: as `judged_results` finds them.
        texts: of the sample clips. started: command, commit and machine of the run, where known.
        extras: lines that tell of further files.
    """
    parts = [
        _front(trained, results, name, licence),
        _opening(trained, name),
        _use(name, texts, trained, extras),
        _data(trained),
        _training(trained, started),
        _results(results),
        _limits(trained),
        _licence(trained, licence),
    ]
    return "\n".join(parts)


def judged_results(folder: Path, sha256: set[str], clips_seen: int) -> list[dict]:
    """What `ode-vgan evaluate` and `ode-vgan compare` found about this very checkpoint, of files in its run folder.

    `sha256` holds those of its file and of others with the same weights. A file that is not theirs is passed over;
    `evaluation.json` counts if what it judged had seen as many clips.
    """
    found = []
    told = _read(folder / "evaluation.json")
    seen = told.get("clips_seen")
    if isinstance(seen, dict) and list(seen.values()) == [clips_seen]:
        found += [one for one in told.get("results") or [] if isinstance(one, dict) and one.get("subject") in seen]
    for path in sorted((folder / "judged").glob("*.json")):
        told = _read(path)
        asked, answer = told.get("asked"), told.get("found")
        if isinstance(asked, dict) and isinstance(answer, dict) and asked.get("checkpoint_sha256") in sha256:
            found += [one for one in answer.get("results") or [] if isinstance(one, dict)]
    known = {_key(one): one for one in found if {"name", "value", "low", "high", "protocol"} <= one.keys()}
    return [known[key] for key in sorted(known)]


def _read(path: Path) -> dict:
    try:
        told = json.loads(path.read_text())
    except (OSError, ValueError):
        return {}
    return told if isinstance(told, dict) else {}


def _key(result: dict) -> tuple[str, ...]:
    protocol = result["protocol"]
    return result["name"], str(protocol.get("split")), str(protocol.get("seed")), str(protocol.get("clips_fake"))


def _front(trained: "Trained", results: list[dict], name: str, licence: str) -> str:
    front = {
        "license": licence,
        "library_name": "ode_vgan",
        "tags": ["video-generation", "gan", "neural-ode", type(trained.generator.temporal).__name__],
    }
    if _sees_text(trained):
        front |= {"language": "en", "pipeline_tag": "text-to-video"}
    if results:
        measured = [
            {
                "task": {"type": "text-to-video"},
                "dataset": {
                    "name": f"{one['protocol'].get('source')}, {one['protocol'].get('split')}",
                    "type": "video",
                },
                "metrics": [{"type": one["name"], "value": round(float(one["value"]), 4), "name": _interval(one)}],
            }
            for one in results
        ]
        front["model-index"] = [{"name": name, "results": measured}]
    return f"---\n{yaml.safe_dump(front, sort_keys=False, allow_unicode=True)}---\n"


def _opening(trained: "Trained", name: str) -> str:
    data, generator = trained.config["data"], trained.generator
    weights = sum(one.numel() for one in generator.parameters())
    own = sum(one.numel() for one in generator.temporal.parameters())
    kind = type(generator.temporal).__name__
    asked = "a caption" if _sees_text(trained) else "noise alone (it sees no text)"
    return (
        f"# {name}\n\nA generator of short videos from {asked}: a latent path in seconds (`{kind}`, {own:,} of "
        f"{weights:,} weights), decoded frame by frame at {data['size']}x{data['size']} px. "
        "Made with ode_vgan.\n\n![Sample clips](samples/samples.png)\n"
    )


def _use(name: str, texts: list[str], trained: "Trained", extras: list[str]) -> str:
    frames, gap = trained.config["data"]["frames"], gap_seconds(trained)
    lines = [
        "## Use\n",
        "```python",
        "import ode_vgan",
        "import torch",
        "",
        f"model = ode_vgan.load({name!r})  # this folder; numbers and plain text are read, no code",
        f"times = torch.arange({frames}) * {gap:g}  # seconds from the first frame, any that rise",
        f"clips = model.sample([{texts[0]!r}], times, seed=0)  # (1, {frames}, H, W, 3), uint8",
        "```\n",
        f'or `ode-vgan sample {name} --text "{texts[0]}"`. Install what `requirements.txt` lists.\n',
    ]
    shown = "; ".join(texts)
    lines.append(f"`samples/` shows {len(texts)} clips of seed 0, not chosen: {shown}.\n")
    return "\n".join([*lines, *(f"{extra}\n" for extra in extras)])


def _data(trained: "Trained") -> str:
    data, gap = trained.config["data"], gap_seconds(trained)
    source = str(data.get("source", "unknown"))
    return (
        f"## Data\n\n{SOURCES.get(source, f'Clips of `{source}`')}. The generator saw windows of {data['frames']} "
        f"frames, {gap:g} s apart, at {data['size']} px. Texts become vectors by `{_embedder(trained)}`.\n"
    )


def _training(trained: "Trained", started: dict) -> str:
    told = [f"## Training\n\n{trained.clips_seen:,} clips seen; the weights are the average over the last of them."]
    if started.get("command"):
        told.append(f"Command: `{started['command']}`")
    if started.get("commit"):
        changed = ", with uncommitted changes" if started.get("dirty") else ""
        told.append(f"at commit `{started['commit']}`{changed}, torch {started.get('torch', 'unknown')}.")
    return " ".join(told) + "\n"


def _results(results: list[dict]) -> str:
    if not results:
        return (
            "## Metrics\n\nThis checkpoint has not been judged. `ode-vgan evaluate` judges it against real clips and "
            "writes values with intervals.\n"
        )
    lines = [
        "## Metrics\n",
        "Lower is better unless a row says higher. `real` is what other real clips score. Values under different "
        "protocols do not compare.\n",
        "| metric | clips | value, 90 % interval | real | |",
        "|---|---|---|---|---|",
    ]
    for one in results:
        protocol = one["protocol"]
        real = "" if one.get("real") is None else f"{one['real']:.4g}"
        better = "higher" if one.get("better") == "higher" else ""
        lines.append(f"| {one['name']} | {protocol.get('split')} | {_interval(one)} | {real} | {better} |")
    lines.append("\nProtocols:\n")
    for name, protocol in {one["name"]: one["protocol"] for one in results}.items():
        lines.append(f"- {name}: " + "; ".join(f"{key} {value}" for key, value in protocol.items()))
    return "\n".join(lines) + "\n"


def _interval(result: dict) -> str:
    low, high = result["low"], result["high"]
    spread = "" if low is None or high is None else f" [{low:.4g}, {high:.4g}]"
    return f"{result['value']:.4g}{spread}"


def _limits(trained: "Trained") -> str:
    temporal, data = trained.generator.temporal, trained.config["data"]
    lines = [yes if getattr(temporal, able) else no for able, (yes, no) in CAN.items()]
    source = data.get("source", "training")
    seen = f"It knows what its {source} clips show; other words give the nearest it knows, or noise."
    return (
        "## Limits\n\n"
        + "\n".join(f"- {line[0].upper()}{line[1:]}." for line in lines)
        + f"\n- {seen if _sees_text(trained) else 'It cannot be told what to show.'}\n"
        "- Small and trained for the study of motion models: a step of research, not a product. Nothing filters what "
        "is asked or shown.\n"
    )


def _licence(trained: "Trained", licence: str) -> str:
    source = str(trained.config["data"].get("source", ""))
    data = (
        "" if source in SOURCES else " Whether the clips' owners allow these weights is for whoever shares them to say."
    )
    weights = (
        "No licence was given for these weights" if licence == "other" else f"These weights are shared under {licence}"
    )
    return f"## Licence\n\n{weights}.{data} {CODE_LICENCE}\n"


def gap_seconds(trained: "Trained") -> float:
    """Between frames in training."""
    return float(trained.config.get("gap_seconds") or 1 / 12)


def _sees_text(trained: "Trained") -> bool:
    return not _embedder(trained).endswith("NoEmbedder")


def _embedder(trained: "Trained") -> str:
    return str(trained.config["embed"].get("_target_", "unknown")).rpartition(".")[2]
