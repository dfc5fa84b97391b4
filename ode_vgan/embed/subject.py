"""Who is judged: an embedder of texts and clips, whatever it is made of, read frame by frame and then pooled."""

import json
import re
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn.functional import normalize

from ode_vgan.embed.embedder import Embedder
from ode_vgan.embed.matched import KIND as MATCHED
from ode_vgan.embed.matched import open_embedder
from ode_vgan.embed.remembered import LockedFeatures
from ode_vgan.errors import UserError

if TYPE_CHECKING:
    from ode_vgan.embed.clip_model import ClipModel

SHIPPED = "clip_tiny"
BATCH = 16  # clips at a time
KEPT = 50_000  # frames whose features by a locked tower are remembered
SEED = re.compile(r"[-_]?seed=?(\d+)")


class Subject:
    """An embedder under the name that it was asked for.

    Args:
        name: as typed. embedder: of texts; without `model`, of single frames by `encode_each_frame` too.
        model: what reads frames and pools them, if the embedder is one of ours.

    Attributes:
        family: the name without its seed; runs of one family differ in nothing else.
        seed: in the name, or None.
    """

    def __init__(self, name: str, embedder: Embedder, *, model: "ClipModel | None" = None):
        self.name, self.embedder, self.model = name, embedder, model
        self.features = LockedFeatures(model, KEPT) if model is not None and model.locks["image"] else None
        found = SEED.search(name)
        self.family, self.seed = SEED.sub("", name).rstrip("/"), int(found[1]) if found else None

    @property
    def fingerprint(self) -> str:
        """Of whatever decides the vectors."""
        return self.embedder.fingerprint

    def encode_text(self, texts: Sequence[str]) -> Tensor:
        """(N, E) unit rows, float32."""
        return self.embedder.encode_text(list(texts)).float().cpu()

    @torch.no_grad()
    def rows(self, frames: Tensor, bar: Callable[[Iterable], Iterable] = lambda parts: parts) -> Tensor:
        """(N, T, E) float32 rows of single frames, from (N, T, H, W, 3) uint8; not all embedders give unit ones."""
        parts = [frames[start : start + BATCH] for start in range(0, len(frames), BATCH)]
        rows = torch.cat([self._rows(part) for part in bar(parts)])
        if self.features is not None:
            self.features.save()
        return rows

    @torch.no_grad()
    def pool(self, rows: Tensor, times: Tensor) -> Tensor:
        """(N, E) float32 unit rows of clips, from rows (N, T, E) and times (N, T), seconds."""
        if self.model is None:
            return normalize(rows.mean(1), dim=-1)
        device = self.model.logit_scale.device
        return self.model.pool(rows.to(device), times.to(device)).float().cpu()

    def _rows(self, frames: Tensor) -> Tensor:
        if self.model is None:
            return self.embedder.encode_each_frame(frames)
        frames = frames.to(self.model.logit_scale.device)
        known = self.features is not None  # by an earlier run with the same locked tower, or by training
        rows = self.model.project_frames(self.features.frames(frames)) if known else self.model.encode_frames(frames)
        return rows.float().cpu()


def open_subject(name: str, *, device: str = "cpu") -> Subject:
    """An embedder by name, as the command line takes it.

    Args:
        name: "clip_tiny" or "matched" (the repository's own), a run folder of +experiment=clip_tiny, a folder that
            `ode-vgan clip export` wrote, a folder that `fit_matched` wrote, or "openclip:MODEL:CHECKPOINT".

    Raises:
        UserError: it is none of these, or reads no frames.
    """
    if name == SHIPPED:
        return _clip(name, None, device)
    if name == MATCHED or name.startswith("openclip:") or _is_matched(Path(name)):
        return Subject(name, open_embedder(name, device=device))
    if not Path(name).exists():
        known = f"{SHIPPED}, {MATCHED}, openclip:MODEL:CHECKPOINT, a run folder or an exported folder"
        raise UserError(f"{name} does not exist and is no embedder by name. Choose {known}.")
    return _clip(name, name, device)


def _clip(name: str, folder: str | None, device: str) -> Subject:
    from ode_vgan.embed.clip import ClipEmbedder

    embedder = ClipEmbedder(folder, device=device)
    return Subject(name, embedder, model=embedder.model)


def _is_matched(folder: Path) -> bool:
    try:
        return json.loads((folder / "config.json").read_text()).get("kind") == MATCHED
    except (OSError, ValueError, AttributeError):
        return False
