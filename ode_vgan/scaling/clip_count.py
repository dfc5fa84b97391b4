"""Forward multiply-accumulates of a contrastive model, side by side: what the scaling study calls GMACs per sample."""

import copy

import torch
from torch import nn

from ode_vgan.scaling.count import macs_of


def tower_macs(model: nn.Module, image_size: int, context_length: int) -> dict[str, float]:
    """Of an OpenCLIP model on one picture and one text: image, text, and their sum.

    Args:
        model: with `encode_image` and `encode_text`; the meta device costs no memory.
        image_size: px. context_length: tokens of a text, padding included, as OpenCLIP's own profile has it.

    Attention is counted: the fused path of inference, which hides it from counters, is not taken.
    """
    device = next(model.parameters()).device
    picture = torch.zeros(1, 3, image_size, image_size, device=device)
    tokens = torch.ones(1, context_length, dtype=torch.int64, device=device)
    image, text = macs_of(lambda: model.encode_image(picture)), macs_of(lambda: model.encode_text(tokens))
    return {"image": float(image), "text": float(text), "forward": float(image + text)}


def clip_macs(clip: nn.Module, frames: int, size: int) -> dict[str, float]:
    """Of an `ode_vgan.embed.clip_model.ClipModel` on one clip and its caption.

    Towers count in full, also where they are locked and what they make is remembered.

    Args:
        frames: T. size: side of a frame as it is read, px; scaling it is not counted.

    Returns:
        image: all frames. text: one caption. pooling. forward: their sum.
    """
    own = copy.deepcopy(clip).cpu().eval()
    one = tower_macs(own.towers, own.image_size, own.tokenize(["a clip"]).shape[1])
    rows, times = torch.zeros(1, frames, own.dim), torch.linspace(0, 1, frames)[None]
    pooling = float(macs_of(lambda: own.pooling(rows, times)))
    image = frames * one["image"]
    return {"image": image, "text": one["text"], "pooling": pooling, "forward": image + one["text"] + pooling}
