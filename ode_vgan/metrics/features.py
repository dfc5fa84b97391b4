"""Feature extractors behind one interface: clips in, float64 rows out, with a hash of how and a known answer."""

import hashlib
import json
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from importlib import import_module

import numpy as np
import torch
from torch import Tensor, nn

from ode_vgan.errors import UserError
from ode_vgan.metrics.weights import WeightFile

DEVIATION_FLOOR = 0.1  # of the largest; a free choice on the embedded clips, where the smallest is 0.17
KNOWN = {  # name -> where its class is; imported only when asked for
    "i3d": "ode_vgan.metrics.i3d:I3d",
    "hog3d": "ode_vgan.metrics.hog3d:Hog3d",
    "colour": "ode_vgan.metrics.colour:ColourLayout",
    "motion": "ode_vgan.metrics.motion_rows:MotionRows",
    "effnet": "ode_vgan.metrics.efficientnet:EfficientNetClips",
    "effnet_frames": "ode_vgan.metrics.efficientnet:EfficientNetFrames",
    "clip": "ode_vgan.metrics.clip_frames:ClipClips",
    "clip_frames": "ode_vgan.metrics.clip_frames:ClipFrames",
    "matched": "ode_vgan.metrics.embedded_frames:MatchedFrames",
    "clip_tiny": "ode_vgan.metrics.embedded_frames:ClipTinyFrames",
    "tv": "ode_vgan.metrics.torchvision_video:TorchvisionVideo",
    "c3d": "ode_vgan.metrics.c3d:C3d",
    "vjepa": "ode_vgan.metrics.vjepa:Vjepa",
}


