"""How much of a trained path is its solver's error: against tolerance and steps, and back to where it started."""

import copy
import math
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ode_vgan.errors import UserError
from ode_vgan.generator import Generator, Latents
from ode_vgan.metrics.continuous import BATCH, Answer, Path, Subject, pixel_rms
from ode_vgan.temporal.noise import clip_noise
from ode_vgan.temporal.ode import ADAPTIVE, FIXED_STEP, SolvedPath
from ode_vgan.temporal.path import TemporalModel
from ode_vgan.temporal.sde import StochasticPath

TIGHT_STEPS = 32  # of rk4 in a frame gap: at float32's rounding
FIXED = (
    *(("euler", steps) for steps in (1, 2, 4, 8)),
    *(("midpoint", steps) for steps in (1, 2, 4)),
    *(("rk4", steps) for steps in (1, 2)),
)
RTOL = (1e-1, 1e-2, 1e-3, 1e-4, 1e-6)
SDE_STEPS = (1, 2, 4, 8)
SDE_FINER = 16  # steps of the reference for each trained one, at least
REPEATS = 20  # interleaved rounds of the wall time, after one that is not counted
DECODING_REPEATS = 4


@dataclass(frozen=True)
class Setting:
    """A solver with its steps in a frame gap or its tolerance; None keeps the trained one."""

    solver: str | None = None
    steps_per_frame: int | None = None
    rtol: float | None = None

    def __str__(self) -> str:
        steps = f"{self.steps_per_frame} a gap" if self.steps_per_frame else ""
        tolerance = f"rtol {self.rtol:.0e}" if self.rtol else ""
        return " ".join(filter(None, (self.solver, steps, tolerance))) or "as trained"


ODE_SETTINGS = (
    Setting(),
    *(Setting(solver, steps) for solver, steps in FIXED),
    *(Setting("dopri5", rtol=rtol) for rtol in RTOL),
)
SDE_SETTINGS = (Setting(), *(Setting(steps_per_frame=steps) for steps in SDE_STEPS))


def with_solver(
    generator: Generator, *, solver: str | None = None, steps_per_frame: int | None = None, rtol: float | None = None
) -> Generator:
    """A copy of the generator whose path is solved otherwise; the weights are shared, the original stays as it is.

    Args:
        solver: of an ODE. steps_per_frame: of a fixed step or an SDE, without a longest step in seconds.
        rtol: of an adaptive solver; atol is a tenth of it.

    Raises:
        UserError: the model has no such solver, or a number is out of range.
    """
    shared = {id(tensor): tensor for tensor in (*generator.parameters(), *generator.buffers())}
    other = copy.deepcopy(generator, shared)
    temporal = other.temporal
    if steps_per_frame is not None and steps_per_frame < 1:
        raise UserError(f"steps_per_frame={steps_per_frame}; give 1 or more.")
    if rtol is not None and not 0 < rtol < 1:
        raise UserError(f"rtol={rtol:g}; give a tolerance between 0 and 1.")
    if isinstance(temporal, SolvedPath):
        _set_ode(temporal, solver, steps_per_frame, rtol)
    elif isinstance(temporal, StochasticPath) and solver is None and rtol is None:
        temporal.steps_per_frame = steps_per_frame or temporal.steps_per_frame
    elif isinstance(temporal, StochasticPath):
        raise UserError(f"{type(temporal).__name__} knows its own step and no tolerance; set steps_per_frame alone.")
    else:
        raise UserError(f"{type(temporal).__name__} has no solver. Choose temporal=ode or sde.")
    return other


def _set_ode(temporal: SolvedPath, solver: str | None, steps_per_frame: int | None, rtol: float | None) -> None:
    temporal.solver = solver or temporal.solver
    if temporal.solver not in FIXED_STEP + ADAPTIVE:
        raise UserError(f"solver={solver!r} is unknown; choose one of {', '.join(FIXED_STEP + ADAPTIVE)}.")
    if rtol is not None:
        temporal.rtol, temporal.atol = rtol, rtol / 10
    if steps_per_frame is not None:
        temporal.steps_per_frame, temporal.step_seconds = steps_per_frame, None


