"""A generator as one file that runs without this package: latents, text vector and times in, frames out.

The file is a trace: Python's decisions are made once, at export. So the solver's steps are those of the export's times,
and what a path draws at random becomes an input. What may differ from the export is found by trying, not by belief.
"""

import importlib
import io
import os
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING
from unittest import mock

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torchdiffeq._impl import misc as torchdiffeq_parts

from ode_vgan.data.clips import write_atomic
from ode_vgan.errors import UserError
from ode_vgan.generator import Generator, Latents
from ode_vgan.share.card import gap_seconds
from ode_vgan.temporal.noise import clip_noise
from ode_vgan.temporal.ode import ADAPTIVE

if TYPE_CHECKING:
    from ode_vgan.runs import Trained

NAMES = {"onnx": "sampler.onnx", "torchscript": "sampler.pt"}
OPSET = 17
TOLERANCE = 1e-4  # of a frame's numbers in [-1, 1]: other kernels, the same sums
Run = Callable[[dict[str, Tensor]], Tensor]


class Drawn(TorchFunctionMode):
    """Takes the place of the random draws of a path: notes their shapes, or gives what it was given instead.

    Raises:
        UserError: a draw by a seed of its own, whose number depends on the times.
    """

    def __init__(self, given: tuple[Tensor, ...] | None = None):
        super().__init__()
        self.given = None if given is None else list(given)
        self.shapes: list[tuple[int, int]] = []

    def __torch_function__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        if func is torch.Tensor.diff and torch.jit.is_tracing():  # along the last axis everywhere; ONNX has none
            return args[0][..., 1:] - args[0][..., :-1]
        if func is not torch.randn:
            return func(*args, **kwargs)
        if "generator" in kwargs or len(args) != 3:
            raise UserError("it draws noise by seeds of its own on the way, which a plain file cannot")
        self.shapes.append((int(args[1]), int(args[2])))
        return func(*args, **kwargs) if self.given is None else self.given.pop(0)


class Sampler(nn.Module):
    """(content (B, N), motion (B, N), text (B, E), times (T,) s, noise (B, steps, width)...) -> frames in [-1, 1]."""

    def __init__(self, generator: Generator):
        super().__init__()
        self.generator = generator

    def forward(self, content: Tensor, motion: Tensor, text: Tensor, times: Tensor, *noise: Tensor) -> Tensor:
        with Drawn(noise):
            w, z = self.generator.path(Latents(content, motion, None), times, text)
        return self.generator.frames(w, z, text)


@dataclass
class Written:
    """What a sampler's file takes.

    Attributes:
        kind: onnx or torchscript. frames: T, or None for any. draws: (steps, width) of each noise.
        gap_seconds: longest gap between frames; any gap is taken in as many steps as this one. horizon_seconds: last
            time, where frames may be any.
        differs: the largest difference from the generator that was seen, of numbers in [-1, 1].
    """

    kind: str
    frames: int | None
    draws: list[tuple[int, int]]
    gap_seconds: float
    horizon_seconds: float
    noise_dim: int
    embed_dim: int
    any_gap: bool
    differs: float = 0.0
    inputs: list[str] = field(default_factory=list)

    def line(self) -> str:
        """For the card."""
        times = f"any times from 0 to {self.horizon_seconds:g} s" if self.frames is None else f"{self.frames} frames"
        gaps = f", gaps up to {self.gap_seconds:g} s" if self.frames is not None and self.any_gap else ""
        return (
            f"`{NAMES[self.kind]}` maps latents, text vectors and times to frames without ode_vgan ({times}{gaps}, any "
            f"number of clips); it differs from the generator by at most {self.differs:.0e}. `sampler.json` lists its "
            "inputs."
        )


def sampler_writer(kind: str, frames: int | None) -> Callable[["Trained", Path], list[str]]:
    """What `share.export.export_run` calls to add a sampler to a folder.

    Raises:
        UserError: onnx is asked for and not installed.
    """
    runtime() if kind == "onnx" else None

    def write(trained: "Trained", folder: Path) -> list[str]:
        return [write_sampler(trained, folder, kind, frames).line()]

    return write


