"""The temporal models of Gordon and Parde (2020) a second time, in numpy from their equations, in double precision."""

import numpy as np

Weights = dict[str, np.ndarray]


def linear(weights: Weights, name: str, x: np.ndarray) -> np.ndarray:
    return x @ weights[f"{name}.weight"].T + weights[f"{name}.bias"]


def leaky(x: np.ndarray, slope: float) -> np.ndarray:
    return np.where(x > 0, x, slope * x)


def sigmoid(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-x))


def lin(weights: Weights, x: np.ndarray, layers: int) -> np.ndarray:
    for i in range(layers):
        x = leaky(linear(weights, f"start.layers.{i}", x), 0.2)
    return x


def kutta(slope, y: np.ndarray, times: np.ndarray) -> np.ndarray:
    """Kutta's 3/8 rule, one step from each time of (B, T) to the next."""
    path = [y]
    for i in range(times.shape[1] - 1):
        h = (times[:, i + 1] - times[:, i])[:, None]
        k1 = slope(y)
        k2 = slope(y + h * k1 / 3)
        k3 = slope(y - h * k1 / 3 + h * k2)
        k4 = slope(y + h * k1 - h * k2 + h * k3)
        y = y + h / 8 * (k1 + 3 * k2 + 3 * k3 + k4)
        path.append(y)
    return np.stack(path, 1)


def tanh_field(weights: Weights, name: str, s: np.ndarray) -> np.ndarray:
    return np.tanh(linear(weights, f"{name}.layer", s))


def deep_field(weights: Weights, name: str, s: np.ndarray) -> np.ndarray:
    return linear(weights, f"{name}.leave", np.tanh(linear(weights, f"{name}.enter", s)))


def higher_order(field, starts: list[np.ndarray], times: np.ndarray, sees_all: bool) -> np.ndarray:
    """Path of z where the highest of z^(n-1), ..., z', z obeys d z^(n-1) / dt = field(it), or field(all of them)."""
    dim = starts[0].shape[1]

    def slope(s: np.ndarray) -> np.ndarray:
        parts = np.split(s, len(starts), 1)
        return np.concatenate([field(s if sees_all else parts[0]), *parts[:-1]], 1)

    return kutta(slope, np.concatenate(starts, 1), times)[:, :, -dim:]


def euler_between(drift, diffusion, y: np.ndarray, times: np.ndarray, dt: float, noise: np.ndarray) -> np.ndarray:
    """Euler-Maruyama at multiples of dt up to each clip's last time, frames read off straight lines between them."""
    out = np.empty((*times.shape, y.shape[1]))
    for row, clock in enumerate(times):
        nodes = [0.0]
        while nodes[-1] < clock[-1] - 1e-9:
            nodes.append(min(len(nodes) * dt, clock[-1]))
        path = [y[row : row + 1]]
        for i, h in enumerate(np.diff(nodes)):
            z = path[-1]
            path.append(z + drift(z) * h + diffusion(z) * np.sqrt(h) * noise[row : row + 1, i])
        path = np.concatenate(path)
        for i in range(y.shape[1]):
            out[row, :, i] = np.interp(clock, nodes, path[:, i])
    return out


def euler_at_frames(drift, diffusion, y: np.ndarray, times: np.ndarray, steps: int, noise: np.ndarray) -> np.ndarray:
    """Euler-Maruyama with equal steps in each frame gap."""
    path, draws = [y], iter(noise.transpose(1, 0, 2))
    for gap in np.diff(times, axis=1).T:
        h = gap[:, None] / steps
        for _ in range(steps):
            y = y + drift(y) * h + diffusion(y) * np.sqrt(h) * next(draws)
        path.append(y)
    return np.stack(path, 1)


def gru(weights: Weights, h: np.ndarray, noise: np.ndarray) -> np.ndarray:
    """Reset gate r, update gate u, candidate n: h <- (1 - u) n + u h, once for every frame of noise (B, T, Z)."""
    path = []
    for xi in noise.transpose(1, 0, 2):
        of_x = xi @ weights["cell.weight_ih"].T + weights["cell.bias_ih"]
        of_h = h @ weights["cell.weight_hh"].T + weights["cell.bias_hh"]
        (xr, xu, xn), (hr, hu, hn) = np.split(of_x, 3, 1), np.split(of_h, 3, 1)
        u = sigmoid(xu + hu)
        h = (1 - u) * np.tanh(xn + sigmoid(xr + hr) * hn) + u * h
        path.append(h)
    return np.stack(path, 1)


def spread(x: np.ndarray, weight: np.ndarray, bias: np.ndarray, stride: int, crop: int) -> np.ndarray:
    """Transposed convolution over time: every entry of x (B, in, L) adds weight (in, out, K) where it stands."""
    length, taps = x.shape[2], weight.shape[2]
    out = np.zeros((len(x), weight.shape[1], (length - 1) * stride + taps))
    for i in range(length):
        out[:, :, i * stride : i * stride + taps] += np.einsum("bi,iok->bok", x[:, :, i], weight)
    return out[:, :, crop : out.shape[2] - crop] + bias[:, None]


