"""Operator calls of a piece of work: a measure of its overhead that a busy machine does not disturb."""

from collections import Counter
from collections.abc import Callable

import torch
from torch.utils._python_dispatch import TorchDispatchMode

COPIES = ("_to_copy", "copy_", "clone", "contiguous")
WAITS = ("_local_scalar_dense",)  # a number read by Python: on a GPU everything waits for it


class Calls(TorchDispatchMode):
    """Counts the operators that run inside it, those of backward passes too.

    Attributes:
        by_name: calls by the operator's name, such as addmm.
    """

    def __init__(self):
        super().__init__()
        self.by_name: Counter[str] = Counter()

    def __torch_dispatch__(self, call, types, arguments=(), options=None):
        self.by_name[call.overloadpacket.__name__] += 1
        return call(*arguments, **(options or {}))

    @property
    def total(self) -> int:
        """All of them."""
        return sum(self.by_name.values())

    def of(self, names: tuple[str, ...]) -> int:
        """Those of some names, such as COPIES or WAITS."""
        return sum(self.by_name[name] for name in names)


def count_calls(run: Callable[[], object]) -> Calls:
    """The operators that one call of `run` takes, with gradients on."""
    with torch.enable_grad(), Calls() as calls:
        run()
    return calls
