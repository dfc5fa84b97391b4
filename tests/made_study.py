"""A study of made numbers, for the report: nothing here was trained, and every note and commit says so."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from ode_vgan.report.statistics import contrasts, spreads
from ode_vgan.report.study import Run, Score, Study

MEANS = {"ode": 40.0, "sde": 44.0, "rnn": 60.0, "discrete": 58.0}  # made: the ODE better than the RNN by 20
NOISE = {"ode": 64, "sde": 2048, "rnn": 1024, "discrete": 64}
PROTOCOL = {
    "source": "made", "split": "test", "clips_real": 128, "clips_fake": 128, "frames": 16, "size_px": "32",
    "extractor": "made_v1", "seed": 0,
}  # fmt: skip
LOOKS = (1024, 2048, 4096, 8192)
SCORES = {"fvd128_16f": 10.0, "fd128_hog3d": 1.0, "fd128_colour": 0.02, "clipsim128": -0.2}


def made_run(family: str, seed: int, mean: float, folder: Path = Path("made"), **changes: object) -> Run:
    """A finished run whose scores lie about `mean`, spread by 2 between seeds."""
    draw = np.random.default_rng([seed, *family.encode()])
    value = mean + 2 * (seed - 1) + draw.normal(0, 0.1)
    scores = {f"{key}/test": _score(key, value * scale) for key, scale in SCORES.items()}
    nfe = {"ode": 30, "sde": 60, "rnn": 15}.get(family, 1)
    facts = {
        "clips_seen": LOOKS[-1], "seconds": 900.0 + 10 * nfe + seed, "cpu_seconds": 800.0 + 10 * nfe + 2 * seed,
        "nfe": nfe, "parameters": {"generator": 1_200_000, "temporal": 95_000, "critics": 1_400_000},
        "macs": {"generator": 2.5e8, "temporal": 1e6 * nfe, "critics": 4e8, "forward": 1.05e9 + 1e6 * nfe},
        "noise_numbers": NOISE.get(family, 64),
        "chosen": {"clips": 4096, "value": value, "protocol": "fd128_hog3d/val"},
        "started": {
            "command": f"python train.py +experiment=made temporal={family} seed={seed}", "commit": "made" + "0" * 36,
            "dirty": False, "python": "3.11", "torch": "2.13.0", "machine": "made, 2 cores, no GPU", "threads": 1,
        },
    }  # fmt: skip
    folder = folder / f"{family}-seed{seed}"
    run = Run(folder, family, seed, "finished", "", facts, _curves(facts, value), scores, _answers(family, value))
    return replace(run, **changes)


def made_study(
    folder: Path = Path("made"), means: Mapping[str, float] = MEANS, seeds: Sequence[int] = (0, 1, 2),
    more: Sequence[Run] = (), skipped: dict | None = None,
) -> Study:  # fmt: skip
    """A study of made runs, and further ones in any state."""
    runs = [made_run(family, seed, mean, folder) for family, mean in means.items() for seed in seeds] + list(more)
    found = spreads(runs)
    settings = {"protocols": ["fvd128_16f", "fd128_hog3d"], "split": "test", "made": "numbers are made up"}
    return Study(folder, runs, found, contrasts(found), settings, skipped or {})


def failed_run(folder: Path = Path("made"), family: str = "ode2", seed: int = 0, error: str = "a loss is nan") -> Run:
    """A run that diverged and left nothing but its command."""
    facts = {"clips_seen": 512, "started": {"command": f"python train.py temporal={family}", "commit": "made"}}
    return Run(folder / f"{family}-seed{seed}", family, seed, "failed", error, facts)


def _score(key: str, value: float) -> Score:
    better = "higher" if key.startswith("clipsim") else "lower"
    floor = 0.3 * abs(value) if better == "lower" else 0.0
    return Score(value, value - 3, value + 3, None, floor, better, PROTOCOL | {"metric": key})


def _curves(facts: dict, value: float) -> dict:
    clips = [float(one) for one in LOOKS]
    rows = [float(one) for one in range(512, LOOKS[-1] + 1, 512)]
    falling = [value * (1 + math.exp(-one / 2000)) for one in clips]
    return {
        "score/fd256_hog3d": (clips, falling),
        "score/fd256_hog3d_real": (clips, [12.0] * len(clips)),
        "nfe": (rows, [float(facts["nfe"])] * len(rows)),
        "seconds": (rows, [facts["seconds"] * one / LOOKS[-1] for one in rows]),
        "cpu_seconds": (rows, [facts["cpu_seconds"] * one / LOOKS[-1] for one in rows]),
    }


def _answers(family: str, value: float) -> list[dict]:
    """Rates and horizon: the RNN is worse at other rates and holds on, the discrete model cannot."""
    protocol = {"extractor": "made_v1", "clips": 256, "seed": 0}
    able = family != "discrete"
    grows = {"rnn": (40.0, 5.0)}.get(family, (4.0, 40.0))
    answers = []
    for rate, steps in (("0.5x", 1), ("1x", 0), ("2x", 1), ("4x", 2)):
        numbers = {"fd": value + 60 + steps * grows[0], "floor": 60.0}
        told = (numbers, "") if able or not steps else ({"floor": 60.0}, "cannot: made knows no gap but its own.")
        answers.append({"question": "rates", "asked": {"rate": rate}, "numbers": told[0], "note": told[1]})
    for window in range(3):
        numbers = {"fd": value + 60 + window * grows[1], "floor": 60.0}
        told = (numbers, "") if able or not window else ({}, "cannot: made knows no time beyond its window.")
        asked = {"frames": f"{16 * window} to {16 * window + 15}"}
        answers.append({"question": "horizon", "asked": asked, "numbers": told[0], "note": told[1]})
    return [one | {"protocol": protocol} for one in answers]
