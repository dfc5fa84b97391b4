"""The default logger: metrics.csv in the run folder, continued when the run is."""

import csv
import io
import logging
import os
from pathlib import Path

from pytorch_lightning.loggers import CSVLogger
from pytorch_lightning.loggers.csv_logs import ExperimentWriter

from ode_vgan.data.clips import write_atomic

log = logging.getLogger(__name__)


class Rows(ExperimentWriter):
    """The rows that wait to be written."""

    def _check_log_dir_exists(self) -> None:
        """Lightning would delete the file of an earlier part here."""


class RunCsvLogger(CSVLogger):
    """Lightning's csv logger, except that the rows of an earlier part of the run are kept.

    A kill while it writes costs at most the row in the making. Where the disk takes no more, rows wait in memory.

    Args:
        folder: the run folder. config: the run's config, not used here.
    """

    def __init__(self, folder: str | Path, config: dict):
        self.path = Path(folder) / "metrics.csv"
        earlier = self.path.read_bytes() if self.path.exists() else b""
        earlier = earlier[: earlier.rfind(b"\n") + 1]  # a kill may leave half a row
        super().__init__(save_dir=str(folder), name="", version="")
        self.told = False
        self._experiment = Rows(self.log_dir)
        if earlier:
            self.experiment.metrics_keys = earlier.decode().split("\n", 1)[0].strip().split(",")
            write_atomic(self.path, earlier)

    def log_metrics(self, metrics: dict, step: int | None = None) -> None:
        """Add a row; Lightning's epoch is a slice between checkpoints and says nothing."""
        super().log_metrics({key: value for key, value in metrics.items() if key != "epoch"}, step)

    def save(self) -> None:
        """Write the rows that wait."""
        rows, known = self.experiment.metrics, self.experiment.metrics_keys
        if not rows:
            return
        keys = sorted(set(known).union(*rows))
        try:
            if keys == known and self.path.exists():
                append(self.path, written(keys, rows).encode())
            else:
                write_atomic(self.path, written(keys, [*read_rows(self.path), *rows], header=True).encode())
        except OSError as error:
            if not self.told:
                log.warning("%s cannot be written (%s); its rows wait until it can.", self.path, error.strerror)
            self.told = True
            return
        self.experiment.metrics_keys, self.experiment.metrics, self.told = keys, [], False


def read_rows(path: Path) -> list[dict]:
    """The rows of a csv file, none where there is no file."""
    if not path.exists():
        return []
    with open(path, newline="") as file:
        return list(csv.DictReader(file))


def written(keys: list[str], rows: list[dict], *, header: bool = False) -> str:
    """Rows as csv, with a line of names before them or not."""
    text = io.StringIO()
    writer = csv.DictWriter(text, keys)
    if header:
        writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def append(path: Path, content: bytes) -> None:
    """Add to a file, or leave it as it was.

    Raises:
        OSError: it cannot be written.
    """
    size = path.stat().st_size
    try:
        with open(path, "ab", buffering=0) as file:
            while content:
                content = content[file.write(content) :]
    except OSError:
        os.truncate(path, size)
        raise


def forget_after(path: Path, clips: int) -> None:
    """Leave out the rows of clips that a run, which goes on from a checkpoint, is about to see again."""
    rows = read_rows(path)
    kept = [row for row in rows if not row.get("clips") or float(row["clips"]) <= clips]
    if len(kept) < len(rows):
        write_atomic(path, written(list(rows[0]), kept, header=True).encode())
