"""Contrastive training of a CLIP for clips as a LightningModule: what one training step does, on one page."""

import hashlib
import math
from pathlib import Path

import pytorch_lightning as pl
import torch
from torch import Tensor, nn
from torch.nn.functional import normalize

from ode_vgan.callbacks import EveryClips, spent
from ode_vgan.embed.clip_model import LOCKED, ClipModel
from ode_vgan.embed.remembered import LockedFeatures
from ode_vgan.embed.standardised import Standardised
from ode_vgan.embed.validation import Encoder, draw_nearest, played, validate, validation_clips
from ode_vgan.errors import UserError
from ode_vgan.losses.contrastive import MAX_SCALE, ClipLoss, SigLipLoss, log_scale
from ode_vgan.metrics.during import TrainingScore
from ode_vgan.processes import StepDraw, averaged, counts, gathered, share, world
from ode_vgan.scaling.clip_count import clip_macs
from ode_vgan.training import Training, trainable


class ClipTraining(Training):
    """Texts and clips that belong together are drawn together, others apart.

    Every random number of a step is drawn from a generator seeded by (seed, clips seen), so that a resumed run makes
    the same steps as an uninterrupted one.

    Args:
        clip: the model. loss: of `losses.contrastive`.
        lr, betas, eps, weight_decay: AdamW's; the decay is for matrices only.
        warmup_clips: over which the step size rises from zero; from there it falls by a cosine to zero at max_clips, so
            that a run whose max_clips is raised later is not the run that had it from the start.
        dropout: share of a locked tower's features left out, the same ones in all frames of a clip.
        reverse: share of clips that are played backwards, with ", in reverse" after their caption.
        keep_features: frames, and texts, whose features by locked towers are remembered, on disk too; 0: none.
        max_clips: clips at which training ends. seed: of all draws.

    Source: Radford et al. (2021), "Learning transferable visual models from natural language supervision", section 2.5;
    the bound on the scale is theirs.
    """

    shown_losses = {"L": "train/loss"}

    def __init__(
        self,
        clip: ClipModel,
        loss: ClipLoss | SigLipLoss,
        *,
        lr: float,
        betas: tuple[float, float],
        eps: float,
        weight_decay: float,
        warmup_clips: float,
        dropout: float,
        reverse: float,
        keep_features: int,
        max_clips: int,
        seed: int,
    ):
        super().__init__(max_clips)
        if not isinstance(loss, ClipLoss | SigLipLoss):
            raise UserError(f"a CLIP is not trained by {type(loss).__name__}; set loss=clip or loss=siglip.")
        if not (0 <= dropout < 1 and 0 <= reverse <= 1):
            raise UserError(f"dropout={dropout}, reverse={reverse}; give shares: below 1, and from 0 to 1.")
        if dropout and not any(clip.locks.values()):
            raise UserError(f"dropout={dropout} is of locked towers' features, and none is locked. Set it to 0.")
        self.automatic_optimization = False
        self.clip, self.loss = clip.train(), loss  # which leaves locked towers in eval mode
        self.lr, self.betas, self.eps, self.weight_decay = lr, tuple(betas), eps, weight_decay
        self.warmup_clips, self.dropout, self.reverse, self.seed = warmup_clips, dropout, reverse, seed
        self.sizes: list[int] | None = None  # clips with captions that each process has now
        self.features = LockedFeatures(clip, int(keep_features))
        self.maps = nn.ModuleDict({side: Standardised(projection(clip, side)) for side in self.features.kept})
        clip.logit_scale.data.copy_(log_scale(loss.scale))
        own = loss.bias is not None and clip.logit_bias is None
        self.bias = nn.Parameter(torch.tensor(float(loss.bias))) if own else None

    def training_step(self, batch: dict, batch_index: int) -> None:
        draw, seen = self.step_draw(), len(batch["index"]) * world()
        batch = with_captions(batch)
        self.sizes = sizes = enough(batch["caption"], self.device, seen)
        total, own = share(len(batch["caption"]), draw, sizes)
        backwards = (torch.rand(total, generator=draw) < self.reverse)[own]
        locked = self.clip.locks["image"]
        shown = self.features.frames(batch["frames"]) if locked else batch["frames"]
        shown, times, captions = played(shown, batch["times"], batch["caption"], backwards)
        same = same_captions(gathered(digests(captions).to(self.device), sizes))
        text = gathered(self.text_rows(captions, draw), sizes)
        clips = gathered(self.clip_rows(shown, times, draw), sizes)
        bias = self.bias if self.clip.logit_bias is None else self.clip.logit_bias
        loss = self.loss(text.float(), clips.float(), self.clip.logit_scale.exp(), bias, same)
        step_size = self._step(loss)

        self.clips_seen += seen
        best = (text @ clips.T).masked_fill(same, -2.0).argmax(1)
        found = (best == torch.arange(len(best), device=best.device)).float().mean()
        values = {"train/loss": loss.detach(), "train/accuracy": found, "lr": step_size}
        values |= {"clips": float(self.clips_seen), "logit_scale": self.clip.logit_scale.detach().exp()}
        self.log_dict(averaged(values))
        self.end_if_done()

    def text_rows(self, captions: list[str], draw: StepDraw) -> Tensor:
        """(B, E) unit rows, with dropout."""
        if not self.clip.locks["text"]:
            return self.clip.encode_text(self.clip.tokenize(captions))
        features = self.features.texts(captions)
        self.maps["text"].look(lambda: gathered(features, self.sizes))
        return normalize(self.maps["text"](features, self._kept(features, draw)), dim=-1)

    def clip_rows(self, shown: Tensor, times: Tensor, draw: StepDraw) -> Tensor:
        """(B, E) unit rows, with dropout.

        Args:
            shown: frames (B, T, H, W, C), or their features (B, T, F) by a locked tower.
        """
        if not self.clip.locks["image"]:
            return self.clip.encode_clips(shown, times)
        self.maps["image"].look(lambda: gathered(shown, self.sizes))
        rows = self.maps["image"](shown, self._kept(shown[:, 0], draw).unsqueeze(1))
        return self.clip.pool(rows, times)

    def _kept(self, features: Tensor, draw: StepDraw) -> Tensor:
        total, own = share(len(features), draw, self.sizes)
        kept = torch.rand(total, *features.shape[1:], generator=draw)[own] >= self.dropout
        return kept.to(features) / (1 - self.dropout)

    def _step(self, loss: Tensor) -> float:
        optimizer = self.optimizers()
        step_size = self.lr * self._share() * self.step_scale
        for group in optimizer.param_groups:
            group["lr"] = step_size
        optimizer.zero_grad(set_to_none=True)
        self.manual_backward(loss)
        optimizer.step()
        with torch.no_grad():
            self.clip.logit_scale.clamp_(0, math.log(MAX_SCALE))
        for projection_map in self.maps.values():
            projection_map.fold()
        return step_size

    def _share(self) -> float:
        """Of the full step size."""
        seen, warm = self.clips_seen, min(self.warmup_clips, self.max_clips)
        if seen < warm:
            return (seen + 1) / warm
        done = min(1.0, (seen - warm) / max(1, self.max_clips - warm))
        return (1 + math.cos(math.pi * done)) / 2

    def configure_optimizers(self) -> torch.optim.Optimizer:
        learned = [parameter for parameter in self.parameters() if parameter.requires_grad]
        matrices = [parameter for parameter in learned if parameter.ndim > 1]
        rest = [parameter for parameter in learned if parameter.ndim < 2]
        groups = [{"params": matrices, "weight_decay": self.weight_decay}, {"params": rest, "weight_decay": 0.0}]
        groups = [one for one in groups if one["params"]]
        return torch.optim.AdamW(groups, lr=self.lr, betas=self.betas, eps=self.eps, fused=True)

    def on_train_epoch_end(self) -> None:
        self.features.save()

    def on_save_checkpoint(self, checkpoint: dict) -> None:
        super().on_save_checkpoint(checkpoint)
        for name in self._locked():  # their packages have them
            del checkpoint["state_dict"][name]

    def on_load_checkpoint(self, checkpoint: dict) -> None:
        own = self.state_dict()
        checkpoint["state_dict"] |= {name: own[name] for name in self._locked()}

    def _locked(self) -> list[str]:
        prefixes = tuple(f"clip.{LOCKED[side]}" for side, locked in self.clip.locks.items() if locked)
        return [name for name in self.state_dict() if name.startswith(prefixes or ("\0",))]

    def count(self, frames: int, size: int, gap_seconds: float | None, embed_dim: int) -> dict[str, float]:
        """Multiply-accumulates per clip: the image side of all its frames, the text side of one caption, the pooling.

        A locked tower counts as often as it is shown a clip, though its features may be remembered.
        """
        return clip_macs(self.clip, frames, size)

    def facts(self, config: dict) -> dict:
        """Parameters of the model, locked ones and all, and those learned."""
        towers = {"image": self.clip.towers.visual, "pooling": self.clip.pooling}
        sizes = {name: sum(parameter.numel() for parameter in part.parameters()) for name, part in towers.items()}
        total = sum(parameter.numel() for parameter in self.clip.parameters())
        sizes["text"] = total - sum(sizes.values())
        return {"parameters": sizes | {"total": total, "learned": trainable(self)}}

    def watchers(self, folder: Path, config: dict, score: object | None) -> list[pl.Callback]:
        """Validation and its picture, and the score of the metrics group where there is one."""
        if isinstance(score, TrainingScore):
            raise UserError("this metrics group judges generated clips, and a CLIP makes none. Set metrics=none.")
        looks = [Validation(folder, config["samples"]["every_clips"], config["samples"]["clips"])]
        return looks if score is None else [*looks, ClipScore(score)]


