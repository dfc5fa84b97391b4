"""What a model of time claims about times it was not trained on, measured: what all questions share, and other paths.

A question is a function of a `Subject` that returns answers; further questions are in `rates.py` and `solver.py`.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, field
from functools import cached_property
from itertools import combinations
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from ode_vgan.data.clips import to_uint8
from ode_vgan.errors import UserError
from ode_vgan.generator import Generator, Latents
from ode_vgan.metrics.features import DEVIATION_FLOOR, Extractor, standardise
from ode_vgan.metrics.frechet import frechet_from_features
from ode_vgan.metrics.hog3d import Hog3d
from ode_vgan.metrics.intervals import bias_is_regular, frechet_estimate, paired_difference

if TYPE_CHECKING:
    from ode_vgan.data.loader import ClipData, RealClips
    from ode_vgan.runs import Trained

LEAST_CLIPS = 20  # two a group of the jackknife
BATCH = 32  # clips a solve: an adaptive solver's steps are those of the hardest clip of its batch
GREY_LEVELS = 127.5  # of 255, in one unit of a frame's range [-1, 1]
DRAWS = 4  # clips of one caption among which diversity is measured

Path = Callable[[Latents, Tensor, Tensor], tuple[Tensor, Tensor]]  # (latents, times, c) -> style, latent path
Watch = Callable[[Sequence, str], Iterable]  # goes through the settings of a question, for a progress bar


@dataclass(frozen=True)
class Answer:
    """One setting of one question.

    Attributes:
        question: rates, decimation, horizon, shift, solver, paths or reversal.
        asked: what was varied.
        numbers: Frechet distances in squared standardised feature units, pixel differences in grey levels of 255;
            `fd` with `fd_debiased`, and `fd_low` and `fd_high`, a 90 % interval. Empty where nothing was measured.
        note: why there is no number, or what a number means.
        protocol: all else the numbers depend on.
    """

    question: str
    asked: dict[str, object]
    numbers: dict[str, float] = field(default_factory=dict)
    note: str = ""
    protocol: dict[str, object] = field(default_factory=dict)

    def to_json(self) -> dict:
        """Plain data."""
        return asdict(self)


class Reference:
    """Features of real windows, halved: the first half is the reference, the second the floor.

    Attributes:
        real: the windows, 2N of them. features: (N, ...) of the first half, not standardised.
        floor: distance of the second half, as a perfect generator would score with as many clips.
        regular: whether there are rows enough to remove the bias, which the intervals are centred on then.
    """

    def __init__(self, real: "RealClips", extractor: Extractor):
        self.real, self.standardised, half = real, extractor.standardised, len(real.frames) // 2
        self.features = extractor(real.frames[:half])
        self.floor = self.distance(extractor(real.frames[half:]))["fd"]
        self.regular = bias_is_regular(self.features)

    def scaled(self, features: Tensor) -> Tensor:
        """Features in the unit of the real ones, where the extractor's are standardised."""
        return standardise(self.features, features)[1] if self.standardised else features

    def distance(self, features: Tensor, to: Tensor | None = None, name: str = "fd") -> dict[str, float]:
        """Distance of features to the real ones, or to others."""
        found = frechet_estimate(self.scaled(self.features if to is None else to), self.scaled(features))
        told = {"": found.value, "_debiased": found.debiased, "_low": found.low, "_high": found.high}
        return {name + suffix: float(value) for suffix, value in told.items() if value is not None}

    def change(self, features: Tensor, before: Tensor, name: str = "change") -> dict[str, float]:
        """Distance to the real clips minus that of other features of the same latents, with its interval."""
        found = paired_difference(_plain_distance, *map(self.scaled, (self.features, features, before)))
        return {name: float(found.value), f"{name}_low": float(found.low), f"{name}_high": float(found.high)}


