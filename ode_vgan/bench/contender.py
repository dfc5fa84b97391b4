"""A training step and sampling of one config, without what surrounds them in a run."""

from collections.abc import Callable

import torch

from ode_vgan.build import build
from ode_vgan.data.clips import to_uint8
from ode_vgan.generator import draw_latents
from ode_vgan.precision import chosen


class Contender:
    """A video GAN of one config, on made-up clips: decoding and logging are not what is timed.

    Args:
        config: plain, as `ode_vgan.cli.bench_config.compose` gives it. fps: frame rate of the made-up clips.
        device: where the model and the clips are.
    """

    def __init__(self, config: dict, fps: float, device: str = "cpu"):
        self.config, self.device = config, torch.device(device)
        self.module = build(config["model"] | {"max_clips": 10**9}, trusted=("",))
        self.module.to(self.device)
        stand_alone(self.module)
        data, draw = config["data"], torch.Generator().manual_seed(0)
        clips, frames, size = data["batch"], data["frames"], data["size"]
        text = torch.randn(clips, config["embed_dim"], generator=draw)
        batch = {
            "frames": torch.randint(256, (clips, frames, size, size, 3), dtype=torch.uint8, generator=draw),
            "times": (torch.arange(frames) / fps).repeat(clips, 1),
            "text": torch.nn.functional.normalize(text, dim=1),
        }
        self.batch = {name: part.to(self.device) for name, part in batch.items()}

    def jobs(self) -> dict[str, Callable[[], object]]:
        """What is timed."""
        return {"plain step": self.plain_step, "penalty step": self.penalty_step, "sampling": self.sample}

    def plain_step(self) -> None:
        """A training step without R1 and R2."""
        self._step(1)

    def penalty_step(self) -> None:
        """A training step with R1 and R2, one in `model.penalty_every`."""
        self._step(0)

    def _step(self, number: int) -> None:
        self.module.clips_seen = number * len(self.batch["text"])
        precision, _ = chosen(self.config["trainer"]["precision"], self.device.type)
        half = str(precision).startswith("bf16")
        with torch.autocast(self.device.type, dtype=torch.bfloat16, enabled=half):
            self.module.training_step(self.batch, number)

    def sample(self) -> object:
        """A batch of clips, uint8, from the averaged generator; times are shared, as `ode-vgan sample` asks."""
        generator = self.module.ema.copy
        latents = draw_latents(len(self.batch["text"]), generator.noise_dim).to(self.device)
        return to_uint8(generator.render(latents, self.batch["times"][0], self.batch["text"]))

    def counts(self) -> dict[str, int]:
        """Field evaluations of a path, and weights."""
        generator = self.module.generator
        return {
            "nfe": generator.temporal.nfe,
            "temporal": sum(weight.numel() for weight in generator.temporal.parameters()),
            "generator": sum(weight.numel() for weight in generator.parameters()),
        }


def stand_alone(module) -> None:
    """Let a LightningModule make steps without a trainer: its own optimisers, a plain backward, no log."""
    optimizers = module.configure_optimizers()
    module.optimizers = lambda: optimizers
    module.manual_backward = lambda loss: loss.backward()
    module.log_dict = module.log = lambda *_, **__: None
