"""Score a generator against real clips, with the floor and the controls that make the number readable."""

import statistics
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from ode_vgan.errors import UserError
from ode_vgan.metrics.controls import CONTROLS
from ode_vgan.metrics.features import DEVIATION_FLOOR, Extractor, standardise
from ode_vgan.metrics.frechet import frechet_from_features
from ode_vgan.metrics.hog3d import Hog3d

if TYPE_CHECKING:
    from ode_vgan.data.loader import ClipData, RealClips

GROUPS = 10  # of the delete-group jackknife
STUDENT_T = 1.833  # 95 % point of Student's t with GROUPS - 1 degrees of freedom: a two-sided 90 % interval

Render = Callable[[Tensor, Tensor, int], Tensor]


@dataclass(frozen=True)
class Score:
    """A Frechet distance and what it has to be read beside, all in the same squared, standardised feature units.

    Attributes:
        name: `fd_` and the extractor's name. Never FVD: the feature net differs.
        value: generated against real, mean over the repeats.
        sd: between repeats; None with one.
        low, high: 90 % interval of one repeat's value by the delete-group jackknife.
        floor, floor_sd: other real clips, as many, against the same real ones: what a perfect generator gets.
        controls: real clips spoiled in a known way against the same real ones; empty when not asked for.
        protocol: all that the number depends on beside the generator.
    """

    name: str
    value: float
    sd: float | None
    low: float
    high: float
    floor: float
    floor_sd: float | None
    controls: dict[str, float]
    protocol: dict

    @property
    def ratio(self) -> float:
        """Value over floor; 1 is indistinguishable to this extractor at this N."""
        return self.value / self.floor if self.floor else float("inf")

    def to_json(self) -> dict:
        """Plain data, numbers with their protocol."""
        return asdict(self) | {"ratio": self.ratio}


def score(
    real_a: Tensor,
    real_b: Tensor,
    fake: Tensor,
    extractor: Extractor,
    *,
    controls: Sequence[str] = tuple(CONTROLS),
    seed: int = 0,
    protocol: dict | None = None,
) -> Score:
    """Frechet distances of generated and of further real clips to the reference `real_a`.

    Features are divided by the reference's deviations first, so both sides must have gone through the same decoder,
    resize and quantisation.

    Args:
        real_a, real_b, fake: (N, T, H, W, 3) uint8, the same N.
        controls: names in `ode_vgan.metrics.controls.CONTROLS`, made from real_b.
        seed: of the controls' draws.

    Raises:
        UserError: the sets differ in shape, or have too few clips.
    """
    _check_sets(real_a, real_b, fake)
    draw = torch.Generator().manual_seed(seed)
    sets = {"fake": fake, "floor": real_b} | {name: CONTROLS[name](real_b, draw) for name in controls}
    reference, *features = standardise(extractor(real_a), *(extractor(clips) for clips in sets.values()))
    features = dict(zip(sets, features, strict=True))
    distances = {name: float(frechet_from_features(reference, rows)) for name, rows in features.items()}
    value, floor = distances.pop("fake"), distances.pop("floor")
    reach = STUDENT_T * jackknife_error(reference, features["fake"])
    told = describe_extractor(extractor) | describe_clips(real_a) | {"seed": seed, "repeats": 1} | (protocol or {})
    return Score(f"fd_{extractor.name}", value, None, value - reach, value + reach, floor, None, distances, told)


