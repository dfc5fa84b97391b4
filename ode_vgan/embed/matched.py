"""Texts and frames in one space: MiniLM's and EfficientNet-Lite0's features behind a learned linear map each."""

import hashlib
import json
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor
from torch.nn.functional import linear, normalize

from ode_vgan.data.clips import decode_clip, write_atomic
from ode_vgan.data.shards import Entry
from ode_vgan.data.store import describe, open_source, set_aside, split_entries
from ode_vgan.embed.contrastive import Pairs, Recipe, chance, learn
from ode_vgan.embed.embedder import Embedder, file_sha256
from ode_vgan.embed.frames import FEATURES, FrameFeatures, even_frames
from ode_vgan.embed.sentence import SentenceEmbedder
from ode_vgan.errors import UserError
from ode_vgan.provenance import started

KIND, CLIP = "matched", "clip_tiny"
MAPS = {"text.weight": 2, "text.bias": 1, "frames.weight": 2, "frames.bias": 1}  # name -> axes


class MatchedEmbedder(Embedder):
    """Text by MiniLM, frames by ImageNet features, each mapped linearly into one space of unit vectors.

    A clip is the mean of its frames' vectors, at unit length: it cannot tell a clip from its reversal.

    Args:
        folder: model.safetensors and config.json, as `fit_matched` writes them; None takes the repository's own.
        batch: frames described together; four are the fastest on one core.

    Raises:
        UserError: the folder lacks a file, or one of them is not what `fit_matched` writes.
    """

    def __init__(self, folder: str | None = None, *, batch: int = 4, device: str = "cpu"):
        self.folder = Path(folder) if folder else shipped_folder()
        for name in ("config.json", "model.safetensors"):
            if not (self.folder / name).is_file():
                raise UserError(
                    f"{self.folder} has no {name}. Give a folder that fit_matched wrote, or embed=sentence."
                )
        self.config = read_config(self.folder / "config.json")
        self.dim, self.side_px = self.config["dim"], self.config["side_px"]
        self.batch, self.device = batch, torch.device(device)

    @cached_property
    def fingerprint(self) -> str:
        """Of the maps and of everything before them: both nets' weights and the side of the frames."""
        told = [file_sha256(self.folder / "model.safetensors"), *(self.config[key] for key in ("text", "frames"))]
        digest = hashlib.sha256(json.dumps([*told, self.side_px], sort_keys=True).encode()).hexdigest()
        return f"{KIND}-{digest[:16]}-mean"

    @cached_property
    def maps(self) -> dict[str, Tensor]:
        """Weights (E, F) and biases (E,) of both maps, float32."""
        path = self.folder / "model.safetensors"
        try:
            maps = {name: tensor.float().to(self.device) for name, tensor in load_file(path).items()}
        except (SafetensorError, OSError) as error:
            raise UserError(f"{path} is no whole safetensors file ({error}). Fit it again.") from error
        widths = {"text": self.config["text"]["dim"], "frames": self.config["frames"]["dim"]}
        wanted = {name: (self.dim, widths[name.partition(".")[0]])[:axes] for name, axes in MAPS.items()}
        found = {name: tuple(tensor.shape) for name, tensor in maps.items()}
        if found != wanted or not all(tensor.isfinite().all() for tensor in maps.values()):
            raise UserError(f"{path} holds {found}, its config says {wanted}, all finite. Fit it again.")
        return maps

    @cached_property
    def sentences(self) -> SentenceEmbedder:
        return self._same(SentenceEmbedder(), "text")

    @cached_property
    def features(self) -> FrameFeatures:
        return self._same(FrameFeatures(self.side_px, batch=self.batch, device=self.device), "frames")

    @torch.inference_mode()
    def encode_text(self, texts: list[str]) -> Tensor:
        if not texts:
            return torch.zeros(0, self.dim)
        return self._map("text", self.sentences.encode_text(texts).to(self.device))

    def encode_frames(self, clips: np.ndarray) -> Tensor:
        return normalize(self.encode_each_frame(clips).mean(1), dim=-1)

    @torch.inference_mode()
    def encode_each_frame(self, clips: np.ndarray | Tensor) -> Tensor:
        """(N, T, E) float32 rows of unit length, on the CPU, from (N, T, H, W, 3) uint8 clips."""
        return self._map("frames", self.features(clips).to(self.device))

    def _map(self, side: str, rows: Tensor) -> Tensor:
        return normalize(linear(rows, self.maps[f"{side}.weight"], self.maps[f"{side}.bias"]), dim=-1).cpu()

    def _same(self, net, side: str):
        """The net, if it is the one that the map was learned on."""
        wanted = self.config[side]["net"]
        if net.fingerprint != wanted:
            raise UserError(f"{self.folder} was fitted on {wanted}, here is {net.fingerprint}. Fit it again.")
        return net


