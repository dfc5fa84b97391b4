"""The OpenCLIP study's and Chinchilla's points refitted: exponents with the intervals the papers do not give.

python experiments/scaling_laws/refits.py FOLDER_OF_CSVS > experiments/scaling_laws/refits.md
"""

import csv
import sys
from pathlib import Path

import numpy as np

from ode_vgan.scaling.fit import Fit, fit
from ode_vgan.scaling.laws import Points

SUBJECTS = {
    "ImageNet top-1": ("imagenet1k", "acc1"),
    "ImageNet robustness": ("imagenet_robustness", "acc1"),
    "MS-COCO image retrieval R@5": ("mscoco_captions", "image_retrieval_recall@5"),
    "MS-COCO text retrieval R@5": ("mscoco_captions", "text_retrieval_recall@5"),
    "Flickr30k image retrieval R@5": ("flickr30k", "image_retrieval_recall@5"),
    "Flickr30k text retrieval R@5": ("flickr30k", "text_retrieval_recall@5"),
}
OPENAI = "CLIP-WIT"
SMALL = 1.2e12  # GMACs: what is fitted where larger models are foretold
BUDGET = 190.97 * 34_215_895_056  # GMACs of ViT-H/14 at 34 billion samples
LEAST = 5  # points of least data to size that Besiroglu et al. leave out


def points(rows: list[dict[str, str]], subject: str, score: str, openai: bool) -> Points:
    """Errors against GMACs in all; every model is a run."""
    own = [
        row for row in rows if row["downstream_dataset"] == subject and (row["upstream_dataset"] == OPENAI) == openai
    ]
    return Points([float(row["gmacs_total"]) for row in own], [1 - float(row[score]) for row in own])


def cell(found: Fit) -> str:
    """An exponent with its interval."""
    low, high = found.intervals["alpha"]
    return f"{found.exponent:.4f} [{low:.4f}, {high:.4f}]"


def main() -> None:
    """Print the tables."""
    folder = Path(sys.argv[1])
    with (folder / "slo_zeroshot_results.csv").open() as file:
        rows = list(csv.DictReader(file))
    print("| error of | OpenCLIP, 5 bins | Pareto front | all 29 points | OpenAI, 3 points |\n|---|---|---|---|---|")
    for name, chosen in SUBJECTS.items():
        ours = [cell(fit(points(rows, *chosen, False), select=how)) for how in ("binned", "pareto", "all")]
        theirs = cell(fit(points(rows, *chosen, True), select="all", allow_few=True))
        print(f"| {name} | {' | '.join(ours)} | {theirs} |")
    print("\n| error of | recipe | said | measured | off |\n|---|---|---|---|---|")
    for name, chosen in SUBJECTS.items():
        every = points(rows, *chosen, False)
        most = every.take(np.array([every.compute.argmax()]))
        for how in ("binned", "pareto", "all"):
            found = fit(every.take(every.compute < SMALL), select=how)
            said, (low, high) = found.predict(most.compute)[0], found.predict_interval(most.compute)
            off = said / most.error[0] - 1
            told = f"{said:.4f} [{low[0]:.4f}, {high[0]:.4f}] | {most.error[0]:.4f}"
            print(f"| {name} at {most.compute[0]:.3g} | {found.recipe} | {told} | {off:+.1%} |")
    found = fit(points(rows, *SUBJECTS["ImageNet top-1"], False))
    low, high = (100 * (1 - side[0]) for side in found.predict_interval(np.array([BUDGET])))
    print(
        f"\nViT-H/14 at 34B samples: {100 * (1 - found.predict(np.array([BUDGET]))[0]):.4f} % [{high:.2f}, {low:.2f}]\n"
    )
    with (folder / "epoch_chinchilla_svg.csv").open() as file:
        n, c, loss = np.array(
            [[float(row[key]) for key in ("Model Size", "Training FLOP", "loss")] for row in csv.DictReader(file)]
        ).T
    every = Points(c, loss, parameters=n, samples=c / 6 / n)
    found = fit(every.take(np.argsort(every.samples / n)[LEAST:]), "chinchilla")
    print("| Chinchilla | value | 90 % interval |\n|---|---|---|")
    for name, value in found.parameters.items():
        print(f"| {name} | {value:.4g} | {found.intervals[name][0]:.4g} to {found.intervals[name][1]:.4g} |")


if __name__ == "__main__":
    main()
