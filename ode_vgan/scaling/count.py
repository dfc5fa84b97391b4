"""Multiply-accumulates of a clip, counted while a real forward runs, so that a solver's evaluations are in them.

Counted are matrix products, convolutions, attention and recurrent layers, wherever they happen: a field is counted as
often as the solver asks it. Not counted is arithmetic element by element (activations, norms, a solver's own sums,
noise) nor a matrix times one vector (spectral norms). Causal attention counts as full attention. Where a convolution
touches padding it counts as elsewhere; a transposed one counts at each position of its input.
"""

import copy
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import FlopCounterMode, sdpa_backward_flop_count, sdpa_flop_count

from ode_vgan.errors import UserError
from ode_vgan.generator import Latents, draw_latents
from ode_vgan.temporal.path import TemporalModel, anchored_path

aten = torch.ops.aten


DRAWS = (aten.randn, aten.rand, aten.randint, aten.normal_, aten.uniform_, aten.random_)
Shape = tuple[int, ...]


def _attention(query: Shape, key: Shape, value: Shape, *_: object, **__: object) -> int:
    return sdpa_flop_count(query, key, value)


def _attention_backward(above: Shape, query: Shape, key: Shape, value: Shape, *_: object, **__: object) -> int:
    return sdpa_backward_flop_count(above, query, key, value)


def _mkldnn_rnn(x: Tensor, weight_input: Tensor, weight_state: Tensor, *_: object, **__: object) -> int:
    steps = x.numel() // x.shape[-1]  # of all clips together
    return 2 * steps * (weight_input.numel() + weight_state.numel())


def _mkldnn_rnn_backward(x: Tensor, weight_input: Tensor, weight_state: Tensor, *_: object, **__: object) -> int:
    return 2 * _mkldnn_rnn(x, weight_input, weight_state)


