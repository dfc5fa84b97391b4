"""A trained run that a page can play: what its model of time can do, and any clip, frame or path of it."""

import time
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from ode_vgan.data.clips import to_uint8
from ode_vgan.errors import UserError
from ode_vgan.generator import Latents
from ode_vgan.runs import Trained
from ode_vgan.temporal.path import TemporalModel
from ode_vgan.web.studio_asked import Asked, check_pixels

ABLE = ("continuous", "any_gap", "backward", "extrapolates", "step_noise")
AXES_CLIPS = 48
CAPTIONS = 24
DENSE = 129  # points of a drawn path


class Rendered(NamedTuple):
    """frames (T, H, W, 3) uint8; evaluations of the field or cell; seconds it took."""

    frames: np.ndarray
    evaluations: int
    seconds: float


class Playable:
    """One run in the studio.

    Args:
        name: unique in the studio. trained: as `ode_vgan.load` gives it.
    """

    def __init__(self, name: str, trained: Trained):
        self.name, self.trained = name, trained
        self.generator = trained.generator
        self.data = trained.config["data"]

    @property
    def temporal(self) -> TemporalModel:
        """Its model of time."""
        return self.generator.temporal

    @cached_property
    def gap_seconds(self) -> float:
        """Between frames in training."""
        return float(self.trained.config.get("gap_seconds") or 1 / 12)

    @property
    def window(self) -> list[float]:
        """Frame times of a training clip, seconds."""
        return [i * self.gap_seconds for i in range(self.data["frames"])]

    def describe(self) -> dict:
        """What the page says of it before it has asked anything."""
        return {
            "name": self.name,
            "model": type(self.temporal).__name__,
            "clips_seen": self.trained.clips_seen,
            "size": self.data["size"],
            "frames": self.data["frames"],
            "gap_seconds": self.gap_seconds,
            "window_seconds": round(self.window[-1], 6),
            "can": {able: bool(getattr(self.temporal, able)) for able in ABLE},
            "captions": self.captions,
        }

    @cached_property
    def captions(self) -> list[str]:
        """Some captions that it was trained on; none where its clips are not here."""
        from ode_vgan.data.store import open_source, set_aside, split_entries

        try:
            data = self.data
            sides = split_entries(open_source(data["source"]), (data["train_split"], data["test_split"]))
            entries = set_aside(sides[0], data.get("val_share", 0.0))[0]
        except (UserError, OSError, KeyError):
            return []
        own = list(dict.fromkeys(" ".join(entry.caption.split()) for entry in entries if entry.caption))
        step = max(1, len(own) // CAPTIONS)
        return own[::step][:CAPTIONS]

    @torch.inference_mode()
    def render(self, asked: Asked, go_on=lambda: None) -> Rendered:
        """The frames of a clip.

        Args:
            go_on: called between chunks of frames; what it raises ends the rendering.

        Raises:
            UserError: the model of time cannot do these times, or there are too many pixels.
        """
        begin = time.perf_counter()
        check_pixels(len(asked.times), self.data["size"])
        w, z, c = self._path(asked)
        parts = []
        step = self.generator.chunk(1)
        for i in range(0, z.shape[1], step):
            go_on()
            parts.append(to_uint8(self.generator.decoder(w, z[:, i : i + step], c).clamp(-1, 1).cpu()))
        frames = torch.cat(parts, 1)[0].numpy()
        return Rendered(frames, self.temporal.nfe, time.perf_counter() - begin)

    @torch.inference_mode()
    def path(self, asked: Asked) -> dict:
        """The latent path in the plane in which this run's clips move most.

        A continuous path is drawn densely between the first and the last asked time; one that takes a step a frame only
        at the frames, since it would be another path at other times.

        Returns:
            times (N,) seconds, points (N, 2), speeds (N - 1,) latent units a second, marks: the rows of asked times,
            span: how far a clip usually moves in that plane, evaluations.
        """
        dense = self.temporal.continuous and not self.temporal.step_noise and len(asked.times) > 1
        low, high = asked.times[0], asked.times[-1]
        own = np.asarray(asked.times)
        times = filled(own, np.linspace(low, high, DENSE)) if dense else own
        z = self._path(asked.at(tuple(times.tolist())))[1][0].double().cpu().numpy()
        axes, span = self._plane
        points = z @ axes
        speeds = np.linalg.norm(np.diff(z, axis=0), axis=1) / np.maximum(np.diff(times), 1e-9)
        return {
            "times": times.round(6).tolist(),
            "points": points.round(5).tolist(),
            "speeds": speeds.round(5).tolist(),
            "marks": np.searchsorted(times, own).tolist(),
            "span": span,
            "evaluations": self.temporal.nfe,
        }

    @cached_property
    def _plane(self) -> tuple[np.ndarray, float]:
        """The two directions (Z, 2) in which states vary most within a clip, and the median clip's span in them."""
        texts = self.captions or [""]
        rows = self.trained.embed.encode_text([texts[i % len(texts)] for i in range(AXES_CLIPS)])
        _, z = self.generator.path(self.trained.draw(AXES_CLIPS, 0), torch.tensor(self.window), rows)
        states = z.double().cpu().numpy()
        moved = states - states.mean(1, keepdims=True)
        _, _, directions = np.linalg.svd(moved.reshape(-1, moved.shape[-1]), full_matrices=False)
        axes = directions[:2].T
        return axes, float(np.median(np.ptp(states @ axes, axis=1).max(-1)))

    def _path(self, asked: Asked) -> tuple[Tensor, Tensor, Tensor]:
        """Style (1, W), latent path (1, T, Z) and text (1, E) of what is asked."""
        device = next(self.generator.parameters()).device
        ends = self.trained.embed.encode_text([asked.text, asked.text_to])
        c = on_arc(ends[:1], ends[1:], asked.text_mix).to(device)
        times = torch.tensor(asked.times, dtype=torch.float32, device=device)
        if len(times) > 1 and not bool((times.diff() > 0).all()):
            raise UserError("times are closer together than single precision tells apart. Ask for fewer.")
        w, z = self.generator.path(self._latents(asked).to(device), times, c)
        return w, z, c

    def _latents(self, asked: Asked) -> Latents:
        start, end = (self.trained.draw(1, seed) for seed in (asked.seed, asked.seed_to))
        content, motion = (on_arc(a, b, asked.seed_mix) for a, b in zip(start[:2], end[:2], strict=True))
        seeds = start.seeds if asked.noise is None else torch.tensor([asked.noise])
        return Latents(content, motion, seeds)


def on_arc(start: Tensor, end: Tensor, share: float) -> Tensor:
    """The row (1, D) at a share of the way along the great arc between two rows; their lengths are mixed evenly.

    Source: Shoemake (1985), "Animating Rotation with Quaternion Curves", section 3.3.
    """
    lengths = [row.norm(dim=-1, keepdim=True).clamp_min(1e-12) for row in (start, end)]
    a, b = start / lengths[0], end / lengths[1]
    angle = (a * b).sum(-1, keepdim=True).clamp(-1, 1).acos()
    length = lengths[0] + share * (lengths[1] - lengths[0])
    if float(angle) < 1e-4 or share in (0.0, 1.0):
        return start + share * (end - start)
    return length * (((1 - share) * angle).sin() * a + (share * angle).sin() * b) / angle.sin()


def filled(own: np.ndarray, between: np.ndarray) -> np.ndarray:
    """All of `own` and those of `between` that are not too near to one of them, rising; both rise."""
    near = np.abs(between[:, None] - own).min(1) < (between[-1] - between[0]) / len(between) / 8
    return np.union1d(own, between[~near])


def names_of(paths: list[Path]) -> list[str]:
    """A short name for each run: its folder's, with as many parents as tell it from the others.

    Raises:
        UserError: a run is named twice.
    """
    full = [path.resolve() for path in paths]
    if len(set(full)) < len(full):
        raise UserError("a run is named twice. Name each once.")
    parts = [[part for part in path.parts if part not in ("checkpoints", path.anchor)] for path in full]
    for count in range(1, max(map(len, parts)) + 1):
        names = ["/".join(one[-count:]) for one in parts]
        if len(set(names)) == len(names):
            return names
    return [str(path) for path in full]
