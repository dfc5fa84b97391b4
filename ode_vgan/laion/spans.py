"""Spans: which frames of a source become which clip, with the seconds at which they begin and end in it."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

SLACK_SECONDS = 1e-6  # a clip of ten seconds is not too long for its last bit


@dataclass(frozen=True)
class Span:
    """Frames first to stop - 1 of a source.

    Attributes:
        start_seconds: when the first is shown; end_seconds: when the last no longer is.
    """

    first: int
    stop: int
    start_seconds: float
    end_seconds: float


def find_spans(
    times: np.ndarray,
    end_seconds: float,
    cuts: Sequence[int] = (),
    *,
    min_seconds: float = 0.0,
    max_seconds: float | None = None,
    min_frames: int = 2,
) -> list[Span]:
    """Cut a source at its shots, and each shot into pieces of at most max_seconds.

    A piece is as many whole frames as fit, by their true times; what is left of a shot and shorter than min_seconds,
    or than min_frames, is dropped. No span holds frames of two shots.

    Args:
        times: (T,) seconds, rising; end_seconds: when the last frame no longer is shown.
        cuts: the first frame of each shot but the first, rising.
    """
    edges = np.append(times, end_seconds)
    bounds = [0, *cuts, len(times)]
    spans = []
    for first, stop in zip(bounds, bounds[1:], strict=False):
        while first < stop:
            last = stop
            if max_seconds is not None:
                fitting = int(np.searchsorted(edges, edges[first] + max_seconds + SLACK_SECONDS, side="right")) - 1
                last = min(max(fitting, first + 1), stop)
            seconds = edges[last] - edges[first]
            if seconds >= min_seconds - SLACK_SECONDS and last - first >= min_frames:
                spans.append(Span(first, last, float(edges[first]), float(edges[last])))
            first = last
    return spans