def evaluate_generator(
    render: Render,
    data: "ClipData",
    clips: int,
    *,
    seed: int = 0,
    split: str = "train",
    extractors: Sequence[Extractor] = (Hog3d(),),
    repeats: int = 1,
    controls: Sequence[str] = tuple(CONTROLS),
    chunk: int = 32,
) -> dict[str, Score]:
    """Score a generator on a split: it is given the captions and times of one real draw, and judged by another.

    Each repeat draws 2 x `clips` real windows and splits them in the middle: the first half is the reference, the
    second gives the captions and times to generate at, the floor and the controls.

    Args:
        render: (embeddings (n, E), times (n, T) seconds, seed) -> (n, T, H, W, 3) uint8; called with n <= chunk.
        clips: N on each side. repeats: independent draws; their mean is the value.

    Returns:
        {"fd_hog3d": Score, ...}, one for each extractor.
    """
    if clips < 2 * GROUPS or repeats < 1:
        raise UserError(f"{clips} clips and {repeats} repeats; use {2 * GROUPS} clips or more and 1 repeat or more.")
    runs: dict[str, list[Score]] = {}
    for repeat in range(repeats):
        real = data.real_clips(2 * clips, split=split, seed=seed + repeat)
        fake = render_chunks(render, real.text[clips:], real.times[clips:], seed=seed + repeat, chunk=chunk)
        told = describe_data(data, real, split)
        for extractor in extractors:
            halves = real.frames[:clips], real.frames[clips:]
            one = score(*halves, fake, extractor, controls=controls, seed=seed + repeat, protocol=told)
            runs.setdefault(one.name, []).append(one)
    return {name: merge_repeats(scores) for name, scores in runs.items()}


def render_chunks(render: Render, text: Tensor, times: Tensor, *, seed: int, chunk: int = 32) -> Tensor:
    """Render clips a few at a time, each few from a seed of its own."""
    starts = range(0, len(text), chunk)
    return torch.cat([render(text[i : i + chunk], times[i : i + chunk], seed * 100_003 + i).cpu() for i in starts])


def jackknife_error(reference: Tensor, features: Tensor, groups: int = GROUPS) -> float:
    """Standard error of the distance between two sets of features (N, F), by leaving out one group of each in turn."""
    member_a, member_b = (torch.arange(len(rows)) % groups for rows in (reference, features))
    left = [frechet_from_features(reference[member_a != i], features[member_b != i]) for i in range(groups)]
    return float(torch.stack(left).std(correction=0) * (groups - 1) ** 0.5)


def merge_repeats(scores: Sequence[Score]) -> Score:
    """One score from repeats of the same protocol: means, and deviations between repeats."""
    if len(scores) == 1:
        return scores[0]
    first = scores[0]
    values, floors = [s.value for s in scores], [s.floor for s in scores]
    value = statistics.fmean(values)
    return replace(
        first,
        value=value,
        sd=statistics.stdev(values),
        low=value - statistics.fmean(s.value - s.low for s in scores),
        high=value + statistics.fmean(s.high - s.value for s in scores),
        floor=statistics.fmean(floors),
        floor_sd=statistics.stdev(floors),
        controls={name: statistics.fmean(s.controls[name] for s in scores) for name in first.controls},
        protocol=first.protocol | {"repeats": len(scores)},
    )


def describe_extractor(extractor: Extractor) -> dict:
    """Protocol entries that name an extractor."""
    return {"extractor": extractor.id, "extractor_sha256": extractor.fingerprint()[:12]}


def describe_clips(real: Tensor) -> dict:
    """Protocol entries that a set of clips (N, T, H, W, 3) states itself."""
    count, frames, height, width, _ = real.shape
    size = f"{width}" if width == height else f"{width}x{height}"
    return {"clips_real": count, "clips_fake": count, "frames": frames, "size_px": size}


def describe_data(data: "ClipData", real: "RealClips", split: str) -> dict:
    """Protocol entries that only the data knows: which clips, at which times, resized how."""
    gaps = real.times.diff(dim=1)
    sampling = data.sampling.plain()
    return {
        "source": data.source,
        "split": split,
        "captions": len(set(real.captions)),
        "stride": sampling.strides[0],
        "loop": sampling.loop,
        "gap_seconds": round(float(gaps.median()), 4) if gaps.numel() else 0.0,
        "resize": "centre square, box down, bilinear up",
        "quantised": "uint8, both sides",
        "covariance": "N - 1",
        "standardised": f"by the reference's deviation, floor {DEVIATION_FLOOR:g} of the largest",
    }


def _check_sets(real_a: Tensor, real_b: Tensor, fake: Tensor) -> None:
    shapes = [tuple(clips.shape) for clips in (real_a, real_b, fake)]
    if len(set(shapes)) > 1:
        raise UserError(f"real {shapes[0]}, real {shapes[1]} and generated {shapes[2]} clips differ; make them equal.")
    if len(real_a) < 2 * GROUPS:
        raise UserError(f"{len(real_a)} clips a side; a distance with an interval needs {2 * GROUPS} or more.")
