"""Train what the config names: python train.py +experiment=quickstart temporal=ode seed=0."""

import difflib
import gc
import json
import logging
import os
import sys
import traceback
import warnings
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import ode_vgan  # noqa: F401  first, so that torchvision imports beside a CPU-only torch

import hydra  # isort: skip
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf

from ode_vgan.errors import DivergedError, HeldError, UserError, told_of_the_disk

if TYPE_CHECKING:
    import pytorch_lightning as pl

    from ode_vgan.metrics.during import TrainingScore
    from ode_vgan.training import Training

CONF = Path(__file__).parent / "conf"
FAILURE = "failure.json"
NOISE = (  # of Lightning's warnings, what does not hold here
    "does not have many workers",
    "dataloader is not resumable",
    "LeafSpec",
    "in eval mode at the start",
    "Experiment logs directory",
    "Checkpoint directory",
    "smaller than the logging interval",
)


def check_choices(arguments: list[str]) -> None:
    """Refuse a choice that no file of its config group makes, in one line.

    Raises:
        UserError: naming the group, the choice and what there is.
    """
    for argument in arguments:
        group, _, choices = argument.lstrip("+").partition("=")
        if not (CONF / group).is_dir() or not group or any(mark in choices for mark in "{}[]()$"):
            continue
        files = (CONF / group).rglob("*.yaml")
        there = sorted(path.relative_to(CONF / group).with_suffix("").as_posix() for path in files)
        for choice in choices.split(","):
            if choice.strip() not in there:
                near = difflib.get_close_matches(choice, there, 1)
                hint = f"; did you mean {near[0]}?" if near else "."
                raise UserError(f"{group}={choice} does not exist; choose one of {', '.join(there)}{hint}")


def quiet() -> None:
    """Leave out what Lightning warns of and does not hold here; also in the processes of a launcher."""
    if os.environ.get("LOCAL_RANK", "0") != "0":  # where the leading process tells what goes wrong
        os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")
    for noise in NOISE:
        warnings.filterwarnings("ignore", message=f".*{noise}")
    logging.getLogger("pytorch_lightning").setLevel(logging.WARNING)


def run(cfg: DictConfig, folder: Path) -> None:
    """Read the config, guard the run folder, train; a run that diverged and may goes back and trains on."""
    from ode_vgan.build import build
    from ode_vgan.diverged import OnDivergence
    from ode_vgan.match import matched
    from ode_vgan.report.sweep import one_device_a_job
    from ode_vgan.runs import CHECKPOINT, check_same_run

    if HydraConfig.get().mode is RunMode.MULTIRUN:
        one_device_a_job(cfg.trainer)
    embed = build(OmegaConf.to_container(cfg.embed, resolve=True), trusted=("",))
    data = build(OmegaConf.to_container(cfg.data, resolve=True), trusted=("",), embed=embed)
    cfg.embed_dim, cfg.gap_seconds = embed.dim, data.gap_seconds()
    window = {"frames": cfg.data.frames, "gap_seconds": cfg.gap_seconds}
    if "temporal" in cfg:
        temporal = OmegaConf.to_container(cfg.temporal, resolve=True)
        cfg.temporal = matched(temporal, **window, **OmegaConf.to_container(cfg.match))
    config = OmegaConf.to_container(cfg, resolve=True)
    check_same_run(folder, config)
    (folder / FAILURE).unlink(missing_ok=True)
    policy = OnDivergence(**config["diverged"])
    while True:
        try:
            return attempt(config, data, folder, window | {"embed_dim": embed.dim})
        except DivergedError as error:
            policy.roll_back(folder / CHECKPOINT, error)


