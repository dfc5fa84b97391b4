"""Weights & Biases: scalars, config and sample videos; offline unless WANDB_MODE says otherwise."""

from pathlib import Path
from typing import TYPE_CHECKING

from pytorch_lightning.loggers import WandbLogger
from pytorch_lightning.loggers.logger import rank_zero_experiment

if TYPE_CHECKING:
    from wandb import Settings
    from wandb.sdk.wandb_run import Run

START_SECONDS, END_SECONDS = 30, 120


class RunWandbLogger(WandbLogger):
    """One W&B run per run folder, found again when the run is resumed.

    Args:
        folder: the run folder; its path makes the run's id. config: the run's whole config. project: W&B project.
    """

    def __init__(self, folder: str | Path, config: dict, project: str):
        from ode_vgan.report.board import wandb_mode

        folder, mode = Path(folder), wandb_mode()
        super().__init__(
            project=project,
            name=f"{folder.parent.name}/{folder.name}",
            id=f"{folder.parent.name}-{folder.name}".replace("/", "-").replace("=", "-"),
            save_dir=str(folder),
            mode=mode,
            resume="allow" if mode == "online" else None,
            config=config,
            settings=wandb_settings(),
        )

    @property
    @rank_zero_experiment
    def experiment(self) -> "Run":
        """The W&B run; an offline one where the server does not answer or does not know the key."""
        import wandb

        try:
            return super().experiment
        except (wandb.errors.Error, TimeoutError) as error:
            if self._wandb_init["mode"] != "online":
                raise
            line = " ".join(str(error).split())[:120]
            print(f"W&B does not take the run ({line}); goes on offline, `wandb sync` sends it later.", flush=True)
            wandb.teardown()  # its service holds the run's id
            self._wandb_init |= {"mode": "offline", "resume": None}
            return super().experiment

    def log_clips(self, name: str, mp4: Path, clips_seen: int) -> None:
        """Log an MP4 that is already on disk."""
        import wandb

        self.experiment.log({name: wandb.Video(str(mp4), format="mp4"), "clips": clips_seen})


def wandb_settings() -> "Settings":
    """How long a server is waited for, at the start and at the end."""
    import wandb

    return wandb.Settings(init_timeout=START_SECONDS, finish_timeout=END_SECONDS, finish_timeout_raises=False)


def finish() -> None:
    """End the W&B run of this process, if there is one, so that the next sweep point starts its own."""
    import sys

    if "wandb" in sys.modules and sys.modules["wandb"].run is not None:
        sys.modules["wandb"].finish()
