"""Forward and backward of a whole latent path: our solvers beside those they replace, and beside recurrences."""

import copy
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ode_vgan.errors import UserError
from ode_vgan.temporal.ode import OdePath
from ode_vgan.temporal.path import TemporalModel
from ode_vgan.temporal.sde import SdePath


@dataclass(frozen=True)
class Asked:
    """What every path is asked.

    Attributes:
        z0: (B, Z). times: (B, T) seconds. c: (B, E). seeds: (B,) int64.
    """

    z0: Tensor
    times: Tensor
    c: Tensor
    seeds: Tensor

    def to(self, device: str) -> "Asked":
        """The same on a device; seeds stay on the CPU, where noise is drawn."""
        return Asked(self.z0.to(device), self.times.to(device), self.c.to(device), self.seeds)


@dataclass(frozen=True)
class Job:
    """One way to a path.

    Attributes:
        path: () -> (B, T, Z), with gradients. evaluations: () -> of the field or cell in the last forward.
        weights: that get a gradient.
    """

    path: Callable[[], Tensor]
    evaluations: Callable[[], int]
    weights: list[nn.Parameter]

    def run(self) -> None:
        """Forward and backward."""
        for weight in self.weights:
            weight.grad = None
        self.path().square().mean().backward()

    @torch.no_grad()
    def forward(self) -> Tensor:
        """The path alone."""
        return self.path()


def ask(clips: int, frames: int, fps: float, dim: int = 64, embed_dim: int = 384) -> Asked:
    """Uniform frames, one row a clip as in training; the same for the same arguments."""
    draw = torch.Generator().manual_seed(0)
    c = nn.functional.normalize(torch.randn(clips, embed_dim, generator=draw), dim=1)
    times = (torch.arange(frames) / fps).repeat(clips, 1)
    return Asked(torch.randn(clips, dim, generator=draw), times, c, torch.arange(clips))


def jobs(models: dict[str, TemporalModel], asked: Asked) -> dict[str, Job]:
    """The models as they are, and the libraries on the fields of `ode_dense` and `sde`.

    Args:
        models: by the name of their config; `ode_dense` and `sde` are wanted.

    Raises:
        UserError: one is missing, or is another class.
    """
    for name, kind in (("ode_dense", OdePath), ("sde", SdePath)):
        if not isinstance(models.get(name), kind):
            raise UserError(f"a bench of paths needs {name}, a {kind.__name__}.")
    found = {name: own_job(model, asked) for name, model in models.items()}
    found["bare evaluations"] = bare(models["ode_dense"], asked)
    found["odeint_adjoint rk4"] = library_ode(models["ode_dense"], asked, adjoint=True)
    found["odeint rk4"] = library_ode(models["ode_dense"], asked, adjoint=False)
    if (job := library_sde(models["sde"], asked)) is not None:
        found["sdeint_adjoint euler"] = job
    return found


def own_job(model: TemporalModel, asked: Asked) -> Job:
    """A model of time as training calls it."""
    return Job(lambda: model(asked.z0, asked.times, asked.c, asked.seeds), lambda: model.nfe, list(model.parameters()))


def bare(model: OdePath, asked: Asked) -> Job:
    """As many evaluations of the field as the solver takes, one after the other, and nothing between them."""
    field = model.field
    model(asked.z0, asked.times, asked.c)
    count, t = model.nfe, asked.times[0, 0]

    def path() -> Tensor:
        context, state = field.context(asked.c), field.start(asked.z0, asked.c)
        for _ in range(count):
            state = field.at(t, state, context)
        return state

    return Job(path, lambda: count, list(field.parameters()))


def library_ode(model: OdePath, asked: Asked, *, adjoint: bool) -> Job:
    """The field by torchdiffeq as the code of 2020 calls it: one rk4 step a frame, all clips at one clock's times."""
    from torchdiffeq import odeint, odeint_adjoint

    followed = Followed(model.field, asked.c)

    def path() -> Tensor:
        followed.begin()
        solve = odeint_adjoint if adjoint else odeint
        return solve(followed, asked.z0, asked.times[0], method="rk4").transpose(0, 1)

    return Job(path, lambda: followed.evaluations, list(model.field.parameters()))


def library_sde(model: SdePath, asked: Asked) -> Job | None:
    """Drift and diffusion by torchsde as the code of 2020 calls it; None where torchsde is not installed."""
    try:
        from torchsde import sdeint_adjoint
    except ImportError:
        return None
    noisy = Noisy(model, asked.c)
    gap = float(asked.times[0, 1] - asked.times[0, 0])

    def path() -> Tensor:
        noisy.begin()
        return sdeint_adjoint(
            noisy, asked.z0, asked.times[0], method="euler", dt=gap / model.steps_per_frame
        ).transpose(0, 1)

    return Job(path, lambda: noisy.evaluations, list(model.parameters()))


class Followed(nn.Module):
    """A field with its text fixed, as torchdiffeq wants it: (t, z) -> dz/dt."""

    def __init__(self, field: nn.Module, c: Tensor):
        super().__init__()
        self.field, self.c, self.evaluations = field, c, 0

    def begin(self) -> None:
        """Before each path: count anew."""
        self.evaluations = 0

    def forward(self, t: Tensor, z: Tensor) -> Tensor:
        self.evaluations += 1
        return self.field(t, z, self.c)


class Noisy(nn.Module):
    """An SDE with its text fixed, as torchsde wants it."""

    noise_type, sde_type = "diagonal", "ito"

    def __init__(self, model: SdePath, c: Tensor):
        super().__init__()
        self.model, self.c, self.evaluations = model, c, 0

    def begin(self) -> None:
        """Before each path: count anew."""
        self.evaluations = 0

    def f(self, t: Tensor, z: Tensor) -> Tensor:
        """Drift."""
        self.evaluations += 1
        return self.model.drift(t, z, self.c)

    def g(self, t: Tensor, z: Tensor) -> Tensor:
        """Diffusion."""
        return self.model.diffusion(t, z, self.c)


@torch.no_grad()
def relative_error(model: OdePath, asked: Asked) -> float:
    """Of the path, against an adaptive solver in double precision: norm of the difference over the norm."""
    exact = copy.deepcopy(model).double()
    exact.solver, exact.rtol, exact.atol, exact.adjoint = "dopri5", 1e-9, 1e-10, False
    truth = exact(asked.z0.double(), asked.times.double(), asked.c.double())
    return float((model(asked.z0, asked.times, asked.c) - truth).norm() / truth.norm())


def contests(asked) -> list:
    """See `ode_vgan.bench.path_contests`."""
    from ode_vgan.bench import path_contests

    return path_contests.contests(asked)