class Subject:
    """A trained run before its judge: real windows, latents and the plain rendering, made once for all questions.

    Args:
        clips: N on each side. split: whose captions and clips. seed: of the windows and the latents.
        watch: goes through the settings of a question.

    Attributes:
        reference: real windows at the trained stride; captions are those of its second half.
        times: (T,) seconds, uniform at the median gap of those windows.
        base: frames at these times, (N, T, C, H, W) in [-1, 1], not quantised, and their features `base_features`.
        protocol: of every answer.

    Raises:
        UserError: too few clips, windows of one frame, or clips the extractor cannot describe.
    """

    def __init__(
        self, trained: "Trained", data: "ClipData", extractor: Extractor | None = None, *, clips: int = 256,
        split: str = "train", seed: int = 0, watch: Watch = lambda settings, question: settings,
    ):  # fmt: skip
        if clips < LEAST_CLIPS:
            raise UserError(f"{clips} clips; a distance with an interval needs {LEAST_CLIPS} or more.")
        if data.frames < 2:
            raise UserError(f"windows of {data.frames} frame have no motion; train with data.frames of 2 or more.")
        self.trained, self.data, self.extractor = trained, data, extractor or Hog3d()
        self.clips, self.split, self.seed, self.watch = clips, split, seed, watch
        self.generator: Generator = trained.generator
        self.temporal = trained.generator.temporal
        self.model = type(self.temporal).__name__

    @cached_property
    def reference(self) -> Reference:
        return Reference(self.data.real_clips(2 * self.clips, split=self.split, seed=self.seed), self.extractor)

    @cached_property
    def latents(self) -> Latents:
        return self.trained.draw(self.clips, self.seed)

    @property
    def text(self) -> Tensor:
        """(N, E), of the second half of the real windows."""
        return self.reference.real.text[self.clips :]

    @cached_property
    def gap_seconds(self) -> float:
        return round(float(self.reference.real.times.diff(dim=1).median()), 6)

    @property
    def times(self) -> Tensor:
        return torch.arange(self.data.frames, dtype=torch.float64) * self.gap_seconds

    @cached_property
    def base(self) -> Tensor:
        return self.frames(self.times)

    @cached_property
    def base_features(self) -> Tensor:
        return self.describe(self.base)

    @cached_property
    def protocol(self) -> dict[str, object]:
        frames, height, width = self.reference.real.frames.shape[1:4]
        scaled = self.extractor.standardised
        return {
            "extractor": f"{self.extractor.id} {self.extractor.fingerprint()[:12]}",
            "clips": f"{self.clips} real, {self.clips} generated",
            "frames": frames,
            "size_px": f"{width}x{height}",
            "source": self.data.source,
            "split": self.split,
            "captions": len(set(self.reference.real.captions)),
            "stride": self.data.sampling.plain().strides[0],
            "gap_seconds": self.gap_seconds,
            "interval": f"90 % jackknife of the {'debiased' if self.reference.regular else 'plain'} value",
            "standardised": f"by the real deviation, floor {DEVIATION_FLOOR:g} of the largest" if scaled else "no",
            "seed": self.seed,
        }

    def answer(self, question: str, asked: dict, measure: Callable[[], dict], **more: object) -> Answer:
        """What `measure` finds, or why the model cannot; `more` is added to the protocol or replaces it."""
        protocol = self.protocol | more
        try:
            return Answer(question, asked, measure(), protocol=protocol)
        except UserError as error:
            return Answer(question, asked, note=f"cannot: {error}", protocol=protocol)

    def describe(self, frames: Tensor) -> Tensor:
        """Features of frames (N, T, C, H, W), quantised first as files are."""
        return self.extractor(to_uint8(frames))

    def new_paths(self, number: int, latents: Latents | None = None) -> Latents:
        """The same content and motion noise with other path seeds; one draw for each number >= 1."""
        latents = latents or self.latents
        draw = torch.Generator().manual_seed(self.seed * 1_000_003 + 500_009 * number)
        return latents._replace(seeds=torch.randint(2**62, latents.seeds.shape, generator=draw))

    @torch.no_grad()
    def frames(
        self, times: Tensor, *, latents: Latents | None = None, text: Tensor | None = None, keep: slice = slice(None),
        path: Path | None = None,
    ) -> Tensor:  # fmt: skip
        """Frames (N, T, C, H, W) on the CPU, in [-1, 1], not quantised.

        Args:
            times: (T,) or (N, T) seconds. keep: the frames to decode; the path is integrated over all of them.
            path: in place of the generator's own.

        Raises:
            UserError: the model cannot do these times.
        """
        latents, text, path = latents or self.latents, self.text if text is None else text, path or self.generator.path
        device = next(self.generator.parameters()).device
        parts = []
        for i in range(0, len(text), BATCH):
            part = slice(i, i + BATCH)
            at = (times if times.ndim == 1 else times[part]).to(device)
            c = text[part].to(device)
            w, z = path(latents.slice(part).to(device), at, c)
            pieces = z[:, keep].split(self.generator.chunk(len(z)), dim=1)
            parts.append(torch.cat([self.generator.frames(w, piece, c).cpu() for piece in pieces], 1))
        return torch.cat(parts)


