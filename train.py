"""Train what the config names: python train.py +experiment=quickstart temporal=ode seed=0."""

import difflib
import logging
import os
import sys
import warnings
from pathlib import Path
from typing import TYPE_CHECKING

import ode_vgan  # noqa: F401  first, so that torchvision imports beside a CPU-only torch

import hydra  # isort: skip
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf

from ode_vgan.errors import UserError

if TYPE_CHECKING:
    import pytorch_lightning as pl
    import torch

    from ode_vgan.metrics.during import TrainingScore

CONF = Path(__file__).parent / "conf"
FAILED: list[Path] = []  # points of this sweep that could not run
NOISE = (  # of Lightning's warnings, what does not hold here
    "does not have many workers",
    "dataloader is not resumable",
    "LeafSpec",
    "in eval mode at the start",
    "Experiment logs directory",
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


def run(cfg: DictConfig, folder: Path) -> None:
    """Build, guard the run folder, fit from the last checkpoint, write metrics.json."""
    import pytorch_lightning as pl

    from ode_vgan.build import build
    from ode_vgan.runs import CHECKPOINT, check_same_run, read_checkpoint, remember

    embed = build(OmegaConf.to_container(cfg.embed, resolve=True), trusted=("",))
    data = build(OmegaConf.to_container(cfg.data, resolve=True), trusted=("",), embed=embed)
    cfg.embed_dim, cfg.gap_seconds = embed.dim, data.gap_seconds()
    config = OmegaConf.to_container(cfg, resolve=True)
    check_same_run(folder, config)
    last = folder / CHECKPOINT
    if last.exists() and read_checkpoint(last)["ode_vgan"]["clips_seen"] >= config["max_clips"]:
        print(f"{folder} already has {config['max_clips']:,} clips; raise max_clips to train it further.")
        return

    pl.seed_everything(config["seed"], verbose=False)
    module = build(config["model"], trusted=("",))
    module.config = config
    score = build(config["metrics"], trusted=("",)) or None
    if score is not None:
        score.check(config["data"]["frames"])
    remember(folder, config)
    trainer = make_trainer(config, folder, score)
    try:
        trainer.fit(module, data, ckpt_path=str(last) if last.exists() else None)
    finally:
        from ode_vgan.report.wandb import finish

        finish()
    conclude(trainer, module, data, folder)


def make_trainer(config: dict, folder: Path, score: "TrainingScore | None") -> "pl.Trainer":
    """The Lightning trainer of a run, with its loggers and callbacks."""
    import pytorch_lightning as pl
    from pytorch_lightning.callbacks import ModelCheckpoint

    from ode_vgan.build import build
    from ode_vgan.callbacks import ClipBar, Score, StopOnSignal, Watch
    from ode_vgan.runs import CHECKPOINT

    logging.getLogger("pytorch_lightning.utilities.rank_zero").setLevel(logging.WARNING)
    loggers = [build(node, trusted=("",), folder=folder, config=config) for node in config["logger"].values()]
    checkpoints = ModelCheckpoint(
        dirpath=folder / CHECKPOINT.parent,
        filename=CHECKPOINT.stem,
        every_n_epochs=1,
        save_on_train_epoch_end=True,
        enable_version_counter=False,
    )
    return pl.Trainer(
        **config["trainer"],
        default_root_dir=folder,
        max_epochs=-1,
        limit_train_batches=max(1, config["tick_clips"] // config["data"]["batch"]),
        logger=loggers,
        callbacks=[ClipBar(), StopOnSignal(), Watch(folder, **config["samples"]), Score(folder, score), checkpoints],
        enable_model_summary=False,
        enable_progress_bar=False,
        use_distributed_sampler=False,  # the data places its own batches on each process
    )


def conclude(trainer: "pl.Trainer", module: "pl.LightningModule", data: "pl.LightningDataModule", folder: Path) -> None:
    """Write metrics.json and curves, say where things are; leave with 128 + n after a signal n."""
    from ode_vgan.callbacks import Score, StopOnSignal, trained_seconds
    from ode_vgan.report.curves import plot_curves
    from ode_vgan.runs import write_json

    plot_curves(folder / "metrics.csv", folder / "curves.png")
    stopped = next(callback.received for callback in trainer.callbacks if isinstance(callback, StopOnSignal))
    if stopped is not None:
        print(f"Stopped by signal {stopped} at {module.clips_seen:,} clips; type the command again to continue.")
        sys.exit(128 + stopped)
    temporal = module.generator.temporal
    score = next(callback.last for callback in trainer.callbacks if isinstance(callback, Score))
    parts = {"generator": module.generator, "temporal": temporal, "critics": module.critics}
    result = {
        "clips_seen": module.clips_seen,
        "seconds": round(trained_seconds(trainer), 1),
        "nfe": temporal.nfe,
        "parameters": {name: count(part) for name, part in parts.items()},
        "skipped": data.skipped,
        "score": score,
        "finished": True,
    }
    write_json(folder / "metrics.json", result)
    told = "; ".join(
        f"{name.removeprefix('score/')} {value:.1f} (real clips against real clips {score[f'{name}_real']:.1f})"
        for name, value in score.items()
        if f"{name}_real" in score
    )
    print(f"Trained on {module.clips_seen:,} clips. {told + '; lower is better. ' if told else ''}Look at:")
    for name in ("samples.png", "samples.mp4", "curves.png", "metrics.json"):
        print(f"  {folder / name}")


def count(module: "torch.nn.Module") -> int:
    """Trainable parameters."""
    return sum(parameter.numel() for parameter in module.parameters() if parameter.requires_grad)


@hydra.main(version_base="1.3", config_path="conf", config_name="train")
def main(cfg: DictConfig) -> None:
    folder = Path(os.path.relpath(HydraConfig.get().runtime.output_dir))
    try:
        run(cfg, folder)
    except UserError as error:
        if folder.is_dir() and not any(folder.iterdir()):
            folder.rmdir()
        print(f"train.py: error: {error}", file=sys.stderr)
        if HydraConfig.get().mode is not RunMode.MULTIRUN:
            sys.exit(2)
        FAILED.append(folder)  # the other points of the sweep go on


if __name__ == "__main__":
    for noise in NOISE:
        warnings.filterwarnings("ignore", message=f".*{noise}")
    logging.getLogger("pytorch_lightning").setLevel(logging.WARNING)
    try:
        check_choices(sys.argv[1:])
    except UserError as error:
        print(f"train.py: error: {error}", file=sys.stderr)
        sys.exit(2)
    main()
    sys.exit(2 if FAILED else 0)
