"""An ODE solved on a coarse grid that all clips share, and read off at any times between its nodes.

A solver that stops at every frame pays for frames; here evaluations depend on seconds alone, 4 a step and one at the
end, and a path asked at more times costs no more of them. The grid starts at each clip's first time and its
step is fixed, so that what is read at one time does not depend on which others are asked, of this clip or another.
"""

import math
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor


class Nodes(NamedTuple):
    """States (K + 1, B, S) and their derivatives by the grid's seconds, the same shape."""

    states: Tensor
    speeds: Tensor


def steps_within(seconds: float, step_seconds: float) -> int:
    """Steps that reach so many seconds; timestamps are rounded, so a hair over is not one more."""
    return max(1, math.ceil(abs(seconds) / step_seconds - 1e-3))


def rk4_nodes(speed: Callable[[Tensor, Tensor], Tensor], state: Tensor, step_seconds: float, steps: int) -> Nodes:
    """The classical Runge-Kutta method with equal steps.

    Args:
        speed: (s () seconds on the grid, state (B, S)) -> d state / ds.
        state: (B, S) at s = 0. step_seconds: above 0. steps: K.
    """
    states, speeds = [state], []
    halves = (torch.arange(2 * steps + 1, dtype=state.dtype, device=state.device) / 2 * step_seconds).unbind()
    for k in range(steps):
        k1 = speed(halves[2 * k], state)
        k2 = speed(halves[2 * k + 1], state + step_seconds / 2 * k1)
        k3 = speed(halves[2 * k + 1], state + step_seconds / 2 * k2)
        k4 = speed(halves[2 * k + 2], state + step_seconds * k3)
        state = state + step_seconds / 6 * (k1 + 2 * (k2 + k3) + k4)
        states.append(state)
        speeds.append(k1)
    speeds.append(speed(halves[-1], state))
    return Nodes(torch.stack(states), torch.stack(speeds))


def read_off(nodes: Nodes, since: Tensor, step_seconds: float) -> Tensor:
    """States (B, T, S) at any times, by the cubic through both ends of a step and both derivatives there.

    Fourth order in the step, as the method itself; exact at nodes, and so at the start.

    Args:
        since: (T,) or (B, T) seconds on the grid, >= 0, in any order, the last step's end at most (but for rounding).

    Source: Hairer, Norsett and Wanner (1993), Solving Ordinary Differential Equations I, section II.6, equation 6.7.
    """
    steps, clips = len(nodes.states) - 1, nodes.states.shape[1]
    where = (since / step_seconds).expand(clips, -1)
    k = where.floor().clamp(0, steps - 1)
    u = (where - k).unsqueeze(-1)
    v = 1 - u
    begin = (k.long() * clips + torch.arange(clips, device=k.device)[:, None]).flatten()  # rows of (K + 1) B

    def at(rows: Tensor, ends: Tensor) -> Tensor:
        return rows.flatten(0, 1).index_select(0, ends).view(clips, -1, rows.shape[-1])

    end = begin + clips
    path = at(nodes.states, begin) * ((1 + 2 * u) * v * v)
    path = torch.addcmul(path, at(nodes.states, end), u * u * (3 - 2 * u))
    path = torch.addcmul(path, at(nodes.speeds, begin), u * v * v * step_seconds)
    return torch.addcmul(path, at(nodes.speeds, end), -u * u * v * step_seconds)
