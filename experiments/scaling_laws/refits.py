"""The OpenCLIP study's and Chinchilla's points refitted: exponents with the intervals the papers do not give.

python experiments/scaling_laws/refits.py FOLDER_OF_CSVS > experiments/scaling_laws/refits.md
"""

import csv
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np

from ode_vgan.scaling.fit import Fit, compare, fit
from ode_vgan.scaling.laws import Points
from ode_vgan.scaling.leastsquares import line
from ode_vgan.scaling.selection import select

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


def resampled(every: Points, how: str, count: int = 1000) -> tuple[float, float]:
    """The middle 90 % of exponents of as many models drawn from the models, for comparison."""
    generator = np.random.default_rng(0)
    x, y = np.log10(every.compute), np.log10(every.error)
    exponents = []
    for _ in range(count):
        own = generator.integers(len(x), size=len(x))
        exponents.append(line(select(x[own], y[None, own], how), 0.0)[0, 1])
    return tuple(np.nanquantile(exponents, (0.05, 0.95)))


def exponents(rows: list[dict[str, str]]) -> None:
    """The study's exponents under three selections."""
    print("| error of | OpenCLIP, 5 bins | Pareto front | all 29 points | OpenAI, 3 points |\n|---|---|---|---|---|")
    for name, chosen in SUBJECTS.items():
        ours = [cell(fit(points(rows, *chosen, False), select=how)) for how in ("binned", "pareto", "all")]
        theirs = cell(fit(points(rows, *chosen, True), select="all", allow_few=True))
        print(f"| {name} | {' | '.join(ours)} | {theirs} |")
    every = points(rows, *SUBJECTS["ImageNet top-1"], False)
    again = {how: resampled(every, how) for how in ("binned", "pareto", "all")}
    told = ", ".join(f"{how} [{low:.4f}, {high:.4f}]" for how, (low, high) in again.items())
    print(f"\nImageNet's exponent with models drawn again, middle 90 %: {told}")


def distributions(rows: list[dict[str, str]]) -> None:
    """Whether OpenAI's data and LAION's differ in exponent."""
    print("\n| OpenAI's minus OpenCLIP's exponent | of 5 bins | of all points | error, OpenAI's over all |")
    print("|---|---|---|---|")
    for name, chosen in SUBJECTS.items():
        theirs = fit(points(rows, *chosen, True), select="all", allow_few=True)
        cells = []
        for how in ("binned", "all"):  # the three points are all there is: compared with either selection of the others
            ours = replace(fit(points(rows, *chosen, False), select=how), select="all")
            one = compare({"ours": ours, "theirs": theirs})[0]
            cells.append("{:+.3f} [{:+.3f}, {:+.3f}]".format(one.exponent, *one.exponent_interval))
        print(f"| {name} | {' | '.join(cells)} | {one.offset:.2f} [{one.offset_interval[0]:.2f}, ", end="")
        print(f"{one.offset_interval[1]:.2f}] at {one.at:.2g} |")


def ahead(rows: list[dict[str, str]]) -> None:
    """What smaller models say of the largest."""
    print("\n| error of | recipe | said | measured | off |\n|---|---|---|---|---|")
    for name, chosen in SUBJECTS.items():
        every = points(rows, *chosen, False)
        most = every.take(np.array([every.compute.argmax()]))
        for how in ("binned", "pareto", "all"):
            found = fit(every.take(every.compute < SMALL), select=how)
            said, (low, high) = found.predict(most.compute)[0], found.predict_interval(most.compute)
            told = f"{said:.4f} [{low[0]:.4f}, {high[0]:.4f}] | {most.error[0]:.4f}"
            print(f"| {name} at {most.compute[0]:.3g} | {found.recipe} | {told} | {said / most.error[0] - 1:+.1%} |")
    found, at = fit(points(rows, *SUBJECTS["ImageNet top-1"], False)), np.array([BUDGET])
    low, high = (100 * (1 - side[0]) for side in found.predict_interval(at))
    print(f"\nViT-H/14 at 34B samples: {100 * (1 - found.predict(at)[0]):.4f} % [{high:.2f}, {low:.2f}]\n")


def chinchilla(path: Path) -> None:
    """The parametric law of Chinchilla's points."""
    with path.open() as file:
        rows = [[float(row[key]) for key in ("Model Size", "Training FLOP", "loss")] for row in csv.DictReader(file)]
    size, compute, loss = np.array(rows).T
    every = Points(compute, loss, parameters=size, samples=compute / 6 / size)
    found = fit(every.take(np.argsort(every.samples / size)[LEAST:]), "chinchilla")
    print("| Chinchilla | value | 90 % interval |\n|---|---|---|")
    for name, value in found.parameters.items():
        print(f"| {name} | {value:.4g} | {found.intervals[name][0]:.4g} to {found.intervals[name][1]:.4g} |")


def main() -> None:
    """Print the tables."""
    folder = Path(sys.argv[1])
    with (folder / "slo_zeroshot_results.csv").open() as file:
        rows = list(csv.DictReader(file))
    exponents(rows)
    distributions(rows)
    ahead(rows)
    chinchilla(folder / "epoch_chinchilla_svg.csv")


if __name__ == "__main__":
    main()