def attempt(config: dict, data: "pl.LightningDataModule", folder: Path, window: dict) -> None:
    """Build, fit from the last good checkpoint, write metrics.json."""
    import pytorch_lightning as pl

    from ode_vgan.build import build
    from ode_vgan.checkpoints import to_go_on_from, used_up
    from ode_vgan.processes import leads
    from ode_vgan.provenance import started
    from ode_vgan.replicas import fit
    from ode_vgan.report.csvlog import forget_after
    from ode_vgan.runs import CHECKPOINT, remember, write_json
    from ode_vgan.scaling.count import clips_within

    pl.seed_everything(config["seed"], verbose=False)
    module = build(config["model"], trusted=("",))
    module.config = config
    macs = module.count(**window, size=config["data"]["size"])
    if config["max_macs"] is not None:
        module.max_clips = min(module.max_clips, clips_within(config["max_macs"], macs))
    last = to_go_on_from(folder, module.max_clips, config["data"]["batch"])
    resumes = last is not None
    if resumes and (reason := used_up(last, module.max_clips, config)):
        print(f"{folder} already has {reason} to train it further.")
        return
    if resumes and leads():
        forget_after(folder / "metrics.csv", last["ode_vgan"]["clips_seen"])
    del last  # Lightning reads its own
    score = build(config["metrics"], trusted=("",)) or None
    if score is not None:
        score.check(config["data"]["frames"])
    trainer = make_trainer(module, folder, score)
    if leads():
        remember(folder, config)
        if not resumes or not (folder / "started.json").exists():
            told = started(list(HydraConfig.get().overrides.task))
            told |= {"precision": trainer.precision, "processes": trainer.world_size}
            write_json(folder / "started.json", told)
    fit(trainer, module, data, folder / CHECKPOINT if resumes else None)
    if leads():
        conclude(trainer, module, data, folder, macs)


