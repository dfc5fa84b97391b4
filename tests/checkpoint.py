"""I3D's checkpoint read a second time, in numpy: its names, its layouts, SAME padding in so many words."""

import math
from collections.abc import Sequence
from itertools import product

import numpy as np

PLAIN = {"Conv3d_1a_7x7": (7, 3, 64), "Conv3d_2b_1x1": (1, 64, 64), "Conv3d_2c_3x3": (3, 64, 192)}
MIXED = {
    "Mixed_3b": (192, (64, 96, 128, 16, 32, 32)),
    "Mixed_3c": (256, (128, 128, 192, 32, 96, 64)),
    "Mixed_4b": (480, (192, 96, 208, 16, 48, 64)),
    "Mixed_4c": (512, (160, 112, 224, 24, 64, 64)),
    "Mixed_4d": (512, (128, 128, 256, 24, 64, 64)),
    "Mixed_4e": (512, (112, 144, 288, 32, 64, 64)),
    "Mixed_4f": (528, (256, 160, 320, 32, 128, 128)),
    "Mixed_5b": (832, (256, 160, 320, 32, 128, 128)),
    "Mixed_5c": (832, (384, 192, 384, 48, 128, 128)),
}
POOLS = {"2a_3x3": ((1, 3, 3), (1, 2, 2)), "3a_3x3": ((1, 3, 3), (1, 2, 2)), "4a_3x3": ((3, 3, 3), (2, 2, 2))}
POOLS |= {"5a_2x2": ((2, 2, 2), (2, 2, 2))}


def made_checkpoint(seed: int = 0, mixed: Sequence[str] = tuple(MIXED)) -> dict:
    """A checkpoint as flax has it, with the shapes of the published one and drawn numbers; or some of its stages."""
    draw = np.random.default_rng(seed)
    params, stats = {}, {}

    def unit(place: str, size: int, inputs: int, outputs: int) -> None:
        scale = math.sqrt(2 / (inputs * size**3))
        kernel = draw.standard_normal((size, size, size, inputs, outputs), dtype=np.float32) * np.float32(scale)
        bias, mean = draw.normal(0, 0.1, (2, outputs)).astype(np.float32)
        variance = draw.uniform(0.5, 2, outputs).astype(np.float32)
        head, _, tail = place.partition("/")
        for tree, content in (
            (params, {"Conv_0": {"kernel": kernel}, "BatchNorm_0": {"bias": bias}}),
            (stats, {"BatchNorm_0": {"mean": mean.reshape(1, 1, 1, 1, -1), "var": variance.reshape(1, 1, 1, 1, -1)}}),
        ):
            tree.setdefault(head, {}).update({tail: content} if tail else content)

    for name, sizes in PLAIN.items():
        unit(name, *sizes)
    for name in mixed:
        inputs, (b0, b1a, b1b, b2a, b2b, b3) = MIXED[name]
        unit(f"{name}/Branch_0/Conv3d_0a_1x1", 1, inputs, b0)
        unit(f"{name}/Branch_1/Conv3d_0a_1x1", 1, inputs, b1a)
        unit(f"{name}/Branch_1/Conv3d_0b_3x3", 3, b1a, b1b)
        unit(f"{name}/Branch_2/Conv3d_0a_1x1", 1, inputs, b2a)
        unit(f"{name}/Branch_2/Conv3d_0b_3x3", 3, b2a, b2b)
        unit(f"{name}/Branch_3/Conv3d_0b_1x1", 1, inputs, b3)
    logits = {"kernel": draw.standard_normal((1, 1, 1, 1024, 400), dtype=np.float32) / 32, "bias": np.ones(400, "f4")}
    return {"params": params | {"Logits/Conv3d_0c_1x1": {"Conv_0": logits}}, "batch_stats": stats}


def same(x: np.ndarray, size: tuple, stride: tuple, fill: float) -> tuple[np.ndarray, list[int]]:
    """x, (T, H, W, C), with TensorFlow's SAME padding, and the sizes of the output."""
    out = [math.ceil(n / s) for n, s in zip(x.shape[:3], stride, strict=True)]
    total = [max((o - 1) * s + k - n, 0) for o, s, k, n in zip(out, stride, size, x.shape[:3], strict=True)]
    return np.pad(x, [(t // 2, t - t // 2) for t in total] + [(0, 0)], constant_values=fill), out


def taps(x: np.ndarray, size: tuple, stride: tuple, fill: float):
    """What each tap of a kernel sees at every output."""
    x, out = same(x, size, stride, fill)
    for place in product(*map(range, size)):
        yield place, x[tuple(slice(p, p + s * (o - 1) + 1, s) for p, s, o in zip(place, stride, out, strict=True))]


def np_unit(x: np.ndarray, params: dict, stats: dict, stride: int = 1) -> np.ndarray:
    kernel = params["Conv_0"]["kernel"].astype(np.float64)
    x = sum(seen @ kernel[place] for place, seen in taps(x, kernel.shape[:3], (stride,) * 3, 0.0))
    own = stats["BatchNorm_0"]
    x = (x - own["mean"][0].astype(np.float64)) / np.sqrt(own["var"][0].astype(np.float64) + 0.001)
    return np.maximum(x + params["BatchNorm_0"]["bias"], 0)


def np_pool(x: np.ndarray, size: tuple, stride: tuple) -> np.ndarray:
    return np.maximum.reduce([seen for _, seen in taps(x, size, stride, -np.inf)])


def np_endpoints(x: np.ndarray, checkpoint: dict) -> dict[str, np.ndarray]:
    """Every stage for a clip (T, H, W, 3) in float64."""
    params, stats, found = checkpoint["params"], checkpoint["batch_stats"], {}
    order = ["Conv3d_1a_7x7", "2a_3x3", "Conv3d_2b_1x1", "Conv3d_2c_3x3", "3a_3x3", "Mixed_3b", "Mixed_3c", "4a_3x3"]
    order += ["Mixed_4b", "Mixed_4c", "Mixed_4d", "Mixed_4e", "Mixed_4f", "5a_2x2", "Mixed_5b", "Mixed_5c"]
    for name in order:
        if name in POOLS:
            x = found[f"MaxPool3d_{name}"] = np_pool(x, *POOLS[name])
            continue
        p, s = params[name], stats[name]
        if name in PLAIN:
            x = np_unit(x, p, s, 2 if name == "Conv3d_1a_7x7" else 1)
        else:
            one = [np_unit(x, p[k], s[k]) for k in (f"Branch_{i}/Conv3d_0a_1x1" for i in range(3))]
            two = [np_unit(one[i], p[k], s[k]) for i, k in ((i, f"Branch_{i}/Conv3d_0b_3x3") for i in (1, 2))]
            last = "Branch_3/Conv3d_0b_1x1"
            x = np.concatenate([one[0], *two, np_unit(np_pool(x, (3, 3, 3), (1, 1, 1)), p[last], s[last])], -1)
        found[name] = x
    return found


def np_logits(x: np.ndarray, checkpoint: dict) -> np.ndarray:
    """(T, H, W, 1024) -> (400,): the mean of every [2, 7, 7] window, its logits, their mean."""
    t, h, w = (n - k + 1 for n, k in zip(x.shape[:3], (2, 7, 7), strict=True))
    windows = [x[i : i + 2, j : j + 7, k : k + 7].mean((0, 1, 2)) for i, j, k in product(range(t), range(h), range(w))]
    own = checkpoint["params"]["Logits/Conv3d_0c_1x1"]["Conv_0"]
    return np.mean([window @ own["kernel"][0, 0, 0].astype(np.float64) + own["bias"] for window in windows], 0)
