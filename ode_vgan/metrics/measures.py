"""From features to numbers: what each metric of a protocol computes from the reference's and another set's rows."""

from collections.abc import Callable, Mapping
from functools import partial

from torch import Tensor

from ode_vgan.metrics import mmd, motion_rows
from ode_vgan.metrics.alignment import clipsim, temporal_consistency
from ode_vgan.metrics.frechet import frechet_from_features
from ode_vgan.metrics.intervals import Difference, Estimate, estimate, frechet_estimate, paired_difference
from ode_vgan.metrics.motion import SCALARS
from ode_vgan.metrics.protocol import METRICS, Protocol
from ode_vgan.metrics.quality import inception_score, prdc
from ode_vgan.metrics.shuffled import shuffled_gap

PRDC = ("precision", "recall", "density", "coverage")
FRECHET = ("fvd", "fd", "fid")
SHUFFLED = "shuffled"
NORMAL_90 = 1.645
Distance = Callable[[Tensor, Tensor], Tensor | float]


def measure(
    protocol: Protocol, reference: Tensor, rows: Tensor, text: Tensor | None = None, *, debias: bool = True
) -> dict[str, Estimate]:
    """The numbers of one set under a protocol, each with its 90 % interval.

    Args:
        reference, rows: features of the real reference and of the judged set, (N, F) or (N, T, F); class
            probabilities (N, K) for the Inception Score.
        text: (N, E) unit rows of the judged set's captions, for metrics that read them; equal rows are one caption.
        debias: False where the clips are not independent draws.

    Returns:
        By the metric's name, or the names of its parts.
    """
    if protocol.metric in FRECHET:
        return {protocol.metric: frechet_estimate(reference, rows, correction=protocol.correction, debias=debias)}
    if protocol.metric == "clipsim":
        return {"clipsim": mean_estimate(clipsim(rows, text))} | _shuffled(rows, text)
    if protocol.metric == "tempcons":
        return {"tempcons": mean_estimate(temporal_consistency(rows))}
    return {name: estimate(one, reference, rows, debias=False) for name, one in distances(protocol).items()}


def compare(
    protocol: Protocol, reference: Tensor, rows_a: Tensor, rows_b: Tensor, *, debias: bool = True
) -> dict[str, Difference]:
    """A minus B under a protocol, for two sets made from the same latents and captions; arguments as `measure`'s."""
    debias = debias and protocol.metric in FRECHET
    return {
        name: paired_difference(one, reference, rows_a, rows_b, debias=debias)
        for name, one in distances(protocol).items()
    }


def distances(protocol: Protocol) -> Mapping[str, Distance]:
    """The metric's numbers as functions of the reference's and the judged rows; none for those that read text."""
    known: dict[str, Mapping[str, Distance]] = {
        **{name: {name: partial(frechet_from_features, correction=protocol.correction)} for name in FRECHET},
        "kvd": {"kvd": mmd.kvd},
        "jedi": {"jedi": mmd.jedi, "jedi_unbiased": mmd.jedi_unbiased},
        "cmmd": {"cmmd": mmd.cmmd, "cmmd_unbiased": mmd.cmmd_unbiased},
        "prdc": {name: partial(_prdc, name=name) for name in PRDC},
        "is": {"is": lambda _, rows: inception_score(rows, splits=protocol.splits)[0]},
        "motion": {name: partial(_motion, name=name) for name in ("fmd_flow", *(f"w1_{one}" for one in SCALARS))}
        | {"static_gap": _static_gap},
        "clipsim": {},
        "tempcons": {"tempcons": lambda _, rows: temporal_consistency(rows).mean()},
    }
    return known[protocol.metric]


def mean_estimate(values: Tensor) -> Estimate:
    """The mean of one number a clip (N,), with its normal interval."""
    mean = float(values.double().mean())
    reach = NORMAL_90 * float(values.double().std()) / len(values) ** 0.5
    return Estimate(mean, None, mean - reach, mean + reach, "plain")


def better(protocol: Protocol, part: str) -> str:
    """Whether lower or higher is better of a metric's part."""
    return "lower" if part == SHUFFLED else METRICS[protocol.metric].better


def _shuffled(rows: Tensor, text: Tensor) -> dict[str, Estimate]:
    """CLIPSIM with captions of others, and how far that with the own ones is above it; none of a single caption."""
    if len(text.unique(dim=0)) < 2:
        return {}
    gap = shuffled_gap(rows, text)
    return {
        name: Estimate(value, None, low, high, "plain")
        for name, (value, low, high) in ((SHUFFLED, gap.shuffled), ("above_shuffled", gap.above))
    }


def _prdc(a: Tensor, b: Tensor, name: str) -> float:
    return prdc(a, b)[name]


def _static_gap(a: Tensor, b: Tensor) -> float:
    """Difference of the shares of static clips."""
    found = motion_rows.distances(a, b)
    return abs(found["static_share_real"] - found["static_share_fake"])


def _motion(a: Tensor, b: Tensor, name: str) -> float:
    return motion_rows.distances(a, b)[name]
