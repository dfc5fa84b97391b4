"""Where a verb computes: --device, checked before anything is loaded."""

import argparse
import re


def device(name: str) -> str:
    """A device of this machine, as torch names it; `auto` is a GPU where there is one.

    Raises:
        ArgumentTypeError: no device has this name, or this machine has none of it.
    """
    found = re.fullmatch(r"(cpu|auto|mps|cuda|xpu)(?::(\d{1,3}))?", name)
    if found is None or found[1] in ("cpu", "auto") and found[2]:
        raise argparse.ArgumentTypeError(f"{name[:40]!r} is no device; give cpu, auto, or cuda where there is a GPU")
    if name == "cpu":
        return name
    import torch

    if name == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    kind = torch.backends.mps if found[1] == "mps" else getattr(torch, found[1])
    count = 0 if not kind.is_available() else 1 if found[1] == "mps" else kind.device_count()
    if int(found[2] or 0) >= count:
        raise argparse.ArgumentTypeError(f"{name} is not here: this machine has {count} of {found[1]}; give cpu")
    return name
