"""Arithmetic and memory traffic of a piece of work, counted while it runs once."""

import math
from collections import OrderedDict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import FlopCounterMode

from ode_vgan.bench.contest import Work
from ode_vgan.scaling.count import FORMULAS

NOTHING = Work()
HALVES = (torch.float16, torch.bfloat16)
UNTOUCHED = ("empty", "new_empty", "empty_like", "empty_strided", "new_empty_strided", "resize_")
OVERWRITES = ("copy_", "fill_", "zero_", "normal_", "uniform_", "random_", "set_")


def count_work(run: Callable[[], object], cache_bytes: int, work: Work = NOTHING) -> Work:
    """Operations and bytes of one call, with the items of `work`.

    Products and convolutions are counted, arithmetic element by element is not, see `ode_vgan.scaling.count`. Compiled
    parts run uncompiled meanwhile; what is no operator of torch (numpy, faiss, a decoder) is not seen.

    Args:
        cache_bytes: of the last cache before memory.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # work that is spread over threads of its own would hide from the counter
    try:
        with Traffic(cache_bytes) as seen:
            run()
    finally:
        torch.set_num_threads(threads)
    return replace(work, flops=seen.flops, half_flops=seen.half_flops, bytes=seen.bytes)


@dataclass
class _Block:
    """A storage in the cache: its size, and how many bytes of it lie there and are newer than memory."""

    size: int
    held: int = 0
    newer: int = 0
    parts: set[tuple[int, int]] = field(default_factory=set)


class Traffic(TorchDispatchMode):
    """Counts what the operators inside it compute and move, those of backward passes too.

    Every operator reads its tensors and writes its results once. Memory is behind a cache that holds the most recently
    used tensors: what it holds is read for nothing, and what was written goes to memory when it is driven out. It is
    empty at first; what it holds at the end is not written.

    Args:
        cache_bytes: size of the cache; 0 counts all that operators read and write.

    Attributes:
        flops: two for each multiply-accumulate. half_flops: those of them in 16 bits.
        bytes: between cache and memory.
    """

    def __init__(self, cache_bytes: int):
        super().__init__()
        self.cache_bytes = cache_bytes
        self.flops = self.half_flops = self.bytes = 0
        self._formulas = FlopCounterMode(display=False, custom_mapping=FORMULAS).flop_registry
        self._held: OrderedDict[int, _Block] = OrderedDict()
        self._total = 0

    def __torch_dispatch__(self, call, types, arguments=(), options=None):
        options = options or {}
        result = call(*arguments, **options)
        given, made = list(_tensors((*arguments, *options.values()))), list(_tensors((result,)))
        if (formula := self._formulas.get(call.overloadpacket)) is not None:
            flops = formula(*arguments, **options, out_val=result)
            self.flops += flops
            self.half_flops += flops if made and made[0].dtype in HALVES else 0
        changed = [one for one in call._schema.arguments if one.alias_info is not None and one.alias_info.is_write]
        written = list(_tensors([_given(one, call, arguments, options) for one in changed]))
        addresses = {tensor.untyped_storage().data_ptr() for tensor in given}
        new = [one for one in made if one.untyped_storage().data_ptr() not in addresses]
        if (new or written) and call.overloadpacket.__name__ not in UNTOUCHED:  # no view
            unread = {id(one) for one in written} if _overwrites(call) else set()
            for tensor in given:
                if id(tensor) not in unread:
                    self._touch(tensor, writes=False)
            for tensor in (*new, *written):
                self._touch(tensor, writes=True)
        return result

    def _touch(self, tensor: Tensor, *, writes: bool) -> None:
        storage = tensor.untyped_storage()
        place, size = storage.data_ptr(), storage.nbytes()
        block = self._held.pop(place, None)
        if block is None or block.size != size:
            self._total -= block.held if block else 0
            block = _Block(size)
        moved = min(size, tensor.numel() * tensor.element_size())
        part = tensor.storage_offset(), moved
        missing = 0 if part in block.parts else min(moved, size - block.held)
        block.parts.add(part)
        block.held += missing
        self._total += missing
        if writes:
            block.newer = min(size, block.newer + moved)
        else:
            self.bytes += missing
        self._held[place] = block
        while self._total > self.cache_bytes:
            _, oldest = self._held.popitem(last=False)
            self._total -= oldest.held
            self.bytes += oldest.newer


def _given(wanted, call, arguments: tuple, options: dict) -> object:
    """The value that a call has for an argument of its schema."""
    place = call._schema.arguments.index(wanted)
    return arguments[place] if place < len(arguments) else options.get(wanted.name)


def _overwrites(call) -> bool:
    """Whether what it changes is only written, as by copy_ or into out=."""
    return call.overloadpacket.__name__ in OVERWRITES or call._overloadname.endswith("out")


def _tensors(values) -> Iterator[Tensor]:
    for value in values:
        if isinstance(value, Tensor):
            if value.layout is torch.strided and math.prod(value.shape):
                yield value
        elif isinstance(value, list | tuple):
            yield from _tensors(value)