def paths(subject: Subject, draws: int = DRAWS) -> list[Answer]:
    """Diversity among clips of one caption that differ in all latents, in z0 and the path seed, or in the seed alone.

    Numbers: mean distance of two such clips in standardised features, their pixel difference, for the seed alone also
    frame by frame, and the share of each in that of clips that differ in all.
    """
    groups = max(2, subject.clips // draws)
    text = subject.text[:groups].repeat_interleave(draws, 0)
    first = Latents(*(part[:groups].repeat_interleave(draws, 0) for part in subject.latents))
    other = subject.trained.draw(len(text), subject.seed + 1)
    kinds = {
        "all latents": other,
        "z0 and path": first._replace(motion=other.motion, seeds=other.seeds),
        "path": first._replace(seeds=other.seeds),
    }
    protocol = subject.protocol | {"clips": f"{draws} of each of {groups} captions"}
    found: dict[str, dict[str, dict[str, float]]] = {}
    for kind in subject.watch(list(kinds), "paths"):
        if kind != "path" or subject.temporal.step_noise:
            found[kind] = _diversity(subject, kinds[kind], text, draws)
    answers = []
    for kind, rows in found.items():
        for at, numbers in rows.items():
            most = found["all latents"][at]
            shares = {f"{name}_share": value / most[name] for name, value in numbers.items() if most[name]}
            if kind == "path" or at == "clip":
                answers.append(Answer("paths", {"differ in": kind, "at": at}, numbers | shares, protocol=protocol))
    if "path" not in found:
        nothing = dict.fromkeys(answers[0].numbers, 0.0)
        asked, note = {"differ in": "path", "at": "clip"}, "no step noise: 0 by construction"
        answers.append(Answer("paths", asked, nothing, note, protocol))
    return answers


def _diversity(subject: Subject, latents: Latents, text: Tensor, draws: int) -> dict[str, dict[str, float]]:
    """Numbers of the whole clip and of each frame, by where."""
    frames = subject.frames(subject.times, latents=latents, text=text)
    features = subject.reference.scaled(subject.describe(frames))
    pixels = frame_rms(frames, draws)
    distance, pixel = pair_distances(features.flatten(1), draws).mean(), pixels.square().mean().sqrt()
    rows = {"clip": {"feature_distance": float(distance), "pixel_rms": float(pixel)}}
    times = subject.times.tolist()
    return rows | {f"{at:.3f} s": {"pixel_rms": float(one)} for at, one in zip(times, pixels, strict=True)}


def pair_distances(features: Tensor, draws: int) -> Tensor:
    """Distances of all pairs within each group of `draws` consecutive rows of (G * draws, F): (G, pairs)."""
    grouped = features.unflatten(0, (-1, draws))
    return torch.stack([(grouped[:, a] - grouped[:, b]).norm(dim=-1) for a, b in combinations(range(draws), 2)], 1)


def frame_rms(frames: Tensor, draws: int) -> Tensor:
    """Pixel difference in grey levels of all pairs within each group of `draws` clips, by frame: (T,)."""
    grouped = frames.unflatten(0, (-1, draws))
    pairs = [(grouped[:, a] - grouped[:, b]).square().mean((0, 2, 3, 4)) for a, b in combinations(range(draws), 2)]
    return torch.stack(pairs).mean(0).sqrt() * GREY_LEVELS


def pixel_rms(frames: Tensor, other: Tensor) -> Tensor:
    """Root mean square pixel difference of each clip of two sets (N, T, C, H, W), in grey levels of 255: (N,)."""
    return (frames - other).square().flatten(1).mean(1).sqrt() * GREY_LEVELS


def _plain_distance(real: Tensor, fake: Tensor) -> Tensor:
    return frechet_from_features(real.flatten(0, -2), fake.flatten(0, -2))
