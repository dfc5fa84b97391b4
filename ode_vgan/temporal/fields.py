"""Vector fields: how fast the latent state moves, in seconds, given the state and the text.

Two choices answer defects of the 2020 models. There dz/dt = tanh(Wz + b) on [0, 1] moved each coordinate by
less than 1, too little for several movement cycles; here each coordinate has a learnable `rate` (1/s). There an
unbounded field grew without limit beyond the horizon; here the learned part passes through tanh and a small linear
`decay` pulls back, so that |z| <= max(|z0|, rate / decay) forward in time, however long the path. The decay is
linear and small because backward in time it is a growth: a stronger or cubic pull would ruin the reversal.
"""

import math

import torch
from torch import Tensor, nn

from ode_vgan.errors import UserError
from ode_vgan.temporal.dense import Nodes
from ode_vgan.temporal.fused_ode import MlpRk4
from ode_vgan.temporal.path import check_sizes

TIME_FREQUENCIES_HZ = (0.25, 0.5, 1.0, 2.0)
DEEPEST = 64


def log_rate(dim: int, rate: float) -> nn.Parameter:
    """(dim,), the logarithm of a learnable bound on each coordinate's speed.

    Raises:
        UserError: the rate is not above 0, or dim is no size.
    """
    check_sizes(dim=dim)
    if not 0 < rate < math.inf:
        raise UserError(f"rate={rate} 1/s; give a number above 0.")
    return nn.Parameter(torch.full((dim,), math.log(rate)))


class ConditionedMlp(nn.Module):
    """A SiLU MLP of state, text and time, of size about `start_rms` at the start.

    SiLU is smooth, so that solvers keep their order. The text enters the first layer as a bias that is computed
    once per path (`context`), not once per evaluation: it is the widest input and does not change on the way.
    """

    def __init__(
        self, state_dim: int, out_dim: int, embed_dim: int, *, hidden: int, depth: int, time_input: bool,
        text_input: bool, start_rms: float = 0.2,
    ):  # fmt: skip
        super().__init__()
        check_sizes(state_dim=state_dim, out_dim=out_dim, embed_dim=embed_dim, hidden=hidden)
        if not 1 <= depth <= DEEPEST:
            raise UserError(f"depth={depth}; give 1 to {DEEPEST} hidden layers.")
        self.enter = nn.Linear(state_dim, hidden)
        self.text = nn.Linear(embed_dim, hidden, bias=False) if text_input else None
        self.time = nn.Linear(2 * len(TIME_FREQUENCIES_HZ), hidden, bias=False) if time_input else None
        self.middle = nn.ModuleList(nn.Linear(hidden, hidden) for _ in range(depth - 1))
        self.leave = nn.Linear(hidden, out_dim)
        silu_gain = 1.7  # keeps the variance of a normal input through SiLU
        for layer, gain in ((self.enter, 1.0), (self.text, 1.0), (self.time, 0.5)):
            if layer is not None:
                nn.init.normal_(layer.weight, std=gain / math.sqrt(layer.in_features))
        for layer in self.middle:
            nn.init.normal_(layer.weight, std=silu_gain / math.sqrt(hidden))
        nn.init.normal_(self.leave.weight, std=start_rms * silu_gain / math.sqrt(hidden))
        for layer in (self.enter, *self.middle, self.leave):
            nn.init.zeros_(layer.bias)

    def context(self, c: Tensor) -> Tensor:
        """(B, hidden) from (B, E) unit rows, or (B, 1) zeros without text input."""
        if self.text is None:
            return c.new_zeros(c.shape[0], 1)
        return self.text(c * math.sqrt(c.shape[1]))  # entries of a unit row are about 1 / sqrt(E)

    def forward(self, t: Tensor, state: Tensor, context: Tensor) -> Tensor:
        """(B, out_dim) from t () or (B,) seconds, state (B, S) and the path's context."""
        out = self.enter(state) + context
        if self.time is not None:
            out = out + self.time(time_features(t).to(out.dtype))
        for layer in self.middle:
            out = layer(nn.functional.silu(out))
        return self.leave(nn.functional.silu(out))


