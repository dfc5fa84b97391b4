"""State dicts that others published: read without running code, loaded without leftovers."""

import zipfile
from pathlib import Path

import torch
from torch import Tensor, nn

from ode_vgan.errors import UserError


def read_state(path: Path) -> dict:
    """What `torch.save` wrote, tensors and plain containers only; tensors stay on disk until they are used.

    Raises:
        UserError: it is no such file, or holds anything else.
    """
    try:
        state = torch.load(path, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(path))
    except Exception as error:  # a broken pickle, a zip error, a refused class
        raise UserError(f"{path} is not a plain file of weights ({_line(error)}). Fetch it again.") from error
    if not isinstance(state, dict):
        raise UserError(f"{path} holds a {type(state).__name__}, not a dict of weights. Give the state dict.")
    return state


def fill(net: nn.Module, state: dict[str, Tensor], path: Path) -> nn.Module:
    """The net with these weights, every name and shape as it must be, frozen and in evaluation mode.

    Raises:
        UserError: a name or a shape is not the net's own.
    """
    try:
        net.load_state_dict(state)
    except (RuntimeError, AttributeError, TypeError) as error:
        raise UserError(f"{path} does not fit {type(net).__name__} ({_line(error)}). Give its own weights.") from error
    return net.eval().requires_grad_(False)


def _line(error: Exception) -> str:
    return " ".join(str(error).split())[:160]