def _cudnn_rnn(x: Tensor, weights: list[Tensor], *_: object, **__: object) -> int:
    matrices = sum(weight.numel() for weight in weights if weight.ndim == 2)  # of every layer and direction
    return 2 * (x.numel() // x.shape[-1]) * matrices


def _cudnn_rnn_backward(x: Tensor, weights: list[Tensor], *_: object, **__: object) -> int:
    return 2 * _cudnn_rnn(x, weights)


for _formula in (_mkldnn_rnn, _mkldnn_rnn_backward, _cudnn_rnn, _cudnn_rnn_backward):
    _formula._get_raw = True  # torch's mark of a formula that wants tensors, not shapes

FORMULAS = {  # FLOPs of what torch's own counter passes over
    aten._scaled_dot_product_flash_attention_for_cpu: _attention,
    aten._scaled_dot_product_flash_attention_for_cpu_backward: _attention_backward,
    aten.mkldnn_rnn_layer: _mkldnn_rnn,
    aten.mkldnn_rnn_layer_backward: _mkldnn_rnn_backward,
    aten._cudnn_rnn: _cudnn_rnn,
    aten._cudnn_rnn_backward: _cudnn_rnn_backward,
}


def macs_of(run: Callable[[], object]) -> int:
    """Multiply-accumulates of everything a call does, its backward passes too; half the FLOPs.

    With gradients on, whatever the caller's mode: without them torch fuses transformer layers into operators that
    nothing counts.
    """
    with torch.enable_grad(), FlopCounterMode(display=False, custom_mapping=FORMULAS) as counter:
        run()
    return counter.get_total_flops() // 2


def temporal_macs(temporal: TemporalModel, frames: int, gap_seconds: float | None, clips: int = 1) -> float:
    """Forward multiply-accumulates of one path, from a model alone; arguments as in `count_macs`."""
    with _untouched(temporal) as model:
        times, c = _times_and_text(clips, frames, gap_seconds, model.embed_dim)
        latents = draw_latents(clips, model.dim, _draw())
        return macs_of(lambda: anchored_path(model, latents.motion, times, c, latents.seeds)) / clips


def noise_numbers(temporal: TemporalModel, frames: int, gap_seconds: float | None) -> int:
    """Random numbers that one clip's path draws on its way, the start not among them; arguments as in `count_macs`."""
    with _untouched(temporal) as model, torch.no_grad():
        times, c = _times_and_text(1, frames, gap_seconds, model.embed_dim)
        z0 = torch.zeros(1, getattr(model, "start_dim", model.dim))
        with _Drawn() as drawn:
            model(z0, times, c, torch.zeros(1, dtype=torch.int64))
    return drawn.numbers


class _Drawn(TorchDispatchMode):
    """Counts the random numbers that are drawn inside it."""

    def __init__(self):
        super().__init__()
        self.numbers = 0

    def __torch_dispatch__(self, call, types, arguments=(), options=None):
        result = call(*arguments, **(options or {}))
        if call.overloadpacket in DRAWS:
            self.numbers += result.numel()
        return result


def count_macs(
    module: nn.Module, frames: int, size: int, gap_seconds: float | None, embed_dim: int, clips: int = 1
) -> dict[str, float]:
    """Multiply-accumulates per clip of a GAN's parts, on copies in eval mode: weights, batch statistics, evaluation
    counts and the global random state stay as they are.

    A fixed-step solver's count is exact at any weights and batch. An adaptive one takes its steps for a whole batch and
    for the weights as they are: count with the trained batch, and again when training ends.

    Args:
        module: with `generator` and `critics`, as `ode_vgan.gan.VideoGan` or `ode_vgan.published.PublishedGan`.
        frames: T of a clip. size: side of a frame, px. embed_dim: E.
        gap_seconds: between frames; None or 0 takes windows of 1 s.
        clips: B, counted together.

    Returns:
        generator: one clip made, all frames. temporal, decoder: their parts of it.
        critics: all critics on one clip, with the frames and views that training shows them.
        forward: what a clip of training takes at least, once through: one clip made as critics are shown it (its whole
            path, and the frames that a step sees), it and a real one judged. Budgets (`max_macs`) are this times clips.
        training: the same with the backward passes, measured: the critics' step (real and generated, gradients of
            their weights), and the generator's (the generated clip judged again, gradients through critics, frames and
            path). Penalties, wrong captions and what else a recipe adds are left out.
    """
    with _untouched(module.generator) as generator, _untouched(module.critics) as critics:
        times, c = _times_and_text(clips, frames, gap_seconds, embed_dim)
        latents = draw_latents(clips, generator.noise_dim, _draw())
        seen = min(getattr(module, "step_frames", 0) or frames, frames)
        step = _Step(generator, critics, latents, torch.zeros(clips, seen, 3, size, size), times, c)
        start = generator.to_start(latents.motion, c).float()
        w, z = generator.path(latents, times, c)
        shown = step.show()
        counts = {
            "generator": macs_of(lambda: generator(latents, times, c)),
            "temporal": macs_of(lambda: anchored_path(generator.temporal, start, times, c, latents.seeds)),
            "decoder": macs_of(lambda: generator.decoder(w, z, c)),
            "critics": macs_of(lambda: step.judge(step.real)),
        }
        counts["forward"] = macs_of(step.show) + macs_of(lambda: step.judge(shown)) + counts["critics"]
        counts["training"] = macs_of(step.train)
    return {name: count / clips for name, count in counts.items()}


def clips_within(budget: float, macs: dict[str, float]) -> int:
    """How many clips of training a budget of forward multiply-accumulates buys.

    Args:
        budget: multiply-accumulates. macs: of `count_macs`.

    Raises:
        UserError: not even one.
    """
    clips = int(budget // macs["forward"])
    if clips < 1:
        raise UserError(f"max_macs={budget:.3g} is less than the {macs['forward']:.3g} of one clip; raise it.")
    return clips


@dataclass
class _Step:
    """A training step's passes over one batch, without its updates."""

    generator: nn.Module
    critics: nn.Module
    latents: Latents
    real: Tensor
    times: Tensor
    c: Tensor

    def show(self) -> Tensor | list[Tensor]:
        """What critics are shown of generated clips: a published generator may show a pyramid instead of the clip."""
        if hasattr(self.generator, "shown"):
            return self.generator.shown(self.latents, self.times, self.c, _draw())
        w, z = self.generator.path(self.latents, self.times, self.c)
        return self.generator.decoder(w, z[:, : self.real.shape[1]], self.c)

    def judge(self, shown: Tensor | list[Tensor]) -> dict[str, Tensor]:
        if hasattr(self.critics, "views"):
            return self.critics(self.critics.views(shown, _draw()))
        picks = self.critics.choose(*shown.shape[:2], generator=_draw())
        return self.critics(shown, self.times[:, : shown.shape[1]], self.c, picks)

    def train(self) -> None:
        self.generator.requires_grad_(True)
        self.critics.requires_grad_(True)
        shown = self.show()
        alone = [view.detach() for view in shown] if isinstance(shown, list) else shown.detach()
        for clips in (self.real, alone):
            sum(logits.sum() for logits in self.judge(clips).values()).backward()
        self.critics.requires_grad_(False)
        sum(logits.sum() for logits in self.judge(shown).values()).backward()


@contextmanager
def _untouched(module: nn.Module) -> Iterator[nn.Module]:
    """A copy on the CPU in eval mode; random numbers drawn meanwhile leave the global state as it was."""
    with torch.random.fork_rng(devices=[]):
        yield copy.deepcopy(module).cpu().eval()


def _draw() -> torch.Generator:
    return torch.Generator().manual_seed(0)


def _times_and_text(clips: int, frames: int, gap_seconds: float | None, embed_dim: int) -> tuple[Tensor, Tensor]:
    """Uniform times (B, T), one row a clip as in training, and captions (B, E)."""
    times = torch.arange(frames) * (gap_seconds or 1 / max(1, frames - 1))
    c = F.normalize(torch.randn(clips, embed_dim, generator=_draw()), dim=-1)
    return times.expand(clips, -1), c
