"""Sampling: models of time beside an RNN, and a batch of clips beside the plain way to it."""

import copy
from collections.abc import Callable

import torch
from torch import Tensor

from ode_vgan.bench.contender import Contender
from ode_vgan.bench.contest import Asked, Contest, Work
from ode_vgan.data.clips import to_uint8
from ode_vgan.generator import Generator, draw_latents

SMALL = ("data.size=32", "data.frames=8", "data.batch=4")  # of the default configuration where a bench is quick
MODELS, AGAINST = ("ode", "ode_dense", "sde", "discrete"), "rnn"


def contests(asked: Asked) -> list[Contest]:
    """The way through the layers, of the experiment and of the default; and each model of time, of the experiment."""
    models = [name for name in asked.models or MODELS if name != AGAINST]
    configs = {name: asked.config(f"temporal={name}") for name in (AGAINST, *models)}
    made = {name: Contender(config, asked.fps, asked.device) for name, config in configs.items()}
    clips, frames = made[AGAINST].batch["frames"].shape[:2]
    work = Work(items=clips * frames, unit="frames")
    found = [
        Contest("sampling", name, AGAINST, made[name].sample, made[AGAINST].sample, work=work, note="another model")
        for name in models
    ]
    default = Contender(asked.compose([*asked.overrides, *SMALL * asked.quick]), asked.fps, asked.device)
    plain = {asked.experiment: made[models[0]], "default": default}
    return [*(plain_contest(contender, name) for name, contender in plain.items()), *found]


def plain_contest(contender: Contender, name: str) -> Contest:
    """The same clips from the same weights, as `ode-vgan sample` makes them and by one plain call of the generator."""
    generator = contender.module.ema.copy
    plain, times, c = plain_copy(generator), contender.batch["times"], contender.batch["text"]
    work = Work(items=times.numel(), unit="frames")
    latents = draw_latents(len(c), generator.noise_dim, torch.Generator().manual_seed(0)).to(contender.device)

    @torch.no_grad()
    def theirs() -> Tensor:
        return to_uint8(plain(latents, times, c).clamp(-1, 1).cpu())

    def ours() -> Tensor:
        return to_uint8(generator.render(latents, times[0], c))

    return Contest(
        "sampling", f"{name} config", "all frames at once, plain layout", ours, theirs, lambda: apart(ours, theirs),
        tolerance=0.05, work=work, note="difference in 8-bit levels",
    )  # fmt: skip


def plain_copy(generator: Generator) -> Generator:
    """The same weights, and feature maps, in torch's default layout."""
    plain = copy.deepcopy(generator)
    for module in plain.modules():
        if hasattr(module, "layout"):
            module.layout = torch.contiguous_format
    return plain.to(memory_format=torch.contiguous_format)


def apart(ours: Callable[[], Tensor], theirs: Callable[[], Tensor]) -> float:
    """Mean difference of two sets of clips, in 8-bit levels."""
    return float((torch.as_tensor(ours()).float() - torch.as_tensor(theirs()).float()).abs().mean())
