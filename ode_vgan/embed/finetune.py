"""End-to-end fine-tuning: a linear head on the clip embedding, and everything before it, learned on class labels."""

import copy
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from ode_vgan.embed.captioned import CaptionedClips, Sides
from ode_vgan.embed.probe import choose_probe, fit_probe
from ode_vgan.errors import UserError

if TYPE_CHECKING:
    from ode_vgan.embed.clip_model import ClipModel

Kept = tuple[Tensor, Tensor]  # (index of the clips, their class)


@dataclass(frozen=True)
class Tuning:
    """How a model is fine-tuned.

    Attributes:
        epochs: at most; the one of least validation loss is kept, and 0 is the linear probe itself.
        frames: of each clip a step, drawn in their order; all of them are looked at when it is judged.
        lr: of everything before the head. head_lr: of the head.
    """

    epochs: int = 4
    batch: int = 16
    frames: int = 4
    lr: float = 1e-5
    head_lr: float = 1e-4
    weight_decay: float = 0.01

    def __post_init__(self):
        if min(self.epochs, self.batch, self.frames) < 1 or min(self.lr, self.head_lr) <= 0 or self.weight_decay < 0:
            raise UserError(f"{self.told()}: epochs, batch and frames from 1, learning rates above 0. Change it.")

    def told(self) -> dict[str, float]:
        """Plain data."""
        return asdict(self)


@dataclass(frozen=True)
class Tuned:
    """What came of it: (N, K) logits of the clips judged, the epoch kept, and the validation loss of each epoch."""

    logits: Tensor
    epoch: int
    validation: list[float]


class Classifier(nn.Module):
    """Clips to logits: a copy of the model with nothing locked, and a linear head on its unit rows.

    Norm layers keep the statistics that they came with: batches are small.
    """

    def __init__(self, clip: "ClipModel", classes: int):
        super().__init__()
        self.clip = unlocked(clip)
        self.head = nn.Linear(clip.dim, classes)

    def forward(self, frames: Tensor, times: Tensor) -> Tensor:
        """(B, K) logits of clips (B, T, H, W, 3) uint8 at times (B, T)."""
        return self.head(self.clip.encode_clips(frames, times))

    @torch.no_grad()
    def over(self, clips: CaptionedClips, index: Tensor, batch: int) -> Tensor:
        """(N, K) logits of the clips of these numbers, on the CPU."""
        device = self.head.weight.device
        parts = [self(clips.frames[one].to(device), clips.times[one].to(device)).cpu() for one in index.split(batch)]
        return torch.cat(parts)


def finetune(
    clip: "ClipModel", sides: Sides, labels: Sequence[Kept], rows: Sequence[Tensor], *, seed: int, recipe: Tuning
) -> Tuned:
    """Fit a probe, take it as the head, then learn all; the epoch is chosen on the validation clips.

    Args:
        clip: it is left as it was.
        labels: of the training, validation and held clips.
        rows: (N, E) unit rows of all training and of all validation clips by the model as it is.
        seed: of the order of clips and of the frames drawn.
    """
    (train, own), (choose, theirs), (held, _) = labels
    classes = int(max(own.max(), theirs.max())) + 1
    net = Classifier(clip, classes).to(next(clip.parameters()).device).eval()
    _start_from_probe(net, [(all_of[index], own) for all_of, (index, own) in zip(rows, labels, strict=False)])
    draw = torch.Generator().manual_seed(seed)
    body = {"params": [*net.clip.parameters()], "lr": recipe.lr}
    optimizer = torch.optim.AdamW([body, {"params": [*net.head.parameters()], "lr": recipe.head_lr}])
    for group in optimizer.param_groups:
        group["weight_decay"] = recipe.weight_decay
    losses, best = [], None
    for epoch in range(recipe.epochs + 1):
        if epoch:
            _epoch(net, sides.train, (train, own), optimizer, recipe, draw)
        losses.append(float(cross_entropy(net.over(sides.choose, choose, recipe.batch), theirs)))
        if losses[-1] == min(losses):
            best = (net.over(sides.held, held, recipe.batch), epoch)
    return Tuned(*best, losses)


def _epoch(net: Classifier, clips: CaptionedClips, kept: Kept, optimizer, recipe: Tuning, draw: torch.Generator):
    index, labels = kept
    frames, device = clips.frames.shape[1], net.head.weight.device
    for chosen in torch.randperm(len(index), generator=draw).split(recipe.batch):
        shown = torch.randperm(frames, generator=draw)[: recipe.frames].sort().values
        rows, times = clips.frames[index[chosen]][:, shown], clips.times[index[chosen]][:, shown]
        logits = net(rows.to(device), times.to(device))
        optimizer.zero_grad()
        cross_entropy(logits, labels[chosen].to(device)).backward()
        optimizer.step()


def _start_from_probe(net: Classifier, sides: Sequence[Kept]) -> None:
    train, choose = sides
    l2 = choose_probe(train, choose, net.head.out_features).probe.l2
    probe = fit_probe(*train, net.head.out_features, l2)  # without the validation clips, which choose the epoch
    with torch.no_grad():
        net.head.weight.copy_(probe.weight / probe.scale)
        net.head.bias.copy_(probe.bias - probe.weight @ probe.mean / probe.scale)


def unlocked(clip: "ClipModel") -> "ClipModel":
    """A copy in eval mode whose image side learns, whatever was locked."""
    free = copy.deepcopy(clip).eval()
    free.locks = dict.fromkeys(free.locks, False)
    return free.requires_grad_(True)
