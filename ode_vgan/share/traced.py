"""A generator as a graph without Python: its trace, and the trace in the two formats that other programs run."""

import importlib
import io
import os
import sys
import warnings
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from unittest import mock

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torchdiffeq._impl import misc as torchdiffeq_parts

from ode_vgan.errors import UserError
from ode_vgan.generator import Generator, Latents

OPSET = 17
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


def trace(generator: Generator, asked: dict[str, Tensor]) -> torch.jit.ScriptModule:
    """The operators that these inputs go through, by name in the order of `Sampler.forward`."""
    with _plainly():  # eval: the exporter puts modules back into the mode that it found the outermost in
        return torch.jit.trace(Sampler(generator).eval(), tuple(asked.values()), check_trace=False)


def call(traced: torch.jit.ScriptModule) -> Run:
    """Ask a trace."""

    def run(asked: dict[str, Tensor]) -> Tensor:
        with torch.no_grad():
            return traced(*asked.values())

    return run


def as_torchscript(traced: torch.jit.ScriptModule) -> tuple[bytes, Run]:
    """A TorchScript file, and how to ask it."""
    file = io.BytesIO()
    try:
        with _plainly():
            torch.jit.save(traced, file)
    except RuntimeError as error:
        raise UserError(_line(error)) from None
    return _without_places(file.getvalue()), call(traced)


def _without_places(archive: bytes) -> bytes:
    """A TorchScript archive less the files that say where on this machine its source lay."""
    out = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(archive)) as source, zipfile.ZipFile(out, "w", zipfile.ZIP_STORED) as target:
        for name in source.namelist():
            if not name.endswith(".debug_pkl"):
                target.writestr(name, source.read(name))
    return out.getvalue()


def as_onnx(generator: Generator, asked: dict[str, Tensor], free: bool) -> tuple[bytes, Run]:
    """An ONNX file, and how to ask it; free: times of any number.

    Raises:
        UserError: an operator that ONNX lacks.
    """
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
