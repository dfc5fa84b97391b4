"""The latent SDEs of Gordon and Parde (2020) as published and corrected; see `gordon2020` for what all share."""

import torch
from torch import Tensor, nn

from ode_vgan.errors import UserError
from ode_vgan.temporal.gordon2020 import UnitHorizon
from ode_vgan.temporal.noise import clip_noise


class EulerMaruyama(UnitHorizon):
    """dz = drift(z) dt + diffusion(z) dW in Ito's sense, stepped from node to node of a grid.

    Args:
        frames, gap_seconds, start: see `UnitHorizon`.
        drift, diffusion: map states (B, Z) to (B, Z) per window and per square root of a window.
    """

    step_noise = True

    def __init__(
        self, dim: int, embed_dim: int, *, frames: int, gap_seconds: float | None, start: nn.Module | None,
        drift: nn.Module, diffusion: nn.Module,
    ):  # fmt: skip
        super().__init__(dim, embed_dim, frames=frames, gap_seconds=gap_seconds, start=start)
        self.drift, self.diffusion = drift, diffusion

    def nodes(self, unit: Tensor) -> Tensor:
        """Where steps begin and end, (1 or B, steps + 1) windows, for frames at (1 or B, T) windows."""
        raise NotImplementedError

    def read(self, states: Tensor, nodes: Tensor, unit: Tensor) -> Tensor:
        """The path (B, T, Z) at the frames from states (B, steps + 1, Z) at the nodes."""
        raise NotImplementedError

    def path(self, z0: Tensor, times: Tensor, c: Tensor, seeds: Tensor | None) -> Tensor:
        state = self.begin(z0)
        steps = self.nodes(self.unit(times)).shape[1] - 1
        return self.driven_by(clip_noise(seeds, state, steps), state, times)

    def driven_by(self, noise: Tensor, state: Tensor, times: Tensor) -> Tensor:
        """The path (B, T, Z) from state (B, Z), driven by standard normal noise (B, steps, Z)."""
        unit = self.unit(times)
        nodes = self.nodes(unit)
        steps = nodes.diff(dim=1)
        states = [state]
        for i, xi in enumerate(noise.unbind(1)):
            dt = steps[:, i : i + 1]
            state = state + self.drift(state) * dt + self.diffusion(state) * (xi * dt.sqrt())
            states.append(state)
        self.nfe = len(states) - 1
        return self.read(torch.stack(states, 1), nodes, unit)


class LatentSde(EulerMaruyama):
    """As published: steps of dt from the first time on, the last one shortened, whether or not they end at frames.

    Frames between two steps are linear between them, as in torchsde. With dt = 0.025 and 16 frames that leaves 0.81 to
    0.94 of the variance of the noise between frames, in a pattern of three frames.

    Args:
        frames, gap_seconds, start, drift, diffusion: see `EulerMaruyama`.
        dt: windows.

    Source: Gordon and Parde (2020), TGAN-SDE, MoCoGAN-SDE and TGANv2-SDE, and their code.
    """

    def __init__(
        self, dim: int, embed_dim: int, *, frames: int, gap_seconds: float | None, start: nn.Module | None,
        drift: nn.Module, diffusion: nn.Module, dt: float,
    ):  # fmt: skip
        super().__init__(
            dim, embed_dim, frames=frames, gap_seconds=gap_seconds, start=start, drift=drift, diffusion=diffusion
        )
        if dt <= 0:
            raise UserError(f"dt={dt}; give a part of the window above 0, 0.025 as published.")
        self.dt = dt

    def nodes(self, unit: Tensor) -> Tensor:
        last = unit[:, -1:]
        node, nodes = last.new_zeros(1, 1), [torch.zeros_like(last)]
        while bool((node < last).any()):
            node = node + self.dt  # in the clock's own precision, as torchsde does
            nodes.append(torch.minimum(node, last))  # steps after a clip's last frame are empty
        return torch.cat(nodes, 1)

    def read(self, states: Tensor, nodes: Tensor, unit: Tensor) -> Tensor:
        if nodes.shape[1] == 1:
            return states
        after = torch.searchsorted(nodes, unit.contiguous()).clamp(min=1)
        left, right = nodes.gather(1, after - 1), nodes.gather(1, after)
        share = ((unit - left) / (right - left)).unsqueeze(-1)
        rows, after = torch.arange(states.shape[0], device=unit.device).unsqueeze(1), after.expand(states.shape[0], -1)
        return torch.lerp(states[rows, after - 1], states[rows, after], share)


class LatentSdeCorrected(EulerMaruyama):
    """Corrected: steps end at the frames, and a learnable gate per coordinate makes the noise start small.

    The published noise is as large as the drift from the first step on, so that clips flicker.

    Args:
        frames, gap_seconds, start, drift, diffusion: see `EulerMaruyama`.
        steps_per_frame: steps in each frame gap; 3 is about the published dt at 16 frames.
        gate: initial factor of the diffusion.
    """

    def __init__(
        self, dim: int, embed_dim: int, *, frames: int, gap_seconds: float | None, start: nn.Module | None,
        drift: nn.Module, diffusion: nn.Module, steps_per_frame: int, gate: float,
    ):  # fmt: skip
        super().__init__(
            dim, embed_dim, frames=frames, gap_seconds=gap_seconds, start=start, drift=drift,
            diffusion=Gated(diffusion, dim, gate),
        )  # fmt: skip
        if steps_per_frame < 1:
            raise UserError(f"steps_per_frame={steps_per_frame}; give 1 or more.")
        self.steps_per_frame = steps_per_frame

    def nodes(self, unit: Tensor) -> Tensor:
        inside = torch.arange(self.steps_per_frame, dtype=unit.dtype, device=unit.device) / self.steps_per_frame
        starts = unit[:, :-1, None] + inside * unit.diff(dim=1).unsqueeze(-1)
        return torch.cat([starts.flatten(1), unit[:, -1:]], 1)

    def read(self, states: Tensor, nodes: Tensor, unit: Tensor) -> Tensor:
        return states[:, :: self.steps_per_frame]


class Gated(nn.Module):
    """A diffusion times a learnable factor per coordinate."""

    def __init__(self, diffusion: nn.Module, dim: int, gate: float):
        super().__init__()
        self.inner = diffusion
        self.gate = nn.Parameter(torch.full((dim,), gate))

    def forward(self, state: Tensor) -> Tensor:
        return self.gate * self.inner(state)
