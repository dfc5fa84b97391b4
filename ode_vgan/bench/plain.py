"""The training steps written plainly, layer after layer as the papers draw them: what our faster ones are held against.

Each function changes a module of ours in place; weights, names and random draws stay, so that both can be compared.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchdiffeq import odeint_adjoint

from ode_vgan.discriminator.clip import ResidualBlock3d
from ode_vgan.discriminator.frame import ResidualBlock2d
from ode_vgan.discriminator.halving import HalvingConv3d
from ode_vgan.ema import GeneratorEma
from ode_vgan.gan import VideoGan
from ode_vgan.losses.wasserstein import SingularValueClip
from ode_vgan.published import PublishedGan
from ode_vgan.temporal.gordon2020 import LatentOde


class Block2d(ResidualBlock2d):
    """Convolutions at the full side, then average pooling."""

    def forward(self, x: Tensor) -> Tensor:
        hidden = F.leaky_relu(self.conv1(F.leaky_relu(x, 0.2)), 0.2)
        second = F.conv2d(hidden, self.conv2.weight, self.conv2.bias, self.conv2.stride, self.conv2.padding)
        return F.avg_pool2d(self.skip(x) + second, 2) * math.sqrt(0.5)


class Halving3d(HalvingConv3d):
    """A convolution, then average pooling."""

    def forward(self, x: Tensor) -> Tensor:
        return F.avg_pool3d(F.conv3d(x, self.weight, self.bias, self.stride, self.padding), (1, 2, 2))


class Block3d(ResidualBlock3d):
    """Convolutions at the full side, then average pooling."""

    def forward(self, x: Tensor) -> Tensor:
        hidden = F.leaky_relu(self.conv1(F.leaky_relu(x, 0.2)), 0.2)
        second = F.conv3d(hidden, self.conv2.weight, self.conv2.bias, self.conv2.stride, self.conv2.padding)
        out = (self.skip(x) + second) * math.sqrt(0.5)
        return F.avg_pool3d(out, (1, 2, 2)) if self.halve else out


class Ema(GeneratorEma):
    """Tensor after tensor."""

    @torch.no_grad()
    def update(self, generator: nn.Module, batch: int, clips_seen: int) -> None:
        """Move the copy towards the generator."""
        halflife = max(min(self.halflife_clips, clips_seen * self.ramp), 1e-8)
        for kept, new in zip(self.copy.parameters(), generator.parameters(), strict=True):
            kept.lerp_(new, 1 - 0.5 ** (batch / halflife))


class PlainGan(VideoGan):
    """R1 and R2 one after the other, as autograd differentiates them twice."""

    def _penalties(self, clips: Tensor, times: Tensor, c: Tensor, picks: Tensor) -> dict[str, Tensor]:
        parts = zip(*(tensor.chunk(2) for tensor in (clips, times, c, picks)), strict=True)
        return dict(zip(("penalty/r1", "penalty/r2"), (self._penalty(*part) for part in parts), strict=True))

    def _penalty(self, x: Tensor, times: Tensor, c: Tensor, picks: Tensor) -> Tensor:
        with torch.autocast(x.device.type, enabled=False):
            x = x.detach().float().requires_grad_(True)
            logits = self.critics(x, times, c, picks)
            total = (logits["clip"] + logits["frame"].view(len(x), -1).mean(1)).sum()
            (gradient,) = torch.autograd.grad(total, x, create_graph=True)
            return gradient.square().sum() / (2 * len(x))


PLAIN = {VideoGan: PlainGan, GeneratorEma: Ema, ResidualBlock2d: Block2d, ResidualBlock3d: Block3d}


def write_plainly(gan: nn.Module) -> nn.Module:
    """The same GAN with plain layers, in torch's default layout and with its default optimisers."""
    stem = getattr(getattr(gan.critics, "clip", None), "stem", None)
    for module in gan.modules():
        module.__class__ = PLAIN.get(type(module), type(module))
        if module is stem and type(module) is HalvingConv3d:
            module.__class__ = Halving3d
        if hasattr(module, "layout"):
            module.layout = torch.contiguous_format
    gan.to(memory_format=torch.contiguous_format)
    optimizers = gan.configure_optimizers()
    for optimizer in optimizers:
        for group in [optimizer.defaults, *optimizer.param_groups]:
            group["fused"] = group["foreach"] = False
    gan.optimizers = lambda: optimizers
    return gan


class Adjoint(LatentOde):
    """The path as the code of 2020 asks for it: by the adjoint method, all clips at one clock's times."""

    def flow(self, state: Tensor, times: Tensor) -> Tensor:
        """The state (B, T, S) at times (B, T) seconds, which must be the same in each row."""
        self.nfe = 4 * (times.shape[-1] - 1)
        return odeint_adjoint(Speed(self.field), state, self.unit(times)[0], method="rk4").transpose(0, 1)


class Speed(nn.Module):
    """A field of the state alone, as torchdiffeq wants it."""

    def __init__(self, field: nn.Module):
        super().__init__()
        self.field = field

    def forward(self, t: Tensor, state: Tensor) -> Tensor:
        return self.field(state)


class Decomposed(SingularValueClip):
    """Singular values of at most one, by decomposing each weight itself."""

    def clip(self, weight: Tensor) -> Tensor:
        """The nearest weight, (out, ...), whose singular values as a matrix (out, all else) are at most one."""
        left, values, right = torch.linalg.svd(weight.flatten(1), full_matrices=False)
        return ((left * values.clamp(max=1.0)) @ right).reshape(weight.shape)


class Gan2020(PublishedGan):
    """The generator's step leaves gradients on the critics' weights, which the next step throws away."""

    def _generator_step(self, times: Tensor, c: Tensor, draw: torch.Generator) -> dict[str, Tensor]:
        logits = self.critics(self._views_of_new_clips(times, c, draw))
        loss = sum(self.loss.generator(one.float()) for one in logits.values())
        self._step(self.optimizers()[:1], loss)
        return {"generator/loss": loss.detach()}


def write_as_in_2020(gan: PublishedGan) -> PublishedGan:
    """TGAN-ODE as Gordon and Parde's code of 2021 takes its step, but on the CPU and with our random draws."""
    write_plainly(gan)
    gan.__class__, gan.generator.temporal.__class__ = Gan2020, Adjoint
    gan.constraint.__class__ = Decomposed
    return gan