class Extractor(ABC):
    """One way to turn clips into rows of numbers.

    Attributes:
        name: as asked for on the command line.
        id: the name with a version, which changes whenever the numbers do.
        dim: F, length of a row.
        min_frames, min_px: the shortest and smallest clip it can describe. max_frames: the longest; None for any.
        per_frame: rows are (N, T, F), one a frame, instead of (N, F).
        standardised: its dimensions are divided by the reference's deviations before distances; nets that published
            numbers rest on are not.
        preprocessing: what `preprocess` does, in words.
        weights: the files it needs.
        comparable: the name under which others publish distances on these features; "" for none.
        chunk_pixels: pixels of all frames described at once, which bounds memory.
    """

    name: str
    id: str
    dim: int
    min_frames: int
    min_px: int
    max_frames: int | None = None
    per_frame = False
    standardised = True
    preprocessing = "none"
    weights: tuple[WeightFile, ...] = ()
    comparable = ""
    chunk_pixels = 1 << 16  # for histograms: 8 MB of intermediates, twice as fast as 60 MB
    net: nn.Module | None = None
    device = torch.device("cpu")

    @property
    def parameters(self) -> dict:
        """Everything but the code that the numbers depend on, as plain data; the sha256 of weights in use included."""
        return {}

    def preprocess(self, clips: Tensor) -> Tensor:
        """(N, T, H, W, 3) uint8 -> what `describe` takes; the only place of resize and range code."""
        return clips.movedim(-1, 2).float()

    @abstractmethod
    def describe(self, x: Tensor) -> Tensor:
        """What `preprocess` gives -> (N, F), or (N, T, F) where `per_frame`."""

    @abstractmethod
    def self_test(self) -> None:
        """Describe clips whose answer is known.

        Raises:
            UserError: the answer is another: wrong weights, range, resize or a broken build.
        """

    def to(self, device: str | torch.device) -> "Extractor":
        """Describe on that device from now on."""
        self.device = torch.device(device)
        if self.net is not None:
            self.net.to(self.device)
        return self

    def __call__(self, clips: Tensor | np.ndarray) -> Tensor:
        """Describe uint8 clips (N, T, H, W, 3), a bounded number at a time.

        Returns:
            (N, F) or (N, T, F) float64 on the CPU; a row does not depend on the other clips beyond float32 rounding.

        Raises:
            UserError: the clips are not uint8 (N, T, H, W, 3), too short or too small.
        """
        clips = torch.as_tensor(clips)
        self.check(clips)
        parts = clips.split(max(1, self.chunk_pixels // clips[0, ..., 0].numel()))
        return torch.cat(self.each(lambda part: self.describe(self.preprocess(part)), parts))

    def each(self, rows: Callable[[Tensor], Tensor], parts: Sequence[Tensor]) -> list[Tensor]:
        """Rows of each part, float64 on the CPU; on a CPU as many parts at once as torch has threads, each on one."""
        threads = torch.get_num_threads() if self.device.type == "cpu" else 1

        def work(part: Tensor) -> Tensor:
            with torch.no_grad():  # holds for one thread only
                return rows(part.to(self.device)).double().cpu()

        if min(threads, len(parts)) == 1:
            return [work(part) for part in parts]
        try:
            with ThreadPoolExecutor(threads, initializer=torch.set_num_threads, initargs=(1,)) as pool:
                return list(pool.map(work, parts))
        finally:
            torch.set_num_threads(threads)

    def fingerprint(self) -> str:
        """sha256 over the id, the sizes and the parameters."""
        told = {"id": self.id, "dim": self.dim, "min_frames": self.min_frames, "parameters": self.parameters}
        return hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()

    def check(self, clips: Tensor) -> None:
        """Refuse clips that this extractor cannot describe.

        Raises:
            UserError: not uint8 (N, T, H, W, 3), too short or too small.
        """
        if clips.ndim != 5 or clips.shape[-1] != 3 or clips.dtype != torch.uint8 or not len(clips):
            raise UserError(f"{self.id} got {clips.dtype} {tuple(clips.shape)}; give uint8 (N, T, H, W, 3), N >= 1.")
        frames, height, width = clips.shape[1:4]
        if frames < self.min_frames:
            raise UserError(f"{self.id} got {frames} frames, needs {self.min_frames}; use longer windows.")
        if self.max_frames is not None and frames > self.max_frames:
            raise UserError(f"{self.id} got {frames} frames, reads {self.max_frames} at most; use shorter windows.")
        if min(height, width) < self.min_px:
            raise UserError(f"{self.id} got {height}x{width} px, needs {self.min_px}; use larger frames.")


def find_extractor(name: str, path: str | None = None) -> Extractor:
    """The extractor called `name`; what follows a colon is passed on, as in `clip:ViT-L-14`.

    Args:
        path: of its weights file, for those that need one; None looks in the usual places, see `WeightFile.locate`.

    Raises:
        UserError: there is none of that name, it takes no weights, or its weights are not here.
    """
    key, _, variant = name.partition(":")
    if key not in KNOWN:
        raise UserError(f"no extractor {name!r}; there are {', '.join(KNOWN)}.")
    module, kind = KNOWN[key].split(":")
    options = ({"path": path} if path is not None else {}) | ({"variant": variant} if variant else {})
    build = getattr(import_module(module), kind)
    try:
        return build(**options)
    except TypeError as error:
        if "unexpected keyword argument" not in str(error) and "takes no arguments" not in str(error):
            raise
        raise UserError(f"extractor {key} takes no {' and no '.join(options)}; leave it out.") from None


def known_distance(extractor: Extractor, expected: float, tolerance: float, frames: int = 4, px: int = 24) -> None:
    """Check the squared distance between the rows of two drawn clips: a self test for extractors without weights.

    The clips: a diagonal grey ramp, and the same ramp moving one pixel a frame with its red doubled.

    Raises:
        UserError: it is further than tolerance (relative) from what is expected.
    """
    y, x, t = torch.meshgrid(torch.arange(px), torch.arange(px), torch.arange(frames), indexing="ij")
    still = ((5 * x + 3 * y) % 120).permute(2, 0, 1)[None, ..., None].expand(-1, -1, -1, -1, 3)
    moving = ((5 * (x + t) + 3 * y) % 120).permute(2, 0, 1)[None, ..., None] * torch.tensor([2, 1, 1])
    a, b = extractor(torch.cat([still, moving]).to(torch.uint8))
    found = float((a - b).square().sum())
    if abs(found - expected) > tolerance * abs(expected):
        raise UserError(f"{extractor.id} fails its self test: {found:.6g} where {expected:.6g} is known. Reinstall it.")


def standardise(reference: Tensor, *others: Tensor) -> tuple[Tensor, ...]:
    """Divide every set by the reference set's standard deviation, dimension by dimension.

    A dimension that hardly varies in the reference is divided by DEVIATION_FLOOR of the largest deviation instead.
    An extractor's dimensions share one unit, and without this one clip in a bin that is empty in the reference
    outweighs all else.

    Args:
        reference, others: (N, ..., F) float64.
    """
    deviation = reference.flatten(0, -2).std(0)
    largest = deviation.max()
    scale = deviation.clamp_min(DEVIATION_FLOOR * largest) if largest > 0 else torch.ones_like(deviation)
    return tuple(features / scale for features in (reference, *others))
