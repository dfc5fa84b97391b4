"""The latent path as the solution of an ordinary differential equation."""

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torchdiffeq import odeint, odeint_adjoint

from ode_vgan.errors import UserError
from ode_vgan.temporal.dense import Nodes, read_off, rk4_nodes, steps_within
from ode_vgan.temporal.fields import MlpField, SecondOrderField, ThirdOrderField
from ode_vgan.temporal.path import TemporalModel

FIXED_STEP = ("euler", "midpoint", "rk4")
ADAPTIVE = ("dopri5", "bosh3", "adaptive_heun")  # not dopri8: between its steps it is off by more than its tolerance
DENSE = ("dense_rk4",)  # a coarse grid of its own, read off at the frames
FIELDS = {1: MlpField, 2: SecondOrderField, 3: ThirdOrderField}

Motion = Callable[[Tensor, Tensor, Tensor], Tensor]  # (t () or (B,), state (B, S), context) -> d state / dt in 1/s


class SolvedPath(TemporalModel):
    """dz/dt = f(t, z, c) from z(times[0]) = z0; the first Z entries of the state are z.

    A DENSE solver steps on a grid of step_seconds from each clip's first time, whatever the frames, see `dense`. The
    others are torchdiffeq's and stop at the frames. With times per clip (B, T) they run over s in [0, T - 1], where t
    is linear between frames:
    dz/ds = f(t(s), z, c) * dt/ds, so that one solve serves clips of any frame times.

    Args:
        field: f, see `fields.Field`.
        solver: one of DENSE, FIXED_STEP or ADAPTIVE.
        rtol, atol: for adaptive solvers. The error in the gradient is some five times larger.
        steps_per_frame: steps in each frame gap, for FIXED_STEP.
        step_seconds: the step of a DENSE solver. For FIXED_STEP the longest: a gap longer than steps_per_frame of these
            gets more steps, in all clips of the batch; None: no limit.
        adjoint: solve backward for the gradient. Memory of one step, about three times slower at 16 frames. A DENSE
            solver has none: its long solves keep their states alone, see `fused_ode`.
    """

    continuous = True
    any_gap = True
    backward = True
    extrapolates = True
    step_noise = False
    starts_at_z0 = True

    def __init__(
        self, dim: int, embed_dim: int, field: nn.Module, *, solver: str, rtol: float = 1e-3, atol: float = 1e-4,
        steps_per_frame: int = 1, step_seconds: float | None = None, adjoint: bool = False,
    ):  # fmt: skip
        super().__init__(dim, embed_dim)
        if solver not in FIXED_STEP + ADAPTIVE + DENSE:
            known = ", ".join(FIXED_STEP + ADAPTIVE + DENSE)
            raise UserError(f"solver={solver!r} is unknown; choose one of {known}.")
        if solver in DENSE and (step_seconds is None or adjoint):
            raise UserError(f"solver={solver} takes steps of step_seconds and no adjoint; set the one, drop the other.")
        if steps_per_frame < 1 or (step_seconds is not None and step_seconds <= 0):
            raise UserError(f"steps_per_frame={steps_per_frame}, step_seconds={step_seconds}; give >= 1 and > 0 s.")
        self.field = field
        self.solver, self.rtol, self.atol = solver, rtol, atol
        self.steps_per_frame, self.step_seconds, self.adjoint = steps_per_frame, step_seconds, adjoint

    def path(self, z0: Tensor, times: Tensor, c: Tensor, seeds: Tensor | None) -> Tensor:
        return self.flow(self.field.start(z0, c), times, c, seeds)[..., : self.dim]

    def flow(self, state: Tensor, times: Tensor, c: Tensor, seeds: Tensor | None = None) -> Tensor:
        """The full state (B, T, S) at times (T,) or (B, T), from state (B, S) at times[0]; S >= Z."""
        motion, context = self.motion(state, seeds), self.field.context(c)
        solve = self._solve_dense if self.solver in DENSE else self._solve
        return solve(motion, state, times, context)

    def motion(self, state: Tensor, seeds: Tensor | None) -> Motion:
        """What the solver follows: the field itself, or the field under a noise that `seeds` name."""
        return self.field.at

    def within(self, z0: Tensor, times: Tensor, c: Tensor, seconds: float, seeds: Tensor | None = None) -> Tensor:
        """As `forward` of a DENSE solver, without reading a number of `times` back from its device.

        The caller answers for the times: they rise (fall where `seconds` is below 0) and end within so many seconds of
        the first. So nothing waits for the device, and what runs depends on shapes and `seconds` alone: it may be
        captured as a CUDA graph, and torch.compile takes it whole.

        Args:
            seconds: the longest span of a clip; below 0 backward. It sets the number of steps.
            z0, times, c, seeds: as in `forward`.

        Raises:
            UserError: the solver is not DENSE.
        """
        if self.solver not in DENSE:
            raise UserError(f"solver={self.solver} asks its times for its steps; `within` takes one of {DENSE}.")
        dtype = torch.promote_types(z0.dtype, torch.float32)
        with torch.autocast(z0.device.type, enabled=False):
            state, c = self.field.start(z0.to(dtype), c.to(dtype)), c.to(dtype)
            steps = steps_within(seconds, self.step_seconds)
            motion, way = self.motion(state, seeds), math.copysign(1.0, seconds)
            path = self._on_grid(motion, state, times.to(dtype), self.field.context(c), way=way, steps=steps)
            return path[..., : self.dim]

    def _solve_dense(self, motion: Motion, state: Tensor, times: Tensor, context: Tensor) -> Tensor:
        span = times[..., -1:] - times[..., :1]
        low, high = torch.stack(torch.aminmax(span)).tolist()  # one transfer from the device
        steps = steps_within(max(abs(low), abs(high)), self.step_seconds)
        alike = low * high >= 0  # all clips run the same way
        way = 1.0 if alike and high > 0 else -1.0 if alike else span.sign()
        return self._on_grid(motion, state, times, context, way=way, steps=steps)

    def _on_grid(
        self, motion: Motion, state: Tensor, times: Tensor, context: Tensor, *, way: float | Tensor, steps: int
    ) -> Tensor:
        """So many steps from the first time, and the states at all times; `way` is 1 or -1, of all or (B, 1)."""
        self.nfe = 4 * steps + 1
        start = times[..., :1]
        nodes = self._fused(motion, state, context, way, steps) if isinstance(way, float) else None
        if nodes is None:
            nodes = rk4_nodes(
                lambda s, z: motion((start + way * s).squeeze(-1), z, context) * way, state, self.step_seconds, steps
            )
        return read_off(nodes, (times - start).abs(), self.step_seconds)

    def _fused(self, motion: Motion, state: Tensor, context: Tensor, way: float, steps: int) -> Nodes | None:
        """The field's own solve, where it has one and nothing else drives the state."""
        if torch.jit.is_tracing() or torch.compiler.is_compiling():  # neither holds a function of our own
            return None
        own = getattr(self.field, "rk4_nodes", None)
        return own(state, context, way * self.step_seconds, steps) if own and motion == self.field.at else None

    def _solve(self, motion: Motion, state: Tensor, times: Tensor, context: Tensor) -> Tensor:
        self.nfe = 0
        if times.shape[-1] == 1:
            return state.unsqueeze(1)
        adaptive = self.solver in ADAPTIVE
        clock = SharedClock(times) if adaptive and times.ndim == 1 else FrameClock(times)
        call = {"method": self.solver, "rtol": self.rtol, "atol": self.atol}
        # perturb: at a frame, where dt/ds jumps, a fixed step sees its own side
        call["options"] = clock.jumps() if adaptive else {"grid_constructor": self._grid(times), "perturb": True}
        evaluations = 0

        def speed(s: Tensor, now: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
            nonlocal evaluations
            evaluations += 1
            t, pace = clock.at(s)
            return motion(t, now[0], now[1]) * pace, torch.zeros_like(now[1])

        if self.adjoint:  # finds gradients of weights and state only, so the text's part travels as state
            weights = tuple(weight for weight in self.field.parameters() if weight.requires_grad)
            path = odeint_adjoint(speed, (state, context), clock.knots, adjoint_params=weights, **call)[0]
        else:
            path = odeint(lambda s, z: speed(s, (z, context))[0], state, clock.knots, **call)
        self.nfe = evaluations
        return path.transpose(0, 1)  # torchdiffeq is time-first

    def _grid(self, times: Tensor) -> Callable[..., Tensor]:
        steps = [self.steps_per_frame] * (times.shape[-1] - 1)
        if self.step_seconds is not None:
            gaps = times.diff(dim=-1).abs().reshape(-1, len(steps)).amax(0) / self.step_seconds
            needed = (gaps - 1e-3).ceil().int().tolist()  # timestamps are rounded, so a hair over is not one more
            steps = [max(pair) for pair in zip(steps, needed, strict=True)]

        def grid(func: Callable, state: Tensor, knots: Tensor) -> Tensor:
            frames = [round(knot) for knot in knots.tolist()]  # whole numbers; falling in the adjoint's backward solve
            pieces = [
                here + (after - here) * torch.arange(steps[min(here, after)]) / steps[min(here, after)]
                for here, after in zip(frames[:-1], frames[1:], strict=True)
            ]
            return torch.cat([*pieces, torch.tensor([float(frames[-1])])]).to(knots)

        return grid


class OdePath(SolvedPath):
    """The path of the field of a given order.

    Args:
        hidden, depth, time_input, text_input, rate, decay: of the field, see `fields`.
        order: 1, 2 with state [q, v], or 3 with state [q, v, a]; the output is q.
        solver, rtol, atol, steps_per_frame, step_seconds, adjoint: see `SolvedPath`.
    """

    def __init__(
        self, dim: int, embed_dim: int, *, hidden: int, depth: int, order: int, time_input: bool, text_input: bool,
        rate: float, decay: float, solver: str, rtol: float = 1e-3, atol: float = 1e-4, steps_per_frame: int = 1,
        step_seconds: float | None = None, adjoint: bool = False,
    ):  # fmt: skip
        if order not in FIELDS:
            raise UserError(f"order={order}; an ODE path has order 1, 2 or 3.")
        field = FIELDS[order](
            dim, embed_dim, hidden=hidden, depth=depth, time_input=time_input, text_input=text_input, rate=rate,
            decay=decay,
        )  # fmt: skip
        super().__init__(
            dim, embed_dim, field, solver=solver, rtol=rtol, atol=atol, steps_per_frame=steps_per_frame,
            step_seconds=step_seconds, adjoint=adjoint,
        )  # fmt: skip


class SharedClock:
    """Solves in t itself: all clips share times (T,)."""

    def __init__(self, times: Tensor):
        self.knots = times

    def jumps(self) -> dict[str, Tensor]:
        return {}

    def at(self, s: Tensor) -> tuple[Tensor, float]:
        return s, 1.0


class FrameClock:
    """Solves in s, the number of frames passed, with t linear in s between the frames of times (T,) or (B, T)."""

    def __init__(self, times: Tensor):
        self.times = times
        self.gaps = times.diff(dim=-1)
        self.knots = torch.arange(times.shape[-1], dtype=times.dtype, device=times.device)

    def jumps(self) -> dict[str, Tensor]:
        """Where an adaptive solver must stop: at the frames, unless every clip's frames are uniform."""
        uniform = torch.allclose(self.gaps, self.gaps[..., :1].expand_as(self.gaps), rtol=1e-4, atol=0)
        return {} if uniform else {"jump_t": self.knots[1:-1]}

    def at(self, s: Tensor) -> tuple[Tensor, Tensor]:
        """(t in seconds, dt/ds), each () or (B,) and (B, 1)."""
        frame = s.floor().clamp(0, len(self.knots) - 2).long()
        gap = self.gaps.index_select(-1, frame.view(1))
        start = self.times.index_select(-1, frame.view(1))
        return (start + (s - frame) * gap).squeeze(-1), gap
