"""Run folders as training leaves them, around generators that had no training: for tests of what reads and judges."""

import csv
import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
import yaml

from ode_vgan.build import build
from ode_vgan.data.shapes import write_shapes
from tests.known import FIELD, FRAMES, PX, STRIDE, WIDTH

SIDES = {"size": PX, "style_dim": WIDTH, "motion_dim": WIDTH, "embed_dim": 1, "channel_base": 64, "channel_max": 8}
ODE = {"_target_": "ode_vgan.temporal.ode.OdePath", "dim": WIDTH, "embed_dim": 1, **FIELD, "order": 1}
ODE |= {"solver": "euler"}
STARTED = {"command": "python train.py temporal=ode", "commit": "c0ffee", "dirty": False}


def made_clips(folder: Path) -> Path:
    """Short synthetic clips, some in each split."""
    return write_shapes(folder, 30, frames=20, size=PX)


def made_config(clips: Path, seed: int = 0, *, max_clips: int = 64, split: str = "val") -> dict:
    """A config as train.py would have composed it."""
    generator = {
        "_target_": "ode_vgan.generator.Generator",
        "temporal": ODE,
        "decoder": {"_target_": "ode_vgan.decoder.frames.FrameDecoder", **SIDES, "headroom": 1.0},
        **{"noise_dim": WIDTH, "style_dim": WIDTH, "embed_dim": 1},
    }
    sampling = {"_target_": "ode_vgan.data.windows.Sampling", "strides": [STRIDE]}
    windows = {"source": str(clips), "frames": FRAMES, "size": PX, "batch": 4, "sampling": sampling, "seed": seed}
    return {
        "name": "made", "seed": seed, "max_clips": max_clips, "metrics": {"split": split, "protocols": ["fd20_hog3d"]},
        "embed": {"_target_": "ode_vgan.embed.none.NoEmbedder"},
        "data": {"_target_": "ode_vgan.data.loader.ClipData", **windows}, "model": {"generator": generator},
    }  # fmt: skip


def made_run(
    folder: Path, clips: Path, seed: int = 0, *, looks: Sequence[int] = (), scores: Mapping[int, float] | None = None,
    finished: bool = True, seen: int = 64, config: dict | None = None,
) -> Path:  # fmt: skip
    """A run that saw `seen` clips in half as many seconds; its looks are generators of their own.

    Args:
        scores: validation score by clips.
    """
    config = config or made_config(clips, seed)
    (folder / "checkpoints").mkdir(parents=True)
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    (folder / "started.json").write_text(json.dumps(STARTED))
    for at in looks:
        write_checkpoint(folder / "checkpoints" / f"clips_{at:09d}.ckpt", config, 1000 * seed + at, at)
    write_checkpoint(folder / "checkpoints" / "last.ckpt", config, 1000 * seed + 999, seen)
    write_metrics(folder / "metrics.csv", seen, scores or {})
    if finished:
        parts = {"generator": 100 + seed, "temporal": 10, "critics": 50}
        told = {"clips_seen": seen, "seconds": seen / 2, "cpu_seconds": seen / 4, "nfe": 3, "parameters": parts}
        (folder / "metrics.json").write_text(json.dumps(told | {"started": STARTED, "finished": True}))
    return folder


def write_checkpoint(path: Path, config: dict, seed: int, seen: int) -> None:
    """An averaged generator as `Keep` and Lightning leave it."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        state = build(config["model"]["generator"]).state_dict()
    content = {"ode_vgan": {"config": config, "clips_seen": seen}}
    torch.save(content | {"state_dict": {f"ema.copy.{name}": value for name, value in state.items()}}, path)


def write_metrics(path: Path, seen: int, scores: Mapping[int, float]) -> None:
    """metrics.csv as the csv logger leaves it: sparse, a row a log."""
    rows = [{"clips": float(at), "seconds": at / 2, "cpu_seconds": at / 4, "step": at} for at in range(8, seen + 1, 8)]
    rows += [{"clips": float(at), "score/fd20_hog3d": value, "step": at} for at, value in scores.items()]
    with open(path, "w", newline="") as file:
        table = csv.DictWriter(file, ["clips", "seconds", "cpu_seconds", "score/fd20_hog3d", "step"])
        table.writeheader()
        table.writerows(rows)
