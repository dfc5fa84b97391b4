"""The light scores a run logs while it trains."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from torch import Tensor

from ode_vgan.metrics.clipsets import RunSet, Source
from ode_vgan.metrics.collect import default_cache
from ode_vgan.metrics.evaluate import check_frames, evaluate
from ode_vgan.metrics.features import Extractor, find_extractor
from ode_vgan.metrics.protocol import parse_protocol
from ode_vgan.processes import spread, world

if TYPE_CHECKING:
    from ode_vgan.data.loader import ClipData
    from ode_vgan.runs import Trained


class TrainingScore:
    """Numbers under light protocols, each beside its real-vs-real value: for curves, not for tables.

    Features of the real clips are computed at the first look and kept. Where several processes train, each makes and
    describes its part of the clips and all judge the whole.

    Args:
        protocols: keys, such as fd256_hog3d. split: whose captions and clips. seed: the same clips and latents at
            every look. every_clips: between two scores; also at the end.
    """

    def __init__(self, protocols: Sequence[str], split: str, seed: int, every_clips: int):
        self.protocols = [parse_protocol(key) for key in protocols]
        self.extractors = {name: find_extractor(name) for name in {one.extractor for one in self.protocols}}
        self.split, self.seed, self.every_clips = split, seed, every_clips

    def check(self, frames: int) -> None:
        """Refuse windows that an extractor cannot describe, before any training.

        Raises:
            UserError: naming the protocol and what it needs.
        """
        for one in self.protocols:
            check_frames(one, one.frames or frames, self.extractors[one.extractor])

    def __call__(self, trained: "Trained", data: "ClipData") -> dict[str, float]:
        """Numbers by name, for a logger."""
        for extractor in self.extractors.values():
            extractor.to(next(trained.generator.parameters()).device)
        extractors = self.extractors
        if world() > 1:
            trained, extractors = SpreadRun(trained), {name: SpreadExtractor(one) for name, one in extractors.items()}
        source = Source(data.windows(self.split), data.source, self.split)
        make = {"generator": lambda protocol, other, seed: RunSet(trained, other, seed=seed)}
        found = evaluate(source, make, self.protocols, extractors, seed=self.seed, cache=default_cache())
        values = {f"score/{one.name}": one.value for one in found.results}
        return values | {f"score/{one.name}_real": one.real for one in found.results}


class SpreadRun:
    """A trained generator of which each process makes its part of the clips asked for.

    Args:
        trained: the same in every process.
    """

    def __init__(self, trained: "Trained"):
        self.trained = trained

    def __getattr__(self, name: str) -> object:
        return getattr(self.trained, name)

    def render(self, text: Tensor, times: Tensor, seed: int) -> Tensor:
        """As `Trained.render`."""
        at = times.expand(len(text), -1)
        return spread(lambda own: self.trained.render(text[own], at[own], seed, first=own.start), len(text))


class SpreadExtractor:
    """An extractor of which each process describes its part of the clips.

    Args:
        extractor: the same in every process.
    """

    def __init__(self, extractor: Extractor):
        self.extractor = extractor

    def __getattr__(self, name: str) -> object:
        return getattr(self.extractor, name)

    def __call__(self, clips: Tensor) -> Tensor:
        """(N, F) or (N, T, F) float64 of clips (N, T, H, W, 3)."""
        return spread(lambda own: self.extractor(clips[own]), len(clips))