def time_features(t: Tensor) -> Tensor:
    """Smooth bounded features (..., 8) of t (...) seconds: sine and cosine at four frequencies."""
    angle = torch.stack([t * (2 * math.pi * hz) for hz in TIME_FREQUENCIES_HZ], -1)  # no table is sent to the device
    return torch.cat([angle.sin(), angle.cos()], -1)


class Field(nn.Module):
    """A vector field f(t, z, c), split into what is constant along a path and what is not."""

    state_dim: int

    def context(self, c: Tensor) -> Tensor:
        """The text's part of the field, (B, hidden) from (B, E) unit rows, computed once per path."""
        return self.mlp.context(c)

    def at(self, t: Tensor, state: Tensor, context: Tensor) -> Tensor:
        """d state / dt, (B, S) in 1/s, at t () or (B,) seconds and state (B, S)."""
        raise NotImplementedError

    def start(self, z0: Tensor, c: Tensor) -> Tensor:
        """The state (B, S) at the first time; its first Z entries are z0."""
        return z0

    def forward(self, t: Tensor, state: Tensor, c: Tensor) -> Tensor:
        return self.at(t, state, self.context(c))


class MlpField(Field):
    """First order: dz/dt = rate * tanh(mlp(t, z, c)) - decay * z.

    Args:
        hidden, depth: width and number of hidden layers.
        time_input: let the field see t. Off, the field is autonomous: a window cut anywhere from a clip moves alike.
        text_input: let the field see c.
        rate: 1/s, initial value of the learnable bound on each coordinate's speed. The motion starts at about
            a fifth of it.
        decay: 1/s, fixed.
    """

    def __init__(
        self, dim: int, embed_dim: int, *, hidden: int, depth: int, time_input: bool, text_input: bool,
        rate: float = 8.0, decay: float = 0.5,
    ):  # fmt: skip
        super().__init__()
        self.state_dim = dim
        self.decay = decay
        self.log_rate = log_rate(dim, rate)
        self.mlp = ConditionedMlp(
            dim, dim, embed_dim, hidden=hidden, depth=depth, time_input=time_input, text_input=text_input
        )

    def at(self, t: Tensor, state: Tensor, context: Tensor) -> Tensor:
        return self.log_rate.exp() * self.mlp(t, state, context).tanh() - self.decay * state

    def rk4_nodes(self, state: Tensor, context: Tensor, step_seconds: float, steps: int) -> Nodes | None:
        """As `dense.rk4_nodes`, in one piece; the step may be below 0, the speeds are by the grid's own seconds.

        None where the field sees time.
        """
        if self.mlp.time is not None:
            return None
        layers = [self.mlp.enter, *self.mlp.middle, self.mlp.leave]
        weights = [tensor for layer in layers for tensor in (layer.weight, layer.bias)]
        way = math.copysign(1.0, step_seconds)
        rate, decay = self.log_rate.exp() * way, self.decay * way  # backward in time is the reversed field
        return Nodes(*MlpRk4.apply(state, context, rate, decay, abs(step_seconds), steps, *weights))


