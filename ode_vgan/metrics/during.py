"""The light score a run logs while it trains."""

from typing import TYPE_CHECKING

from ode_vgan.metrics.evaluate import evaluate_generator

if TYPE_CHECKING:
    from ode_vgan.data.loader import ClipData
    from ode_vgan.runs import Trained


class TrainingScore:
    """Frechet distance on hog3d features, with its floor, from few clips: for curves, not for tables.

    Args:
        clips: N on each side. split: whose captions and clips. seed: the same clips and latents at every look.
    """

    def __init__(self, clips: int, split: str, seed: int):
        self.clips, self.split, self.seed = clips, split, seed

    def __call__(self, trained: "Trained", data: "ClipData") -> dict[str, float]:
        """Numbers by name, for a logger."""
        scores = evaluate_generator(trained.render, data, self.clips, seed=self.seed, split=self.split, controls=())
        values = {f"score/{name}": score.value for name, score in scores.items()}
        return values | {f"score/{name}_floor": score.floor for name, score in scores.items()}