class Validation(EveryClips):
    """Retrieval among the clips of concepts set aside, logged, and `nearest.png`; nothing where none are set aside.

    Args:
        folder: the run folder. texts: rows of the picture.
    """

    def __init__(self, folder: Path, every_clips: int, texts: int):
        super().__init__(every_clips)
        self.folder, self.texts = folder, texts

    def look(self, trainer: pl.Trainer, module: ClipTraining) -> None:
        """Measure, log and draw what the model finds now."""
        clips = validation_clips(trainer.datamodule)
        if clips is None:
            return
        was = module.training
        encoder = Encoder(module.clip.eval(), module.features)
        self.last = validate(encoder, clips, reverse=module.reverse > 0)
        note = f"{self.folder.name} after {module.clips_seen:,} clips, {len(clips.captions)} clips set aside"
        draw_nearest(self.folder / "nearest.png", encoder, clips, texts=self.texts, note=note)
        module.train(was)
        log_all(trainer, module, self.last)


class ClipScore(EveryClips):
    """What the metrics group asks of the model.

    Args:
        score: (clip, data) -> numbers by name, every `score.every_clips`.
    """

    def __init__(self, score: object):
        super().__init__(score.every_clips)
        self.score = score

    def look(self, trainer: pl.Trainer, module: ClipTraining) -> None:
        """Judge and log the model as it is now."""
        was = module.training
        with torch.no_grad():
            self.last = self.score(module.clip.eval(), trainer.datamodule)
        module.train(was)
        log_all(trainer, module, self.last)


