"""Which paths are compared with which, and what is asked of them."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from itertools import cycle, islice

import torch
from torch import Tensor
from torch.nn import functional

from ode_vgan.bench.contest import Asked, Contest, Work
from ode_vgan.bench.paths import Asked as Path
from ode_vgan.bench.paths import Followed, Job, Noisy, ask, jobs, relative_error
from ode_vgan.build import build
from ode_vgan.data.store import open_source
from ode_vgan.errors import UserError
from ode_vgan.runs import load
from ode_vgan.temporal.noise import clip_noise
from ode_vgan.temporal.ode import OdePath
from ode_vgan.temporal.path import TemporalModel
from ode_vgan.temporal.sde import SdePath

NEEDED, FURTHER = ("rnn", "ode", "ode_dense", "sde"), ("lstm", "ssm", "transformer", "anchors", "oscillator")
BOTH, FORWARD = "forward + backward", "forward"
HELD_AT = 16, 64  # frames at which issue 7 asks for a price, for 32 clips
RIVALS = (  # ours, against, the largest ratio asked for
    ("ode_dense", "bare evaluations", 1.2),
    ("ode_dense", "ode", None),
    ("ode_dense", "odeint rk4", None),
    ("ode_dense", "odeint_adjoint rk4", 1 / 3),
    ("sde", "sdeint_adjoint euler", 1 / 4),
)
SOLVERS_DIFFER = 3e-2  # two solvers with different steps, gradients too, of a stiff field
ERROR = 1e-3  # of the path, against the exact one
STEPS_ALIKE = 1e-4  # of two solvers with the same steps and increments, in float32


def contests(asked: Asked) -> list[Contest]:
    """At each T and B: every model of time beside a GRU, and our solvers beside what they replace."""
    models = build_models(asked)
    found = []
    for frames in asked.frames:
        for clips in asked.batches:
            path = ask(clips, frames, asked.fps, models["rnn"].dim, models["rnn"].embed_dim)
            if asked.run:
                path = replace(path, **starts(asked.run, clips))
            found += contests_of(models, path.to(asked.device))
    return found


def build_models(asked: Asked) -> dict[str, TemporalModel]:
    """The models by the names of their configs; `ode` and `ode_dense` have one field, a trained run's if one is given.

    Raises:
        UserError: the run's model of time has no such field.
    """
    torch.manual_seed(0)
    names = dict.fromkeys((*NEEDED, *(asked.models or FURTHER)))
    models = {name: build(asked.config(f"temporal={name}")["temporal"]) for name in names}
    field = load(asked.run).generator.temporal.state_dict() if asked.run else models["ode"].state_dict()
    try:
        for name in ("ode", "ode_dense"):
            models[name].load_state_dict(field)
    except RuntimeError as error:
        line = " ".join(str(error).split())[:120]
        raise UserError(f"--run {asked.run}: its model of time is not temporal=ode of this size ({line}).") from None
    return {name: model.to(asked.device) for name, model in models.items()}


def starts(run: str, clips: int) -> dict[str, Tensor]:
    """z0 and c as the run's generator has them: its own noise, and captions of its own clips."""
    trained = load(run)
    captions = [entry.caption or "" for entry in open_source(trained.config["data"]["source"])[:clips]]
    c = trained.embed.encode_text(list(islice(cycle(captions), clips)))
    with torch.no_grad():
        return {"z0": trained.generator.to_start(trained.draw(clips, 0).motion, c).float(), "c": c}


def contests_of(models: dict[str, TemporalModel], path: Path) -> Iterator[Contest]:
    """All of one T and B."""
    found = jobs(models, path)
    told = partial(one_contest, found=found, path=path)
    asked_here = len(path.z0) == 32 and path.times.shape[1] in HELD_AT
    for name in (name for name in models if name != "rnn"):
        for way in (FORWARD, BOTH):
            target = 1.0 if asked_here and (name, way) == ("ode_dense", BOTH) else None
            yield told(name, "rnn", way, target=target, note="another model")
    yield told("sde", "ode_dense", BOTH, target=1.5 if asked_here else None, each=True)
    for name, other, target in RIVALS:
        if other in found:
            one = told(name, other, BOTH, target=target if asked_here else None)
            yield replace(one, **agreement(found[name], found[other], models, path, other))
    found["odeint dopri5"] = adaptive(models["ode_dense"], path)
    one = told("ode_dense", "odeint dopri5", FORWARD, note="difference: to 1e-9 in double precision")
    yield replace(one, differ=lambda: relative_error(models["ode_dense"], path), tolerance=ERROR)


