"""Train the watermark detector on marks that it is shown: emoji frames with and without an overlay.

python -m ode_vgan.laion.watermark_training --out data/watermark/marks.safetensors
"""

import argparse
import io
import json
import sys
import time
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional

from ode_vgan.data.clips import decode_clip, write_atomic
from ode_vgan.data.emoji import embedded_folder
from ode_vgan.data.shards import Entry, read_index
from ode_vgan.data.store import set_aside
from ode_vgan.errors import UserError
from ode_vgan.laion.overlays import OPACITY, OTHER_FACES, TRAINING_FACES, draw_overlay, lay_over
from ode_vgan.laion.watermark import SIDE_PX, STRIDE, MarkNet, prepare, read_net, state_digest

STEPS, BATCH, LR = 700, 32, 3e-3
FRAMES_A_CLIP = 4
VALIDATION_SHARE = 0.12  # of the training concepts
STRONG, EASED = (0.5, 0.8), 0.4  # marks of the first step, and the share of steps until they are as faint as others
COVERED = 0.04  # mean coverage from which a cell counts as marked
AVERAGED = 0.95  # of the weights' moving average, per step in the last half


def fit_marks(
    out: str | Path, *, steps: int = STEPS, seed: int = 0, entries: list[Entry] | None = None, draws: int = 16
) -> dict:
    """Train on the training concepts of the emoji set, validate on held-out ones, and write the safetensors.

    The same seed gives the same marks; the weights are equal on machines that add in the same order.

    Args:
        entries: clips of 64x64 px without marks, of several concepts; None takes the embedded training clips.
        draws: batches of 64 frames to validate on.

    Returns:
        steps, seed, cpu_seconds, digest of the weights, and the validation's AUROC, with marks in unseen faces.
    """
    from safetensors.torch import save

    if steps < 1:
        raise UserError(f"steps={steps} must be at least 1.")
    started = time.process_time()
    if entries is None:
        entries = [entry for entry in read_index(embedded_folder()) if entry.meta.get("split") == "train"]
    kept, aside = (_frames(side) for side in set_aside(entries, VALIDATION_SHARE))
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        net = _train(kept, steps, np.random.default_rng(seed))
    content = save({name: value.contiguous() for name, value in net.state_dict().items()})
    write_atomic(out, content)
    auroc = _validate(read_net(Path(out)), aside, np.random.default_rng(seed + 1), draws)
    seconds = round(time.process_time() - started, 1)
    return {"steps": steps, "seed": seed, "cpu_seconds": seconds, "digest": state_digest(net)[:16], "auroc": auroc}


def _frames(entries: list[Entry]) -> np.ndarray:
    """uint8 (N, 4, 64, 64, 3), frames spread over each clip."""
    chosen = []
    for entry in entries:
        frames = decode_clip(entry.read()).frames
        chosen.append(frames[np.linspace(0, len(frames) - 1, FRAMES_A_CLIP).astype(int)])
    return np.stack(chosen)


def _train(clips: np.ndarray, steps: int, rng: np.random.Generator) -> MarkNet:
    net, average = MarkNet(), MarkNet()
    optimiser = torch.optim.AdamW(net.parameters(), lr=LR, weight_decay=1e-3)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, LR, total_steps=steps, pct_start=0.15)
    for step in range(steps):
        x, cells, marked = _batch(clips, BATCH, rng, TRAINING_FACES, _opacity(step / steps))
        found, logits = net(x)
        loss = functional.binary_cross_entropy_with_logits(found, cells, pos_weight=torch.tensor(2.0))
        loss = loss + functional.binary_cross_entropy_with_logits(logits, marked)
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        optimiser.step()
        schedule.step()
        if step % 50 == 0:
            print(step, f"{float(loss.detach()):.4f}", file=sys.stderr, flush=True)
        _follow(average, net, AVERAGED if 2 * step > steps else 0.0)
    return average.eval().requires_grad_(False)


def _opacity(done: float) -> tuple[float, float]:
    """From strong marks to those that the detector is for: it learns nothing from the faint ones at first."""
    share = min(1.0, done / EASED)
    return tuple(strong + share * (last - strong) for strong, last in zip(STRONG, OPACITY, strict=True))


@torch.no_grad()
def _follow(average: MarkNet, net: MarkNet, share: float) -> None:
    for (_, old), (_, new) in zip(average.state_dict().items(), net.state_dict().items(), strict=True):
        if old.is_floating_point():
            old.lerp_(new, 1 - share)
        else:
            old.copy_(new)