def make_trainer(module: "Training", folder: Path, score: "TrainingScore | None") -> "pl.Trainer":
    """The Lightning trainer of a run, with its loggers and callbacks."""
    from pytorch_lightning.callbacks import ModelCheckpoint

    from ode_vgan.build import build
    from ode_vgan.callbacks import Budget, ClipBar, StopOnSignal
    from ode_vgan.checkpoints import Begun, RunCheckpoints
    from ode_vgan.precision import chosen
    from ode_vgan.processes import leads
    from ode_vgan.replicas import make_replicated
    from ode_vgan.runs import CHECKPOINT

    config = module.config
    precision, why = chosen(config["trainer"]["precision"], config["trainer"]["accelerator"])
    if why and leads():
        print(f"Trains in {why}.")
    for name in ("pytorch_lightning.utilities.rank_zero", "lightning_fabric"):
        logging.getLogger(name).setLevel(logging.WARNING)
    checkpoints = ModelCheckpoint(
        dirpath=folder / CHECKPOINT.parent,
        filename=CHECKPOINT.stem,
        every_n_epochs=1,
        save_on_train_epoch_end=True,
        enable_version_counter=False,
    )
    begun = [Begun(folder / CHECKPOINT)] if config["diverged"]["then"] == "rollback" else []
    callbacks = [*begun, *module.watchers(folder, config, score), checkpoints]
    trainer = make_replicated(
        **config["trainer"] | {"precision": precision},
        default_root_dir=folder,
        max_epochs=-1,
        limit_train_batches=max(1, config["tick_clips"] // config["data"]["batch"]),
        logger=False,
        plugins=[RunCheckpoints(**config["checkpoints"])],
        callbacks=[ClipBar(), Budget(config["max_seconds"], config["max_cpu_seconds"]), StopOnSignal(), *callbacks],
        enable_model_summary=False,
        enable_progress_bar=False,
        use_distributed_sampler=False,  # the data places its own batches on each process
    )
    check_processes(trainer.world_size, config)
    nodes = config["logger"].values() if leads() else ()
    trainer.loggers = [build(node, trusted=("",), folder=folder, config=config) for node in nodes]
    return trainer


def check_processes(count: int, config: dict) -> None:
    """Refuse what several processes cannot do together.

    Raises:
        UserError: a batch that they cannot share, or a rollback.
    """
    if config["data"]["batch"] % count:
        raise UserError(
            f"data.batch={config['data']['batch']} clips cannot be shared evenly by {count} processes; "
            f"give a multiple of {count}, or other trainer.devices."
        )
    if count > 1 and config["diverged"]["then"] == "rollback":
        raise UserError(f"diverged.then=rollback is for one process, not {count}; give diverged.then=stop.")


def conclude(
    trainer: "pl.Trainer", module: "Training", data: "pl.LightningDataModule", folder: Path, macs: dict
) -> None:
    """Write metrics.json and curves, say where things are; leave with 128 + n after a signal n."""
    from ode_vgan.callbacks import EveryClips, StopOnSignal, spent
    from ode_vgan.report.curves import plot_curves
    from ode_vgan.report.objective import told
    from ode_vgan.runs import write_json
    from ode_vgan.scaling.ledger import append, rows_of_run

    if unsaved := trainer.strategy.checkpoint_io.unsaved:
        raise UserError(f"{unsaved} Free some space and type the command again.")
    plot_curves(folder / "metrics.csv", folder / "curves.png")
    stopped = next(callback.received for callback in trainer.callbacks if isinstance(callback, StopOnSignal))
    if stopped is not None:
        print(f"Stopped by signal {stopped} at {module.clips_seen:,} clips; type the command again to continue.")
        sys.exit(128 + stopped)
    looks = [callback for callback in trainer.callbacks if isinstance(callback, EveryClips)]
    score = {name: value for look in looks for name, value in look.last.items()}
    result = {
        "clips_seen": module.clips_seen,
        **{name: round(seconds, 3) for name, seconds in spent(trainer).items()},
        **module.facts(module.config),
        "macs": macs,
        "skipped": data.skipped,
        "rollbacks": module.rollbacks,
        "score": score,
        "started": json.loads((folder / "started.json").read_text()),
        "finished": True,
    }
    write_json(folder / "metrics.json", result)
    if module.config["ledger"] is not None:
        append(folder.parent / module.config["ledger"], rows_of_run(folder))
    print(f"Trained on {module.clips_seen:,} clips. {told(score)}Look at:")
    for name in module.looks:
        print(f"  {folder / name}")


@hydra.main(version_base="1.3", config_path="conf", config_name="train")
def main(cfg: DictConfig) -> float | None:
    """One run; the best score that it saw, which a sweeper optimises; None without one."""
    quiet()  # before torch is imported, which looks then at what it may say
    from ode_vgan.processes import leads
    from ode_vgan.replicas import follow_the_lead
    from ode_vgan.report.objective import best_score
    from ode_vgan.runs import held

    if not leads():
        follow_the_lead()
    folder = Path(os.path.relpath(HydraConfig.get().runtime.output_dir))
    sweeps = HydraConfig.get().mode is RunMode.MULTIRUN
    try:
        with told_of_the_disk(folder), held(folder):
            run(cfg, folder)
        gc.collect()  # a trainer and its callbacks know each other: 80 MB a point of a sweep else
        return best_score(folder, cfg.metrics.get("protocols") or ())
    except HeldError as error:  # its folder is the other's: nothing is written there
        print(f"train.py: error: {error}", file=sys.stderr)
        if not sweeps:
            sys.exit(2)
    except UserError as error:
        print(f"train.py: error: {error}", file=sys.stderr)
        fail(error, cfg, folder, sweeps)
        if not sweeps:
            sys.exit(2)
    except Exception as error:
        fail(error, cfg, folder, sweeps)
        if not sweeps:
            raise
        traceback.print_exc()
    return None


def fail(error: Exception, cfg: DictConfig, folder: Path, sweeps: bool) -> None:
    """Leave failure.json in the folder of a run that began or belongs to a sweep, whose other points go on."""
    from ode_vgan.processes import leads
    from ode_vgan.provenance import failure
    from ode_vgan.runs import write_json

    if not leads():
        return
    if sweeps or (folder / "started.json").exists():
        with suppress(OSError):  # such as a full disk, which was told
            write_json(folder / FAILURE, failure(error, OmegaConf.to_container(cfg, resolve=False)))
    elif folder.is_dir() and not any(folder.iterdir()):
        folder.rmdir()


if __name__ == "__main__":
    try:
        check_choices(sys.argv[1:])
    except UserError as error:
        print(f"train.py: error: {error}", file=sys.stderr)
        sys.exit(2)
    main()