def log_all(trainer: pl.Trainer, module: Training, values: dict[str, float]) -> None:
    """Give every logger the values with the clips and seconds they came after."""
    told = values | {"clips": float(module.clips_seen)} | spent(trainer)
    for logger in trainer.loggers:
        logger.log_metrics(told, trainer.global_step)


def projection(clip: ClipModel, side: str) -> nn.Linear:
    """The layer between a locked tower and the common space.

    Raises:
        UserError: it is more than one linear layer.
    """
    head = clip.towers.visual.head if side == "image" else clip.towers.text.proj
    weighted = [part for part in head.modules() if next(part.parameters(recurse=False), None) is not None]
    if len(weighted) != 1 or not isinstance(weighted[0], nn.Linear):
        raise UserError(f"lock_{side}=true: {clip.name}'s {side} projection is not one linear layer. Unlock it.")
    return weighted[0]


def with_captions(batch: dict) -> dict:
    """The clips of a batch that have a caption."""
    told = [i for i, caption in enumerate(batch["caption"]) if caption.strip()]
    kept = {name: batch[name][told] for name in ("frames", "times")}
    return batch | kept | {"caption": [batch["caption"][i] for i in told]}


def enough(captions: list[str], device: torch.device, batch: int) -> list[int]:
    """How many clips with captions each process has.

    Raises:
        UserError: fewer than two in all, or a process with none.
    """
    sizes = counts(len(captions), device)
    if sum(sizes) < 2 or not all(sizes):
        spread = f", of {world()} processes one at least in each" if world() > 1 else ""
        raise UserError(f"{sum(sizes)} clips of a batch of {batch} have captions; two are needed{spread}.")
    return sizes


def digests(captions: list[str]) -> Tensor:
    """(B,) int64, the same number for the same words, on any machine."""
    words = (hashlib.blake2b(caption.encode(), digest_size=8).digest() for caption in captions)
    return torch.tensor([int.from_bytes(digest, "little", signed=True) for digest in words])


def same_captions(digest: Tensor) -> Tensor:
    """(B, B) bool: other clips with the same words, which are no negatives of each other.

    Args:
        digest: (B,) as `digests` gives it.
    """
    return (digest[:, None] == digest).fill_diagonal_(False)
