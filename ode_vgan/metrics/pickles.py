"""Pickles of numpy arrays, read without running what is in them."""

import pickle
from typing import BinaryIO

import numpy as np
from numpy._core.multiarray import _reconstruct

from ode_vgan.errors import UserError

ALLOWED = {
    ("numpy.core.multiarray", "_reconstruct"): _reconstruct,
    ("numpy._core.multiarray", "_reconstruct"): _reconstruct,
    ("numpy", "ndarray"): np.ndarray,
    ("numpy", "dtype"): np.dtype,
}


class ArrayUnpickler(pickle.Unpickler):
    """An unpickler that knows numpy arrays and the plain containers, and imports nothing."""

    def find_class(self, module: str, name: str) -> object:
        if (module, name) not in ALLOWED:
            raise UserError(f"asks for {module}.{name}, which is no numpy array")
        return ALLOWED[module, name]


def read_arrays(file: BinaryIO, name: str) -> dict[str, np.ndarray]:
    """The arrays of a pickle of nested dicts, by the keys on their way joined with slashes.

    Args:
        name: of the file, for errors.

    Raises:
        UserError: the pickle is broken, asks for anything but numpy arrays, or holds anything else.
    """
    try:
        tree = ArrayUnpickler(file).load()
    except UserError as error:
        raise UserError(f"{name} {error}; it was not read. Take the file from where it is published.") from None
    except Exception as error:  # a broken pickle raises nearly anything
        told = " ".join(str(error).split()) or type(error).__name__
        raise UserError(f"{name} is no pickle of arrays, or is cut short ({told}). Fetch it again.") from None
    arrays: dict[str, np.ndarray] = {}
    _collect(tree, "", arrays, name)
    return arrays


def _collect(tree: object, path: str, arrays: dict[str, np.ndarray], name: str) -> None:
    if isinstance(tree, np.ndarray) and tree.dtype.kind in "fiu":
        arrays[path] = tree
    elif isinstance(tree, dict):
        for key, value in tree.items():
            _collect(value, f"{path}/{key}".lstrip("/"), arrays, name)
    else:
        found = f"an array of {tree.dtype}" if isinstance(tree, np.ndarray) else type(tree).__name__
        raise UserError(f"{name} holds {found} at {path or 'its top'}, not arrays of numbers. Take another file.")
