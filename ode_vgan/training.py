"""What train.py asks of every LightningModule that it trains, and what the GANs answer alike."""

from pathlib import Path
from typing import TYPE_CHECKING

import pytorch_lightning as pl
import torch
from torch import nn

from ode_vgan.callbacks import Keep, Score, Watch
from ode_vgan.processes import StepDraw, average_gradients
from ode_vgan.scaling.count import count_macs, noise_numbers

if TYPE_CHECKING:
    from ode_vgan.metrics.during import TrainingScore


class Training(pl.LightningModule):
    """A recipe whose clock is the clips it has seen: a subclass adds to `clips_seen` in each training step.

    It has `seed`. Where several processes train together, batches are their parts of one: gradients are averaged here;
    draws come from `step_draw`, and `ode_vgan.processes` has the rest.

    Args:
        max_clips: clips at which training ends.

    Attributes:
        clips_seen: clips trained on since the run began, across resumes; a number of Python, as a step that read it
            from a device would wait for it.
        config: the run's whole config, plain; train.py sets it, checkpoints carry it.
        shown_losses: letter -> name under which a loss is logged; the bar shows them and a run ends where one is not
            finite.
        looks: files of the run folder that its end names.
        step_scale: of all step sizes; below 1 after the run diverged and went back.
        rollbacks: what led to that, oldest first: `to_clips`, `step_scale`, `reason`.
    """

    shown_losses: dict[str, str] = {}
    looks: tuple[str, ...] = ("curves.png", "metrics.json")

    def __init__(self, max_clips: int):
        super().__init__()
        self.max_clips = max_clips
        self.config: dict = {}
        self.clips_seen = 0
        self.step_scale, self.rollbacks = 1.0, []
        self.register_buffer("clips", torch.zeros((), dtype=torch.int64))  # the same in checkpoints
        self.register_state_dict_pre_hook(lambda module, *_: module.clips.fill_(module.clips_seen))
        self.register_load_state_dict_post_hook(lambda module, _: setattr(module, "clips_seen", int(module.clips)))

    def step_draw(self) -> StepDraw:
        """The random numbers of the step that begins: those of an uninterrupted run, in any number of processes."""
        return StepDraw().manual_seed(hash((self.seed, self.clips_seen)) % 2**63)

    def on_before_optimizer_step(self, optimizer: torch.optim.Optimizer) -> None:
        average_gradients(parameter for group in optimizer.param_groups for parameter in group["params"])

    def end_if_done(self) -> None:
        """End the fit after this step where the clips are used up."""
        if self.clips_seen >= self.max_clips:
            self.trainer.should_stop = True

    def count(self, frames: int, size: int, gap_seconds: float | None, embed_dim: int) -> dict[str, float]:
        """Multiply-accumulates per clip by part; `forward` is a clip of training, once through.

        Args:
            frames: T. size: side of a frame, px. gap_seconds: between frames. embed_dim: E.
        """
        raise NotImplementedError

    def facts(self, config: dict) -> dict:
        """What metrics.json says of the model besides clips, seconds and scores; `parameters` by part at least."""
        raise NotImplementedError

    def watchers(self, folder: Path, config: dict, score: "TrainingScore | None") -> list[pl.Callback]:
        """Callbacks that look at the model as it trains; `score` is what the metrics group built."""
        raise NotImplementedError

    def on_save_checkpoint(self, checkpoint: dict) -> None:
        told = {"config": self.config, "clips_seen": self.clips_seen, "step_scale": self.step_scale}
        checkpoint["ode_vgan"] = told | {"rollbacks": self.rollbacks}

    def on_load_checkpoint(self, checkpoint: dict) -> None:
        told = checkpoint.get("ode_vgan", {})
        self.step_scale, self.rollbacks = told.get("step_scale", 1.0), told.get("rollbacks", [])

    def on_train_start(self) -> None:
        if self.rollbacks:
            scale = {"rollbacks": float(len(self.rollbacks)), "step_scale": self.step_scale}
            for logger in self.trainer.loggers:
                logger.log_metrics(scale | {"clips": float(self.clips_seen)}, self.trainer.global_step)


class GanTraining(Training):
    """A recipe with `generator` (of a temporal model), `critics` and `ema`, the generator's average."""

    shown_losses = {"G": "generator/loss", "C": "critic/loss"}
    looks = ("samples.png", "samples.mp4", *Training.looks)

    def count(self, frames: int, size: int, gap_seconds: float | None, embed_dim: int) -> dict[str, float]:
        return count_macs(self, frames=frames, size=size, gap_seconds=gap_seconds, embed_dim=embed_dim)

    def facts(self, config: dict) -> dict:
        temporal = self.generator.temporal
        parts = {"generator": self.generator, "temporal": temporal, "critics": self.critics}
        return {
            "nfe": temporal.nfe,
            "parameters": {name: trainable(part) for name, part in parts.items()},
            "noise_numbers": noise_numbers(temporal, config["data"]["frames"], config["gap_seconds"]),
        }

    def watchers(self, folder: Path, config: dict, score: "TrainingScore | None") -> list[pl.Callback]:
        looks = dict(config["samples"])
        kept = [Keep(folder, looks["every_clips"])] if looks.pop("keep") else []
        return [*kept, Watch(folder, **looks), Score(folder, score)]


def trainable(module: nn.Module) -> int:
    """Trainable parameters."""
    return sum(parameter.numel() for parameter in module.parameters() if parameter.requires_grad)
