"""An exported folder, read as numbers and plain data only."""

import json
from dataclasses import dataclass
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from ode_vgan.embed.embedder import file_sha256
from ode_vgan.errors import UserError

KIND, FORMAT = "video_gan", 1
CONFIG, WEIGHTS, CRITICS, CARD, EMBED = "config.json", "model.safetensors", "critics.safetensors", "README.md", "embed"
FILES = ("folder", "checkpoint")  # arguments of embedders that name files
LARGEST_CONFIG = 2**22  # bytes
REMEDY = "Take a whole copy of the folder, or export the run again."


@dataclass(frozen=True)
class Exported:
    """What a folder of `ode-vgan export` holds.

    Attributes:
        config: the run's, plain; files that its embedder needs are named where they lie now.
        clips_seen: clips trained on.
        weights: of the averaged generator.
        path: the file of weights.
    """

    config: dict
    clips_seen: int
    weights: dict[str, Tensor]
    path: Path


def is_exported(path: str | Path) -> bool:
    """Whether a folder is one of `ode-vgan export`, or means to be."""
    path = Path(path)
    return (path / CONFIG).is_file() and not (path / "checkpoints").exists()


def read_exported(folder: str | Path) -> Exported:
    """Config and weights of an exported folder; each file must be the one that was written with the others.

    Raises:
        UserError: files missing, broken, changed or not of this kind, or a config that names files elsewhere.
    """
    folder = Path(folder)
    told = _told(folder / CONFIG)
    weights = _weights(folder / WEIGHTS, told["sha256"].get(WEIGHTS))
    config = told["config"] | {"embed": _embed_here(folder, told["config"]["embed"])}
    return Exported(config, told["clips_seen"], weights, folder / WEIGHTS)


def _told(path: Path) -> dict:
    if path.stat().st_size > LARGEST_CONFIG:
        raise UserError(f"{path} has {path.stat().st_size} bytes, the limit is {LARGEST_CONFIG}. {REMEDY}")
    try:
        told = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise UserError(f"{path} cannot be read ({_line(error)}). {REMEDY}") from None
    if not isinstance(told, dict) or told.get("kind") != KIND:
        kind = told.get("kind") if isinstance(told, dict) else type(told).__name__
        raise UserError(f"{path}: kind {kind!r}, wanted {KIND!r}. Name a folder that `ode-vgan export` wrote.")
    if told.get("format") != FORMAT:
        raise UserError(f"{path}: format {told.get('format')!r}, this version reads {FORMAT}. Update ode_vgan.")
    config, seen, sums = told.get("config"), told.get("clips_seen"), told.get("sha256")
    parts = config if isinstance(config, dict) else {}
    whole = all(isinstance(parts.get(name), dict) for name in ("model", "data", "embed"))
    if not whole or type(seen) is not int or seen < 0 or not isinstance(sums, dict):
        raise UserError(f"{path} lacks a config with model, data and embed, clips_seen or sha256. {REMEDY}")
    return told


def _weights(path: Path, wanted: object) -> dict[str, Tensor]:
    if not path.is_file():
        raise UserError(f"{path} is missing. {REMEDY}")
    if file_sha256(path) != wanted:
        raise UserError(f"{path} is not the file that {CONFIG} was written with (sha256 differs). {REMEDY}")
    try:
        return load_file(path)
    except (OSError, ValueError, KeyError, TypeError, SafetensorError) as error:
        raise UserError(f"{path} cannot be read ({_line(error)}). {REMEDY}") from None


def _embed_here(folder: Path, node: dict) -> dict:
    """The embedder's node with its files as they lie in the folder."""
    here = dict(node)
    for key in FILES:
        name = node.get(key)
        if name is None:
            continue
        inside = (folder / str(name)).resolve()
        if not inside.is_relative_to(folder.resolve()):
            raise UserError(f"{folder / CONFIG}: embed.{key}={name} lies outside the folder; load only what you trust.")
        here[key] = str(inside)
    return here


def _line(error: Exception) -> str:
    return " ".join(str(error).split())[:120] or type(error).__name__
