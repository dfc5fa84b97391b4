"""What a bench is made of: two ways to the same result, and what was asked of them."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

AREAS = ("paths", "step", "sampling", "loader", "decode", "features", "frechet", "search")
CLIPS, FRAMES = 32, 16


@dataclass(frozen=True)
class Work:
    """Of one call of `ours`; 0 where it is not counted.

    Attributes:
        flops: floating-point operations, two for a multiply-accumulate.
        bytes: read from and written to memory at least once, whatever the caches do.
        items: for a rate. unit: of the items, such as clips or frames.
        half_flops: those of flops in 16 bits.
    """

    flops: float = 0.0
    bytes: float = 0.0
    items: float = 0.0
    unit: str = ""
    half_flops: float = 0.0


@dataclass(frozen=True)
class Contest:
    """One row of the bench: a piece of work, beside another way to the same result.

    Attributes:
        area: paths, step, sampling, loader, decode, features, frechet or search.
        name: of ours. against: of the alternative.
        ours, theirs: called in turn within a round; what they return is ignored.
        differ: relative difference of the two results, asked once; None where they cannot be compared: say why in note.
        tolerance: of differ(); above it the row says DIFFERS and the command ends with 1.
        work: of one call of ours; with neither flops nor bytes, the bench counts those of torch's operators.
        target: the largest ratio of times (ours / theirs) that is asked for; None for no such target.
        note: one short remark.
        share: multiplies the ratio of times, as for a price per evaluation.
    """

    area: str
    name: str
    against: str
    ours: Callable[[], object]
    theirs: Callable[[], object]
    differ: Callable[[], float] | None = None
    tolerance: float = 1e-4
    work: Work = Work()
    target: float | None = None
    note: str = ""
    share: float = 1.0


@dataclass(frozen=True)
class Asked:
    """What the contests of an area are built for: each area reads what concerns it.

    Attributes:
        threads: of torch. device: cpu or cuda.
        frames, batches: T and B to go through; areas that have one size take the first.
        experiment: file of conf/experiment. overrides: as for train.py.
        compose: overrides -> the plain config that train.py would run with (`ode_vgan.cli.bench_config.compose`).
        data: a folder or shards of clips; "" takes what the experiment trains on.
        run: a trained run's folder; "" takes weights as drawn.
        models: files of conf/temporal to compare; () takes the area's own.
        quick: sizes as small as they go, to see that all works.
        fps: frame rate of made-up clips.
    """

    threads: int = 1
    frames: tuple[int, ...] = (FRAMES,)
    batches: tuple[int, ...] = (CLIPS,)
    device: str = "cpu"
    experiment: str = "quickstart"
    overrides: tuple[str, ...] = ()
    compose: Callable[[Sequence[str]], dict] | None = None
    data: str = ""
    run: str = ""
    models: tuple[str, ...] = ()
    quick: bool = False
    fps: float = 12.0

    def config(self, *more: str) -> dict:
        """The plain config of the experiment with the overrides and some more."""
        return self.compose([f"+experiment={self.experiment}", *self.overrides, *more])
