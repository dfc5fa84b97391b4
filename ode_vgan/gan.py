"""The video GAN as a LightningModule: what one training step does, on one page."""

import math

import torch
from torch import Tensor, nn

from ode_vgan.compiled import Compiled, wanted
from ode_vgan.data.clips import to_float
from ode_vgan.discriminator.critics import choose_frames
from ode_vgan.ema import GeneratorEma
from ode_vgan.errors import UserError
from ode_vgan.generator import draw_latents
from ode_vgan.losses.kinetic import kinetic_energy
from ode_vgan.losses.matching import mean_frame_distance, mismatched_caption
from ode_vgan.losses.penalty import gradient_penalties
from ode_vgan.processes import averaged, rolled, world
from ode_vgan.training import GanTraining
from ode_vgan.transfer import sent


class VideoGan(GanTraining):
    """Generator against critics, optimised by hand.

    Every random number of a step is drawn from a generator seeded by (seed, clips seen), so that a resumed run
    makes the same steps as an uninterrupted one.

    Args:
        generator: `ode_vgan.generator.Generator`. critics: `ode_vgan.discriminator.critics.Critics`.
        loss: an object with `critic(real, fake)` and `generator(real, fake)`, on logits.
        augment: differentiable augmentation with `p` and `adapt`.
        generator_lr, critic_lr: Adam step sizes. temporal_lr_ratio: the temporal model's share of generator_lr.
        betas: Adam's.
        gamma: [first, last] weight of R1 and R2, moved by a cosine over fade_clips.
        penalty_every: steps between penalties; the weight is scaled to match.
        mismatch: weight of the mismatched-caption loss.
        anchor: [first, last] weight of the mean-frame loss, moved by the same cosine; [0, 0] is off.
        step_frames: frames of a window that a step decodes and judges, drawn anew for each clip; the path is made for
            all of them. 0 takes every frame. Source: Skorokhodov et al. (2022), "StyleGAN-V", which trains on k = 3
            frames of a clip. Differs: for any model of time, since its whole path is made and then thinned out.
        kinetic: weight of the latent path's kinetic energy, which keeps a solver's evaluations few; 0 is off.
        fade_clips: clips over which gamma and anchor move.
        ema_clips: half-life of the generator's average, in clips.
        warmup_clips: clips over which the step sizes rise from zero.
        max_clips: clips at which training ends. seed: of all draws.
        compile: the decoder and the critics' passes, but for R1 and R2, by torch.compile; "auto" does so on a GPU.
    """

    def __init__(
        self,
        generator: nn.Module,
        critics: nn.Module,
        loss: object,
        augment: nn.Module,
        *,
        generator_lr: float,
        critic_lr: float,
        temporal_lr_ratio: float,
        betas: tuple[float, float],
        gamma: tuple[float, float],
        penalty_every: int,
        mismatch: float,
        anchor: tuple[float, float],
        step_frames: int,
        kinetic: float,
        fade_clips: float,
        ema_clips: float,
        warmup_clips: float,
        max_clips: int,
        seed: int,
        compile: bool | str = False,
    ):
        super().__init__(max_clips)
        if step_frames < 0 or step_frames == 1:
            raise UserError(f"step_frames={step_frames}; a clip critic judges 2 frames or more, and 0 is all of them.")
        self.automatic_optimization = False
        self.generator, self.critics, self.loss, self.augment = generator, critics, loss, augment
        self.ema = GeneratorEma(generator, ema_clips)
        self.generator_lr, self.critic_lr, self.temporal_lr_ratio = generator_lr, critic_lr, temporal_lr_ratio
        self.betas, self.gamma, self.anchor = tuple(betas), tuple(gamma), tuple(anchor)
        self.penalty_every, self.mismatch, self.fade_clips = penalty_every, mismatch, fade_clips
        self.step_frames, self.kinetic = step_frames, kinetic
        self.warmup_clips, self.seed, self.compiles = warmup_clips, seed, compile
        self._compiled: dict[str, Compiled] = {}

    def on_fit_start(self) -> None:
        if wanted(self.compiles, self.device):
            parts = {"decode": self.generator.decoder.forward, "features": self.critics.features}
            self._compiled = {name: Compiled(part) for name, part in parts.items()}

    def decode(self, w: Tensor, z: Tensor, c: Tensor) -> Tensor:
        """Frames of the decoder, which may be compiled."""
        return self._compiled.get("decode", self.generator.decoder)(w, z, c)

    def features(self, x: Tensor, times: Tensor, picks: Tensor) -> dict[str, Tensor]:
        """Features of the critics, which may be compiled; their gradients have no second ones."""
        return self._compiled.get("features", self.critics.features)(x, times, picks)

    def training_step(self, batch: dict, batch_index: int) -> None:
        draw = self.step_draw()
        real, times, c = to_float(batch["frames"]), batch["times"], batch["text"]
        self._set_step_sizes()
        latents = draw_latents(len(real), self.generator.noise_dim, draw).to(real.device)

        w, z = self.generator.path(latents, times, c)
        energy = kinetic_energy(z, times)
        real, times, z = self._thinned(real, times, z, draw=draw)
        picks = sent(self.critics.choose(*real.shape[:2], generator=draw), real.device)
        fake = self.decode(w, z, c)
        seen_real, seen_fake = self.augment(real, draw), self.augment(fake, draw)
        values = self._critic_step(seen_real, seen_fake.detach(), times, c, picks)
        anchor = self._between(self.anchor) * mean_frame_distance(real, fake)
        pull = anchor + self.kinetic * energy if self.kinetic else anchor
        values |= self._generator_step(seen_real, seen_fake, times, c, picks, pull)
        values = averaged(values | {"generator/anchor": anchor.detach(), "path/kinetic": energy.detach()})

        clips = len(real) * world()
        self.clips_seen += clips
        self.ema.update(self.generator, clips, self.clips_seen)
        self.augment.adapt(values["sign/mean"], clips)
        values |= {"clips": float(self.clips_seen), "augment/p": self.augment.p}
        self.log_dict(values | {"nfe": float(self.generator.temporal.nfe)})
        self.end_if_done()

    def _thinned(self, *clips: Tensor, draw: torch.Generator) -> list[Tensor]:
        """The frames that this step sees, the same ones of each tensor (B, T, ...)."""
        count, frames = clips[0].shape[:2]
        seen = sent(choose_frames(count, frames, self.step_frames or frames, draw), clips[0].device)
        rows = torch.arange(count, device=seen.device)[:, None]
        return [tensor[rows, seen] for tensor in clips]

    def _critic_step(self, real: Tensor, fake: Tensor, times: Tensor, c: Tensor, picks: Tensor) -> dict[str, Tensor]:
        clips, times, picks = torch.cat([real, fake]), times.repeat(2, 1), picks.repeat(2, 1)
        halves = {name: one.chunk(2) for name, one in self.features(clips, times, picks).items()}
        seen, made = ({name: pair[i] for name, pair in halves.items()} for i in range(2))
        right, false = self.critics.judge(seen, c), self.critics.judge(made, c)
        wrong = self.critics.judge(seen, rolled(c))
        values = {"critic/loss": torch.zeros((), device=real.device)}
        for name in right:
            values["critic/loss"] = values["critic/loss"] + self.loss.critic(right[name].float(), false[name].float())
            matched = mismatched_caption(right[name].float(), wrong[name].float())
            values["critic/loss"] = values["critic/loss"] + self.mismatch * matched
            values[f"critic/mismatch_{name}"] = matched.detach()
            values[f"sign/{name}"] = torch.sign(right[name] - false[name]).float().mean().detach()
        total = values["critic/loss"]
        if self.clips_seen // (len(real) * world()) % self.penalty_every == 0:
            penalties = self._penalties(clips, times, c.repeat(2, 1), picks)
            values |= {name: value.detach() for name, value in penalties.items()}
            total = total + self._between(self.gamma) * self.penalty_every * sum(penalties.values())
        self._step(self.optimizers()[1], total)
        values["critic/loss"] = values["critic/loss"].detach()
        values["sign/mean"] = torch.stack([values[f"sign/{name}"] for name in right]).mean()
        return values

    def _penalties(self, clips: Tensor, times: Tensor, c: Tensor, picks: Tensor) -> dict[str, Tensor]:
        """R1 and R2 of clips of which the first half are real."""

        def both(x: Tensor) -> Tensor:
            logits = self.critics(x, times, c, picks)
            return logits["clip"] + logits["frame"].view(len(x), -1).mean(1)

        r1, r2 = gradient_penalties(both, clips).chunk(2)
        return {"penalty/r1": r1.mean(), "penalty/r2": r2.mean()}

    def _generator_step(
        self, real: Tensor, fake: Tensor, times: Tensor, c: Tensor, picks: Tensor, pull: Tensor
    ) -> dict[str, Tensor]:
        self.critics.requires_grad_(False)
        with torch.no_grad():
            right = self.critics.judge(self.features(real, times, picks), c)
        false = self.critics.judge(self.features(fake, times, picks), c)
        loss = sum(self.loss.generator(right[name].float(), false[name].float()) for name in right)
        self._step(self.optimizers()[0], loss + pull)
        self.critics.requires_grad_(True)
        return {"generator/loss": loss.detach()}

    def _step(self, optimizer: torch.optim.Optimizer, loss: Tensor) -> None:
        optimizer.zero_grad(set_to_none=True)
        self.manual_backward(loss)
        optimizer.step()

    def _between(self, ends: tuple[float, float]) -> float:
        start, end = ends
        done = min(1.0, self.clips_seen / self.fade_clips)
        return end + (start - end) * (1 + math.cos(math.pi * done)) / 2

    def _set_step_sizes(self) -> None:
        warm = min(1.0, (self.clips_seen + 1) / max(1.0, self.warmup_clips))
        for optimizer in self.optimizers():
            for group in optimizer.param_groups:
                group["lr"] = group["full_lr"] * warm * self.step_scale

    def configure_optimizers(self) -> list[torch.optim.Optimizer]:
        temporal = list(self.generator.temporal.parameters())
        known = {id(parameter) for parameter in temporal}
        rest = [parameter for parameter in self.generator.parameters() if id(parameter) not in known]
        lr, slow = self.generator_lr, self.generator_lr * self.temporal_lr_ratio
        groups = [{"params": rest, "lr": lr, "full_lr": lr}, {"params": temporal, "lr": slow, "full_lr": slow}]
        critics = [{"params": list(self.critics.parameters()), "lr": self.critic_lr, "full_lr": self.critic_lr}]
        return [torch.optim.Adam(part, betas=self.betas, fused=True) for part in (groups, critics)]
