"""Which pooling of frames should a CLIP for clips have? The recipe of +experiment=clip_tiny, on features taken once.

PYTHONPATH=. python experiments/clip_tiny/pooling.py --out experiments/clip_tiny/results.csv

Every row is a run and a set of clips. Settings are chosen on `val`; `test` is of other concepts and is only reported.
`falling` are drawn balls that fall out of the picture: unlike most emoji, their motion has an arrow; none was learned.
"""

import argparse
import csv
import time
from pathlib import Path

import pytorch_lightning as pl
import torch
from torch import Tensor
from torch.utils.data import DataLoader

from ode_vgan.data.shapes import shape_clip
from ode_vgan.embed.captioned import CaptionedClips, read_sides
from ode_vgan.embed.clip_model import ClipModel
from ode_vgan.embed.direction import REVERSED, told_apart
from ode_vgan.embed.pooling import AttentionPooling, MeanPooling, MomentPooling
from ode_vgan.embed.remembered import LockedFeatures
from ode_vgan.embed.retrieval import retrieval
from ode_vgan.embed.train import ClipTraining
from ode_vgan.embed.validation import Encoder
from ode_vgan.losses.contrastive import ClipLoss

POOLINGS = {
    "mean": MeanPooling,
    "moment": lambda: MomentPooling(128),
    "attention": lambda: AttentionPooling(128, heads=4),
}
RECIPE = {  # of conf/experiment/clip_tiny.yaml, with batches of half the size
    "lr": 1e-3, "betas": (0.9, 0.98), "eps": 1e-6, "weight_decay": 0.1, "warmup_clips": 2000, "dropout": 0.5,
    "keep_features": 0, "max_clips": 40_960,
}  # fmt: skip
BATCH, FRAMES = 256, 8
SHOWN = ("R@1", "direction")


class Table:
    """Features by the number of the clip and by the text, in place of `LockedFeatures`."""

    def __init__(self, sides: dict[str, CaptionedClips], clip: ClipModel):
        features = LockedFeatures(clip, 50_000)
        self.first, rows, start = {}, [], 0
        for name, side in sides.items():
            rows.append(features.frames(side.frames))
            self.first[name], start = start, start + len(side)
        self.rows = torch.cat(rows)
        texts = [text for side in sides.values() for text in side.captions]
        texts = list(dict.fromkeys(texts + [REVERSED.format(text) for text in texts]))
        self.words = dict(zip(texts, features.texts(texts), strict=True))
        features.save()
        self.kept = dict.fromkeys(features.kept)

    def frames(self, numbers: Tensor) -> Tensor:
        """(B, T, F) of clips by their number."""
        return self.rows[numbers]

    def texts(self, texts: list[str]) -> Tensor:
        """(N, F)."""
        return torch.stack([self.words[text] for text in texts])

    def save(self) -> None:
        """Nothing is new."""


def falling(clips: int = 60) -> CaptionedClips:
    """Balls that are thrown up and fall out of the picture, 0.8 s."""
    times = torch.linspace(0, 0.8, FRAMES)
    made = [shape_clip("falling", 1000 + i, times.numpy(), size=64) for i in range(clips)]
    pixels, names = torch.stack([torch.from_numpy(one.frames) for one in made]), [f"falling-{i}" for i in range(clips)]
    meta = [{} for _ in names]
    return CaptionedClips(pixels, times.expand(clips, -1), [c.caption for c in made], names, meta, torch.arange(clips))


def batches(side: CaptionedClips, seed: int) -> list[dict]:
    """As many as the recipe has steps; each round is a shuffle of all clips."""
    draw, steps = torch.Generator().manual_seed(seed), -(-RECIPE["max_clips"] // BATCH)
    rounds = -(-steps * BATCH // len(side))
    order = torch.cat([torch.randperm(len(side), generator=draw) for _ in range(rounds)])
    return [
        {"frames": own, "times": side.times[own], "caption": [side.captions[i] for i in own.tolist()], "index": own}
        for own in order[: steps * BATCH].split(BATCH)
    ]


def train(pooling: str, seed: int, reverse: float, side: CaptionedClips, table: Table) -> ClipTraining:
    """One run; the towers' weights are not needed where their features are known."""
    torch.manual_seed(seed)
    clip = ClipModel("clip-tiny", POOLINGS[pooling](), lock_image=True, lock_text=True, weights=False)
    module = ClipTraining(clip, ClipLoss(), reverse=reverse, seed=seed, **RECIPE)
    module.features = table
    quiet = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False}
    trainer = pl.Trainer(max_epochs=1, accelerator="cpu", enable_checkpointing=False, **quiet)
    trainer.fit(module, DataLoader(batches(side, seed), batch_size=None))
    return module


def judged(module: ClipTraining, name: str, side: CaptionedClips, table: Table) -> dict[str, float]:
    """Retrieval, and which way each clip runs, in words."""
    encoder = Encoder(module.clip.eval(), table)
    rows = encoder.frames(torch.arange(len(side)) + table.first[name])
    forward = encoder.pool(rows, side.times)
    backward = encoder.pool(rows.flip(1), side.times[:, -1:] - side.times.flip(1))
    found = {}
    if name != "falling":
        ways = {"text to clip": "", "clip to text": "back/"}
        text = encoder.text(side.captions)
        found = {
            ways[one.task] + one.metric: one.value for one in retrieval(text, forward, side.captions, side.concepts)
        }
    told = told_apart(encoder.text, side.captions, forward, backward, side.concepts)
    return found | {{"own words": "direction"}.get(one.metric, one.metric): one.value for one in told}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--poolings", nargs="+", default=list(POOLINGS))
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--reverse", nargs="+", type=float, default=[0.5])
    args = parser.parse_args()
    sides = read_sides("emoji", "test", frames=FRAMES, val_share=0.1)
    clips = {"train": sides.train, "val": sides.choose, "test": sides.held, "falling": falling()}
    print({name: len(side) for name, side in clips.items()}, flush=True)
    table = Table(clips, ClipModel("clip-tiny", MeanPooling(), lock_image=True, lock_text=True).eval())
    runs = [(seed, reverse, pooling) for seed in args.seeds for reverse in args.reverse for pooling in args.poolings]
    fresh = not args.out.exists()
    with args.out.open("a", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        if fresh:
            writer.writerow(["pooling", "reverse", "seed", "clips", "n", "metric", "value"])
        for seed, reverse, pooling in runs:
            then = time.process_time()
            module = train(pooling, seed, reverse, clips["train"], table)
            told = {name: judged(module, name, clips[name], table) for name in ("val", "test", "falling")}
            for name, found in told.items():
                for metric, value in found.items():
                    writer.writerow([pooling, reverse, seed, name, len(clips[name]), metric, f"{value:.4f}"])
            file.flush()
            shown = {
                f"{n}/{m}": round(v, 3) for n, f in told.items() for m, v in f.items() if m in ("R@1", "direction")
            }
            print(pooling, reverse, seed, f"{time.process_time() - then:.0f} CPU s", shown, flush=True)


if __name__ == "__main__":
    main()
