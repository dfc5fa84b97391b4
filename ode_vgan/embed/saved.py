"""Trained CLIP models on disk: the run folder that train.py wrote, learned weights alone, or an exported folder."""

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor

from ode_vgan.build import build, find_target
from ode_vgan.data.clips import write_atomic
from ode_vgan.embed.clip_model import LOCKED, ClipModel
from ode_vgan.embed.towers import embed_dim, packaged_sha256
from ode_vgan.errors import UserError
from ode_vgan.runs import CHECKPOINT, find_checkpoint, read_checkpoint

KIND, TARGET = "clip", "ode_vgan.embed.clip_model.ClipModel"
CONFIG, WEIGHTS = "config.json", "model.safetensors"  # learned weights alone
POOLING, TOWERS, POOLED = "clip_pooling.json", "open_clip_model.safetensors", "clip_pooling.safetensors"  # exported


@dataclass(frozen=True)
class Saved:
    """A model as it lies on disk.

    Attributes:
        path: the file or folder it was read from, for messages.
        arguments: of `ClipModel`, plain.
        state: of a whole `ClipModel`, or without its locked towers.
        towers: sha256 by side of the packages' weights that it was learned on, where that is known.
    """

    path: Path
    arguments: dict
    state: dict[str, Tensor]
    towers: dict[str, str]

    @property
    def dim(self) -> int:
        """E."""
        return embed_dim(self.arguments["model"])

    def locked(self) -> list[str]:
        """Sides whose towers are locked and come from their packages."""
        sides = [side for side in LOCKED if self.arguments.get(f"lock_{side}")]
        return [side for side in sides if not any(name.startswith(LOCKED[side]) for name in self.state)]

    def fingerprint(self) -> str:
        """Of all weights, the packages' too, of the model's name and of the pooling."""
        told = {"model": self.arguments["model"], "pooling": self.arguments["pooling"]}
        told["towers"] = {side: packaged_sha256(side) for side in self.locked()}
        digest = hashlib.sha256(json.dumps(told, sort_keys=True).encode())
        for name, tensor in sorted(self.state.items()):
            digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
            digest.update(tensor.contiguous().numpy().tobytes())
        return f"{self.arguments['model']}-{digest.hexdigest()[:16]}"

    def build(self) -> ClipModel:
        """The model, in eval mode, frozen.

        Raises:
            UserError: the weights are another architecture's, or were learned on other towers than are installed.
        """
        for side in self.locked():
            here, wanted = packaged_sha256(side), self.towers.get(side)
            if wanted not in (None, here):
                raise UserError(f"{self.path} was learned on the {side} tower {wanted[:16]}, here is {here[:16]}. "
                                "Install that one, or train again.")  # fmt: skip
        whole = not self.locked()
        model = build({**self.arguments, "_target_": TARGET, "weights": not whole})
        try:
            model.load_learned(self.state)
        except UserError as error:
            raise UserError(f"{self.path}: {error}") from None
        return model.eval().requires_grad_(False)


def read_saved(path: str | Path) -> Saved:
    """Whatever kind of folder it is; also a run's checkpoint file.

    Raises:
        UserError: there is no model, one of its files is missing or broken, or the run trained something else.
    """
    path = Path(path)
    if (path / POOLING).is_file():
        return _exported(path)
    if (path / CONFIG).is_file():
        return _learned(path)
    if path.is_file() or (path / CHECKPOINT).is_file():
        return _run(find_checkpoint(path))
    raise UserError(
        f"{path} holds no CLIP for clips: no {CHECKPOINT} of a run, no {CONFIG}, no {POOLING}. "
        "Name a run of +experiment=clip_tiny, or a folder that `ode-vgan clip export` wrote."
    )


def save_learned(clip: ClipModel, folder: str | Path, told: dict | None = None) -> None:
    """Write learned weights alone, float16, and what builds the model around them again.

    Args:
        folder: config.json and model.safetensors in it are replaced.
        told: more to keep in config.json, plain, such as where the weights were learned and what they reach.
    """
    towers = {side: packaged_sha256(side) for side, locked in clip.locks.items() if locked}
    config = {"kind": KIND, "clip": clip.described(), "towers": towers} | (told or {})
    state = {name: _half(tensor).contiguous() for name, tensor in clip.learned_state().items()}
    write_atomic(Path(folder) / WEIGHTS, save(state))
    write_atomic(Path(folder) / CONFIG, (json.dumps(config, indent=2) + "\n").encode())


def _half(tensor: Tensor) -> Tensor:
    return tensor.cpu().half() if tensor.is_floating_point() else tensor.cpu()


def _run(path: Path) -> Saved:
    content = read_checkpoint(path)
    node = content["ode_vgan"]["config"].get("model", {})
    arguments = node.get("clip")
    if not isinstance(arguments, dict):
        raise UserError(
            f"{path}: the run trained {node.get('_target_')}, no CLIP. Name a run of +experiment=clip_tiny."
        )
    state = content["state_dict"]
    own = {name.removeprefix("clip."): tensor for name, tensor in state.items() if name.startswith("clip.")}
    if "bias" in state:  # a loss brought it: the logits' own
        own, arguments = own | {"towers.logit_bias": state["bias"]}, arguments | {"bias": True}
    return Saved(path, _arguments(path, arguments), own, {})


def _learned(folder: Path) -> Saved:
    config = read_json(folder / CONFIG)
    if config.get("kind") != KIND:
        raise UserError(f"{folder / CONFIG}: kind {config.get('kind')!r}, wanted {KIND!r}. Name another folder.")
    arguments = _arguments(folder / CONFIG, config.get("clip"))
    return Saved(folder, arguments, read_tensors(folder / WEIGHTS), dict(config.get("towers") or {}))


def _exported(folder: Path) -> Saved:
    config = read_json(folder / POOLING)
    arguments = _arguments(folder / POOLING, config.get("clip"))
    parts = {"towers": read_tensors(folder / TOWERS), "pooling": read_tensors(folder / POOLED)}
    state = {f"{part}.{name}": tensor for part, tensors in parts.items() for name, tensor in tensors.items()}
    return Saved(folder, arguments, state, {})


def _arguments(path: Path, given: object) -> dict:
    """Arguments of `ClipModel`, checked as far as a look without building goes."""
    if not isinstance(given, dict) or not isinstance(given.get("model"), str):
        raise UserError(f"{path} does not say which model it is: no clip.model. Take a whole copy of the folder.")
    pooling = given.get("pooling")
    if not isinstance(pooling, dict) or "_target_" not in pooling:
        raise UserError(f"{path} does not say how clips are pooled: no clip.pooling. Take a whole copy of the folder.")
    find_target(pooling["_target_"])
    return {name: value for name, value in given.items() if name not in ("_target_", "weights")}


def read_json(path: Path) -> dict:
    """A JSON object of a file.

    Raises:
        UserError: there is none.
    """
    try:
        content = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise UserError(f"{path} cannot be read ({_line(error)}). Take a whole copy of the folder.") from None
    if not isinstance(content, dict):
        raise UserError(f"{path} holds a {type(content).__name__}, not an object. Take a whole copy of the folder.")
    return content


def read_tensors(path: Path) -> dict[str, Tensor]:
    """Tensors of a safetensors file.

    Raises:
        UserError: it is missing or broken.
    """
    try:
        return load_file(path)
    except (OSError, SafetensorError) as error:
        raise UserError(f"{path} cannot be read ({_line(error)}). Take a whole copy of the folder.") from None


def _line(error: Exception) -> str:
    return " ".join(str(error).split())[:120]
