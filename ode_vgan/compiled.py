"""A function compiled by torch where that can be, and run as it is written where it cannot."""

import warnings
from collections.abc import Callable

import torch

AUTO = "auto"


def wanted(compile: bool | str, device: torch.device) -> bool:
    """Whether a config's `compile` (true, false or auto) asks for compilation on a device.

    auto is a GPU only: on two cores compiling a decoder took minutes and made it no faster.
    """
    return device.type == "cuda" if compile == AUTO else bool(compile)


class Compiled:
    """What `torch.compile` makes of a function; every shape of its arguments is compiled when it is first seen.

    Where the compiler fails, for one because there is no C++ compiler, it says so in one line and the function runs as
    it is. Its gradient cannot be differentiated: penalties on a gradient take the function itself.

    Args:
        function: of tensors, or a bound method. backend: of torch.compile.
    """

    def __init__(self, function: Callable, backend: str = "inductor"):
        self.function = function
        self._fast: Callable | None = torch.compile(function, dynamic=False, backend=backend)

    def __call__(self, *arguments: object) -> object:
        if self._fast is None:
            return self.function(*arguments)
        from torch._dynamo.exc import TorchDynamoException

        try:
            return self._fast(*arguments)
        except TorchDynamoException as error:
            line = " ".join(str(error).split())[:160]
            warnings.warn(f"not compiled, and slower so: {line}", RuntimeWarning, stacklevel=2)
            self._fast = None
            return self.function(*arguments)
