"""A roofline: how near a piece of work comes to the most that its machine computes or moves."""

from dataclasses import dataclass

from ode_vgan.bench.contest import Work
from ode_vgan.bench.machine import Ceilings


@dataclass(frozen=True)
class Reached:
    """What some work came to in some time.

    Attributes:
        flops, bytes: a second. intensity: operations a byte; inf where no byte was counted.
        fraction: of the ceiling that binds. bound: arithmetic or memory.
        utilisation: of the peak of its arithmetic alone; on a GPU what is called model-FLOP utilisation.
    """

    flops: float
    bytes: float
    intensity: float
    fraction: float
    bound: str
    utilisation: float


def reached(work: Work, seconds: float, ceilings: Ceilings) -> Reached | None:
    """None where neither operations nor bytes are known.

    Args:
        seconds: of one call.
    """
    if not work.flops and not work.bytes:
        return None
    arithmetic = (work.flops - work.half_flops) / ceilings.fp32 + work.half_flops / ceilings.bf16
    memory = work.bytes / ceilings.memory
    return Reached(
        flops=work.flops / seconds,
        bytes=work.bytes / seconds,
        intensity=work.flops / work.bytes if work.bytes else float("inf"),
        fraction=max(arithmetic, memory) / seconds,
        bound="arithmetic" if arithmetic >= memory else "memory",
        utilisation=arithmetic / seconds,
    )
