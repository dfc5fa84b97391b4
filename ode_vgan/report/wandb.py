"""Weights & Biases: scalars, config and sample videos; offline unless WANDB_MODE says otherwise."""

from pathlib import Path

from pytorch_lightning.loggers import WandbLogger


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
        )

    def log_clips(self, name: str, mp4: Path, clips_seen: int) -> None:
        """Log an MP4 that is already on disk."""
        import wandb

        self.experiment.log({name: wandb.Video(str(mp4), format="mp4"), "clips": clips_seen})


def finish() -> None:
    """End the W&B run of this process, if there is one, so that the next sweep point starts its own."""
    import sys

    if "wandb" in sys.modules and sys.modules["wandb"].run is not None:
        sys.modules["wandb"].finish()