def write_sampler(trained: "Trained", folder: Path, kind: str, frames: int | None = None) -> Written:
    """Write the sampler and sampler.json; both are of this very generator, which was asked the same and agreed.

    Args:
        frames: T of the trace; None: of a training clip.

    Raises:
        UserError: a model of time that cannot be written so, or a file that does not agree.
    """
    from dataclasses import asdict

    from ode_vgan.runs import write_json

    generator, gap = trained.generator.cpu().eval(), gap_seconds(trained)
    frames = trained.config["data"]["frames"] if frames is None else frames
    name = type(generator.temporal).__name__
    if frames < 2:
        raise UserError(f"--frames {frames} makes no clip; give 2 or more.")
    if getattr(generator.temporal, "solver", None) in ADAPTIVE:
        raise UserError(f"{name}: an adaptive solver's steps cannot be written; use a fixed-step one for --sampler.")
    times = torch.arange(frames) * gap
    try:
        asked = _asked(generator, trained.embed.dim, times, clips=2)
        traced = _trace(generator, asked)
        free = _agrees(_call(traced), generator, trained.embed.dim, times[: frames - 1] * 0.9) <= TOLERANCE
        told = Written(
            kind, None if free else frames, [tuple(one.shape[1:]) for one in list(asked.values())[4:]], gap,
            float(times[-1]), generator.noise_dim, trained.embed.dim, generator.temporal.any_gap, inputs=list(asked),
        )  # fmt: skip
        content, run = _onnx(generator, asked, free) if kind == "onnx" else _torchscript(traced)
    except UserError as error:
        raise UserError(f"{name} cannot be written as {kind}: {error}. Leave out --sampler.") from None
    told.differs = max(
        _agrees(run, generator, trained.embed.dim, part, clips) for clips, part in _questions(told, times)
    )
    if not told.differs <= TOLERANCE:
        raise UserError(f"{name}'s {kind} differs by {told.differs:.2g} from the generator, the limit is {TOLERANCE}.")
    write_atomic(folder / NAMES[kind], content)
    write_json(folder / "sampler.json", {**asdict(told), "noise": DRAWING})
    return told


DRAWING = "standard normal; for clip i, rows of torch.randn(steps, width rounded up to 16, generator seeded by clip)"


def _questions(told: Written, times: Tensor) -> list[tuple[int, Tensor]]:
    """Clips and times that the file must answer as the generator does."""
    asked = [(1, times), (3, times)]
    if told.any_gap:
        uneven = times * 0.97 + 0.02 * told.gap_seconds * torch.arange(len(times)).mul(2.0).sin()  # as many steps
        asked.append((2, uneven - uneven[0]))
    if told.frames is None:
        asked.append((2, torch.linspace(0, told.horizon_seconds, 2 * len(times) + 1)))
    return asked


def _asked(generator: Generator, embed_dim: int, times: Tensor, clips: int) -> dict[str, Tensor]:
    """Inputs for some clips by name; what the path draws is drawn as `clip_noise` does for seeds 0, 1, ..."""
    draw = torch.Generator().manual_seed(clips)
    content, motion = torch.randn(2, clips, generator.noise_dim, generator=draw)
    text = nn.functional.normalize(torch.randn(clips, embed_dim, generator=draw), dim=1)
    with torch.no_grad(), Drawn() as drawn:
        generator.path(Latents(content, motion, None), times, text)
    noise = [clip_noise(torch.arange(clips), content.new_empty(clips, width), n) for n, width in drawn.shapes]
    named = {"content": content, "motion": motion, "text": text, "times": times}
    return named | {f"noise{i}": one for i, one in enumerate(noise)}


