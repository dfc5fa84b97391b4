"""Four small runs that differ in their model of time, with a text embedder, and a studio over them."""

from pathlib import Path

from ode_vgan.web.studio import Studio
from tests.known import FIELD, FRAMES, GAP, WIDTH
from tests.made_runs import made_clips, made_config, made_run

E = 384  # of MiniLM
BOTH = {"dim": WIDTH, "embed_dim": E}
TIMES = {
    "ode": {**FIELD, "text_input": True, "order": 1, "solver": "midpoint"},
    "sde": {**FIELD, "text_input": True, "noise_hidden": 8, "gate": 1.0, "calculus": "ito", "steps_per_frame": 2},
    "rnn": {"noise_dim": 4, "text_dim": 4},
    "discrete": {"text_dim": 4, "widths": [16, 16], "frames": FRAMES, "gap_seconds": GAP},
}
CLASSES = {"ode": "OdePath", "sde": "SdePath", "rnn": "RnnPath", "discrete": "DiscretePath"}


def made_runs(folder: Path) -> list[Path]:
    """Run folders named ode, sde, rnn and discrete."""
    clips = made_clips(folder / "clips")
    return [made_run(folder / "runs" / name, clips, config=config(clips, name)) for name in TIMES]


def config(clips: Path, name: str) -> dict:
    """Of a run whose captions reach its path and its frames."""
    found = made_config(clips)
    generator = found["model"]["generator"]
    generator["temporal"] = {"_target_": f"ode_vgan.temporal.{name}.{CLASSES[name]}", **BOTH, **TIMES[name]}
    generator["decoder"]["embed_dim"] = generator["embed_dim"] = E
    found |= {"embed": {"_target_": "ode_vgan.embed.sentence.SentenceEmbedder"}, "gap_seconds": GAP}
    found["data"] |= {"train_split": "train", "test_split": "test"}
    return found


def made_studio(folder: Path) -> Studio:
    """A studio over the four."""
    return Studio(made_runs(folder))
