"""The same prompts and latents through one run of each family, next to each other."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ode_vgan.build import build
from ode_vgan.errors import UserError
from ode_vgan.report import reading
from ode_vgan.report.page import Video
from ode_vgan.report.study import Run, Study
from ode_vgan.report.video import MAX_ROWS, grid_png, write_clips_mp4
from ode_vgan.runs import CHECKPOINT, Trained, load

REAL = "real"
MAX_FAMILIES = 12


@dataclass(frozen=True)
class Scene:
    """Times at which all families are asked: `rate` times the trained frame rate, for `windows` trained windows."""

    name: str
    title: str
    rate: int = 1
    windows: int = 1

    def times(self, frames: int, gap_seconds: float) -> Tensor:
        """Seconds from the first frame; with a higher rate, every `rate`-th is a trained one."""
        count = (frames * self.windows - 1) * self.rate + 1
        return torch.arange(count, dtype=torch.float32) * (gap_seconds / self.rate)


SCENES = (
    Scene("side_by_side", "At the trained frame rate"),
    Scene("side_by_side_rate", "At twice the trained frame rate", rate=2),
    Scene("side_by_side_long", "Three windows long, of which one was trained on", windows=3),
)


def side_by_side(
    study: Study, folder: str | Path, *, prompts: Sequence[str] | None = None, clips: int = 4, seed: int = 0,
    scenes: Sequence[Scene] = SCENES, device: str = "cpu",
) -> list[Video]:  # fmt: skip
    """Films and stills of the first seed of each family, written into a folder.

    A family without a checkpoint, or that cannot do a scene, is left out of it with a note. Families whose noise has
    another size get latents of the same seed.

    Args:
        prompts: captions; without them the test split's, beside its real clips.
        clips: prompts taken from the data. seed: of the latents and the captions.

    Raises:
        UserError: the data that prompts come from cannot be read.
    """
    models, notes = _load(study, device)
    if not models:
        return []
    first = next(iter(models.values()))
    models, unlike = _alike(models, first)
    texts, real, gap = (list(prompts), None, None) if prompts else _from_data(first, clips, seed)
    gap = gap or first.config.get("gap_seconds") or 1 / first.config["data"]["frames"]
    films = []
    for scene in scenes:
        times = scene.times(first.config["data"]["frames"], gap)
        rows, cannot = render(models, texts, times, seed)
        if rows:
            shown = ({REAL: real} if real is not None and scene.rate == scene.windows == 1 else {}) | rows
            missing = [*notes, *unlike, *cannot]
            films.append(_write(Path(folder), scene, shown, texts, times.numpy(), missing, _which(models, seed)))
    return films


def render(
    models: dict[str, Trained], texts: Sequence[str], times: Tensor, seed: int
) -> tuple[dict[str, np.ndarray], list[str]]:
    """Clips (N, T, H, W, 3) uint8 of each model for N captions and the latents of a seed, and who cannot, and why."""
    first = next(iter(models.values()))
    shared, rows, notes = first.embed.encode_text(list(texts)), {}, []
    for family, trained in models.items():
        alike = trained.config["embed"] == first.config["embed"]
        text = shared if alike else trained.embed.encode_text(list(texts))
        try:
            rows[family] = trained.render(text, times, seed).numpy()
        except UserError as error:
            notes.append(f"{family} is not shown: {error}")
    return rows, notes


def _load(study: Study, device: str) -> tuple[dict[str, Trained], list[str]]:
    """The first run of each family that loads, and why others do not."""
    models, notes = {}, []
    for family in reading.families(study):
        if len(models) == MAX_FAMILIES:
            notes.append(f"{family} is not shown: {MAX_FAMILIES} families at most.")
            continue
        reasons = []
        for run in reading.counted(study, family) or reading.runs_of(study, family):
            try:
                models[family] = load(checkpoint(run), device=device)
                break
            except UserError as error:
                reasons.append(f"{family} is not shown: {error}")
        notes += reasons[:1] if family not in models else []
    return models, notes


def checkpoint(run: Run) -> Path:
    """The checkpoint that a run was judged at, else its last."""
    chosen = run.facts.get("chosen")
    name = chosen.get("checkpoint") if isinstance(chosen, dict) else None
    path = run.folder / CHECKPOINT.parent / str(name)
    return path if name and path.is_file() else run.folder


def _alike(models: dict[str, Trained], first: Trained) -> tuple[dict[str, Trained], list[str]]:
    """Models whose clips have the first one's size and frames, and notes on the others."""
    kept, notes = {}, []
    for family, trained in models.items():
        sides = [(one.config["data"]["size"], one.config["data"]["frames"]) for one in (trained, first)]
        if sides[0] == sides[1]:
            kept[family] = trained
        else:
            notes.append(f"{family} is not shown: {sides[0][0]} px and {sides[0][1]} frames, not {sides[1][0]} and "
                         f"{sides[1][1]}.")  # fmt: skip
    return kept, notes


def _from_data(trained: Trained, clips: int, seed: int) -> tuple[list[str], np.ndarray, float | None]:
    """Captions of the test split, their real clips, and the seconds between frames."""
    data = build(trained.config["data"], embed=trained.embed)
    shown = data.real_clips(clips, split="test", seed=seed)
    gaps = shown.times.diff(dim=1)
    return shown.captions, shown.frames.numpy(), float(gaps.median()) if gaps.numel() else None


def _which(models: dict[str, Trained], seed: int) -> str:
    """A sentence on what is shown: checkpoints and latents."""
    noise = {trained.generator.noise_dim for trained in models.values()}
    seen = ", ".join(f"{family} {trained.clips_seen:,}" for family, trained in models.items())
    latents = "the same latents" if len(noise) == 1 else "latents of the same seed (sizes differ)"
    return f"The first seed of each family, {latents} (seed {seed}), the same prompts. Clips seen: {seen}."


def _write(
    folder: Path, scene: Scene, rows: dict[str, np.ndarray], texts: Sequence[str], times: np.ndarray,
    missing: Sequence[str], which: str,
) -> Video:  # fmt: skip
    """A film with a row a family and a column a prompt; a still with a row a clip, families of one prompt together."""
    names = [f"{family}: {text}" for family in rows for text in texts]
    film = folder / f"{scene.name}.mp4"
    write_clips_mp4(film, np.concatenate(list(rows.values())), times, names, columns=len(texts))
    shown = max(1, MAX_ROWS // len(rows))
    order = [(family, i) for i in range(min(shown, len(texts))) for family in rows]
    clips = np.stack([rows[family][i] for family, i in order])
    captions = [f"{family}: {texts[i]}" for family, i in order]
    still = grid_png(folder / f"{scene.name}.png", clips[:MAX_ROWS], captions[:MAX_ROWS], times, title=scene.title)
    alt = f"Generated clips, a row for each of {', '.join(rows)}, a column for each of: {'; '.join(texts)}."
    return Video(scene.name, scene.title, which, alt, film, still, tuple(missing))
