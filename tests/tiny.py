"""A run small enough for a test: synthetic clips, frames of 16 px, networks of a few thousand weights."""

from pathlib import Path

from ode_vgan.data.shapes import write_shapes

REPOSITORY = Path(__file__).parent.parent


def tiny_overrides(folder: Path, *more: str) -> list[str]:
    """Overrides of train.py for a run on synthetic clips written into `folder`."""
    clips = folder / "clips"
    if not clips.exists():
        write_shapes(clips, 12, seed=0, frames=12, size=16)
    return [
        "data=folder",
        f"data.source={clips}",
        "data.frames=4",
        "data.size=16",
        "data.batch=4",
        "embed=none",
        "trainer=cpu",
        "trainer.precision=32-true",  # the same on any machine
        "metrics=none",
        "compare=none",
        "noise_dim=8",
        "motion_dim=8",
        "style_dim=16",
        "max_clips=32",
        "tick_clips=8",
        "samples.every_clips=1000",
        "samples.clips=2",
        *(f"{part}.channel_base=128" for part in PARTS),
        *(f"{part}.channel_max=16" for part in PARTS),
        *more,
    ]


PARTS = ("decoder", "discriminator.frame", "discriminator.clip")
