"""The checkpoints of a run: written whole or not at all, the last few kept, a broken one passed over."""

import json
import logging
import os
import shutil
from io import BytesIO
from pathlib import Path

import pytorch_lightning as pl
import torch
from lightning_fabric.plugins import TorchCheckpointIO

from ode_vgan.callbacks import Budget
from ode_vgan.data.clips import atomic_file
from ode_vgan.errors import UserError
from ode_vgan.runs import CHECKPOINT, read_checkpoint

log = logging.getLogger(__name__)


class RunCheckpoints(TorchCheckpointIO):
    """Writes `last.ckpt`; what it held before becomes `earlier-1.ckpt`, that one `earlier-2.ckpt`, and so on.

    A kill at any moment leaves a whole `last.ckpt`, the old or the new one. Where the disk takes no more, the run goes
    on and the next checkpoint is tried again.

    Args:
        keep: checkpoints, the last one among them.

    Attributes:
        unsaved: why the last one could not be written; "" where it was.

    Raises:
        UserError: fewer than 1 to keep; in training, when the run's folder is gone.
    """

    def __init__(self, keep: int):
        if keep < 1:
            raise UserError(f"checkpoints.keep={keep}; a run keeps 1 or more.")
        self.keep, self.unsaved = keep, ""

    def save_checkpoint(self, checkpoint: dict, path: str | Path, storage_options: object | None = None) -> None:
        """Write it whole, or say in one line why not."""
        path, clips = Path(path), checkpoint["ode_vgan"]["clips_seen"]
        if not path.parent.parent.is_dir():
            raise UserError(f"{path.parent.parent} was removed while it trained; type the command again to begin anew.")
        buffer = BytesIO()  # torch's own writer ends the process where a disk is full
        torch.save(checkpoint, buffer)
        try:
            write_last(path, buffer.getbuffer(), self.keep)
            self.unsaved = ""
        except OSError as error:
            kept = "the one before is kept" if path.exists() else "there is none yet"
            self.unsaved = f"{path} of {clips:,} clips cannot be written ({error.strerror}); {kept}."
            log.warning("%s Free some space: training goes on and tries again.", self.unsaved)

    def load_checkpoint(self, path: str | Path, *_: object, **__: object) -> dict:
        return read_checkpoint(Path(path))  # plain content only, with its checksums compared


class Begun(pl.Callback):
    """A checkpoint before the first step, to which a run that soon diverges can go back.

    Args:
        path: where none may be yet.
    """

    def __init__(self, path: Path):
        self.path = path

    def on_train_start(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        if not self.path.exists():
            trainer.save_checkpoint(self.path)


def write_last(path: Path, content: bytes | memoryview, keep: int) -> None:
    """Put a checkpoint in the place of the last one, which is kept beside it, as are `keep` in all.

    Raises:
        OSError: it cannot be written; what was there is there still.
    """
    with atomic_file(path) as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
        rotate(path, keep)


def rotate(path: Path, keep: int) -> None:
    """Keep the last checkpoint a second time, as the first of the earlier ones, and no more than `keep` in all."""
    for number, old in enumerate(earlier(path), start=1):
        if number >= keep:
            old.unlink()
    if not path.exists() or keep == 1:
        return
    for number in range(keep - 2, 0, -1):
        if (old := _earlier(path, number)).exists():
            os.replace(old, _earlier(path, number + 1))
    _copy(path, _earlier(path, 1))


def _earlier(path: Path, number: int) -> Path:
    return path.with_name(f"earlier-{number}.ckpt")


def earlier(path: Path) -> list[Path]:
    """The checkpoints kept beside the last one, the newest first."""
    found = path.parent.glob("earlier-*.ckpt")
    return sorted(found, key=lambda one: int(one.stem.partition("-")[2]))


def _copy(path: Path, to: Path) -> None:
    """The same file under a second name; a copy where the disk knows no second names."""
    temporary = to.with_name(f".{to.name}")
    temporary.unlink(missing_ok=True)
    try:
        os.link(path, temporary)
    except OSError:
        shutil.copyfile(path, temporary)
    os.replace(temporary, to)


def last_good(path: Path) -> dict | None:
    """What the newest checkpoint that can be read holds; it is then the last one. None where there is none at all.

    A broken one is set aside as `last.ckpt.broken`, with one line.

    Raises:
        UserError: there are some, and none can be read.
    """
    broken: list[tuple[Path, UserError]] = []
    for found in [path, *earlier(path)]:
        try:
            content = read_checkpoint(found) if found.exists() else None
        except UserError as error:
            broken.append((found, error))
            continue
        if content is not None:
            _set_aside([one for one, _ in broken])
            if found != path:
                why = str(broken[0][1]).partition(". ")[0] if broken else f"{path} is gone"
                clips = content["ode_vgan"]["clips_seen"]
                log.warning("%s. Goes on from %s, at %s clips.", why, found.name, f"{clips:,}")
                _copy(found, path)
            return content
    if broken:
        line, one = str(broken[0][1]).partition(". ")[0], len(broken) == 1
        raise UserError(
            f"{line}{'' if one else f', nor can the {len(broken) - 1} before it'}. Delete the folder to begin anew, "
            "or give a new tag=..."
        )
    return None


def to_go_on_from(folder: Path, max_clips: int, batch: int) -> dict | None:
    """The checkpoint of a run that goes on; the one before the last, where a kill came between the last and its report.

    Args:
        max_clips, batch: of the run: one that has just reached its end has less than a batch more.
    """
    path, report = folder / CHECKPOINT, folder / "metrics.json"
    last = last_good(path)
    clips = 0 if last is None else last["ode_vgan"]["clips_seen"]
    if not max_clips <= clips < max_clips + batch or not earlier(path):
        return last
    if report.exists() and json.loads(report.read_text())["clips_seen"] >= clips:
        return last
    path.unlink()  # its steps come again, and are the same
    return last_good(path)


def _set_aside(broken: list[Path]) -> None:
    for path in broken:
        os.replace(path, path.with_name(f"{path.name}.broken"))


def used_up(checkpoint: dict, max_clips: int, config: dict) -> str:
    """Which budget a checkpoint has reached, in words, or nothing."""
    if checkpoint["ode_vgan"]["clips_seen"] >= max_clips:
        return f"{max_clips:,} clips; raise {'max_clips' if max_clips == config['max_clips'] else 'max_macs'}"
    limits = {name: config[name] for name in ("max_seconds", "max_cpu_seconds")}
    used = checkpoint["callbacks"].get("ClipBar", {})
    return f"used its seconds; raise {' or '.join(limits)}" if Budget(**limits).reached(used) else ""
