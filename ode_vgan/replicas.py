"""How Lightning runs one model in several processes: as many as there are devices, which start and end as one."""

import os
import signal
import threading
import time

import torch.distributed as dist
from pytorch_lightning.strategies import DDPStrategy
from torch import nn

from ode_vgan.processes import share_norms, world


class Replicas(DDPStrategy):
    """The same model in every process; its own step averages gradients (`Training.on_before_optimizer_step`).

    No module is wrapped, so that a step may differentiate twice, freeze parts and step several optimisers as it does
    alone, and may be compiled.
    """

    def configure_ddp(self) -> None:
        share_norms(self.lightning_module)
        for tensor in (*self.lightning_module.parameters(), *self.lightning_module.buffers()):
            if world() > 1:
                dist.broadcast(tensor.detach(), 0)

    def _setup_model(self, model: nn.Module) -> nn.Module:
        return model
