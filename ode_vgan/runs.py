"""A run folder: guard its config, find its checkpoint, load its generator."""

import fcntl
import json
import os
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import torch
import yaml
from torch import Tensor

from ode_vgan.build import build
from ode_vgan.data.clips import to_uint8, write_atomic
from ode_vgan.embed.cache import cached
from ode_vgan.embed.embedder import Embedder
from ode_vgan.errors import HeldError, UserError
from ode_vgan.generator import Generator, Latents, draw_latents
from ode_vgan.parts import check_parts
from ode_vgan.processes import leads
from ode_vgan.share.loaded import is_exported, read_exported

BATCH = 16  # clips of a path when sampling
CHECKPOINT = Path("checkpoints") / "last.ckpt"
MAY_DIFFER = (
    "max_clips",
    "model.max_clips",
    "model.compile",
    "max_seconds",
    "max_cpu_seconds",
    "max_macs",
    "tick_clips",
    "checkpoints",
    "diverged",
    "ledger",
    "logger",
    "trainer",
    "data.workers",
    "data.cache_mb",
    "samples",
)


def flatten(config: dict, prefix: str = "") -> dict[str, object]:
    """Dotted keys of a nested dict."""
    flat = {}
    for key, value in config.items():
        if isinstance(value, dict):
            flat |= flatten(value, f"{prefix}{key}.")
        else:
            flat[f"{prefix}{key}"] = value
    return flat


