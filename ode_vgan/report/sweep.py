"""What Hydra calls when a sweep ends: the comparison of its runs, with the same report as `ode-vgan compare`."""

import json
import os
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from hydra.experimental.callback import Callback
from omegaconf import DictConfig

from ode_vgan.errors import UserError


def one_device_a_job(trainer: Mapping) -> None:
    """Refuse several devices in a sweep: the processes of a point would begin the whole sweep anew.

    Raises:
        UserError: the trainer's options ask for more than one.
    """
    if str(trainer.get("devices", 1)) != "1" or int(trainer.get("num_nodes", 1)) != 1:
        raise UserError(
            f"a sweep takes one device a job, not trainer.devices={trainer.get('devices')}. Set trainer.devices=1 and "
            "spread the jobs: hydra/launcher=joblib, submitit_slurm or ray."
        )


class SweepFailures(Callback):
    """Ends a sweep with exit code 2 if a point of it failed, wherever the launcher ran it, and names the point.

    What a point leaves behind is the truth, `failure.json` in its folder: a list in memory would be the worker's.
    """

    def __init__(self) -> None:
        self.began = 0.0

    def on_multirun_start(self, config: DictConfig, **kwargs: object) -> None:
        """Remember when, because the folder may hold failures of earlier sweeps; refuse what no point could do."""
        self.began = time.time()
        try:
            one_device_a_job(config.trainer)
        except UserError as error:
            print(f"train.py: error: {error}", file=sys.stderr)
            sys.exit(2)

    def on_multirun_end(self, config: DictConfig, **kwargs: object) -> None:
        """Name what failed since then."""
        files = sorted(Path(os.path.relpath(config.hydra.sweep.dir)).rglob("failure.json"))
        failed = [path for path in files if path.stat().st_mtime >= self.began - 1]  # file clocks are coarse
        for path in failed:
            print(f"train.py: {path.parent} failed: {json.loads(path.read_text())['error']}", file=sys.stderr)
        if failed:
            sys.exit(2)


class SweepReport(Callback):
    """Reports a sweep when its last point has ended, whatever state its points are in; a single run is left alone.

    Nothing that goes wrong here reaches Hydra: it is one line, and `ode-vgan compare FOLDER` makes the report later.

    Args:
        protocols: keys; none are those without weights, and fvd128_16f where I3D's are here.
        splits, questions, clips, seed, curves, device: as `ode_vgan.report.judged.Asked` has them.
        jobs: runs judged at a time. wandb: project that the report also goes to; None for none.
    """

    def __init__(
        self, protocols: Sequence[str] = (), splits: Sequence[str] = ("test", "train"), questions: Sequence[str] = (),
        clips: int = 128, seed: int = 0, curves: Sequence[str] = (), jobs: int = 1, wandb: str | None = None,
        device: str = "cpu",
    ):  # fmt: skip
        self.asked = {
            "protocols": tuple(protocols), "splits": tuple(splits), "questions": tuple(questions), "clips": clips,
            "seed": seed, "curves": tuple(curves), "device": device,
        }  # fmt: skip
        self.jobs, self.wandb = jobs, wandb

    def on_multirun_start(self, config: DictConfig, **kwargs: object) -> None:
        """Refuse before the first point what could not be asked after the last."""
        try:
            self._asked()
        except UserError as error:
            print(f"train.py: error: {error}", file=sys.stderr)
            sys.exit(2)

    def on_multirun_end(self, config: DictConfig, **kwargs: object) -> None:
        """Judge and report what lies in the sweep's folder."""
        folder = Path(os.path.relpath(config.hydra.sweep.dir))
        try:
            from ode_vgan.cli.compare import summary
            from ode_vgan.report.compare import compare

            print(summary(compare([folder], self._asked(), jobs=self.jobs, wandb=self.wandb)))
        except (Exception, KeyboardInterrupt) as error:
            line = " ".join(str(error).split()) or type(error).__name__
            remedy = f"`ode-vgan compare {folder}` makes it"
            print(f"train.py: no report of {folder}: {line} ({remedy})", file=sys.stderr)

    def _asked(self):
        from ode_vgan.report.judged import Asked

        return Asked(**self.asked).check()
