"""Which classes a config from elsewhere may name: parts of a model, and nothing that does anything by itself."""

import inspect
from typing import Any

from torch import nn

from ode_vgan.build import TRUSTED, find_target
from ode_vgan.embed.embedder import Embedder
from ode_vgan.errors import UserError

DEEPEST = 32  # nodes inside nodes; a model has five


def check_parts(node: Any, trusted: tuple[str, ...] = TRUSTED, depth: int = 0) -> None:
    """Refuse a node that would call anything but classes of layers and embedders.

    `ode_vgan.build` calls whatever below a trusted prefix a node names, functions that write files too. A training
    config is its user's own word; a checkpoint or a folder may be anyone's.

    Raises:
        UserError: a target that is no such class, or nodes nested without end.
    """
    if depth > DEEPEST:
        raise UserError(f"the config nests more than {DEEPEST} parts; it is no model of ode_vgan. Take another copy.")
    for child in node.values() if isinstance(node, dict) else node if isinstance(node, list) else ():
        check_parts(child, trusted, depth + 1)
    if isinstance(node, dict) and "_target_" in node:
        target = find_target(node["_target_"], trusted)
        if not (inspect.isclass(target) and issubclass(target, nn.Module | Embedder)):
            raise UserError(f"_target_={node['_target_']} is no part of a model; load only what you trust.")
