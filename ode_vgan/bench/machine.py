"""The machine that a bench runs on: what it is called, and the most that it computes and moves."""

import platform
import re
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch.nn import functional

from ode_vgan.errors import UserError

CACHE_BYTES = 32 * 2**20  # where the machine does not tell
Timer = Callable[[Callable[[], object], int], float]  # (job, calls) -> seconds of one call


@dataclass(frozen=True)
class Ceilings:
    """The best that was seen of simple work on some threads.

    Attributes:
        fp32, bf16: floating-point operations a second, of products and convolutions.
        copy, triad: bytes a second, read and written, of a = b and a = b + s * c.
        cache_bytes: of the last cache before memory.
    """

    fp32: float
    bf16: float
    copy: float
    triad: float
    cache_bytes: int

    @property
    def memory(self) -> float:
        """The larger of the bandwidths."""
        return max(self.copy, self.triad)


def check_device(device: str) -> None:
    """Refuse a GPU that is not there.

    Raises:
        UserError: this torch sees none.
    """
    if device == "cuda" and not torch.cuda.is_available():
        raise UserError(f"--gpu needs an NVIDIA GPU and torch {torch.__version__} sees none; leave --gpu out.")


def timer(device: str, threads: int, *, wall: bool = False) -> Timer:
    """How to time: device events on a GPU, processor seconds of one thread, the wall clock of several.

    Args:
        wall: the wall clock even for one thread, for work that other processes do.
    """
    if device == "cuda":
        return event_seconds
    clock = time.process_time if threads == 1 and not wall else time.perf_counter

    def seconds(job: Callable[[], object], calls: int) -> float:
        begin = clock()
        for _ in range(calls):
            job()
        return (clock() - begin) / calls

    return seconds


def event_seconds(job: Callable[[], object], calls: int) -> float:
    """Seconds of one call between two events of the GPU, which it records when it gets there."""
    begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    torch.cuda.synchronize()
    begin.record()
    for _ in range(calls):
        job()
    end.record()
    torch.cuda.synchronize()
    return begin.elapsed_time(end) / 1e3 / calls


def peak_bytes(job: Callable[[], object], device: str) -> int | None:
    """Bytes of tensors at the worst moment of a call beyond those before it; None without a GPU."""
    if device != "cuda":
        return None
    torch.cuda.synchronize()
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    job()
    torch.cuda.synchronize()
    return torch.cuda.max_memory_allocated() - before


def measure_ceilings(device: str, seconds: Timer, *, quick: bool = False) -> Ceilings:
    """Time products, convolutions and copies; each the best of several."""
    side = {"cuda": 8192, "cpu": 2048}[device] if not quick else 512
    length = {"cuda": 2**28, "cpu": 2**25}[device] if not quick else 2**22  # numbers: 1 GB and 128 MB
    a, b, c = (torch.ones(length, device=device) for _ in range(3))
    return Ceilings(
        fp32=peak_flops(torch.float32, device, side, seconds),
        bf16=peak_flops(torch.bfloat16, device, side, seconds),
        copy=best(lambda: a.copy_(b), 2 * a.nbytes, seconds),
        triad=best(lambda: torch.add(b, c, alpha=3.0, out=a), 3 * a.nbytes, seconds),
        cache_bytes=cache_bytes(device),
    )


def peak_flops(dtype: torch.dtype, device: str, side: int, seconds: Timer) -> float:
    """Operations a second of the fastest of square products and, on a CPU, a 3x3 convolution.

    On a GPU products are as exact as its convolutions are, which may round fp32 to TF32.
    """
    precision = torch.get_float32_matmul_precision()
    if device == "cuda" and torch.backends.cudnn.allow_tf32:
        torch.set_float32_matmul_precision("high")
    try:
        found = [_product(dtype, device, size, seconds) for size in (side // 2, side)]
    finally:
        torch.set_float32_matmul_precision(precision)
    if device == "cpu":  # where it is a product; a GPU may take fewer operations than it has
        found.append(_convolution(dtype, side // 8, seconds))
    return max(found)


def _product(dtype: torch.dtype, device: str, size: int, seconds: Timer) -> float:
    a, b, out = (torch.ones(size, size, dtype=dtype, device=device) for _ in range(3))
    return best(lambda: torch.mm(a, b, out=out), 2 * size**3, seconds)


def _convolution(dtype: torch.dtype, channels: int, seconds: Timer) -> float:
    x, weight = torch.ones(16, channels, 32, 32, dtype=dtype), torch.ones(channels, channels, 3, 3, dtype=dtype)
    x, weight = (part.contiguous(memory_format=torch.channels_last) for part in (x, weight))
    return best(lambda: functional.conv2d(x, weight, padding=1), 2 * x.numel() * channels * 9, seconds)


@torch.no_grad()
def best(job: Callable[[], object], amount: float, seconds: Timer, repeats: int = 5) -> float:
    """The amount a second of the fastest of some calls, after one that is not counted."""
    job()
    return amount / min(seconds(job, 1) for _ in range(repeats))


def cache_bytes(device: str) -> int:
    """Of the last cache before memory."""
    if device == "cuda":
        return torch.cuda.get_device_properties(0).L2_cache_size
    sizes = [file.read_text().strip() for file in Path("/sys/devices/system/cpu/cpu0/cache").glob("index*/size")]
    return max((parse_size(size) for size in sizes), default=CACHE_BYTES)


def parse_size(text: str) -> int:
    """Bytes of `32768K` or `32M`."""
    number, unit = re.fullmatch(r"(\d+)([KMG]?)", text).groups()
    return int(number) * {"": 1, "K": 2**10, "M": 2**20, "G": 2**30}[unit]


def describe(device: str, threads: int) -> dict[str, str | int]:
    """What was measured on, for a protocol line."""
    name = torch.cuda.get_device_name(0) if device == "cuda" else _processor()
    return {
        "device": name,
        "threads": threads,
        "torch": torch.__version__,
        "python": platform.python_version(),
        "commit": commit(),
    }


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    flags = next((line.split() for line in lines if line.startswith("flags")), [])
    known = [flag for flag in ("avx2", "avx512f", "avx512_bf16", "amx_bf16") if flag in flags]
    return f"{len(names)} x {names[0]} ({' '.join(known)})" if names else platform.machine()


def commit() -> str:
    """Of the code, with a + where files differ from it; `unknown` outside a clone."""
    command = ["git", "describe", "--always", "--dirty=+", "--exclude=*"]
    try:
        return subprocess.run(
            command, cwd=Path(__file__).parent, capture_output=True, text=True, check=True
        ).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
