"""Judge generated clips against real ones: each number debiased, with interval, real-vs-real value and protocol."""

import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import combinations
from pathlib import Path

from ode_vgan.errors import UserError
from ode_vgan.metrics.clipsets import ClipSet, RealSet, Source, SpoiledSet
from ode_vgan.metrics.collect import Collected, collect
from ode_vgan.metrics.controls import CONTROLS
from ode_vgan.metrics.features import DEVIATION_FLOOR, Extractor, standardise
from ode_vgan.metrics.measures import FRECHET, better, compare, measure
from ode_vgan.metrics.protocol import METRICS, Protocol

Make = Callable[[Protocol, RealSet, int], ClipSet]  # (protocol, captions and times to generate at, seed)
REAL = "real"  # the subject that stands for other real clips


@dataclass(frozen=True)
class Result:
    """One number and what it has to be read beside, in the same units.

    Attributes:
        name: the protocol's key, and the part's name after a slash where a metric has several.
        subject: whose clips are judged.
        value: plain, as others publish it; the mean over repeats.
        debiased: what it would be with endless clips, None where it cannot be told from so few.
        low, high: 90 % interval of the debiased value where there is one, else of the plain one at this N.
        real: other real clips in the place of the generated ones, as many: the floor of a distance, the ceiling of a
            share.
        sd, real_sd: between repeats; None with one.
        better: "lower" or "higher".
        protocol: all that the number depends on beside the clips judged.
    """

    name: str
    subject: str
    value: float
    debiased: float | None
    low: float
    high: float
    real: float
    sd: float | None
    real_sd: float | None
    better: str
    protocol: dict

    def to_json(self) -> dict:
        """Plain data."""
        return asdict(self)


@dataclass(frozen=True)
class Evaluation:
    """All results of one call; differences between subjects, paired; and who was left out, by set and name."""

    results: list[Result]
    differences: list[dict]
    skipped: dict[str, dict[str, str]]

    def to_json(self) -> dict:
        """Plain data."""
        return asdict(self)


def evaluate(
    source: Source, subjects: Mapping[str, Make], protocols: Sequence[Protocol], extractors: Mapping[str, Extractor], *,
    seed: int = 0, repeats: int = 1, controls: Sequence[str] = (), cache: Path | None = None,
    advance: Callable[[int], object] = lambda n: None,
) -> Evaluation:  # fmt: skip
    """Results of every subject under every protocol.

    Each repeat draws 2N real windows: the first N are the reference; the others give the captions and times to
    generate at, the real-vs-real value and the controls. All subjects get the same of both, and the same latents.

    Args:
        extractors: by the protocols' `extractor`.
        repeats: independent draws, their seeds counted from `seed`.
        controls: names in `ode_vgan.metrics.controls.CONTROLS`, judged as further subjects.
        cache: folder for features of real clips.
        advance: told of each number of clips done, of `work` in all.

    Raises:
        UserError: clips that cannot be judged or compared, or a protocol that an extractor cannot serve.
    """
    check(source, protocols, extractors, repeats)
    makers = dict(subjects) | {name: _spoil(name) for name in controls}
    rounds: list[list[Result]] = []
    differences, skipped = [], {}
    for turn in range(repeats):
        results: list[Result] = []
        for group in grouped(protocols):
            needed = {one.extractor: extractors[one.extractor] for one in group}
            sets = _collect(source, makers, group[0], needed, seed + turn, cache, advance)
            skipped |= {name: found.skipped for name, found in sets.items() if found.skipped}
            for protocol in group:
                told = describe(source, protocol, extractors[protocol.extractor], sets, seed, repeats)
                results += _judge(protocol, extractors[protocol.extractor], sets, told)
                if turn == 0:
                    differences += _differences(protocol, extractors[protocol.extractor], sets, list(subjects))
        rounds.append(results)
    merged = [merge_repeats(same) for same in zip(*rounds, strict=True)]
    return Evaluation(merged, differences, skipped)


def work(subjects: int, protocols: Sequence[Protocol], repeats: int = 1, controls: int = 0) -> int:
    """Clips to describe in all, for a progress bar."""
    return repeats * sum((2 + subjects + controls) * group[0].clips for group in grouped(protocols))


def grouped(protocols: Sequence[Protocol]) -> list[list[Protocol]]:
    """Protocols that judge the same clips, together."""
    groups: dict[tuple, list[Protocol]] = {}
    for one in protocols:
        groups.setdefault((one.clips, one.frames, one.every, one.first), []).append(one)
    return list(groups.values())


def check(source: Source, protocols: Sequence[Protocol], extractors: Mapping[str, Extractor], repeats: int) -> None:
    """Refuse, before any work, what an extractor cannot serve."""
    if repeats < 1:
        raise UserError(f"{repeats} repeats; use 1 or more.")
    for one in protocols:
        check_frames(one, one.frames or source.windows.frames, extractors[one.extractor])


def check_frames(protocol: Protocol, frames: int, extractor: Extractor) -> None:
    """Refuse windows too short or too long for an extractor.

    Raises:
        UserError: naming the protocol and one that would do.
    """
    least, most = extractor.min_frames, extractor.max_frames
    if frames < least or most is not None and frames > most:
        rule = f"{least}" if least == most else f"{least} or more" if most is None else f"{least} to {most}"
        raise UserError(
            f"{protocol.key}: windows of {frames} frames, {protocol.extractor} needs {rule}; "
            f"use {protocol.metric}{protocol.clips}_{most or max(16, least)}f, or other windows."
        )