def read_config(path: Path) -> dict:
    """The config.json of a folder of maps.

    Raises:
        UserError: it is not one.
    """
    try:
        config = json.loads(path.read_text())
        sides = [int(config[side]["dim"]) * bool(config[side]["net"]) for side in ("text", "frames")]
        sizes = [config["dim"], config["side_px"], *sides]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(f"{path} is no config of matched maps ({error!r}). Fit it again.") from error
    if config.get("kind") != KIND or not all(isinstance(size, int) and 0 < size <= 1 << 16 for size in sizes):
        raise UserError(
            f"{path}: kind {config.get('kind')!r}, sizes {sizes}; wanted {KIND!r} and 1 to 65536. Fit it again."
        )
    return config


def shipped_folder() -> Path:
    """The folder of the maps that come with the repository.

    Raises:
        UserError: the package was installed without its repository.
    """
    folder = Path(__file__).resolve().parents[2] / "data" / "matched"
    if not folder.is_dir():
        raise UserError(f"no maps at {folder}. Give embed.folder=FOLDER that fit_matched wrote, or use embed=sentence.")
    return folder


def open_embedder(name: str, *, device: str = "cpu") -> Embedder:
    """An embedder of text and frames by name, as the command line takes it.

    Args:
        name: "matched" or "clip_tiny" (the repository's own), a folder that `fit_matched` wrote, a run or an exported
            folder of a CLIP for clips, or "openclip:MODEL:CHECKPOINT".

    Raises:
        UserError: it is none of these.
    """
    if name == KIND:
        return MatchedEmbedder(device=device)
    kind, _, rest = name.partition(":")
    if kind == "openclip":
        from ode_vgan.embed.openclip import OpenClipEmbedder

        model, _, checkpoint = rest.partition(":")
        if not model or not checkpoint:
            raise UserError(f"embedder {name!r} needs a model and its file of weights: openclip:MODEL:CHECKPOINT.")
        return OpenClipEmbedder(model, checkpoint, device=device)
    if name != CLIP and not Path(name).exists():
        raise UserError(f"no embedder {name!r}. Choose matched, {CLIP}, openclip:MODEL:CHECKPOINT, or a folder.")
    if name == CLIP or not is_matched(Path(name)):
        from ode_vgan.embed.clip import ClipEmbedder

        return ClipEmbedder(None if name == CLIP else name, device=device)
    return MatchedEmbedder(name, device=device)


def is_matched(folder: Path) -> bool:
    """Whether a folder is of this module's kind, whole or not."""
    try:
        return json.loads((folder / "config.json").read_text()).get("kind") == KIND
    except (OSError, ValueError, AttributeError):
        return False


@dataclass
class Described:
    """Clips read, and what they gave: the entries that could be used, their pairs, and why others could not."""

    entries: list[Entry]
    pairs: Pairs
    digest: str
    skipped: dict[str, str]