def deconv(weights: Weights, x: np.ndarray, frames: int) -> np.ndarray:
    """TGAN's stack, with the statistics of the batch: each layer but the last is normalised and rectified."""
    h, i = x[:, :, None], 0
    while True:
        stride, crop = (1, 0) if i == 0 else (2, 1)
        h = spread(h, weights[f"layers.{i}.weight"], weights[f"layers.{i}.bias"], stride, crop)
        if f"layers.{i + 1}.weight" not in weights:
            return np.tanh(h[:, :, :frames]).transpose(0, 2, 1)
        centred = h - h.mean((0, 2), keepdims=True)
        h = centred / np.sqrt((centred**2).mean((0, 2), keepdims=True) + 1e-5)
        h = np.maximum(0, h * weights[f"layers.{i + 1}.weight"][:, None] + weights[f"layers.{i + 1}.bias"][:, None])
        i += 3


def conv(x: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """3 x 3 convolution of maps (B, in, S, S) by weight (out, in, 3, 3), zeros around."""
    side = x.shape[2]
    padded = np.pad(x, ((0, 0), (0, 0), (1, 1), (1, 1)))
    out = np.zeros((len(x), len(weight), side, side))
    for row in range(side):
        for column in range(side):
            out[:, :, row, column] = np.einsum(
                "bijk,oijk->bo", padded[:, :, row : row + 3, column : column + 3], weight
            )
    return out


def conv_field(weights: Weights, name: str, s: np.ndarray, side: int, act) -> np.ndarray:
    maps = s.reshape(len(s), -1, side, side)
    out = conv(maps, weights[f"{name}.conv.weight"]) + weights[f"{name}.conv.bias"][:, None, None]
    return act(out).reshape(len(s), -1)


def conv_lstm(weights: Weights, x: np.ndarray, frames: int, side: int) -> np.ndarray:
    """Gates i, f, o and candidate g: m <- f m + i g, h <- o tanh(m); the input is x at frame 0 and zeros after."""
    given = x.reshape(len(x), -1, side, side)
    h, m, path = np.zeros_like(given), np.zeros_like(given), []
    for _ in range(frames):
        both = conv(given, weights["of_input.weight"]) + weights["of_input.bias"][:, None, None]
        i, f, o, g = np.split(both + conv(h, weights["of_output.weight"]), 4, 1)
        m = sigmoid(f) * m + sigmoid(i) * np.tanh(g)
        h = sigmoid(o) * np.tanh(m)
        path.append(h.reshape(len(x), -1))
        given = np.zeros_like(given)
    return np.stack(path, 1)


def path(name: str, weights: Weights, x: np.ndarray, times: np.ndarray, noise: np.ndarray) -> np.ndarray:
    """Path (B, T, Z) of the config `name` from noise x, at times (B, T) in windows, driven by noise (B, steps, Z)."""
    if name in ("tgan", "mocogan"):
        return deconv(weights, x, times.shape[1]) if name == "tgan" else gru(weights, x, noise[:, : times.shape[1]])
    family, fixed = name.split("_")[0], name.endswith("_corrected")
    kind = name.removesuffix("_corrected").removeprefix(family).removeprefix("_")
    if family == "tgan2":
        return _tgan2(kind, fixed, weights, linear(weights, "start.layer", x), times, noise)
    deep = kind in ("ode_deep", "ode_eq") or (family == "mocogan" and kind != "ode_lin")
    layers = {"tgan": 4, "mocogan": 2}[family]
    starts = kind in ("ode_lin", "ode_deep") or (family == "tgan" and kind != "ode")
    y = lin(weights, x, layers) if starts else x

    def field(part: str):
        return lambda s: (deep_field if deep else tanh_field)(weights, part, s)

    if kind == "sde":
        return _sde(fixed, weights, field, y, times, noise, 0.025, 3)
    if kind in ("ode_2", "ode_3"):
        begins = [linear(weights, f"derivatives.{i}", y) for i in range(int(kind[-1]))]
        return higher_order(field("field"), begins, times, fixed)
    return kutta(field("field"), y, times)


def _sde(fixed, weights, field, y, times, noise, dt: float, steps: int) -> np.ndarray:
    if not fixed:
        return euler_between(field("drift"), field("diffusion"), y, times, dt, noise)
    loud = field("diffusion.inner")
    return euler_at_frames(field("drift"), lambda s: weights["diffusion.gate"] * loud(s), y, times, steps, noise)


def _tgan2(kind, fixed, weights, y, times, noise) -> np.ndarray:
    side, slope = 3, {"ode": 0.2, "sde": 0.0}.get(kind)
    if not kind:
        return conv_lstm(weights, y, times.shape[1], side)

    def field(part: str):
        return lambda s: conv_field(weights, part, s, side, np.tanh if fixed else lambda v: leaky(v, slope))

    if kind == "sde":
        return _sde(fixed, weights, field, y, times, noise, 0.05, 2)
    return kutta(field("field"), y, times)
