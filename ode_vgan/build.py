"""Objects from plain dicts: `_target_` names a class of this package, the other keys are its arguments."""

import importlib
import inspect
import math
from types import NoneType, UnionType
from typing import Any, get_args

from ode_vgan.errors import UserError

TRUSTED = ("ode_vgan.",)
KINDS = {int: "a whole number", float: "a number", str: "a text", bool: "true or false", NoneType: "null"}
LARGEST = 2**62
FAULTS = (TypeError, ValueError, ArithmeticError, LookupError, RuntimeError, MemoryError)  # of a wrong value, inside


def build(node: Any, *, trusted: tuple[str, ...] = TRUSTED, **given: Any) -> Any:
    """Build what a config node describes, its children first.

    This is what both training and `ode_vgan.load` use, so that a checkpoint's own config is enough to load it.
    A checkpoint is data from elsewhere: only classes below a trusted prefix are imported.

    Args:
        node: dict with `_target_`, or a list or plain value, which comes back built or as it is.
        trusted: prefixes of targets that may be imported; ("",) trusts every package.
        given: further arguments of the outermost object.

    Raises:
        UserError: a target outside `trusted`, one that does not exist, or arguments it does not take: unknown ones,
            values of another kind than it says, or those that it fails on.
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
        signature = inspect.signature(target)
        signature.bind(**arguments)
    except (TypeError, ValueError) as error:
        raise UserError(f"{node['_target_']}: {error}. Compare the config with the class's arguments.") from None
    check_kinds(node["_target_"], signature, arguments)
    try:
        return target(**arguments)
    except UserError:
        raise
    except FAULTS as error:
        raise UserError(f"{node['_target_']} cannot be made ({_told(error)}). Correct its values.") from error


def check_kinds(name: str, signature: inspect.Signature, arguments: dict[str, Any]) -> None:
    """Refuse numbers, texts and truths where the signature wants another of them.

    Raises:
        UserError: naming the argument, its value and what it must be.
    """
    for key, found in arguments.items():
        parameter = signature.parameters.get(key)
        said = None if parameter is None else parameter.annotation
        kinds = get_args(said) if isinstance(said, UnionType) else (said,)
        if set(kinds) <= KINDS.keys() and not _fits(found, kinds):
            wanted = " or ".join(KINDS[kind] for kind in KINDS if kind in kinds)
            raise UserError(f"{name}: {key}={str(found)[:60]!r} must be {wanted}. Correct the config.")


def _fits(found: Any, kinds: tuple[type, ...]) -> bool:
    if isinstance(found, bool | str | None):
        return type(found) in kinds
    if isinstance(found, float) and float in kinds:
        return not math.isnan(found)
    number = isinstance(found, int | float) and abs(found) < LARGEST
    return number and (float in kinds or int in kinds and found == int(found))


def _told(error: Exception) -> str:
    """An error as one short line, with the place in our own code where it came up."""
    place, trace = "", error.__traceback__
    while trace is not None:
        file = trace.tb_frame.f_code.co_filename
        place = f" at {file.rpartition('/')[2]}:{trace.tb_lineno}" if "ode_vgan" in file else place
        trace = trace.tb_next
    lines = str(error).splitlines() or [type(error).__name__]
    return f"{lines[0][:160]}{place}"


def find_target(name: str, trusted: tuple[str, ...] = TRUSTED) -> Any:
    """The class or function a dotted name means."""
    if not isinstance(name, str) or not name.startswith(trusted):
        raise UserError(f"_target_={name} is outside {', '.join(trusted)}*; load only what you trust.")
    module, _, attribute = name.rpartition(".")
    try:
        return getattr(importlib.import_module(module), attribute)
    except (ImportError, AttributeError, ValueError, TypeError) as error:
        raise UserError(f"_target_={name} cannot be imported ({error}). Correct it or install its package.") from None
