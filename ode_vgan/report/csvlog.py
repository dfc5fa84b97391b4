"""The default logger: metrics.csv in the run folder, continued when the run is."""

from pathlib import Path

from pytorch_lightning.loggers import CSVLogger

from ode_vgan.data.clips import write_atomic


class RunCsvLogger(CSVLogger):
    """Lightning's csv logger, except that the rows of an earlier part of the run are kept.

    Args:
        folder: the run folder. config: the run's config, not used here.
    """

    def __init__(self, folder: str | Path, config: dict):
        path = Path(folder) / "metrics.csv"
        earlier = path.read_bytes() if path.exists() else None
        super().__init__(save_dir=str(folder), name="", version="")
        if earlier is not None:
            self.experiment.metrics_keys = (
                earlier.decode().split("\n", 1)[0].strip().split(",")
            )  # opening deletes the file
            write_atomic(path, earlier)

    def log_metrics(self, metrics: dict, step: int | None = None) -> None:
        """Add a row; Lightning's epoch is a slice between checkpoints and says nothing."""
        super().log_metrics({key: value for key, value in metrics.items() if key != "epoch"}, step)
