"""Which extractors rank spoiled clips below real ones, and which of them see time?

python experiments/metrics/corruptions.py --extractors hog3d,colour,motion

Writes corruptions_<extractor>.csv into --out, then corruptions.md and corruptions.png over all of these that are
there. Rows of features are kept in the cache folder: an interrupted run goes on where it was. `--extractors ""` only
writes the summary again; --picture draws one clip at every level.
"""

import argparse
import csv
import hashlib
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import torch
from corruptions_report import write_figure, write_picture, write_summary
from scipy.stats import wasserstein_distance
from torch import Tensor

from ode_vgan.data.loader import ClipData
from ode_vgan.data.windows import Sampling
from ode_vgan.embed.cache import cache_folder
from ode_vgan.embed.none import NoEmbedder
from ode_vgan.errors import UserError
from ode_vgan.metrics.controls import CORRUPTIONS
from ode_vgan.metrics.features import Extractor, find_extractor, standardise
from ode_vgan.metrics.frechet import frechet_from_features
from ode_vgan.metrics.motion import SCALARS, FlowHistogram

HERE = Path(__file__).parent
DRAWS = 16  # of clean clips, for the floor

Distance = Callable[[Tensor, Tensor], float]


class Rows:
    """An extractor's rows of clips, each clip described once, on disk after every set.

    Attributes:
        cpu_ms: CPU time of all threads, a clip, over all that was ever described.
    """

    def __init__(self, extractor: Extractor, folder: Path):
        self.extractor, self.folder, self.known, self.seconds = extractor, folder, {}, 0.0
        folder.mkdir(parents=True, exist_ok=True)
        for path in sorted(folder.glob("*.pt")):
            part = torch.load(path, weights_only=True)
            self.known |= dict(zip(part["clips"], part["rows"], strict=True))
            self.seconds += part["seconds"]

    def __call__(self, clips: Tensor) -> Tensor:
        """(N, T, H, W, 3) uint8 -> float64 rows, rounded to float32."""
        names = [hashlib.sha256(clip.numpy().tobytes()).hexdigest() for clip in clips]
        new = {name: i for i, name in enumerate(names) if name not in self.known}
        if new:
            start = time.process_time()
            rows = self.extractor(clips[list(new.values())]).float()
            seconds = time.process_time() - start
            part = {"clips": list(new), "rows": rows, "seconds": seconds}
            torch.save(part, self.folder / f"{next(iter(new))[:24]}.pt")
            self.known |= dict(zip(new, rows, strict=True))
            self.seconds += seconds
        return torch.stack([self.known[name] for name in names]).double()

    @property
    def cpu_ms(self) -> float:
        return 1000 * self.seconds / max(1, len(self.known))


def frechet(reference: Tensor, rows: Tensor, *, standardised: bool) -> float:
    """Frechet distance of rows, or of frames' rows, as the extractor's distances are made."""
    reference, rows = reference.flatten(0, -2), rows.flatten(0, -2)
    pair = standardise(reference, rows) if standardised else (reference, rows)
    return float(frechet_from_features(*pair))


def measures(extractor: Extractor) -> dict[str, Distance]:
    """What is measured on the rows of an extractor, by name."""
    if extractor.name != "motion":
        return {extractor.name: partial(frechet, standardised=extractor.standardised)}
    width = FlowHistogram.dim
    found = {"motion flow": lambda a, b: frechet(a[:, :width], b[:, :width], standardised=True)}
    for i, name in enumerate(SCALARS, width):
        found[f"motion {name}"] = lambda a, b, i=i: float(wasserstein_distance(a[:, i], b[:, i]))
    return found


def spoiled_sets(clips: Tensor, seed: int) -> Iterator[tuple[str, float, Tensor]]:
    """Every corruption at every level of the same clips; the draws of one do not depend on the others."""
    for i, (name, (corrupt, levels)) in enumerate(CORRUPTIONS.items()):
        for level in levels:  # of one corruption, all from the same draws
            yield name, level, corrupt(clips, torch.Generator().manual_seed(1000 * seed + i), level)


def floor(distance: Distance, reference: Tensor, pool: Tensor, clips: int, seed: int) -> tuple[float, float]:
    """Mean and deviation of the distance over draws of clean clips, the latter as if the pool had no end."""
    draw = torch.Generator().manual_seed(seed)
    picks = [torch.randperm(len(pool), generator=draw)[:clips] for _ in range(DRAWS)]
    found = torch.tensor([distance(reference, pool[pick]) for pick in picks])
    return float(found.mean()), float(found.std() / (1 - clips / len(pool)) ** 0.5)


