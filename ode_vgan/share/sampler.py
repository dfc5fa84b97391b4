"""A generator as one file that runs without this package: latents, text vector and times in, frames out.

The file is a trace: Python's decisions are made once, at export. So the solver's steps are those of the export's times,
and what a path draws at random becomes an input. What may differ from the export is found by trying, not by belief.
"""

from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from ode_vgan.data.clips import write_atomic
from ode_vgan.errors import UserError
from ode_vgan.generator import Generator, Latents
from ode_vgan.share.card import gap_seconds
from ode_vgan.share.traced import Drawn, Run, as_onnx, as_torchscript, call, runtime, trace
from ode_vgan.temporal.noise import clip_noise
from ode_vgan.temporal.ode import ADAPTIVE

if TYPE_CHECKING:
    from ode_vgan.runs import Trained

NAMES = {"onnx": "sampler.onnx", "torchscript": "sampler.pt"}
TOLERANCE = 1e-4  # of a frame's numbers in [-1, 1]: other kernels, the same sums


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
        traced = trace(generator, asked)
        free = _agrees(call(traced), generator, trained.embed.dim, times[: frames - 1] * 0.9) <= TOLERANCE
        told = Written(
            kind, None if free else frames, [tuple(one.shape[1:]) for one in list(asked.values())[4:]], gap,
            float(times[-1]), generator.noise_dim, trained.embed.dim, generator.temporal.any_gap, inputs=list(asked),
        )  # fmt: skip
        content, run = as_onnx(generator, asked, free) if kind == "onnx" else as_torchscript(traced)
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
