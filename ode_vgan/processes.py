"""Several processes that train one model, each on its share of every batch, to the same numbers as one process.

A batch is that of all processes together; process r holds its r-th part. Random numbers are drawn for all clips by
every process, which keeps the rows of its own (`StepDraw`, `share`). Losses are means over clips, so that the mean of
the processes' gradients is the gradient of one process; what is no mean over clips is made one from all (`gathered`).
"""

import os
from collections.abc import Callable, Iterable
from itertools import pairwise

import torch
import torch.distributed as dist
from torch import Tensor, nn

RANKS = ("RANK", "LOCAL_RANK", "NODE_RANK", "SLURM_PROCID")  # as torchrun, Lightning and SLURM tell them


def leads() -> bool:
    """Whether this process writes the run folder: a run has one such process, known before they have met."""
    return all(int(os.environ.get(name) or 0) == 0 for name in RANKS)


def world() -> int:
    """How many processes train together."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def rank() -> int:
    """The number of this process among them, from 0."""
    return dist.get_rank() if world() > 1 else 0


class StepDraw(torch.Generator):
    """Random numbers of one training step, on the CPU, the same ones in every process."""


def share(clips: int, generator: torch.Generator | None, sizes: list[int] | None = None) -> tuple[int, slice]:
    """How many rows to draw for the `clips` of this process, and which of them are its own.

    With a `StepDraw` rows are drawn for the clips of all processes; with any other generator for this one's alone.

    Args:
        sizes: clips of each process; None where all have as many.
    """
    if world() == 1 or not isinstance(generator, StepDraw):
        return clips, slice(None)
    sizes = sizes or [clips] * world()
    first = sum(sizes[: rank()])
    return sum(sizes), slice(first, first + clips)


class Summed(torch.autograd.Function):
    """`apply(x)` is the sum over processes; each process's gradient flows to all. It can be differentiated again."""

    @staticmethod
    def forward(ctx, x: Tensor) -> Tensor:
        total = x.clone(memory_format=torch.contiguous_format)
        dist.all_reduce(total)
        return total

    @staticmethod
    def backward(ctx, above: Tensor) -> Tensor:
        return Summed.apply(above)


def summed(x: Tensor) -> Tensor:
    """The sum of x over processes, with gradients."""
    return Summed.apply(x) if world() > 1 else x


def counts(clips: int, device: torch.device) -> list[int]:
    """How many clips each process has."""
    if world() == 1:
        return [clips]
    told = torch.zeros(world(), dtype=torch.int64, device=device)
    told[rank()] = clips
    return summed(told).tolist()


def told_by_all(*numbers: float) -> list[tuple[float, ...]]:
    """The numbers of every process, in the order of their ranks; no device is waited for."""
    if world() == 1:
        return [numbers]
    told = torch.zeros(world(), len(numbers), dtype=torch.float64)
    told[rank()] = torch.tensor(numbers, dtype=torch.float64)
    dist.all_reduce(told)  # on the CPU: by gloo, whatever the device
    return [tuple(row) for row in told.tolist()]


def gathered(rows: Tensor, sizes: list[int] | None = None) -> Tensor:
    """The rows (n, ...) of all processes one after the other, exactly, with gradients.

    Args:
        sizes: n of each process; None where all have as many.
    """
    if world() == 1:
        return rows
    sizes = sizes or [len(rows)] * world()
    before, after = sum(sizes[: rank()]), sum(sizes[rank() + 1 :])
    return summed(torch.cat([rows.new_zeros(before, *rows.shape[1:]), rows, rows.new_zeros(after, *rows.shape[1:])]))


def spread(work: Callable[[slice], Tensor], clips: int) -> Tensor:
    """What `work` makes of all clips, in their order: each process does its part, and all get the whole.

    Args:
        work: gives a row for each clip of a slice. clips: how many there are.
    """
    if world() == 1 or clips < world():
        return work(slice(0, clips))
    ends = [clips * number // world() for number in range(world() + 1)]
    rows = work(slice(ends[rank()], ends[rank() + 1]))
    return gathered(rows, [end - start for start, end in pairwise(ends)])


def rolled(rows: Tensor) -> Tensor:
    """The rows of `gathered(rows).roll(1, 0)` that this process holds; no gradients."""
    if world() == 1:
        return rows.roll(1, 0)
    last = gathered(rows[-1:].detach())
    return torch.cat([last[rank() - 1].unsqueeze(0), rows[:-1]])


@torch.no_grad()
def averaged(values: dict[str, Tensor | float]) -> dict[str, Tensor | float]:
    """Values by name, tensors () as their mean over processes, in one transfer; numbers as they are."""
    tensors = {name: value for name, value in values.items() if isinstance(value, Tensor)}
    if world() == 1 or not tensors:
        return values
    means = summed(torch.stack([value.float() for value in tensors.values()])) / world()
    return values | dict(zip(tensors, means.unbind(), strict=True))


@torch.no_grad()
def average_gradients(parameters: Iterable[nn.Parameter]) -> None:
    """Replace gradients by their mean over processes, in one transfer; every process has the same ones missing."""
    gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
    if world() == 1 or not gradients:
        return
    flat = torch.cat([gradient.reshape(-1) for gradient in gradients])
    dist.all_reduce(flat)
    parts = flat.div_(world()).split([gradient.numel() for gradient in gradients])
    torch._foreach_copy_(
        gradients, [part.view(gradient.shape) for part, gradient in zip(parts, gradients, strict=True)]
    )


class SharedNorm:
    """Beside a batch norm: in training its statistics are those of the clips of all processes."""

    def forward(self, x: Tensor) -> Tensor:
        if world() == 1 or not self.training:
            return super().forward(x)
        axes, shape = [0, *range(2, x.ndim)], [1, -1, *[1] * (x.ndim - 2)]
        wide = x.float()
        parts = gathered(torch.stack([wide.mean(axes), wide.var(axes, unbiased=False)]).unsqueeze(0))
        means, variances = parts.unbind(1)
        mean = means.mean(0)
        variance = (variances + (means - mean).square()).mean(0)
        self._remember(mean.detach(), variance.detach(), x.numel() // x.shape[1] * world())
        slope = self.weight * (variance + self.eps).rsqrt()
        return ((wide - mean.view(shape)) * slope.view(shape) + self.bias.view(shape)).to(x.dtype)

    @torch.no_grad()
    def _remember(self, mean: Tensor, variance: Tensor, count: int) -> None:
        self.num_batches_tracked.add_(1)
        self.running_mean.lerp_(mean, self.momentum)
        self.running_var.lerp_(variance * (count / (count - 1)), self.momentum)


NORMS = {
    kind: type(f"Shared{kind.__name__}", (SharedNorm, kind), {})
    for kind in (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)
}


def share_norms(module: nn.Module) -> None:
    """From now on the module's batch norms take their statistics from the clips of all processes."""
    for part in module.modules():
        if type(part) in NORMS:
            part.__class__ = NORMS[type(part)]