def fit_matched(
    source: str | list[Entry],
    out: str | Path,
    *,
    seed: int = 0,
    side_px: int = 128,
    frames: int = 8,
    val_share: float = 0.15,
    recipe: Recipe | None = None,
) -> dict:
    """Learn both maps on captioned clips and write them as a folder that `MatchedEmbedder` loads.

    Whole concepts of the training split are set aside to choose the number of steps; then all of the split is learned
    for as many. The test split is only measured.

    Args:
        source: a folder, `emoji`, or entries; the splits are those of `split_entries`.
        out: the folder; model.safetensors (float16) and config.json in it are replaced.
        val_share: of the training split's concepts; 0 learns for all steps of the recipe.

    Returns:
        The config that was written, with the recall on both sides.

    Raises:
        UserError: fewer than two training clips with captions can be read.
    """
    recipe = recipe or Recipe()
    train, test = split_entries(open_source(source) if isinstance(source, str) else source, ("train", "test"))
    nets = SentenceEmbedder(), FrameFeatures(side_px)
    kept, aside = (_describe(part, *nets, frames) for part in set_aside(train, val_share))
    held = _describe(test, *nets, frames)
    skipped = kept.skipped | aside.skipped | held.skipped
    if len(kept.entries) < 2:
        why = describe(skipped) if skipped else "the split holds no more"
        raise UserError(f"{len(kept.entries)} training clips with captions; two or more are needed: {why}.")
    maps, steps, found = learn(kept.pairs, recipe, seed, aside.pairs if len(aside.entries) > 1 else None)
    if found:
        kept, recipe = _joined(kept, aside), replace(recipe, steps=steps)
        maps, _, _ = learn(kept.pairs, recipe, seed)
    config = {
        "kind": KIND,
        "dim": recipe.dim,
        "side_px": side_px,
        "pooling": "mean over frames of unit vectors, then unit length",
        "text": {"net": nets[0].fingerprint, "dim": nets[0].dim},
        "frames": {"net": nets[1].fingerprint, "dim": FEATURES},
        "trained": {"clips": len(kept.entries), "digest": kept.digest, "frames": frames, "skipped": len(skipped)}
        | {"seed": seed, "val_share": val_share, "recipe": asdict(recipe), "commit": started([])["commit"]},
        "retrieval": {"validation": _measured(found, aside), "test": _measured(_recall(maps, held), held)},
    }
    tensors = {name: tensor.half().contiguous() for name, tensor in maps.plain().items()}
    write_atomic(Path(out) / "model.safetensors", save(tensors))
    write_atomic(Path(out) / "config.json", (json.dumps(config, indent=2) + "\n").encode())
    return config


def _describe(entries: list[Entry], sentences: SentenceEmbedder, features: FrameFeatures, frames: int) -> Described:
    """Features of clips; those without caption or that do not decode are named and left out."""
    rows, usable, skipped, digest = [], [], {}, hashlib.sha256()
    for entry in sorted(entries, key=lambda entry: entry.key):
        try:
            if not (entry.caption or "").strip():
                raise UserError("no caption")
            content = entry.read()
            rows.append(features(even_frames(decode_clip(content).frames, frames)[None])[0])
        except (UserError, OSError) as error:
            skipped[entry.key] = str(error)
            continue
        usable.append(entry)
        digest.update(f"{entry.key} {hashlib.sha256(content).hexdigest()} {entry.caption}\n".encode())
    text = sentences.encode_text([entry.caption for entry in usable])
    concepts = {}
    group = [concepts.setdefault(entry.meta.get("concept") or entry.key, len(concepts)) for entry in usable]
    shown = torch.stack(rows) if rows else torch.zeros(0, frames, FEATURES)
    return Described(usable, Pairs(text, shown, torch.tensor(group, dtype=torch.int64)), digest.hexdigest(), skipped)


def _joined(a: Described, b: Described) -> Described:
    """Both as one; concepts are never shared between them."""
    group = torch.cat([a.pairs.group, b.pairs.group + len(a.entries)])
    pairs = Pairs(torch.cat([a.pairs.text, b.pairs.text]), torch.cat([a.pairs.frames, b.pairs.frames]), group)
    digest = hashlib.sha256(f"{a.digest} {b.digest}".encode()).hexdigest()
    return Described(a.entries + b.entries, pairs, digest, a.skipped | b.skipped)


def _recall(maps, held: Described) -> dict[str, float]:
    return maps.recall(held.pairs) if len(held.entries) > 1 else {}


def _measured(found: dict[str, float], clips: Described) -> dict:
    return found and {"clips": len(clips.entries), "found": found, "chance": chance(len(clips.entries))}
