"""Other times than the trained ones: other frame rates, more frames in between, later windows, shifted starts."""

import copy
from collections.abc import Sequence
from fractions import Fraction

import torch
from torch import Tensor

from ode_vgan.data.clips import to_float
from ode_vgan.data.loader import ClipData
from ode_vgan.data.windows import Sampling
from ode_vgan.errors import UserError
from ode_vgan.metrics.continuous import Answer, Reference, Subject, pixel_rms

RATES = (0.5, 1.0, 2.0, 4.0)
FACTORS = (2, 4)
SHIFTS = (0.0, 0.25, 0.5, 0.75, 1.0)


def at_stride(data: ClipData, stride: int) -> ClipData:
    """The same clips, read and embedded once, cut into even windows of another stride."""
    other = copy.copy(data)
    other.sampling = Sampling(strides=(stride,), loop=data.sampling.loop)
    return other


def stride_at(data: ClipData, rate: float) -> int | None:
    """Source frames between window frames at `rate` times the trained frame rate; None where that is not whole.

    Raises:
        UserError: the rate is not above 0.
    """
    if not 0 < rate < float("inf"):
        raise UserError(f"rate {rate:g} is no frame rate; give more than 0, as a multiple of the trained one.")
    stride = data.sampling.plain().strides[0] / Fraction(rate).limit_denominator(64)
    return int(stride) if stride.denominator == 1 else None


def seen(data: ClipData, stride: int) -> str:
    """Whether training showed frames at this spacing."""
    if data.sampling.irregular:
        return "mixed"
    return "yes" if stride in data.sampling.strides else "no"


def rates(subject: Subject, rates: Sequence[float] = RATES) -> list[Answer]:
    """Distance at other frame rates to real windows of that rate, of as many frames, rendered at their own times.

    `blend` is the distance of the model's own frames at the trained rate, blended linearly in between: what it takes
    no model of time to reach. `real_blend` is that of real frames, and tells what the extractor sees of blending.
    Each rate has a unit of its own: compare within a row.

    Raises:
        UserError: a rate is not above 0.
    """
    return [_at_rate(subject, rate) for rate in subject.watch(rates, "rates")]


def _at_rate(subject: Subject, rate: float) -> Answer:
    stride = stride_at(subject.data, rate)
    asked = {"rate": f"{rate:g}x", "stride": stride or "-", "fps": round(rate / subject.gap_seconds, 2)}
    asked["trained on"] = seen(subject.data, stride) if stride else "-"
    told = {"stride": "in the table", "gap_seconds": "of each real window"}
    try:
        reference = _real_at(subject, rate, stride)
    except UserError as error:
        return Answer("rates", asked, note=f"no real frames: {error}", protocol=subject.protocol | told)
    times, text = (part[subject.clips :] for part in (reference.real.times, reference.real.text))
    blended = subject.describe(blend(subject.base, times / subject.gap_seconds)) if rate > 1 else None

    def measure() -> dict[str, float]:
        if rate != 1 and not subject.temporal.any_gap:
            raise UserError(f"{subject.model} knows no gap but the trained one. Choose temporal=ode, sde or rnn.")
        features = subject.describe(subject.frames(times, text=text))
        against = {} if blended is None else reference.change(features, blended, name="fd_minus_blend")
        return reference.distance(features) | against

    answer = subject.answer("rates", asked, measure, **told)
    answer.numbers["floor"] = reference.floor
    if blended is not None:
        slow = to_float(subject.reference.real.frames[subject.clips :])
        real = subject.describe(blend(slow, times / subject.gap_seconds))
        answer.numbers["blend"] = reference.distance(blended)["fd"]
        answer.numbers["real_blend"] = reference.distance(real)["fd"]
    return answer


def _real_at(subject: Subject, rate: float, stride: int | None) -> Reference:
    reference = subject.reference  # first, so that clips are read and embedded once
    if rate == 1:
        return reference
    if stride is None:
        trained = subject.data.sampling.plain().strides[0]
        raise UserError(f"stride {trained} / {rate:g} is not a whole number of source frames.")
    data = at_stride(subject.data, stride)
    return Reference(data.real_clips(2 * subject.clips, split=subject.split, seed=subject.seed), subject.extractor)