def tight(generator: Generator) -> Generator:
    """The same ODE solved as well as float32 allows."""
    return with_solver(generator, solver="rk4", steps_per_frame=TIGHT_STEPS)


def solver(subject: Subject, settings: Sequence[Setting] | None = None) -> list[Answer]:
    """Distance to a tight solution and to real windows, evaluations and wall time, for each solver setting.

    Of an SDE every setting follows one Brownian path, whose increments are sums of the finest ones.
    """
    generator, temporal = subject.generator, subject.temporal
    if not isinstance(temporal, SolvedPath | StochasticPath):
        note = f"cannot: {subject.model} has no solver. Choose temporal=ode or sde."
        return [Answer("solver", {"setting": "any"}, note=note, protocol=subject.protocol)]
    if settings is None:
        settings = ODE_SETTINGS if isinstance(temporal, SolvedPath) else SDE_SETTINGS
    models = {
        str(each): with_solver(generator, solver=each.solver, steps_per_frame=each.steps_per_frame, rtol=each.rtol)
        for each in settings
    }
    finest, path_of, told = _tightest(generator, models)
    told |= {"timed": f"{min(BATCH, subject.clips)} clips, median of {REPEATS} interleaved rounds"}
    exact, seconds = subject.frames(subject.times, path=path_of(finest)), wall_time(subject, models)
    exact_features = subject.describe(exact)

    def measure(name: str) -> dict[str, float]:
        frames = subject.frames(subject.times, path=path_of(models[name]))
        features, apart = subject.describe(frames), pixel_rms(frames, exact)
        return {
            "nfe": models[name].temporal.nfe,
            "path_ms": 1e3 * seconds[name],
            "pixel_rms": float(apart.mean()),
            "pixel_rms_most": float(apart.max()),
            "fd_to_tight": subject.reference.distance(features, to=exact_features)["fd"],
            **subject.reference.distance(features),
            "floor": subject.reference.floor,
        }

    answers = [
        subject.answer("solver", {"setting": name}, lambda name=name: measure(name), **told)
        for name in subject.watch(list(models), "solver")
    ]
    decoding = {"path_ms": 1e3 * seconds["decoding"]}
    return [*answers, Answer("solver", {"setting": "decoding alone"}, decoding, protocol=subject.protocol | told)]


def _tightest(generator: Generator, models: Mapping[str, Generator]) -> tuple[Generator, Callable, dict]:
    """The reference model, how a model makes its path, and the protocol's word for it."""
    if isinstance(generator.temporal, SolvedPath):
        return tight(generator), lambda model: model.path, {"tight": f"rk4, {TIGHT_STEPS} steps a gap"}
    steps = SDE_FINER * math.lcm(*(model.temporal.steps_per_frame for model in models.values()))
    told = {"tight": f"{steps} steps a gap, the same Brownian path"}
    return with_solver(generator, steps_per_frame=steps), lambda model: brownian_path(model, steps), told


def brownian_path(generator: Generator, finest: int) -> Path:
    """The generator's path, driven by the Brownian path that `finest` steps a frame gap would draw.

    Args:
        finest: a multiple of the SDE's own steps_per_frame.
    """
    temporal = generator.temporal

    def path(latents: Latents, times: Tensor, c: Tensor) -> tuple[Tensor, Tensor]:
        start = generator.to_start(latents.motion, c).float()
        together = finest // temporal.steps_per_frame
        noise = clip_noise(latents.seeds, start, (times.shape[-1] - 1) * finest)
        noise = noise.unflatten(1, (-1, together)).sum(2) / math.sqrt(together)
        return generator.to_style(latents.content, c), temporal.driven_by(noise, start, times.to(start), c)

    return path


