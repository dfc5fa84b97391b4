"""Write a trained generator as a folder that may be given away."""

import json
import os
import platform
import re
import shutil
import tempfile
from collections.abc import Callable, Sequence
from contextlib import contextmanager
from dataclasses import replace
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from safetensors.torch import save
from torch import Tensor

from ode_vgan.embed.embedder import file_sha256
from ode_vgan.errors import UserError
from ode_vgan.share.card import card, gap_seconds, judged_results
from ode_vgan.share.loaded import CARD, CONFIG, CRITICS, EMBED, FORMAT, KIND, WEIGHTS, is_exported

if TYPE_CHECKING:
    from ode_vgan.runs import Trained

CLIPS = 4  # samples, where no text is given
FOLDERS = re.compile(r"(?<![\w.:/])~?/(?:[^\s/'\"=,]+/)+")  # of absolute paths, inside longer texts
TAKEN = (".json", ".safetensors", ".txt")  # files of an embedder's folder


def export_run(
    run: str | Path, out: Path, *, critics: bool = False, licence: str | None = None, texts: Sequence[str] = (),
    more: Callable[["Trained", Path], list[str]] | None = None,
) -> Path:  # fmt: skip
    """Write the averaged generator of a run into a fresh folder, whole or not at all.

    Args:
        critics: their weights too.
        licence: of the weights, as hubs name it; None: apache-2.0 for clips that come with ode_vgan, else "other".
        texts: of the sample clips; none: held-out captions of the run's data.
        more: writes further files into the folder that is being made; returns lines for the card.

    Raises:
        UserError: no such run, a folder that is not empty, or an embedder that cannot be given away.
    """
    from ode_vgan.runs import find_checkpoint, load, read_checkpoint, write_json

    if is_exported(run):
        raise UserError(f"{run} is an exported folder already; copy it, or name the run that it came from.")
    checkpoint = find_checkpoint(run)
    trained, extras = load(checkpoint), []
    texts = list(texts) or held_out_captions(trained.config, CLIPS)
    with fresh_folder(out) as folder:
        save_state(trained.generator.state_dict(), folder / WEIGHTS)
        if critics:
            save_state(part_of(read_checkpoint(checkpoint)["state_dict"], "critics."), folder / CRITICS)
            extras.append(f"`{CRITICS}` holds the critics, for who goes on training.")
        config = without_paths(trained.config) | {"embed": copy_embedder(trained.config["embed"], folder / EMBED)}
        sums = {path.name: file_sha256(path) for path in sorted(folder.glob("*.safetensors"))}
        told = {"kind": KIND, "format": FORMAT, "clips_seen": trained.clips_seen, "sha256": sums, "config": config}
        write_json(folder / CONFIG, told)
        (folder / "requirements.txt").write_text(requirements())
        write_samples(trained, texts, folder / "samples")
        extras += more(trained, folder) if more else []
        named = {"name": out.resolve().name, "licence": licence, "texts": texts, "extras": extras}
        (folder / CARD).write_text(_card(trained, config, named), encoding="utf-8")
    return out


def _card(trained: "Trained", config: dict, named: dict) -> str:
    """The card, from what lies in the run's folder; `config` names no folder of this machine."""
    from ode_vgan.cli.sample import run_folder

    folder = run_folder(trained.checkpoint)
    results = judged_results(folder, same_weights(trained), trained.clips_seen)
    ours = config["data"].get("source") in ("emoji", "shapes")
    licence = named["licence"] or ("apache-2.0" if ours else "other")
    started = without_paths(started_of(folder))
    return card(replace(trained, config=config), results, **{**named, "licence": licence, "started": started})


@contextmanager
def fresh_folder(out: Path):
    """A folder beside `out` that takes its place when all went well, and is gone when not.

    Raises:
        UserError: there is something at `out` already.
    """
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise UserError(f"--out {out} exists and is not an empty folder; name another, or delete it.")
    parent = out.resolve().parent
    parent.mkdir(parents=True, exist_ok=True)
    made = Path(tempfile.mkdtemp(prefix=f".{out.name}.", dir=parent))
    try:
        yield made
        made.chmod(0o777 & ~_umask())
        os.rename(made, out.resolve())
    except OSError as error:
        if out.exists() and any(out.iterdir()):
            raise UserError(f"--out {out} was filled by another process; name another.") from error
        raise
    finally:
        shutil.rmtree(made, ignore_errors=True)


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def same_weights(trained: "Trained") -> set[str]:
    """sha256 of its checkpoint, and of the one that the run kept after as many clips if its weights are the same."""
    from ode_vgan.runs import load

    own = trained.checkpoint
    found, kept = {file_sha256(own)}, own.with_name(f"clips_{trained.clips_seen:09d}.ckpt")
    if kept.is_file() and kept != own:
        theirs, ours = load(kept).generator.state_dict(), trained.generator.state_dict()
        if theirs.keys() == ours.keys() and all(torch.equal(theirs[name], ours[name]) for name in ours):
            found.add(file_sha256(kept))
    return found


