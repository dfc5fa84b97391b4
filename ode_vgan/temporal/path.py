"""The contract of every temporal model: (z0, times, c) -> z."""

from abc import ABC, abstractmethod

import torch
from torch import Tensor, nn

from ode_vgan.errors import UserError

LARGEST = 65_536  # size of a layer


class TemporalModel(nn.Module, ABC):
    """A latent path z of shape (B, T, Z), asked at times in seconds.

    A subclass declares what it can do. Asking for anything else is a `UserError`.

    Attributes:
        continuous: the value at one time does not depend on which other times are asked, up to the solver's error.
        any_gap: accepts gaps between frames other than those it was trained on.
        backward: accepts falling times.
        extrapolates: accepts times beyond the trained horizon.
        step_noise: draws fresh noise along the path.
        starts_at_z0: z[:, 0] equals z0 exactly.
        nfe: evaluations of the field or cell in the last forward, per path.
    """

    continuous: bool
    any_gap: bool
    backward: bool
    extrapolates: bool
    step_noise: bool
    starts_at_z0: bool

    def __init__(self, dim: int, embed_dim: int):
        super().__init__()
        check_sizes(dim=dim, embed_dim=embed_dim)
        self.dim = dim
        self.embed_dim = embed_dim
        self.nfe = 0

    def forward(self, z0: Tensor, times: Tensor, c: Tensor, seeds: Tensor | None = None) -> Tensor:
        """The path at `times`, in float32 (float64 for a float64 z0) whatever the autocast.

        Args:
            z0: (B, Z).
            times: (T,) or (B, T) seconds, strictly rising, or falling where `backward`.
            c: (B, E) unit rows.
            seeds: (B,) int64, one per clip. With seeds a clip's noise depends on its own seed only;
                without, on torch's global seed. Ignored by models without step noise.

        Returns:
            (B, T, Z).

        Raises:
            UserError: the model cannot do these times.
        """
        dtype = torch.promote_types(z0.dtype, torch.float32)
        times = torch.as_tensor(times, device=z0.device).to(dtype)
        self.check_times(times, len(z0))
        with torch.autocast(z0.device.type, enabled=False):
            return self.path(z0.to(dtype), times, c.to(dtype), seeds)

    @abstractmethod
    def path(self, z0: Tensor, times: Tensor, c: Tensor, seeds: Tensor | None) -> Tensor:
        """As `forward`, on checked times and float32 or float64 tensors, with autocast off."""

    def check_times(self, times: Tensor, batch: int | None = None) -> None:
        """Refuse times that no path or not this model can follow.

        Raises:
            UserError: wrong shape, a value that is not finite, times that neither rise nor fall strictly,
                or that fall although the model cannot run backward.
        """
        if times.ndim not in (1, 2) or times.shape[-1] < 1 or (times.ndim == 2 and batch not in (None, len(times))):
            shape, rows = tuple(times.shape), "B" if batch is None else batch
            raise UserError(f"times have shape {shape}; give (T,) or ({rows}, T) seconds with T >= 1.")
        if times.shape[-1] == 1:
            return
        gaps = times.diff(dim=-1)
        low, high = torch.aminmax(gaps)
        low, high = torch.stack([low, high]).tolist()  # one transfer from the device
        if 0 < low <= high < float("inf"):
            return
        if self.backward and float("-inf") < low < 0 and bool(((gaps > 0).all(-1) | (gaps < 0).all(-1)).all()):
            return
        raise UserError(_time_fault(times, gaps, type(self).__name__, self.backward))


def check_sizes(**sizes: int) -> None:
    """Refuse sizes of layers that no machine holds.

    Raises:
        UserError: one is below 1 or above 65,536.
    """
    for name, size in sizes.items():
        if not 1 <= size <= LARGEST:
            raise UserError(f"{name}={size}; give 1 to {LARGEST}.")


def _time_fault(times: Tensor, gaps: Tensor, model: str, backward: bool) -> str:
    if not bool(times.isfinite().all()):
        return "times hold a value that is not finite; give seconds."
    rows, gaps = times.reshape(-1, times.shape[-1]), gaps.reshape(-1, gaps.shape[-1])
    wrong = gaps <= 0
    if backward:
        turns = gaps.sign() != gaps[:, :1].sign()
        wrong = turns | (gaps == 0)
    row, i = (int(index) for index in wrong.nonzero()[0])
    rule = "rise or fall without a turn or repeat" if backward else f"rise, because {model} cannot run backward"
    here, after = float(rows[row, i]), float(rows[row, i + 1])
    return f"times must {rule}; times[{i}]={here:.4g} s, times[{i + 1}]={after:.4g} s. Sort them and drop repeats."


def anchored_path(model: TemporalModel, z0: Tensor, times: Tensor, c: Tensor, seeds: Tensor | None = None) -> Tensor:
    """The path whose value at 0 s is z0, asked at rising times that may start before or after 0 s.

    Args:
        z0, c, seeds: as in `TemporalModel.forward`.
        times: (T,) or (B, T) seconds, strictly rising.

    Returns:
        (B, T, Z) in the asked order; `model.nfe` counts both directions.

    Raises:
        UserError: times before 0 s for a model that cannot run backward, or a window that does not start at 0 s
            for a model without a state.
    """
    times = torch.as_tensor(times, device=z0.device)
    if times.shape[-1] > 1 and not bool((times.diff(dim=-1) > 0).all()):
        raise UserError(f"anchored times must rise, got {times.flatten()[:4].tolist()} ... s. Sort and drop repeats.")
    first = float(times[..., 0].min())
    if first < 0 and not model.backward:
        raise UserError(f"times start at {first:.4g} s; {type(model).__name__} cannot run before 0 s. Start at 0 s.")
    if bool((times[..., 0] == 0).all()):
        return model(z0, times, c, seeds)
    if not model.any_gap:
        raise UserError(f"times start at {first:.4g} s; {type(model).__name__} maps a window from 0 s. Start at 0 s.")
    if times.ndim == 1:
        return _both_sides(model, z0, times, c, seeds)
    crossing = (times < 0).sum(-1) * 2 + (times == 0).any(-1)
    pieces, order, nfe = [], [], 0
    for kind in crossing.unique():  # clips that cross 0 s at the same frame are integrated together
        rows = (crossing == kind).nonzero().squeeze(1)
        row_seeds = None if seeds is None else seeds[rows.to(seeds.device)]
        pieces.append(_both_sides(model, z0[rows], times[rows], c[rows], row_seeds))
        order.append(rows)
        nfe = max(nfe, model.nfe)
    model.nfe = nfe
    return torch.cat(pieces)[torch.cat(order).argsort()]


def _both_sides(model: TemporalModel, z0: Tensor, times: Tensor, c: Tensor, seeds: Tensor | None) -> Tensor:
    origin = torch.zeros_like(times[..., :1])
    before = int((times < 0).reshape(-1, times.shape[-1])[0].sum())
    pieces, nfe = [], 0
    if before:
        falling = torch.cat([origin, times[..., :before].flip(-1)], -1)
        pieces.append(model(z0, falling, c, seeds)[:, 1:].flip(1))
        nfe += model.nfe
    after = times[..., before:]
    if after.shape[-1]:
        asks_zero = bool((after[..., 0] == 0).all())
        rising = after if asks_zero else torch.cat([origin, after], -1)
        pieces.append(model(z0, rising, c, seeds)[:, 0 if asks_zero else 1 :])
        nfe += model.nfe
    model.nfe = nfe
    return torch.cat(pieces, 1)
