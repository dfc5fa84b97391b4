"""Forward multiply-accumulates of a contrastive model, side by side: what the scaling study calls GMACs per sample."""

import copy
from collections.abc import Callable

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from ode_vgan.scaling.count import FORMULAS


def model_macs(name: str) -> dict[str, float]:
    """Of an OpenCLIP model by name on one picture and one text, as `tower_macs`, without memory for its weights.

    Towers of transformers cannot run on the meta device; they are drawn on the CPU.

    Raises:
        UserError: no such model.

    Source: arch_info.csv of LAION-AI/scaling-laws-openclip, whose counts these meet within 1 %. Differs: norms are not
    counted (7.39e9 for ViT-B-32, theirs is 7.40e9).
    """
    from ode_vgan.embed.towers import build_towers, model_config

    text = model_config(name)["text_cfg"]
    with torch.device("cpu" if "hf_model_name" in text else "meta"):
        towers = build_towers(name, weights=False)
    return tower_macs(towers, side_of(towers), text.get("context_length", 77))


def tower_macs(model: nn.Module, image_size: int, context_length: int) -> dict[str, float]:
    """Of an OpenCLIP model on one picture and one text.

    Args:
        model: with `encode_image` and `encode_text`; on any device, the meta device too.
        image_size: px. context_length: tokens of a text, padding included, as OpenCLIP's own profile has it.

    Returns:
        image, text; forward: their sum. attention: how much of it is products of queries with keys and of their weights
            with values, which profilers that do not look into attention leave out: ViT-B-32 has 7.27e9 without. Those
            are all batched products here: no other part of these towers has any.
    """
    device = next(model.parameters()).device
    picture = torch.zeros(1, 3, image_size, image_size, device=device)
    tokens = torch.ones(1, context_length, dtype=torch.int64, device=device)
    image, seen = _macs(lambda: model.encode_image(picture))
    text, read = _macs(lambda: model.encode_text(tokens))
    return {"image": image, "text": text, "attention": seen + read, "forward": image + text}


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
    pooling, _ = _macs(lambda: own.pooling(rows, times))
    image = frames * one["image"]
    return {"image": image, "text": one["text"], "pooling": pooling, "forward": image + one["text"] + pooling}


def side_of(towers: nn.Module) -> int:
    """Side of the picture that an OpenCLIP model takes, px."""
    size = towers.visual.image_size
    return size if isinstance(size, int) else size[0]


def _macs(run: Callable[[], object]) -> tuple[float, float]:
    """Of everything a call does, and of its batched products; gradients on, as in `scaling.count.macs_of`."""
    with torch.enable_grad(), FlopCounterMode(display=False, custom_mapping=FORMULAS) as counter:
        run()
    counts = counter.get_flop_counts().get("Global", {})
    batched = sum(flops for operator, flops in counts.items() if "bmm" in str(operator) or "attention" in str(operator))
    return counter.get_total_flops() / 2, batched / 2