def merge_repeats(same: Sequence[Result]) -> Result:
    """One result from repeats of it: means, and deviations between repeats."""
    if len(same) == 1:
        return same[0]
    mean = {name: _mean([getattr(one, name) for one in same]) for name in ("value", "debiased", "low", "high", "real")}
    return replace(
        same[0],
        **mean,
        sd=statistics.stdev(one.value for one in same),
        real_sd=statistics.stdev(one.real for one in same),
    )


def describe(
    source: Source, protocol: Protocol, extractor: Extractor, sets: Mapping[str, Collected], seed: int, repeats: int
) -> dict:
    """All that a number depends on beside the clips judged: of the clips first, then of the extractor."""
    reference, store = sets["reference"], source.windows.store
    frames, height, width, _ = reference.shape
    sampling = source.sampling(protocol)
    scale = f"by the reference's deviation, floor {DEVIATION_FLOOR:g} of the largest"
    more = {"like": protocol.like, "differs": protocol.differs} if protocol.like else {"like": "no published protocol"}
    if protocol.metric in FRECHET:
        more["covariance"] = f"N - {protocol.correction}" if protocol.correction else "N"
    return {
        "source": source.name,
        "split": source.split,
        "clips_real": len(reference.names),
        "videos_real": len(set(reference.names)),
        "windows_sharing_videos": videos_shared(sets),
        "clips_fake": min(len(found.names) for found in sets.values()),
        "frames": frames,
        "stride": sampling.strides[0],
        "loop": sampling.loop,
        "gap_seconds": reference.gap_seconds,
        "size_px": f"{width}" if width == height else f"{width}x{height}",
        "resize": "none" if store.size is None else "centre square, box down, bilinear up",
        "quantised": "uint8, both sides",
        "real_order": "first by name" if protocol.first else "drawn by seed",
        "seed": seed,
        "repeats": repeats,
        "extractor": extractor.id,
        "extractor_sha256": extractor.fingerprint()[:12],
        "preprocessing": extractor.preprocessing,
        "standardised": scale if is_scaled(protocol, extractor) else "no",
    } | more


def is_scaled(protocol: Protocol, extractor: Extractor) -> bool:
    """Whether features are divided by the reference's deviations before they are compared."""
    return extractor.standardised and protocol.metric in (*FRECHET, "kvd", "prdc")


def videos_shared(sets: Mapping[str, Collected]) -> int:
    """How many real windows, of reference and further clips, are of a video that already gave one.

    Such windows are no independent draws: bias is then not what the formulas take away, so nothing is debiased.
    """
    names = sets["reference"].names + sets[REAL].names
    return len(names) - len(set(names))


def _collect(source, makers, protocol, extractors, seed, cache, advance) -> dict[str, Collected]:
    """Features of the reference, of other real clips, and of each maker's clips."""
    real = [source.real(protocol, part, seed) for part in (0, 1)]
    made = {name: make(protocol, real[1], seed) for name, make in makers.items()}  # refuses before any work
    sets = {"reference": collect(real[0], extractors, advance=advance, cache=cache)}
    sets[REAL] = collect(real[1], extractors, advance=advance, cache=cache)
    for name, clips in made.items():
        sets[name] = collect(clips, extractors, advance=advance)
        shapes = sets[name].shape, sets["reference"].shape
        if shapes[0] != shapes[1]:
            sides = [f"{shape[2]}x{shape[1]}" for shape in shapes]
            raise UserError(f"{name} has clips of {sides[0]} px, the real ones {sides[1]}; give --size PX for both.")
    return sets


def _scaled(protocol: Protocol, extractor: Extractor, sets: Mapping[str, Collected]) -> dict:
    rows = {name: found.rows[protocol.extractor] for name, found in sets.items()}
    if protocol.metric == "is":
        rows = {name: extractor.classify(each) for name, each in rows.items()}
    if is_scaled(protocol, extractor):
        rows = dict(zip(rows, standardise(*rows.values()), strict=True))
    return rows


def _judge(protocol: Protocol, extractor: Extractor, sets: Mapping[str, Collected], told: dict) -> list[Result]:
    rows = _scaled(protocol, extractor, sets)
    reference = rows.pop("reference")
    metric = METRICS[protocol.metric]
    text = {name: extractor.encode_text(sets[name].captions) if metric.needs_text else None for name in rows}
    apart = videos_shared(sets) == 0
    floor = measure(protocol, reference, rows.pop(REAL), text[REAL], debias=apart)
    results = []
    for subject, each in rows.items():
        for part, found in measure(protocol, reference, each, text[subject], debias=apart).items():
            if part not in floor:
                continue  # the real clips have one caption, and nothing to shuffle
            name = protocol.key if part == protocol.metric else f"{protocol.key}/{part}"
            numbers = (
                float(found.value),
                found.debiased,
                float(found.low),
                float(found.high),
                float(floor[part].value),
            )
            results.append(Result(name, subject, *numbers, None, None, better(protocol, part), told))
    return results


def _differences(protocol: Protocol, extractor: Extractor, sets: Mapping[str, Collected], subjects: list[str]) -> list:
    found, apart = [], videos_shared(sets) == 0
    if len(subjects) > 1:
        rows = _scaled(protocol, extractor, sets)
        for a, b in combinations(subjects, 2):
            if len(rows[a]) != len(rows[b]):
                continue  # some clip of one could not be used: no longer pairs
            for part, one in compare(protocol, rows["reference"], rows[a], rows[b], debias=apart).items():
                name = protocol.key if part == protocol.metric else f"{protocol.key}/{part}"
                found.append({"name": name, "a": a, "b": b} | asdict(one))
    return found


def _spoil(name: str) -> Make:
    return lambda protocol, other, seed: SpoiledSet(other, CONTROLS[name], seed=seed)


def _mean(values: Sequence[float | None]) -> float | None:
    return None if any(value is None for value in values) else statistics.fmean(values)
