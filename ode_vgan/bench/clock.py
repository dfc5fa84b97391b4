"""Jobs timed in turn, so that a busy machine disturbs all of them alike."""

import statistics
import time
from collections.abc import Callable, Mapping, Sequence


def measure(
    jobs: Mapping[str, Mapping[str, Callable[[], object]]],
    repeats: int,
    clock: Callable[[], float] = time.perf_counter,
    tell: Callable[[str], object] = lambda line: None,
) -> dict[str, dict[str, list[float]]]:
    """Seconds of each job of each model in each round; the models take turns within a round.

    The first round warms up and is not counted.
    """
    seconds = {name: {kind: [] for kind in own} for name, own in jobs.items()}
    kinds = dict.fromkeys(kind for own in jobs.values() for kind in own)
    for round_number in range(repeats + 1):
        for kind in kinds:
            for name, own in jobs.items():
                begin = clock()
                own[kind]()
                if round_number:
                    seconds[name][kind].append(clock() - begin)
        tell(f"round {round_number} of {repeats}" if round_number else "warm-up done")
    return seconds


def spread(values: Sequence[float], digits: int = 1) -> str:
    """Median and quartiles, such as `12.1 (11.8 to 12.3)`."""
    if len(values) == 1:
        return f"{values[0]:.{digits}f}"
    low, middle, high = statistics.quantiles(values, n=4, method="inclusive")
    return f"{middle:.{digits}f} ({low:.{digits}f} to {high:.{digits}f})"
