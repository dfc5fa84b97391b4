"""Features of whole sets, a batch of clips in memory at a time; those of real clips are kept on disk."""

import hashlib
import io
import json
import logging
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ode_vgan.data.clips import write_atomic
from ode_vgan.embed.cache import cache_folder
from ode_vgan.errors import UserError
from ode_vgan.metrics.clipsets import Batch, ClipSet
from ode_vgan.metrics.features import Extractor

log = logging.getLogger(__name__)
BATCH = 16


@dataclass
class Collected:
    """Features of one set.

    Attributes:
        rows: by the name an extractor was asked for, (N, F) or (N, T, F) float64.
        names, captions: N each.
        shape: (T, H, W, 3) of its clips. gap_seconds: median time between frames.
        skipped: reason by name, for clips left out.
    """

    rows: dict[str, Tensor]
    names: list[str]
    captions: list[str]
    shape: tuple[int, ...]
    gap_seconds: float
    skipped: dict[str, str] = field(default_factory=dict)


def collect(
    clips: ClipSet, extractors: Mapping[str, Extractor], *, advance: Callable[[int], object] = lambda n: None,
    cache: Path | None = None, batch: int = BATCH,
) -> Collected:  # fmt: skip
    """Features of a set by each extractor, from the cache where they are there.

    Args:
        advance: told of each number of clips done. cache: folder of kept features; None keeps none.

    Raises:
        UserError: a clip no extractor takes, or a feature that is not finite, naming the clip.
    """
    identity = clips.identity() if cache is not None else None
    paths = {name: _path(cache, identity, one) for name, one in extractors.items()} if identity else {}
    kept = {name: found for name, path in paths.items() if (found := _read(path)) is not None}
    missing = {name: one for name, one in extractors.items() if name not in kept}
    if not missing:
        advance(clips.clips)
        first = next(iter(kept.values()))
        rows = {name: found.rows[""] for name, found in kept.items()}
        return Collected(rows, first.names, first.captions, first.shape, first.gap_seconds, first.skipped)
    fresh = _describe(clips, missing, advance, batch)
    for name in missing.keys() & paths.keys():
        _write(paths[name], fresh, name)
    fresh.rows |= {name: found.rows[""] for name, found in kept.items()}
    return fresh


def default_cache() -> Path:
    """Where features of real clips are kept."""
    return cache_folder() / "features"


def _describe(clips: ClipSet, extractors: Mapping[str, Extractor], advance: Callable, size: int) -> Collected:
    parts: dict[str, list[Tensor]] = {name: [] for name in extractors}
    names, captions, gaps, shape = [], [], [], ()
    for batch in clips.batches(size):
        for name, one in extractors.items():
            rows = one(batch.frames)
            _check_finite(rows, batch, one)
            parts[name].append(rows)
        names += batch.names
        captions += batch.captions
        gaps.append(batch.times.diff(dim=1).flatten())
        shape = tuple(batch.frames.shape[1:])
        advance(len(batch.frames))
    gap = torch.cat(gaps)
    seconds = round(float(gap.median()), 4) if gap.numel() else 0.0
    rows = {name: torch.cat(found) for name, found in parts.items()}
    return Collected(rows, names, captions, shape, seconds, dict(clips.skipped))


def _check_finite(rows: Tensor, batch: Batch, extractor: Extractor) -> None:
    bad = (~rows.flatten(1).isfinite()).any(1).nonzero().flatten().tolist()
    if bad:
        shown = ", ".join(batch.names[i] for i in bad[:3])
        raise UserError(
            f"{extractor.id} gives features that are not finite for {shown}{' ...' if len(bad) > 3 else ''}; "
            "look at those clips, or use another extractor."
        )


def _path(cache: Path, identity: dict, extractor: Extractor) -> Path:
    told = {"clips": identity, "extractor": extractor.fingerprint(), "format": 1}
    digest = hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()
    return cache / f"{extractor.name.replace(':', '-').replace('/', '-')}-{digest[:32]}.npz"


def _read(path: Path) -> Collected | None:
    try:
        with np.load(path, allow_pickle=False) as file:
            told = json.loads(str(file["told"]))
            told["shape"] = tuple(told["shape"])
            return Collected(rows={"": torch.from_numpy(file["rows"])}, **told)
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError, zipfile.BadZipFile):
        log.warning("%s cannot be read; its features are computed again", path)
        return None


def _write(path: Path, found: Collected, name: str) -> None:
    about = {key: getattr(found, key) for key in ("names", "captions", "shape", "gap_seconds", "skipped")}
    buffer = io.BytesIO()
    np.savez(buffer, rows=found.rows[name].numpy(), told=json.dumps(about))
    try:
        write_atomic(path, buffer.getvalue())
    except OSError as error:
        log.warning("features are not kept: %s", error)
