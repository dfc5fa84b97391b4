"""Objects from plain dicts: `_target_` names a class of this package, the other keys are its arguments."""

import importlib
import inspect
from typing import Any

from ode_vgan.errors import UserError

TRUSTED = ("ode_vgan.",)


def build(node: Any, *, trusted: tuple[str, ...] = TRUSTED, **given: Any) -> Any:
    """Build what a config node describes, its children first.

    This is what both training and `ode_vgan.load` use, so that a checkpoint's own config is enough to load it.
    A checkpoint is data from elsewhere: only classes below a trusted prefix are imported.

    Args:
        node: dict with `_target_`, or a list or plain value, which comes back built or as it is.
        trusted: prefixes of targets that may be imported; ("",) trusts every package.
        given: further arguments of the outermost object.

    Raises:
        UserError: a target outside `trusted`, one that does not exist, or arguments it does not take.
    """
    if isinstance(node, list):
        return [build(item, trusted=trusted) for item in node]
    if not isinstance(node, dict):
        return node
    arguments = {key: build(value, trusted=trusted) for key, value in node.items() if key != "_target_"}
    if "_target_" not in node:
        return arguments
    target = find_target(node["_target_"], trusted)
    arguments |= given
    try:
        inspect.signature(target).bind(**arguments)
    except TypeError as error:
        raise UserError(f"{node['_target_']}: {error}. Compare the config with the class's arguments.") from None
    return target(**arguments)


def find_target(name: str, trusted: tuple[str, ...] = TRUSTED) -> Any:
    """The class or function a dotted name means."""
    if not name.startswith(trusted):
        raise UserError(f"_target_={name} is outside {', '.join(trusted)}*; load only what you trust.")
    module, _, attribute = name.rpartition(".")
    try:
        return getattr(importlib.import_module(module), attribute)
    except (ImportError, AttributeError, ValueError) as error:
        raise UserError(f"_target_={name} cannot be imported ({error}). Correct it or install its package.") from None