def judge(extractor: Extractor, clean: Tensor, args: argparse.Namespace) -> list[dict]:
    """All rows of results of one extractor.

    Args:
        clean: the reference, then the pool, whose first `args.clips` are spoiled.
    """
    rows = Rows(extractor, cache_folder() / "corruptions" / f"{extractor.name}_{extractor.fingerprint()[:16]}")
    reference, pool = rows(clean[: args.reference]), rows(clean[args.reference :])
    base = clean[args.reference :][: args.clips]
    tasks = measures(extractor)
    floors = {name: floor(distance, reference, pool, args.clips, args.seed) for name, distance in tasks.items()}
    before = {name: distance(reference, pool[: args.clips]) for name, distance in tasks.items()}
    told = {"extractor": extractor.id, "sha256": extractor.fingerprint()[:12], "dim": extractor.dim}
    told |= {name: getattr(args, name) for name in ("clips", "reference", "pool", "frames", "px", "stride", "seed")}
    found = []
    for corruption, level, clips in spoiled_sets(base, args.seed):
        features = rows(clips)
        for name, distance in tasks.items():
            found.append(
                {"measure": name, "corruption": corruption, "level": level, "distance": distance(reference, features)}
                | {"clean": before[name], "floor": floors[name][0], "floor_sd": floors[name][1], "draws": DRAWS}
            )
        shown = [f"{row['measure']} x{row['distance'] / row['clean']:.2f}" for row in found[-len(tasks) :]]
        print(f"  {corruption} {level:g}: {', '.join(shown)}", flush=True)
    return [row | told | {"cpu_ms": round(rows.cpu_ms, 2)} for row in found]


def clean_clips(args: argparse.Namespace) -> Tensor:
    """Windows of distinct embedded clips: reference + pool."""
    sampling = Sampling(strides=(args.stride,), loop=True)
    data = ClipData("emoji", NoEmbedder(), frames=args.frames, size=args.px, batch=1, sampling=sampling)
    real = data.real_clips(args.reference + args.pool, split="train", seed=args.seed)
    if len(data.captions) < args.reference + args.pool:
        raise UserError(f"{args.reference} + {args.pool} clips, there are {len(data.captions)}; lower --pool.")
    return real.frames


def settings() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--extractors", default="hog3d,colour,motion", help="names, comma between")
    for name, value, told in (
        ("clips", 96, "spoiled at every level"),
        ("reference", 256, "clean, that all are compared with"),
        ("pool", 288, "clean, drawn from for the floor; the spoiled ones are the first of these"),
        ("frames", 16, "T"),
        ("px", 64, "height and width"),
        ("stride", 2, "of the embedded clips' 24 frames/s"),
        ("seed", 0, "of all draws"),
    ):
        parser.add_argument(f"--{name}", type=int, default=value, help=f"{told} ({value})")
    parser.add_argument("--out", type=Path, default=HERE, help="folder of the results")
    parser.add_argument("--picture", action="store_true", help="draw one clip at every level")
    parser.add_argument("--again", action="store_true", help="also extractors whose csv is there")
    return parser.parse_args()


def main() -> None:
    args = settings()
    args.out.mkdir(parents=True, exist_ok=True)
    clean = clean_clips(args)
    if args.picture:
        few = clean[args.reference : args.reference + 8]
        write_picture(few, spoiled_sets(few, args.seed), args.out / "corruptions_clips.png")
    for name in filter(None, args.extractors.split(",")):
        path = args.out / f"corruptions_{name.replace(':', '_')}.csv"
        if path.exists() and not args.again:
            print(f"{name}: {path} is there; --again makes it anew")
            continue
        start = time.monotonic()
        print(f"{name}: {args.reference} + {args.pool} clean clips, then {args.clips} at each level", flush=True)
        found = judge(find_extractor(name), clean, args)
        with open(path, "w", newline="") as file:
            writer = csv.DictWriter(file, found[0], lineterminator="\n")
            writer.writeheader()
            writer.writerows(found)
        print(f"{name}: {time.monotonic() - start:.0f} s")
    write_summary(args.out)
    write_figure(args.out)


if __name__ == "__main__":
    main()