@contextmanager
def held(folder: Path) -> Iterator[None]:
    """Keep a run folder to this process and those it starts; one that dies lets go of it.

    Raises:
        HeldError: another process trains in it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    if not leads():  # a process of the run that holds it
        yield
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise HeldError(f"{folder} is being trained by another process. Wait for it, or give a tag=...") from error
        yield
    finally:
        os.close(handle)


def check_same_run(folder: Path, config: dict) -> None:
    """Refuse a folder whose run had another config; a fresh folder is any run's.

    Keys that do not change what is learned per clip (`MAY_DIFFER`) may change: a run can be made longer.

    Raises:
        UserError: naming the keys that differ.
    """
    path = folder / "config.yaml"
    if path.exists():
        before, now = flatten(yaml.safe_load(path.read_text()) or {}), flatten(config)
        keys = sorted(key for key in before.keys() | now.keys() if before.get(key) != now.get(key))
        differing = [key for key in keys if not any(key == free or key.startswith(free + ".") for free in MAY_DIFFER)]
        if differing:
            shown = "; ".join(f"{key}: {before.get(key)!r} then, {now.get(key)!r} now" for key in differing[:6])
            more = f" and {len(differing) - 6} more" if len(differing) > 6 else ""
            raise UserError(f"{folder} holds a run of another config ({shown}{more}). Give a new tag=... or delete it.")


def remember(folder: Path, config: dict) -> None:
    """Write the config of a run that is about to start."""
    write_atomic(folder / "config.yaml", yaml.safe_dump(config, sort_keys=False, allow_unicode=True).encode())


def find_checkpoint(path: str | Path) -> Path:
    """The checkpoint file of a run folder, or the file itself.

    Raises:
        UserError: there is none.
    """
    path = Path(path)
    if path.is_file():
        return path
    if not path.is_dir():
        raise UserError(f"{path} does not exist; name a run folder such as runs/quickstart/ode-seed0.")
    if not (path / CHECKPOINT).exists():
        raise UserError(f"{path} has no {CHECKPOINT}; train it first, or name another run folder.")
    return path / CHECKPOINT


@dataclass
class Trained:
    """A generator with what it needs to be asked in words.

    Attributes:
        generator: the averaged generator, in eval mode.
        config: the run's whole config, plain.
        clips_seen: clips trained on.
        checkpoint: the file it came from.
    """

    generator: Generator
    config: dict
    clips_seen: int
    checkpoint: Path
    _embed: Embedder | None = field(default=None, repr=False)

    @property
    def embed(self) -> Embedder:
        """The frozen embedder of the run, loaded when first asked."""
        if self._embed is None:
            check_parts(self.config["embed"])
            self._embed = cached(build(self.config["embed"]))
        return self._embed

    def draw(self, clips: int, seed: int, first: int = 0) -> Latents:
        """Latents of clips number `first` and on from a seed; they do not depend on how many are drawn."""
        draws = [torch.Generator().manual_seed(seed * 1_000_003 + first + i) for i in range(clips)]
        alone = [draw_latents(1, self.generator.noise_dim, draw) for draw in draws]
        return Latents(*(torch.cat(parts) for parts in zip(*alone, strict=True)))

    def render(self, text: Tensor, times: Tensor, seed: int, batch: int = BATCH, *, first: int = 0) -> Tensor:
        """Clips, (N, T, H, W, 3) uint8, for embeddings (N, E) at times (T,) or (N, T), seconds.

        Args:
            first: number of the first clip: from one seed, clip number i is always the same.
        """
        clips = None
        for n, (w, z, c) in enumerate(self._paths(text, times, seed, batch, first)):
            step = self.generator.chunk(len(z))
            for i in range(0, z.shape[1], step):
                part = self._frames(w, z[:, i : i + step], c)
                clips = part.new_empty(len(text), z.shape[1], *part.shape[2:]) if clips is None else clips
                clips[n * batch : n * batch + len(z), i : i + step] = part
        return clips

    def stretches(self, text: Tensor, times: Tensor, seed: int, first: int = 0) -> Iterator[Tensor]:
        """The clips of `render`, some frames at a time: (N, t, H, W, 3) uint8, in memory that does not grow with T.

        Args:
            first: as of `render`.
        """
        paths = list(self._paths(text, times, seed, BATCH, first))
        step = self.generator.chunk(min(BATCH, len(text)))
        for i in range(0, times.shape[-1], step):
            yield torch.cat([self._frames(w, z[:, i : i + step], c) for w, z, c in paths])

    def sample(self, texts: list[str], times: Tensor, seed: int) -> Tensor:
        """Clips, (N, T, H, W, 3) uint8, for captions at times (T,), seconds from the first frame."""
        return self.render(self.embed.encode_text(list(texts)), times, seed)

    @torch.no_grad()
    def _paths(
        self, text: Tensor, times: Tensor, seed: int, batch: int, first: int = 0
    ) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
        """Style, path and text of some clips after others."""
        device, latents = next(self.generator.parameters()).device, self.draw(len(text), seed, first)
        for i in range(0, len(text), batch):
            part = slice(i, i + batch)
            at, c = (times if times.ndim == 1 else times[part]).to(device), text[part].to(device)
            yield (*self.generator.path(latents.slice(part).to(device), at, c), c)

    def _frames(self, w: Tensor, z: Tensor, c: Tensor) -> Tensor:
        return to_uint8(self.generator.frames(w, z, c)).cpu()


def read_checkpoint(path: Path) -> dict:
    """A checkpoint's plain content, read without running code from it.

    Raises:
        UserError: unreadable, or not of this project.
    """
    try:
        if part := _changed(path):
            raise ValueError(f"{part} is not as it was written")
        content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        line = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise UserError(f"{path} cannot be read as a checkpoint ({line[:120]}). Train again or name another.") from None
    told = content.get("ode_vgan") if isinstance(content, dict) else None
    config = told.get("config") if isinstance(told, dict) else None
    whole = isinstance(config, dict) and isinstance(told.get("clips_seen"), int)
    if not whole or not isinstance(content.get("state_dict"), dict):
        raise UserError(f"{path} is not a checkpoint of ode_vgan: it holds no config. Name a run that train.py wrote.")
    return content


def _changed(path: Path) -> str | None:
    """A part of a checkpoint that is not as it was written; torch itself compares no checksums."""
    if not zipfile.is_zipfile(path):
        return None  # for torch to say what it is
    with zipfile.ZipFile(path) as archive:
        parts = archive.infolist()
        packed = [one for one in parts if one.compress_size != one.file_size or one.compress_type or one.external_attr]
        return archive.testzip() or next((one.filename for one in packed), None)


def build_generator(config: dict, trusted: tuple[str, ...] = ("ode_vgan.",)) -> Generator:
    """An untrained generator of a run's config.

    Raises:
        UserError: the run trained something else.
    """
    model = config.get("model")
    if not isinstance(model, dict) or "generator" not in model:
        target = model.get("_target_", "nothing") if isinstance(model, dict) else "nothing"
        raise UserError(f"the run trained {target}, which makes no clips; name a run of a video GAN.")
    check_parts(model["generator"], trusted)
    return build(model["generator"], trusted=trusted)


def load(path: str | Path, device: str = "cpu", trusted: tuple[str, ...] = ("ode_vgan.",)) -> Trained:
    """Load the averaged generator of a run folder, a checkpoint file or an exported folder, without Hydra.

    Args:
        trusted: prefixes of classes the checkpoint's config may name.

    Raises:
        UserError: nothing there, unreadable, or weights that do not fit the config.
    """
    if is_exported(path):
        found = read_exported(path)
        config, clips_seen, weights, path = found.config, found.clips_seen, found.weights, found.path
    else:
        path = find_checkpoint(path)
        config, clips_seen, weights = _averaged(read_checkpoint(path))
    generator = build_generator(config, trusted)
    try:
        generator.load_state_dict(weights)
    except RuntimeError as error:
        line = " ".join(str(error).split())[:160]
        raise UserError(f"{path}: the weights do not fit the config beside them ({line}). Train again.") from None
    generator = generator.eval().requires_grad_(False).to(device)
    return Trained(generator, config, clips_seen, path)


def _averaged(content: dict) -> tuple[dict, int, dict[str, Tensor]]:
    """Config, clips seen and the averaged generator's weights of a checkpoint."""
    prefix, told = "ema.copy.", content["ode_vgan"]
    state = content["state_dict"].items()
    weights = {name.removeprefix(prefix): value for name, value in state if name.startswith(prefix)}
    return told["config"], told["clips_seen"], weights


def untrained(trained: Trained, seed: int) -> Trained:
    """The same run before its first step: a fresh generator of the same config, drawn from a seed."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        generator = build_generator(trained.config).eval().requires_grad_(False)
    return Trained(generator, trained.config, 0, trained.checkpoint, trained._embed)


def write_json(path: Path, content: dict) -> None:
    """Write a JSON file whole or not at all."""
    write_atomic(path, (json.dumps(content, indent=2) + "\n").encode())