def _trace(generator: Generator, asked: dict[str, Tensor]) -> torch.jit.ScriptModule:
    with _plainly():  # eval: the exporter puts modules back into the mode that it found the outermost in
        return torch.jit.trace(Sampler(generator).eval(), tuple(asked.values()), check_trace=False)


def _agrees(run: Run, generator: Generator, embed_dim: int, times: Tensor, clips: int = 3) -> float:
    """The largest difference from the generator at these times; infinite where the file cannot be asked for them."""
    try:
        asked = _asked(generator, embed_dim, times, clips)
        seeded = Latents(asked["content"], asked["motion"], torch.arange(clips))
        wanted = generator.render(seeded, times, asked["text"])
        found = run(asked)
    except (RuntimeError, ValueError):
        return float("inf")
    return float((found - wanted).abs().max()) if found.shape == wanted.shape else float("inf")


def _call(traced: torch.jit.ScriptModule) -> Run:
    def run(asked: dict[str, Tensor]) -> Tensor:
        with torch.no_grad():
            return traced(*asked.values())

    return run


def _torchscript(traced: torch.jit.ScriptModule) -> tuple[bytes, Run]:
    file = io.BytesIO()
    try:
        with _plainly():
            torch.jit.save(traced, file)
    except RuntimeError as error:
        raise UserError(_line(error)) from None
    return file.getvalue(), _call(traced)


def _onnx(generator: Generator, asked: dict[str, Tensor], free: bool) -> tuple[bytes, Run]:
    file, axes = io.BytesIO(), {name: {0: "clips"} for name in asked if name != "times"}
    axes["frames"] = {0: "clips"} | ({1: "time"} if free else {})
    axes |= {"times": {0: "time"}} if free else {}
    try:
        with _plainly():
            torch.onnx.export(
                Sampler(generator).eval(), tuple(asked.values()), file, dynamo=False, opset_version=OPSET,
                dynamic_axes=axes, input_names=list(asked), output_names=["frames"],
            )  # fmt: skip
        session = runtime().InferenceSession(file.getvalue(), providers=["CPUExecutionProvider"])
    except Exception as error:  # the exporter's own kinds, and the runtime's, which share no parent
        raise UserError(f"{_line(error)}; torchscript may do") from None
    known = {one.name for one in session.get_inputs()}

    def run(given: dict[str, Tensor]) -> Tensor:
        found = session.run(None, {name: one.numpy() for name, one in given.items() if name in known})
        return torch.from_numpy(found[0])

    return file.getvalue(), run


def runtime():
    """The package that runs ONNX files.

    Raises:
        UserError: it or onnx is not installed.
    """
    try:
        importlib.import_module("onnx")
        return importlib.import_module("onnxruntime")
    except ImportError as error:
        raise UserError(f"--sampler onnx needs {error.name}: pip install 'ode_vgan[onnx]'.") from None


def _line(error: Exception) -> str:
    lines = [line for line in str(error).splitlines() if line.strip()]
    return " ".join(lines[0].split())[:120] if lines else type(error).__name__


@contextmanager
def _plainly() -> Iterator[None]:
    """Trace without gradients, chatter, and the one function of torchdiffeq's that no file can hold.

    It finds the float next to a point of the solver's grid, and the grid is the trace's for good.
    """

    def beside(x: Tensor, towards: Tensor) -> Tensor:
        return torch.tensor(torch.nextafter(x, towards).tolist(), dtype=x.dtype, device=x.device)

    with torch.no_grad(), warnings.catch_warnings(), _silent():
        with mock.patch.object(torchdiffeq_parts, "_nextafter", beside):
            warnings.simplefilter("ignore")  # a trace warns of each decision that it makes for good
            yield


@contextmanager
def _silent() -> Iterator[None]:
    """The exporter prints a whole graph from C++ when it fails; the error says enough."""
    sys.stdout.flush()
    kept, nowhere = os.dup(1), os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, 1)
        yield
    finally:
        os.dup2(kept, 1)
        os.close(kept)
        os.close(nowhere)