def blend(frames: Tensor, positions: Tensor) -> Tensor:
    """Frames (N, T, ...) at fractional positions (N, K) in [0, T - 1], blended linearly between the two nearest."""
    positions = positions.clamp(0, frames.shape[1] - 1)
    low = positions.floor().clamp(0, frames.shape[1] - 2).long()
    share = (positions - low).to(frames.dtype).reshape(*positions.shape, *[1] * (frames.ndim - 2))
    row = torch.arange(len(frames))[:, None]
    return torch.lerp(frames[row, low], frames[row, low + 1], share)


def fine_times(times: Tensor, factor: int) -> Tensor:
    """Times (T,) with factor - 1 even steps put into each gap; every factor-th is one of `times`, to the bit."""
    inside = torch.arange(factor, dtype=times.dtype) / factor
    return torch.cat([(times[:-1, None] + inside * times.diff()[:, None]).flatten(), times[-1:]])


def decimation(subject: Subject, factors: Sequence[int] = FACTORS) -> list[Answer]:
    """What becomes of the frames at the trained times when more frames are asked in between.

    Only the frames that are kept are decoded: a frame needs its own latent state alone. A model with step noise gets
    fresh path seeds and can be equal in law only: the row of other paths at the same times is what equality scores.
    """
    reference, base = subject.reference, subject.base_features
    noisy = subject.temporal.step_noise and not subject.temporal.continuous

    def measure(factor: int, draw: int) -> dict[str, float]:
        if factor > 1 and not subject.temporal.any_gap:
            raise UserError(f"{subject.model} knows no gap but the trained one. Choose temporal=ode, sde or rnn.")
        latents = subject.new_paths(draw) if noisy else None
        frames = subject.frames(fine_times(subject.times, factor), latents=latents, keep=slice(None, None, factor))
        features, apart = subject.describe(frames), pixel_rms(frames, subject.base)
        told = {"pixel_rms": float(apart.mean()), "pixel_rms_most": float(apart.max())}
        told |= reference.distance(features, to=base, name="fd_to_1x")
        return told | reference.distance(features) | reference.change(features, base) | {"floor": reference.floor}

    def plain() -> dict[str, float]:
        return reference.distance(base) | {"floor": reference.floor}

    settings = [("1x", plain)]
    settings += [("1x, other paths", lambda: measure(1, 1))] if noisy else []
    settings += [
        (f"{factor}x, every {factor}. kept", lambda factor=factor, i=i: measure(factor, i))
        for i, factor in enumerate(factors, start=2)
    ]
    return [
        subject.answer("decimation", {"rendered": name}, found) for name, found in subject.watch(settings, "decimation")
    ]


def horizon(subject: Subject, windows: int = 3) -> list[Answer]:
    """Distance of the windows [0, T), [T, 2T), ... of one long rendering to real windows, which start anywhere."""
    frames, reference = subject.data.frames, subject.reference
    rendered: list[Tensor] = []

    def measure(window: int) -> dict[str, float]:
        if window and not subject.temporal.extrapolates:
            raise UserError(f"{subject.model} knows no time beyond its window. Choose temporal=ode, sde or rnn.")
        if not rendered:
            count = frames * (windows if subject.temporal.extrapolates else 1)
            times = torch.arange(count, dtype=torch.float64) * subject.gap_seconds
            rendered.extend(map(subject.describe, subject.frames(times).split(frames, dim=1)))
        told = reference.distance(rendered[window]) | {"floor": reference.floor}
        return told | (reference.change(rendered[window], rendered[0]) if window else {})

    return [
        subject.answer("horizon", {"frames": f"{i * frames} to {(i + 1) * frames - 1}"}, lambda i=i: measure(i))
        for i in subject.watch(range(windows), "horizon")
    ]


def shift(subject: Subject, offsets: Sequence[float] = SHIFTS) -> list[Answer]:
    """Distance of windows that start between the trained frames, the path still being anchored at 0 s.

    Args:
        offsets: in frame gaps. A whole gap tells drift with time from what lies between the frames.
    """
    reference = subject.reference

    def measure(offset: float) -> dict[str, float]:
        if not offset:
            return reference.distance(subject.base_features) | {"floor": reference.floor}
        features = subject.describe(subject.frames(subject.times + offset * subject.gap_seconds))
        changed = reference.change(features, subject.base_features)
        return reference.distance(features) | {"floor": reference.floor} | changed

    return [
        subject.answer("shift", {"start (gaps)": f"{offset:g}"}, lambda offset=offset: measure(offset))
        for offset in subject.watch(offsets, "shift")
    ]