def part_of(state: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """The tensors of one part of a checkpoint.

    Raises:
        UserError: there are none.
    """
    found = {name.removeprefix(prefix): tensor for name, tensor in state.items() if name.startswith(prefix)}
    if not found:
        raise UserError(f"the checkpoint holds no {prefix.rstrip('.')}; leave out --{prefix.rstrip('.')}.")
    return found


def save_state(state: dict[str, Tensor], path: Path) -> None:
    """Tensors as safetensors, which wants each whole, dense and by itself."""
    path.write_bytes(save({name: tensor.detach().cpu().clone().contiguous() for name, tensor in state.items()}))


def without_paths(value: Any) -> Any:
    """Plain data without folders of this machine: of a path only the last part stays."""
    if isinstance(value, dict):
        return {key: without_paths(each) for key, each in value.items()}
    if isinstance(value, list):
        return [without_paths(each) for each in value]
    return FOLDERS.sub("", value) if isinstance(value, str) else value


def copy_embedder(node: dict, folder: Path) -> dict:
    """The embedder's node, and in `folder` the files it needs that are not the package's own.

    Raises:
        UserError: its weights are a pickle.
    """
    node, given = dict(node), {key: node[key] for key in ("folder", "checkpoint") if node.get(key)}
    if "folder" in given:
        source = Path(given["folder"])
        folder.mkdir()
        if any(source.glob("*.safetensors")):
            for path in (path for path in source.iterdir() if path.suffix in TAKEN):
                shutil.copyfile(path, folder / path.name)
        else:  # the run folder of a trained CLIP
            from ode_vgan.embed.export import export
            from ode_vgan.embed.saved import read_saved

            export(read_saved(source).build(), folder)
        node["folder"] = EMBED
    if "checkpoint" in given:
        source = Path(given["checkpoint"])
        if source.suffix != ".safetensors":
            raise UserError(f"embed.checkpoint={source} may hold code; convert it to safetensors, train with that.")
        folder.mkdir(exist_ok=True)
        shutil.copyfile(source, folder / source.name)
        node["checkpoint"] = f"{EMBED}/{source.name}"
    return node


def held_out_captions(config: dict, count: int) -> list[str]:
    """Different captions of clips that were not trained on; where they are not here, a word that any model takes."""
    from ode_vgan.data.store import open_source, split_entries

    try:
        data = config["data"]
        names = (data.get("train_split", "train"), data.get("test_split", "test"))
        entries = split_entries(open_source(data["source"]), names)[1]
    except (UserError, OSError, KeyError):
        entries = []
    captions = dict.fromkeys(" ".join(entry.caption.split()) for entry in entries if (entry.caption or "").strip())
    return list(captions)[:count] or ["a clip"]


def write_samples(trained: "Trained", texts: list[str], folder: Path) -> None:
    """samples.mp4 and samples.png of all texts, and each clip by itself, at the training's own times."""
    from ode_vgan.sampled import Sampled, write_sampled

    times = [i * gap_seconds(trained) for i in range(trained.config["data"]["frames"])]
    title = f"{type(trained.generator.temporal).__name__} after {trained.clips_seen:,} clips, seed 0"
    folder.mkdir()
    write_sampled(Sampled(trained, texts, times, 0, again=True), folder / "samples", title=title, alone=folder)


def started_of(folder: Path) -> dict:
    """Command, commit and machine that the run wrote down; empty where it did not."""
    try:
        told = json.loads((folder / "started.json").read_text())
    except (OSError, ValueError):
        return {}
    return told if isinstance(told, dict) else {}


def requirements() -> str:
    """What is installed of the package's own dependencies, one pin a line."""
    names = [re.match(r"[\w.-]+", line)[0] for line in metadata.requires("ode_vgan") or [] if "extra ==" not in line]
    pins = [f"{name}=={metadata.version(name).partition('+')[0]}" for name in names]
    own = metadata.version("ode_vgan")
    return "\n".join([f"# ode_vgan {own} itself, and with Python {platform.python_version()}:", *pins]) + "\n"