class SecondOrderField(Field):
    """Second order: q' = v, v' = rate^2 * (tanh(mlp(t, q, v / rate, c)) - pull * q) - decay * v.

    The force depends on position: without learning the state is a damped oscillator of rate * sqrt(pull) rad/s, and
    |q| stays near 1 / pull at most. The state is [q, v], (B, 2Z); the initial velocity is a linear map of z0 and c.

    Args:
        hidden, depth, time_input, text_input, rate, decay: as in `MlpField`; decay acts on the velocity.
        pull: spring constant in units of rate^2.
    """

    def __init__(
        self, dim: int, embed_dim: int, *, hidden: int, depth: int, time_input: bool, text_input: bool,
        rate: float = 8.0, decay: float = 0.5, pull: float = 0.25,
    ):  # fmt: skip
        super().__init__()
        self.state_dim = 2 * dim
        self.decay, self.pull = decay, pull
        self.log_rate = log_rate(dim, rate)
        self.mlp = ConditionedMlp(
            2 * dim, dim, embed_dim, hidden=hidden, depth=depth, time_input=time_input, text_input=text_input
        )
        self.velocity = nn.Linear(dim + (embed_dim if text_input else 0), dim)
        nn.init.normal_(self.velocity.weight, std=0.2 / math.sqrt(self.velocity.in_features))
        nn.init.zeros_(self.velocity.bias)

    def start(self, z0: Tensor, c: Tensor) -> Tensor:
        given = z0
        if self.mlp.text is not None:
            given = torch.cat([z0, c * math.sqrt(c.shape[1])], 1)
        return torch.cat([z0, self.log_rate.exp() * self.velocity(given)], 1)

    def at(self, t: Tensor, state: Tensor, context: Tensor) -> Tensor:
        rate = self.log_rate.exp()
        q, v = state.chunk(2, 1)
        force = self.mlp(t, torch.cat([q, v / rate], 1), context).tanh() - self.pull * q
        return torch.cat([v, rate.square() * force - self.decay * v], 1)


class ThirdOrderField(Field):
    """Third order: q' = v, v' = a, and a' brings the second order's acceleration about with a lag of 1 / rate.

    a' = rate^3 * tanh(mlp(t, q, v / rate, a / rate^2, c)) - rate^3 pull q - (rate^2 pull + rate decay) v
    - (rate + decay) a. The linear terms have the roots of (s + rate)(s^2 + decay s + rate^2 pull), so that without
    learning every solution falls, whatever rate > 0 is learned, and a bounded force keeps |q| bounded. Backward in
    time the lag is a growth of `rate` per second, more than the other orders'. The state is [q, v, a], (B, 3Z), and
    the force sees all of it; the initial v and a are a small map of z0 and c.

    Args:
        hidden, depth, time_input, text_input, rate, decay: as in `MlpField`.
        pull: spring constant in units of rate^2.
        start_hidden: width of the map to the initial velocity and acceleration.
    """

    def __init__(
        self, dim: int, embed_dim: int, *, hidden: int, depth: int, time_input: bool, text_input: bool,
        rate: float = 8.0, decay: float = 0.5, pull: float = 0.25, start_hidden: int = 32,
    ):  # fmt: skip
        super().__init__()
        self.state_dim = 3 * dim
        self.decay, self.pull = decay, pull
        self.log_rate = log_rate(dim, rate)
        self.mlp = ConditionedMlp(
            3 * dim, dim, embed_dim, hidden=hidden, depth=depth, time_input=time_input, text_input=text_input
        )
        self.begin = ConditionedMlp(
            dim, 2 * dim, embed_dim, hidden=start_hidden, depth=1, time_input=False, text_input=text_input
        )

    def start(self, z0: Tensor, c: Tensor) -> Tensor:
        rate = self.log_rate.exp()
        v, a = self.begin(z0.new_zeros(()), z0, self.begin.context(c)).chunk(2, 1)
        return torch.cat([z0, rate * v, rate.square() * a], 1)

    def at(self, t: Tensor, state: Tensor, context: Tensor) -> Tensor:
        rate = self.log_rate.exp()
        q, v, a = state.chunk(3, 1)
        force = self.mlp(t, torch.cat([q, v / rate, a / rate.square()], 1), context).tanh() - self.pull * q
        settle = (rate.square() * self.pull + rate * self.decay) * v + (rate + self.decay) * a
        return torch.cat([v, a, rate.pow(3) * force - settle], 1)
