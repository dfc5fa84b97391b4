"""Which numbers a run computes with, where its config leaves that to the machine."""

import torch

AUTO = "auto"


def chosen(precision: str | int, accelerator: str) -> tuple[str | int, str]:
    """What Lightning is asked for, and why, in a line; anything but `auto` stays as it is, without a word.

    16 bits (bf16) are taken where the machine multiplies them in hardware and faster than 32; the path's state, R1 and
    R2, weights and losses are in fp32 all the same.

    Args:
        precision, accelerator: of the trainer group.
    """
    if precision != AUTO:
        return precision, ""
    device = device_of(accelerator)
    if multiplies_bf16(device):
        return "bf16-mixed", f"bf16-mixed, which this {device} has in hardware; trainer.precision=32-true for fp32"
    return "32-true", f"32-true, as this {device} has no bf16 in hardware"


def device_of(accelerator: str) -> str:
    """cpu, cuda or mps: what Lightning makes of an accelerator's name."""
    if accelerator in ("auto", "gpu"):
        if torch.cuda.is_available():
            return "cuda"
        if torch.backends.mps.is_available():
            return "mps"
        return "cpu"
    return accelerator


def multiplies_bf16(device: str) -> bool:
    """Whether a kind of device has instructions for products of bf16 numbers."""
    if device == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    if device != "cpu":
        return False
    asks = (getattr(torch.cpu, f"_is_{name}_supported", None) for name in ("avx512_bf16", "amx_tile", "arm_bf16"))
    return any(ask() for ask in asks if ask is not None)
