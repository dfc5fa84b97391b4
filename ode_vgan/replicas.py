"""How Lightning runs one model in several processes, one a device, which begin, stop and fail as one."""

import json
import os
import signal
import sys
import threading
import time
import traceback
from pathlib import Path

import pytorch_lightning as pl
import torch.distributed as dist
from pytorch_lightning.strategies import DDPStrategy
from torch import nn

from ode_vgan.errors import UserError
from ode_vgan.processes import leads, rank, share_norms, world

FAILED = "ode_vgan/failed"
POLL_SECONDS = 1.0


class Replicas(DDPStrategy):
    """The same model in every process; its own step averages gradients (`Training.on_before_optimizer_step`).

    No module is wrapped, so that a step may differentiate twice, freeze parts and step several optimisers as it does
    alone, and may be compiled.
    """

    def configure_ddp(self) -> None:
        share_norms(self.lightning_module)
        for tensor in (*self.lightning_module.parameters(), *self.lightning_module.buffers()):
            dist.broadcast(tensor.detach(), 0)

    def _setup_model(self, model: nn.Module) -> nn.Module:
        return model

    def _get_process_group_backend(self) -> str:
        return "gloo" if self.root_device.type == "cpu" else f"cpu:gloo,{self.root_device.type}:nccl"


def several(options: dict) -> bool:
    """Whether a trainer of these options may have more than one process."""
    return str(options.get("devices", "auto")) != "1" or int(options.get("num_nodes", 1)) != 1


def make_replicated(**options: object) -> pl.Trainer:
    """Lightning's trainer, with `Replicas` where there may be several devices and no other strategy is named.

    Raises:
        UserError: options that it does not take, or a device that is not here.
    """
    if several(options) and options.get("strategy", "auto") in ("auto", "ddp"):
        options = options | {"strategy": Replicas()}
    try:
        return pl.Trainer(**options)
    except (TypeError, ValueError, pl.utilities.exceptions.MisconfigurationException) as error:
        line = " ".join(str(error).split())[:200]
        raise UserError(f"trainer: {line} Choose another trainer=, or change trainer.devices and the like.") from error


def follow_the_lead() -> None:
    """End this process when the one that started it is gone, which could not tell."""
    parent = os.getppid()

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(POLL_SECONDS)
        os._exit(1)

    threading.Thread(target=watch, daemon=True, name="follow-the-lead").start()


def fit(trainer: pl.Trainer, module: pl.LightningModule, data: pl.LightningDataModule, last: Path | None) -> None:
    """Train from a checkpoint or from the start; where a process fails, the leading one raises what the first said."""
    from ode_vgan.report.wandb import finish

    try:
        trainer.fit(module, data, ckpt_path=last and str(last))
        part(data)
    except Exception as error:
        first = first_error(error, trainer)
        if first is error:
            raise
        raise first from None
    finally:
        finish()


def first_error(error: Exception, trainer: pl.Trainer) -> Exception:
    """What the leading process is to say when it or another one fails; the others end here, after telling theirs.

    Where one process fails the rest lose touch with it and fail too: the first one's error counts.
    """
    if world() == 1:
        return error
    line = str(error) if isinstance(error, UserError) else ""
    mine = {"rank": rank(), "line": line, "trace": "".join(traceback.format_exception(error))}
    told = _tell(mine)
    if not leads():
        sys.exit(0)  # else Lightning ends the leading process before it can say what went wrong
    processes, total, own = getattr(trainer.strategy.launcher, "procs", []), world(), told["rank"] == rank()
    ended = [] if isinstance(error, UserError) else _ended(processes)
    _forget(processes)
    where = f"process {told['rank']} of {total}"
    if own and ended:
        gone = f"{ended[0]} of {total} is gone (killed, or out of memory)"
        return UserError(f"{gone}; type the command again to go on from the last checkpoint.")
    if own or told["line"] == line != "":
        return error
    return UserError(f"{where}: {told['line']}") if told["line"] else RuntimeError(f"{where}: {told['trace']}")


def _tell(mine: dict) -> dict:
    """What the first process that failed has told."""
    try:
        return json.loads(dist.distributed_c10d._get_default_store().compare_set(FAILED, "", json.dumps(mine)))
    except (RuntimeError, ValueError):  # the one that holds the store is gone
        return mine


def _forget(processes: list) -> None:
    """End the processes that this one started, so that it may say what went wrong, or start others."""
    for process in processes:
        process.send_signal(signal.SIGKILL)
        process.wait()
    if processes:
        for name in ("MASTER_ADDR", "MASTER_PORT", "NODE_RANK", "LOCAL_RANK", "WORLD_SIZE"):
            os.environ.pop(name, None)
        processes.clear()  # Lightning's observer has the same list, and would end this process too
    dist.destroy_process_group()


def _ended(processes: list) -> list[str]:
    """Names of processes that died without a word; one that dies is noticed before it is dead."""
    for _ in range(10):
        codes = [process.poll() for process in processes]
        if any(codes):
            break
        time.sleep(0.1)
    return [f"process {number}" for number, code in enumerate(codes, start=1) if code]


def part(data: pl.LightningDataModule) -> None:
    """Take leave of the other processes, knowing also what clips they left out."""
    if world() > 1:
        skipped = [None] * world()
        dist.all_gather_object(skipped, data.skipped)
        data.skipped = {key: reason for found in skipped for key, reason in found.items()}
    if dist.is_available() and dist.is_initialized():
        dist.destroy_process_group()