@torch.no_grad()
def wall_time(subject: Subject, models: Mapping[str, Generator], repeats: int = REPEATS) -> dict[str, float]:
    """Median seconds of one batch's path by model, and of `decoding` it, in rounds that begin elsewhere each time."""
    device = next(subject.generator.parameters()).device
    latents, c = subject.latents.slice(slice(BATCH)).to(device), subject.text[:BATCH].to(device)
    times = subject.times.to(device)
    w, z = subject.generator.path(latents, times, c)
    jobs = {name: lambda model=model: model.path(latents, times, c) for name, model in models.items()}
    taken: dict[str, list[float]] = {name: [] for name in jobs}
    order = list(jobs)
    for _ in range(repeats + 1):
        order = order[len(order) // 3 :] + order[: len(order) // 3]
        for name in order:
            taken[name].append(_seconds(jobs[name], device))
    taken["decoding"] = [
        _seconds(lambda: subject.generator.decoder(w, z, c), device) for _ in range(DECODING_REPEATS + 1)
    ]
    return {name: statistics.median(each[1:]) for name, each in taken.items()}


def _seconds(job: Callable[[], object], device: torch.device) -> float:
    start = time.perf_counter()
    job()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter() - start


def reversal(subject: Subject, windows: int = 3) -> list[Answer]:
    """Forward over 1, 2, ... windows and backward again: how far from z0, and its first frame, the path ends."""
    if not subject.temporal.backward:
        note = f"cannot: {subject.model} cannot run backward. Choose temporal=ode."
        return [Answer("reversal", {"windows": "any"}, note=note, protocol=subject.protocol)]
    if not subject.temporal.starts_at_z0:
        note = f"cannot: {subject.model} starts from a map of its noise, which has no way back."
        return [Answer("reversal", {"windows": "any"}, note=note, protocol=subject.protocol)]
    models = {"as trained": subject.generator}
    if isinstance(subject.temporal, SolvedPath):
        models["tight"] = tight(subject.generator)
    settings = [(count, name) for count in range(1, windows + 1) for name in models]
    answers = []
    for count, name in subject.watch(settings, "reversal"):
        numbers = _reverse(subject, models[name], count)
        answers.append(Answer("reversal", {"windows": count, "solver": name}, numbers, protocol=subject.protocol))
    return answers


@torch.no_grad()
def _reverse(subject: Subject, generator: Generator, windows: int) -> dict[str, float]:
    device = next(generator.parameters()).device
    times = (torch.arange(subject.data.frames * windows) * subject.gap_seconds).to(device)
    latent, pixel, nfe = [], [], 0
    for i in range(0, subject.clips, BATCH):
        part = slice(i, i + BATCH)
        latents, c = subject.latents.slice(part).to(device), subject.text[part].to(device)
        start = generator.to_start(latents.motion, c).float()
        end, nfe = there_and_back(generator.temporal, start, times, c, latents.seeds)
        w = generator.to_style(latents.content, c)
        before, after = (generator.decoder(w, z[:, None], c).clamp(-1, 1) for z in (start, end))
        latent.append(((end - start).norm(dim=1) / start.norm(dim=1)).cpu())
        pixel.append(pixel_rms(after, before).cpu())
    latent, pixel = torch.cat(latent), torch.cat(pixel)
    told = {
        "seconds": float(times[-1]),
        "nfe": nfe,
        "z0_error": float(latent.mean()),
        "z0_error_most": float(latent.max()),
    }
    return told | {"pixel_rms": float(pixel.mean()), "pixel_rms_most": float(pixel.max())}


def there_and_back(
    temporal: TemporalModel, z0: Tensor, times: Tensor, c: Tensor, seeds: Tensor | None = None
) -> tuple[Tensor, int]:
    """Where the path from z0 (B, Z) ends after all rising times (T,) and back, (B, Z), and its evaluations.

    An ODE is followed in its whole state, which may hold more than the path, and under the noise its seeds name.
    """
    if not isinstance(temporal, SolvedPath):
        there = temporal(z0, times, c, seeds)[:, -1]
        nfe = temporal.nfe
        return temporal(there, times.flip(0), c, seeds)[:, -1], nfe + temporal.nfe
    there = temporal.flow(temporal.field.start(z0, c), times, c, seeds)[:, -1]
    nfe = temporal.nfe
    return temporal.flow(there, times.flip(0), c, seeds)[:, -1, : temporal.dim], nfe + temporal.nfe
