"""The published GANs' training as a LightningModule: a critic step, a generator step, and what the recipe adds."""

import inspect

import torch
from torch import Tensor, nn

from ode_vgan.data.clips import to_float
from ode_vgan.ema import GeneratorEma
from ode_vgan.errors import DivergedError, UserError
from ode_vgan.generator import draw_latents
from ode_vgan.processes import averaged, world
from ode_vgan.training import GanTraining

OPTIMIZERS = {"rmsprop": torch.optim.RMSprop, "adam": torch.optim.Adam}


class PublishedGan(GanTraining):
    """One critic step, then one generator step, each on fresh noise, without text, augmentation or average.

    The critics see the real and the generated batch one after the other, so that batch statistics never mix the two;
    they stay in training mode in the generator's step. Every random number of a step is drawn from a generator seeded
    by (seed, clips seen), so that a resumed run makes the same steps as an uninterrupted one.

    What a recipe is made of:

    - `generator.shown(latents, times, c, draw)` is what critics are shown of generated clips: the clips (B, T, C, H,
      W), or whatever else `critics.views` takes, such as a pyramid rendered at several sizes.
    - `critics.views(shown, draw)` turns real clips, or what a generator shows, into named tensors: the clip itself, one
      frame of each clip, a pyramid level. Random choices come from `draw`, a generator on the CPU.
    - `critics(views)` gives logits by critic, of any shape. The names need not be those of the views. Losses are summed
      over the names: a loss that averages over levels wants their logits joined under one name.
    - `loss.critic(real, fake)` and `loss.generator(fake)`, on the logits of one name.
    - `penalty(logits, views)` is added to the critics' loss; both are those of the real clips, and the views require
      gradients. None: no penalty.
    - `constraint(critics, step)` changes weights in place after the generator's step, counted from 0. None: none.

    Args:
        generator: `ode_vgan.unconditional.UnconditionalGenerator`.
        optimizers: options by what they train: `generator`, and either `critics` or each of its submodules by name.
            `name` is rmsprop or adam, the rest are that class's arguments, e.g. {"name": "rmsprop", "lr": 5e-5}.
        decay_clips: clips over which all step sizes fall linearly to zero; None keeps them.
        ema_clips: half-life of the generator's average, in clips; 0 keeps the generator itself, as published.
        max_clips: clips at which training ends. seed: of all draws.

    Raises:
        UserError: an optimiser that does not exist or does not take its options, or parts trained never or twice.
        DivergedError: in training, when a loss is not finite.

    Source: Gordon and Parde (2020), "Latent Neural Differential Equations for Video Generation"; its systems are those
    of Saito et al. (2017), TGAN; Tulyakov et al. (2018), MoCoGAN; Saito et al. (2020), TGANv2.
    """

    def __init__(
        self,
        generator: nn.Module,
        critics: nn.Module,
        loss: object,
        *,
        optimizers: dict[str, dict],
        constraint: object | None = None,
        penalty: object | None = None,
        decay_clips: int | None = None,
        ema_clips: float = 0.0,
        max_clips: int,
        seed: int,
    ):
        super().__init__(max_clips)
        self.automatic_optimization = False
        self.generator, self.critics, self.loss = generator, critics, loss
        self.constraint, self.penalty = constraint, penalty
        self.ema = GeneratorEma(generator, ema_clips)
        self.recipe, self.decay_clips, self.seed = optimizers, decay_clips, seed
        self.configure_optimizers()  # refuses a wrong recipe before any training

    def training_step(self, batch: dict, batch_index: int) -> None:
        draw, clips = self.step_draw(), len(batch["frames"]) * world()
        real, times, c = to_float(batch["frames"]), batch["times"], batch["text"]
        self._set_step_sizes()
        values = self._critic_step(real, times, c, draw)
        values = averaged(values | self._generator_step(times, c, draw))
        self._check(values)
        if self.constraint is not None:
            self.constraint(self.critics, self.clips_seen // clips)

        self.clips_seen += clips
        self.ema.update(self.generator, clips, self.clips_seen)
        told = {"clips": float(self.clips_seen), "nfe": float(self.generator.temporal.nfe)}
        self.log_dict(values | told)
        self.end_if_done()

    def _critic_step(self, real: Tensor, times: Tensor, c: Tensor, draw: torch.Generator) -> dict[str, Tensor]:
        views = self.critics.views(real, draw)
        if self.penalty is not None:
            views = {name: view.detach().requires_grad_() for name, view in views.items()}
        right = self.critics(views)
        with torch.no_grad():
            made = self._views_of_new_clips(times, c, draw)
        false = self.critics(made)
        losses = {name: self.loss.critic(right[name].float(), false[name].float()) for name in right}
        total = sum(losses.values())
        values = {"critic/loss": total.detach()} | {f"critic/loss_{name}": one.detach() for name, one in losses.items()}
        for name in right:
            values |= {f"logit/real_{name}": right[name].detach().float().mean()}
            values |= {f"logit/fake_{name}": false[name].detach().float().mean()}
        if self.penalty is not None:
            penalty = self.penalty(right, views)
            values["penalty/real"], total = penalty.detach(), total + penalty
        self._step(self.optimizers()[1:], total)
        return values

    def _generator_step(self, times: Tensor, c: Tensor, draw: torch.Generator) -> dict[str, Tensor]:
        self.critics.requires_grad_(False)
        logits = self.critics(self._views_of_new_clips(times, c, draw))
        loss = sum(self.loss.generator(one.float()) for one in logits.values())
        self._step(self.optimizers()[:1], loss)
        self.critics.requires_grad_(True)
        return {"generator/loss": loss.detach()}

    def _views_of_new_clips(self, times: Tensor, c: Tensor, draw: torch.Generator) -> dict[str, Tensor]:
        latents = draw_latents(len(times), self.generator.noise_dim, draw).to(times.device)
        return self.critics.views(self.generator.shown(latents, times, c, draw), draw)

    def _step(self, optimizers: list[torch.optim.Optimizer], loss: Tensor) -> None:
        for optimizer in optimizers:
            optimizer.zero_grad(set_to_none=True)
        self.manual_backward(loss)
        for optimizer in optimizers:
            optimizer.step()

    def _check(self, values: dict[str, Tensor]) -> None:
        finite = torch.stack(list(values.values())).isfinite()
        if not bool(finite.all()):  # one transfer from the device a step
            name = next(name for name, good in zip(values, finite.tolist(), strict=True) if not good)
            raise DivergedError(
                f"{name} is {float(values[name])} after {self.clips_seen:,} clips; lower the step sizes "
                "(model.optimizers), or take another seed."
            )

    def _set_step_sizes(self) -> None:
        left = 1.0 if self.decay_clips is None else max(0.0, 1 - self.clips_seen / self.decay_clips)
        for optimizer in self.optimizers():
            for group in optimizer.param_groups:
                group["lr"] = group["full_lr"] * left * self.step_scale

    def configure_optimizers(self) -> list[torch.optim.Optimizer]:
        names = list(self.recipe)
        if "generator" not in names or len(names) < 2:
            raise UserError(f"optimizers train {names}; give generator, and critics or each of its parts.")
        order = ["generator", *(name for name in names if name != "generator")]
        parts = [self._part(name) for name in order]
        trained = [id(parameter) for part in parts[1:] for parameter in part.parameters()]
        if sorted(trained) != sorted(id(parameter) for parameter in self.critics.parameters()):
            raise UserError(f"optimizers train {order[1:]} of the critics; every part must be trained, and once.")
        return [make_optimizer(part, self.recipe[name]) for name, part in zip(order, parts, strict=True)]

    def _part(self, name: str) -> nn.Module:
        if name in ("generator", "critics"):
            return self.generator if name == "generator" else self.critics
        parts = dict(self.critics.named_children())
        if name not in parts:
            raise UserError(f"optimizers.{name}: the critics have no such part; choose critics or of {list(parts)}.")
        return parts[name]


def make_optimizer(part: nn.Module, options: dict) -> torch.optim.Optimizer:
    """An optimiser of all weights of a part, from plain options; each group remembers its `full_lr`.

    Raises:
        UserError: no such optimiser, or options it does not take.
    """
    rest = {key: value for key, value in options.items() if key != "name"}
    kind = OPTIMIZERS.get(options.get("name"))
    if kind is None or "lr" not in rest:
        raise UserError(f"optimizer {dict(options)} needs a name, one of {', '.join(OPTIMIZERS)}, and an lr.")
    try:
        inspect.signature(kind).bind(None, **rest)
        return kind([{"params": list(part.parameters()), "full_lr": rest["lr"]}], **rest)
    except (TypeError, ValueError) as error:
        raise UserError(f"optimizer {options['name']}: {error}. Compare its options with torch.optim's.") from None