def _batch(
    clips: np.ndarray, size: int, rng: np.random.Generator, faces: tuple, opacity: tuple[float, float] = OPACITY
) -> tuple[Tensor, Tensor, Tensor]:
    """Frames (N, 3, 128, 128), marked cells (N, 16, 16) and marked frames (N,), half of them."""
    pictures, cells = [], np.zeros((size, SIDE_PX // STRIDE, SIDE_PX // STRIDE), np.float32)
    for i in range(size):
        picture = _scene(clips, rng)[None]
        if i % 2:
            overlay = draw_overlay(rng, picture, opacity=float(rng.uniform(*opacity)), faces=faces)
            picture = lay_over(picture, overlay)
            cells[i] = _covered(overlay.alpha / overlay.opacity)
        pictures.append(_compressed(picture[0], rng))
    x = torch.cat([prepare(picture[None]) for picture in pictures])
    return x, torch.from_numpy(cells), torch.arange(size).remainder(2).float()


def _scene(clips: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A frame whose background, colours, size and neighbours vary; what varies is no mark."""
    picture = clips[rng.integers(len(clips)), rng.integers(FRAMES_A_CLIP)].astype(np.float32)
    if rng.random() < 0.4:
        side, place = int(rng.integers(12, 28)), rng.integers(0, 64 - 28, 2)
        small = Image.fromarray(clips[rng.integers(len(clips)), 0]).resize((side, side), Image.Resampling.BOX)
        window = picture[place[0] : place[0] + side, place[1] : place[1] + side]
        window *= np.asarray(small, np.float32) / 255
    if rng.random() < 0.6:
        picture *= _background(rng) / 255
    if rng.random() < 0.15:
        picture = 255 - picture
    picture = np.clip(picture * rng.uniform(0.8, 1.15) + rng.uniform(-15, 15), 0, 255).astype(np.uint8)
    picture = picture[:, ::-1] if rng.random() < 0.3 else picture
    side = int(rng.choice([64, 64, 96, 128]))
    if side == 64:
        return picture
    edge = int(rng.integers(0, 9))
    cut = Image.fromarray(picture[edge : 64 - edge, edge : 64 - edge])
    return np.asarray(cut.resize((side, side), Image.Resampling.BICUBIC))


def _background(rng: np.random.Generator) -> np.ndarray:
    """(64, 64, 3): one colour, a gradient, or blotches."""
    first, last = rng.uniform(90, 255, (2, 3))
    kind = rng.integers(3)
    if kind == 0:
        return np.broadcast_to(first, (64, 64, 3))
    if kind == 1:
        angle = rng.uniform(0, 2 * np.pi)
        y, x = np.mgrid[-1:1:64j, -1:1:64j]
        share = ((np.cos(angle) * x + np.sin(angle) * y + 1.5) / 3)[..., None]
    else:
        coarse = rng.uniform(0, 255, (int(rng.integers(3, 12)),) * 2).astype(np.uint8)
        share = np.asarray(Image.fromarray(coarse).resize((64, 64), Image.Resampling.BICUBIC))[..., None] / 255
    return first * share + last * (1 - share)


def _covered(coverage: np.ndarray) -> np.ndarray:
    """(H, W) coverage to (16, 16) of 0 and 1: whether a cell holds part of the mark."""
    cells = SIDE_PX // STRIDE
    mean = functional.adaptive_avg_pool2d(torch.from_numpy(coverage.copy())[None], cells)[0]
    return (mean > COVERED).float().numpy()


def _compressed(picture: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    if rng.random() < 0.25:
        return np.ascontiguousarray(picture)
    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, "JPEG", quality=int(rng.integers(50, 97)), subsampling=0)
    return np.asarray(Image.open(buffer))


@torch.inference_mode()
def _validate(net: MarkNet, clips: np.ndarray, rng: np.random.Generator, draws: int) -> float:
    """AUROC of frames of held-out concepts under marks in unseen faces."""
    from scipy.stats import rankdata

    scores, labels = [], []
    for _ in range(draws):
        x, _, marked = _batch(clips, 64, rng, OTHER_FACES)
        scores.append(net(x)[1])
        labels.append(marked > 0)
    ranks, marked = rankdata(torch.cat(scores).numpy()), torch.cat(labels).numpy()
    count = int(marked.sum())
    return round(float(ranks[marked].sum() - count * (count + 1) / 2) / (count * (len(marked) - count)), 4)


def main() -> int:
    """Train and print what was measured."""
    parser = argparse.ArgumentParser(description="Train the watermark detector on the embedded clips.")
    parser.add_argument("--out", required=True)
    parser.add_argument("--steps", type=int, default=STEPS)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    print(json.dumps(fit_marks(arguments.out, steps=arguments.steps, seed=arguments.seed)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
