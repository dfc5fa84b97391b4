"""What happens around the training step: how fast it goes, what is looked at, how a run is stopped."""

import logging
import signal
import time
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING

import pytorch_lightning as pl
import torch
from tqdm import tqdm

from ode_vgan.bounds import check_bounds
from ode_vgan.data.clips import write_atomic
from ode_vgan.processes import told_by_all
from ode_vgan.report.video import grid_png, write_clips_mp4
from ode_vgan.runs import Trained

if TYPE_CHECKING:
    from ode_vgan.metrics.during import TrainingScore

log = logging.getLogger(__name__)


class ClipBar(pl.Callback):
    """A progress bar in clips, with losses, rate and time left; keeps the seconds of all parts of the run.

    Attributes:
        seconds: wall clock spent in training steps. cpu_seconds: processor time in them, of all processes together.
        wait_seconds: wall clock that steps waited for their batches, besides.
    """

    def __init__(self):
        self.seconds = self.cpu_seconds = self.wait_seconds = 0.0
        self._bar: tqdm | None = None
        self._then = self._cpu_then = self._waited = 0.0

    def on_train_start(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        options = {"unit": "clip", "disable": not trainer.is_global_zero, "mininterval": 1, "smoothing": 0.05}
        self._bar = tqdm(total=module.max_clips, initial=module.clips_seen, **options)
        self._waited = 0.0
        self.on_train_batch_start()

    def on_train_batch_start(self, *_: object) -> None:
        self._then, self._cpu_then = time.perf_counter(), time.process_time()

    def on_train_batch_end(
        self, trainer: pl.Trainer, module: pl.LightningModule, outputs: object, batch: object, batch_index: int
    ) -> None:
        waited = getattr(trainer.datamodule, "waited_seconds", 0.0)  # since the fit began
        steps = time.perf_counter() - self._then, time.process_time() - self._cpu_then, waited - self._waited
        walls, processors, waits = zip(*told_by_all(*steps), strict=True)
        passed, self._waited = max(walls), waited
        self.seconds += passed
        self.cpu_seconds += sum(processors)
        self.wait_seconds += max(waits)
        clips = module.clips_seen - self._bar.n
        self._bar.update(clips)
        told = {"seconds": self.seconds, "cpu_seconds": self.cpu_seconds, "wait/share": self.wait_share}
        module.log_dict({"clips_per_second": clips / passed} | told)
        ends = trainer.should_stop or batch_index + 1 >= trainer.num_training_batches  # a checkpoint follows
        if ends or module.clips_seen // clips % 10 == 0:  # reading a loss waits for the device
            self._bar.set_postfix({letter: f"{value:.2f}" for letter, value in finite_losses(trainer, module).items()})

    def on_fit_end(self, *_: object) -> None:
        self._bar.close()

    def on_exception(self, *_: object) -> None:
        if self._bar is not None:
            self._bar.close()  # what is said next begins a line

    @property
    def wait_share(self) -> float:
        """Waiting for data, of steps and waiting together."""
        return self.wait_seconds / max(self.seconds + self.wait_seconds, 1e-9)

    def state_dict(self) -> dict:
        return {"seconds": self.seconds, "cpu_seconds": self.cpu_seconds, "wait_seconds": self.wait_seconds}

    def load_state_dict(self, state: dict) -> None:
        self.seconds, self.cpu_seconds = state["seconds"], state.get("cpu_seconds", 0.0)
        self.wait_seconds = state.get("wait_seconds", 0.0)


def finite_losses(trainer: pl.Trainer, module: pl.LightningModule) -> dict[str, float]:
    """The last step's losses by the letters of `module.shown_losses`.

    Raises:
        DivergedError: one, or a gradient, is beyond its bounds.
    """
    logged = {name: float(trainer.callback_metrics[name]) for name in module.shown_losses.values()}
    check_bounds(module, logged, module.config.get("diverged", {}))
    return {letter: logged[name] for letter, name in module.shown_losses.items()}


class Budget(pl.Callback):
    """Ends the run at a number of seconds.

    Args:
        max_seconds, max_cpu_seconds: of training steps, as `ClipBar` counts them; None for no limit.
    """

    def __init__(self, max_seconds: float | None, max_cpu_seconds: float | None):
        self.max_seconds, self.max_cpu_seconds = max_seconds, max_cpu_seconds

    def on_train_batch_end(self, trainer: pl.Trainer, *_: object) -> None:
        if self.reached(spent(trainer)):
            trainer.should_stop = True

    def reached(self, used: dict[str, float]) -> bool:
        """Whether seconds and cpu_seconds are used up."""
        limits = {"seconds": self.max_seconds, "cpu_seconds": self.max_cpu_seconds}
        return any(limit is not None and used.get(name, 0.0) >= limit for name, limit in limits.items())


class StopOnSignal(pl.Callback):
    """SIGTERM, SIGHUP and Ctrl-C end the run after the current step, with a checkpoint; a second one ends it at once.

    A signal to one of several processes ends them all after the same step.
    """

    def __init__(self):
        self.received: int | None = None
        self._before: dict = {}

    def on_train_start(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            self._before[number] = signal.signal(number, self._note)

    def _note(self, number: int, frame: object) -> None:
        self.received = number
        signal.signal(number, signal.SIG_DFL)

    def on_train_batch_end(self, trainer: pl.Trainer, module: pl.LightningModule, *_: object) -> None:
        self.received = int(max(received for (received,) in told_by_all(self.received or 0))) or None
        if self.received is not None:
            trainer.should_stop = True

    def on_fit_end(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)


class EveryClips(pl.Callback):
    """Calls `look` at the end of an epoch that passes a multiple of so many clips, and at the end of the run.

    Args:
        every_clips: between two looks.

    Attributes:
        together: all processes look, not only the one that writes; then `look` has each do its part.
        last: numbers of the last look, {} where it gives none; metrics.json has them under `score`.
    """

    together = False

    def __init__(self, every_clips: int):
        self.every_clips = every_clips
        self.looked_at = -1
        self.last: dict[str, float] = {}

    def on_train_epoch_end(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        due = module.clips_seen // self.every_clips > self.looked_at // self.every_clips
        if due:
            self._look(trainer, module)

    def on_train_end(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        if module.clips_seen > self.looked_at and is_over(trainer, module):
            self._look(trainer, module)

    def _look(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        try:
            if self.together or trainer.is_global_zero:
                self.look(trainer, module)
        except OSError as error:
            clips = f"{module.clips_seen:,}"
            log.warning("No %s at %s clips: %s. Training goes on.", type(self).__name__.lower(), clips, error)
        self.looked_at = module.clips_seen

    def look(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        raise NotImplementedError

    def state_dict(self) -> dict:
        return {"looked_at": self.looked_at, "last": self.last}

    def load_state_dict(self, state: dict) -> None:
        self.looked_at, self.last = state["looked_at"], state.get("last", {})


class Keep(EveryClips):
    """The averaged generator of every look, in a file that `ode_vgan.load` reads.

    Args:
        folder: the run folder.
    """

    def __init__(self, folder: Path, every_clips: int):
        super().__init__(every_clips)
        self.folder = folder

    def look(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        """Write `checkpoints/clips_000004096.ckpt`."""
        weights = {f"ema.copy.{key}": value for key, value in module.ema.copy.state_dict().items()}
        told = {"config": module.config, "clips_seen": module.clips_seen} | spent(trainer)
        buffer = BytesIO()
        torch.save({"ode_vgan": told, "state_dict": weights}, buffer)
        write_atomic(self.folder / "checkpoints" / f"clips_{module.clips_seen:09d}.ckpt", buffer.getvalue())


class Watch(EveryClips):
    """A grid and a video of the averaged generator.

    All looks are kept in `samples/`; the last one is also `samples.png` and `samples.mp4` beside it.

    Args:
        folder: the run folder.
        clips: rows of the grid.
    """

    def __init__(self, folder: Path, every_clips: int, clips: int):
        super().__init__(every_clips)
        self.folder, self.clips = folder, clips

    def look(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        """Draw, write and log what the averaged generator makes now."""
        shown = trainer.datamodule.real_clips(self.clips, split="train", seed=0)
        times = shown.times[0]
        clips = averaged(module, self.folder).render(shown.text, times, seed=0).numpy()
        name = self.folder / "samples" / f"clips_{module.clips_seen:09d}"
        title = f"{self.folder.name} after {module.clips_seen:,} clips"
        grid_png(name.with_suffix(".png"), clips, shown.captions, times.numpy(), title=title)
        write_clips_mp4(name.with_suffix(".mp4"), clips, times.numpy(), shown.captions)
        for suffix in (".png", ".mp4"):
            write_atomic(self.folder / f"samples{suffix}", name.with_suffix(suffix).read_bytes())
        for logger in trainer.loggers:
            if hasattr(logger, "log_clips"):
                logger.log_clips("samples", name.with_suffix(".mp4"), module.clips_seen)


class Score(EveryClips):
    """Light protocols on the averaged generator, logged by every logger.

    Args:
        folder: the run folder.
        score: (trained, data) -> numbers to log, every `score.every_clips`; None for no score.
    """

    together = True

    def __init__(self, folder: Path, score: "TrainingScore | None"):
        super().__init__(score.every_clips if score else 1)
        self.folder, self.score = folder, score

    def look(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        """Judge and log what the averaged generator makes now."""
        if self.score is None:
            return
        self.last = self.score(averaged(module, self.folder), trainer.datamodule)
        told = self.last | {"clips": float(module.clips_seen)} | spent(trainer)
        for logger in trainer.loggers:
            logger.log_metrics(told, trainer.global_step)


def averaged(module: pl.LightningModule, folder: Path) -> Trained:
    """The averaged generator as it is now."""
    return Trained(module.ema.copy, module.config, module.clips_seen, folder)


def spent(trainer: pl.Trainer) -> dict[str, float]:
    """Seconds, wall clock and processor, in training steps, and the share of waiting, over all parts of the run."""
    bar = next(callback for callback in trainer.callbacks if isinstance(callback, ClipBar))
    return {"seconds": bar.seconds, "cpu_seconds": bar.cpu_seconds, "wait_share": bar.wait_share}


def is_over(trainer: pl.Trainer, module: pl.LightningModule) -> bool:
    """Whether clips or seconds are used up."""
    budgets = [callback for callback in trainer.callbacks if isinstance(callback, Budget)]
    return module.clips_seen >= module.max_clips or any(budget.reached(spent(trainer)) for budget in budgets)
