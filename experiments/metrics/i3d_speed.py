"""I3D features: ours against a plain network over single clips, in turn, in one run.

python experiments/metrics/i3d_speed.py > experiments/metrics/i3d_speed.md

Two threads need two idle cores: each operation waits for the slower.
"""

import argparse
import os
import platform
import sys
import time
from collections.abc import Callable
from statistics import median

import torch
from torch import Tensor, nn
from torch.nn import functional

from ode_vgan.metrics.i3d import I3d
from ode_vgan.metrics.i3d_net import BRANCHES, POOLS, I3dNet, same_padding

INTRODUCTION = """# I3D features against a plain network over single clips

`python experiments/metrics/i3d_speed.py --clips {clips} --rounds {rounds} --threads {threads}`

PyTorch {torch}, {machine}, {threads} threads, load average {load:.1f} at the end. {clips} drawn clips of 16 frames of
64x64 px; {rounds} rounds after one that is not counted, both methods in turn in each; medians. Milliseconds a clip,
from uint8 clips to logits. The plain network: Conv3d after explicit padding, BatchNorm3d, ReLU and MaxPool3d modules
in the default layout, float32, one clip at a time, inference mode; the same weights and the same resizing. CPU is the
time of all threads together, which other work on the machine disturbs less.
"""


class PlainUnit(nn.Module):
    """Padding, convolution, normalisation, ReLU."""

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int = 1):
        super().__init__()
        self.conv = nn.Conv3d(inputs, outputs, kernel, stride, bias=False)
        self.norm = nn.BatchNorm3d(outputs, eps=1e-3)
        self.relu = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        return self.relu(self.norm(self.conv(padded(x, self.conv.kernel_size, self.conv.stride))))


class PlainPool(nn.Module):
    """Padding, maximum."""

    def __init__(self, kernel: tuple, stride: tuple):
        super().__init__()
        self.pool = nn.MaxPool3d(kernel, stride)

    def forward(self, x: Tensor) -> Tensor:
        return self.pool(padded(x, self.pool.kernel_size, self.pool.stride))


class PlainMixed(nn.Module):
    """Four branches, concatenated."""

    def __init__(self, inputs: int, *channels: int):
        super().__init__()
        b0, b1a, b1b, b2a, b2b, b3 = channels
        self.branches = nn.ModuleList(
            [
                PlainUnit(inputs, b0, 1),
                nn.Sequential(PlainUnit(inputs, b1a, 1), PlainUnit(b1a, b1b, 3)),
                nn.Sequential(PlainUnit(inputs, b2a, 1), PlainUnit(b2a, b2b, 3)),
                nn.Sequential(PlainPool((3, 3, 3), (1, 1, 1)), PlainUnit(inputs, b3, 1)),
            ]
        )

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([branch(x) for branch in self.branches], 1)


class PlainI3d(nn.Module):
    """I3D as it is usually written."""

    def __init__(self, net: I3dNet):
        super().__init__()
        units = {"Conv3d_1a_7x7": (3, 64, 7, 2), "Conv3d_2b_1x1": (64, 64, 1), "Conv3d_2c_3x3": (64, 192, 3)}
        stages = []
        for name in net.stages:
            kind = PlainMixed if name in BRANCHES else PlainPool if name in POOLS else PlainUnit
            stages.append(kind(*(BRANCHES.get(name) or POOLS.get(name) or units[name])))
        self.stages = nn.Sequential(*stages)
        self.mean, self.logits = nn.AvgPool3d((2, 7, 7), 1), nn.Conv3d(1024, 400, 1)
        plain = [module for module in self.modules() if isinstance(module, PlainUnit)]
        *folded, logits = net.units().values()
        for unit, own in zip(plain, folded, strict=True):
            # the normalisation is part of `own` already; this one does as much work and changes nothing
            unit.conv.weight, unit.norm.bias = nn.Parameter(own.weight), nn.Parameter(own.bias)
            unit.norm.running_var.fill_(1 - unit.norm.eps)
        self.logits.load_state_dict(logits.state_dict())
        self.eval()

    def forward(self, x: Tensor) -> Tensor:
        return self.logits(self.mean(self.stages(x))).mean((2, 3, 4))


def padded(x: Tensor, kernel: tuple, stride: tuple) -> Tensor:
    """x with zeros, as TensorFlow's SAME; after a ReLU they do not win a maximum."""
    sides = zip(x.shape[:1:-1], kernel[::-1], stride[::-1], strict=True)
    return functional.pad(x, [amount for side in sides for amount in same_padding(*side)])


def timed(call: Callable[[], Tensor], clips: int) -> tuple[float, float]:
    """Wall and CPU milliseconds a clip."""
    wall, cpu = time.perf_counter(), time.process_time()
    call()
    return 1e3 * (time.perf_counter() - wall) / clips, 1e3 * (time.process_time() - cpu) / clips


def profile(call: Callable[[], Tensor], clips: int) -> str:
    """The ops that take most of the time, as a table."""
    from torch.profiler import profile as watch

    with watch() as watched:
        call()
    events = sorted(watched.key_averages(), key=lambda event: -event.self_cpu_time_total)
    total = sum(event.self_cpu_time_total for event in events)
    lines = ["| op | calls a clip | share |", "|---|---|---|"]
    lines += [
        f"| {event.key} | {event.count / clips:.0f} | {event.self_cpu_time_total / total:.0%} |" for event in events[:8]
    ]
    return "\n".join(lines)


def main() -> None:
    """Race, and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--clips", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--threads", type=int, default=2)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    torch.manual_seed(0)
    extractor = I3d()
    plain = PlainI3d(extractor.net)
    clips = torch.randint(0, 256, (args.clips, 16, 64, 64, 3), dtype=torch.uint8)

    @torch.inference_mode()
    def naive() -> Tensor:
        return torch.cat([plain(extractor.preprocess(clip).contiguous()) for clip in clips.split(1)]).double()

    methods = {"plain": naive, "ours": lambda: extractor(clips)}
    rows = {name: method() for name, method in methods.items()}
    error = float((rows["ours"] - rows["plain"]).norm() / rows["plain"].norm())
    found = {name: [] for name in methods}
    for number in range(args.rounds):
        for name, method in methods.items():
            found[name].append(timed(method, args.clips))
        print(f"round {number + 1} of {args.rounds}", file=sys.stderr, flush=True)
    told = {"torch": torch.__version__.split("+")[0], "machine": platform.machine(), "load": os.getloadavg()[0]}
    print(INTRODUCTION.format(**vars(args), **told))
    print("| network | wall, ms | CPU, ms |\n|---|---|---|")
    for name, times in found.items():
        print(f"| {name} | {median(wall for wall, _ in times):.0f} | {median(cpu for _, cpu in times):.0f} |")
    wall, cpu = (sorted(p[i] / o[i] for p, o in zip(found["plain"], found["ours"], strict=True)) for i in (0, 1))
    print(f"\nRatio within a round: wall {median(wall):.2f} ({wall[0]:.2f} to {wall[-1]:.2f}), ", end="")
    print(f"CPU {median(cpu):.2f} ({cpu[0]:.2f} to {cpu[-1]:.2f}).")
    print(f"Relative difference of the logits: {error:.1e}.")
    for name, method in methods.items():
        print(f"\nOps of {name}, by their own time:\n\n{profile(method, args.clips)}")


if __name__ == "__main__":
    main()