def agreement(ours: Job, theirs: Job, models: dict[str, TemporalModel], path: Path, other: str) -> dict:
    """How a contest compares its results."""
    if other == "bare evaluations":
        return {}
    if other.startswith("sdeint"):
        return {"differ": lambda: driven_alike(models["sde"], path), "tolerance": STEPS_ALIKE}
    return {"differ": difference(ours, theirs), "tolerance": SOLVERS_DIFFER}


def one_contest(
    name: str, other: str, way: str, *, found: dict[str, Job], path: Path, target: float | None = None,
    each: bool = False, note: str = "",
) -> Contest:  # fmt: skip
    """Ours beside another of the jobs; `each` is per evaluation."""
    ours, theirs = found[name], found[other]
    size = f"{path.times.shape[1]} x {len(path.z0)}"
    calls = [evaluations(job) for job in (ours, theirs)]
    return Contest(
        "paths", f"{name}, {size}, {way}", other + (", per evaluation" if each else ""),
        ours.run if way == BOTH else ours.forward, theirs.run if way == BOTH else theirs.forward,
        work=Work(items=len(path.z0), unit="clips"), target=target, share=calls[1] / calls[0] if each else 1.0,
        note=f"{calls[0]} evaluations, {calls[1]}" + (f"; {note}" if note else ""),
    )  # fmt: skip


def evaluations(job: Job) -> int:
    """Of the field or cell in one forward."""
    job.forward()
    return job.evaluations()


def difference(ours: Job, theirs: Job) -> Callable[[], float]:
    """The larger relative difference of paths and of gradients."""

    def differ() -> float:
        found = []
        for job in (ours, theirs):
            job.run()
            gradient = torch.cat([weight.grad.flatten() for weight in job.weights])
            found.append((job.forward(), gradient))
        return max(float((a - b).norm() / b.norm()) for a, b in zip(*found, strict=True))

    return differ


def adaptive(model: OdePath, path: Path) -> Job:
    """The field by torchdiffeq's adaptive solver, at a tolerance that one would choose."""
    from torchdiffeq import odeint

    followed = Followed(model.field, path.c)

    def solved() -> Tensor:
        followed.begin()
        return odeint(followed, path.z0, path.times[0], method="dopri5", rtol=1e-5, atol=1e-6).transpose(0, 1)

    return Job(solved, lambda: followed.evaluations, list(model.field.parameters()))


@torch.no_grad()
def driven_alike(model: SdePath, path: Path) -> float:
    """Relative difference of the paths of our stepper and of torchsde's, driven by the same increments."""
    from torchsde import sdeint

    steps = (path.times.shape[1] - 1) * model.steps_per_frame
    noise = clip_noise(path.seeds, path.z0, steps)
    ours = model.driven_by(noise, path.z0, path.times, path.c)
    times = path.times[0]
    dt = float(times[1] - times[0]) / model.steps_per_frame
    options = {"bm": Increments(noise, dt), "method": "euler", "dt": dt}
    theirs = sdeint(Noisy(model, path.c), path.z0, times, **options).transpose(0, 1)
    return float((ours - theirs).norm() / theirs.norm())


class Increments:
    """Our Brownian motion as torchsde asks for it: linear between our steps, as its clock may be off by a rounding.

    Args:
        noise: (B, steps, Z) standard normal. dt: seconds of a step.
    """

    levy_area_approximation = "none"

    def __init__(self, noise: Tensor, dt: float):
        self.dt, self.dtype, self.device, self.shape = dt, noise.dtype, noise.device, noise[:, 0].shape
        self.sums = functional.pad((noise * dt**0.5).cumsum(1), (0, 0, 1, 0))

    def __call__(self, begin: Tensor, end: Tensor, *_: bool, **__: bool) -> Tensor:
        return self._at(end) - self._at(begin)

    def _at(self, t: Tensor) -> Tensor:
        place = min(max(float(t) / self.dt, 0.0), self.sums.shape[1] - 1)
        low = min(int(place), self.sums.shape[1] - 2)
        return torch.lerp(self.sums[:, low], self.sums[:, low + 1], place - low)
