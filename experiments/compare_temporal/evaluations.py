"""How many evaluations would an adaptive solver take, and how far is the trained solver off, all along training?

    python experiments/compare_temporal/evaluations.py RUN... > evaluations.csv

For every kept look of each run: the path of the same latents and test captions under the trained solver, under dopri5
at rtol 1e-3 and 1e-5, and under a tight one (rk4, 32 steps a gap). Distances are to the tight one: of the path, root
mean square relative to how far the tight path moves from its start, and of the frames, in grey levels of 255.
"""

import csv
import sys
from pathlib import Path

import torch

from ode_vgan import load
from ode_vgan.build import build
from ode_vgan.metrics.continuous import pixel_rms
from ode_vgan.metrics.solver import tight, with_solver

CLIPS = 32
SETTINGS = {
    "as trained": {},
    "dopri5 rtol 1e-3": {"solver": "dopri5", "rtol": 1e-3},
    "dopri5 rtol 1e-5": {"solver": "dopri5", "rtol": 1e-5},
    "rk4, one step a gap": {"solver": "rk4", "steps_per_frame": 1},
}
COLUMNS = ("run", "clips", "solver", "nfe", "path_error", "pixel_rms", "kinetic")


@torch.no_grad()
def rows(look: Path, name: str, real) -> list[dict]:
    """One row a solver."""
    trained = load(look)
    latents, times = trained.draw(CLIPS, 0), real.times[0].double()
    paths = {"tight": tight(trained.generator)}
    paths |= {key: with_solver(trained.generator, **options) for key, options in SETTINGS.items()}
    found = {key: (one.path(latents, times, real.text), one.temporal.nfe) for key, one in paths.items()}
    exact = found["tight"][0][1]
    moved = (exact - exact[:, :1]).square().mean().sqrt()
    kinetic = (exact.diff(dim=1).square().mean((0, 2)) / times.diff().square()).mean()
    frames = {key: trained.generator.decoder(w, z, real.text) for key, ((w, z), _) in found.items()}
    return [
        {
            "run": name, "clips": trained.clips_seen, "solver": key, "nfe": found[key][1],
            "path_error": f"{float((found[key][0][1] - exact).square().mean().sqrt() / moved):.2e}",
            "pixel_rms": f"{float(pixel_rms(frames[key], frames['tight']).mean()):.4f}",
            "kinetic": f"{float(kinetic):.4f}",
        }
        for key in SETTINGS
    ]  # fmt: skip


def main(folders: list[str]) -> None:
    out = csv.DictWriter(sys.stdout, COLUMNS)
    out.writeheader()
    for folder in map(Path, folders):
        last = load(folder)
        real = build(last.config["data"], embed=last.embed).real_clips(CLIPS, split="test", seed=0)
        for look in sorted((folder / "checkpoints").glob("clips_*.ckpt")):
            out.writerows(rows(look, folder.name, real))


if __name__ == "__main__":
    main(sys.argv[1:])
