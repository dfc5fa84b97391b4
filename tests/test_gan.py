"""Laws of the training step."""

import copy

import pytest
import pytorch_lightning as pl
import torch
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf
from torch.utils.data import DataLoader

from ode_vgan.build import build
from ode_vgan.errors import UserError
from ode_vgan.generator import draw_latents
from tests.tiny import REPOSITORY, tiny_overrides

PARTS = ("generator.temporal", "generator.decoder", "generator.to_start", "critics.frame", "critics.clip", "ema.copy")


class Windows(torch.utils.data.Dataset):
    """Random frames at times that differ from clip to clip."""

    def __len__(self) -> int:
        return 12

    def __getitem__(self, i: int) -> dict:
        draw = torch.Generator().manual_seed(i)
        times = torch.cat([torch.zeros(1), (torch.rand(3, generator=draw) * 0.1 + 0.02).cumsum(0)])
        frames = torch.randint(0, 256, (4, 16, 16, 3), generator=draw, dtype=torch.uint8)
        return {"frames": frames, "times": times, "text": torch.ones(1)}


def module(tmp_path, *overrides: str):
    with initialize_config_dir(str(REPOSITORY / "conf"), version_base="1.3"):
        composed = compose("train", overrides=[*tiny_overrides(tmp_path), "embed_dim=1", *overrides])
    torch.manual_seed(0)
    return build(OmegaConf.to_container(composed, resolve=True)["model"])


def fit(tmp_path, gan, steps: int = 3, **options):
    trainer = pl.Trainer(
        accelerator="cpu", max_epochs=1, limit_train_batches=steps, logger=False, enable_checkpointing=False,
        enable_progress_bar=False, enable_model_summary=False, default_root_dir=tmp_path, **options,
    )  # fmt: skip
    even = "discrete" in type(gan.generator.temporal).__module__
    windows = Windows()
    loader = DataLoader([evened(windows[i]) for i in range(12)] if even else windows, batch_size=4)
    trainer.fit(gan, loader)
    return trainer


def evened(item: dict) -> dict:
    return item | {"times": torch.arange(4) * 0.1}


@pytest.mark.parametrize("temporal", ["ode", "driven", "oscillator", "sde", "rnn", "discrete"])
@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed"])
def test_a_step_moves_every_part_and_counts_clips(tmp_path, temporal, precision):
    gan = module(tmp_path, f"temporal={temporal}", "model.penalty_every=1", "model.warmup_clips=0")
    before = copy.deepcopy(gan.state_dict())
    fit(tmp_path, gan, steps=2, precision=precision)
    after = gan.state_dict()
    assert gan.clips_seen == 8
    for part in PARTS:
        assert any(not torch.equal(before[key], after[key]) for key in before if key.startswith(part)), part
    assert all(value.isfinite().all() for value in after.values())


@pytest.mark.parametrize("loss", ["relativistic", "nonsaturating", "hinge"])
def test_every_loss_trains(tmp_path, loss):
    gan = module(tmp_path, f"loss={loss}")
    fit(tmp_path, gan)
    assert all(value.isfinite().all() for value in gan.state_dict().values())


def test_the_generators_step_reaches_the_generator_and_leaves_the_critics_alone(tmp_path):
    gan = module(tmp_path)
    gan.optimizers, gan._step = lambda: [None, None], lambda optimizer, loss: loss.backward()
    real, times, c = torch.rand(4, 4, 3, 16, 16), torch.arange(4).repeat(4, 1) * 0.1, torch.ones(4, 1)
    fake = gan.generator(draw_latents(4, 8), times, c)
    gan._generator_step(real, fake, times, c, gan.critics.choose(4, 4), torch.zeros(()))
    assert all(parameter.grad is None and parameter.requires_grad for parameter in gan.critics.parameters())
    assert gan.generator.decoder.start.weight.grad.abs().sum() > 0
    assert gan.generator.to_start.noise.weight.grad.abs().sum() > 0


def test_gamma_and_anchor_move_from_first_to_last_over_fade_clips(tmp_path):
    gan = module(tmp_path, "model.gamma=[8,2]", "model.fade_clips=100")
    assert gan._between(gan.gamma) == pytest.approx(8)
    gan.clips_seen = 50
    assert gan._between(gan.gamma) == pytest.approx(5)
    gan.clips_seen = 1000
    assert gan._between(gan.gamma) == pytest.approx(2)


def test_the_same_seed_and_batches_give_the_same_weights(tmp_path):
    runs = []
    for _ in range(2):
        gan = module(tmp_path, "temporal=sde")
        torch.manual_seed(torch.seed() % 2**31)  # whatever the global state is, a step does not depend on it
        fit(tmp_path, gan, steps=2)
        runs.append(gan.state_dict())
    assert all(torch.equal(runs[0][key], runs[1][key]) for key in runs[0])


def test_a_step_sees_its_own_frames_and_no_others(tmp_path):
    gan = module(tmp_path, "model.step_frames=2")
    real, times = torch.rand(6, 5, 3, 4, 4), torch.arange(5.0).repeat(6, 1)
    frames, seconds = gan._thinned(real, times, draw=torch.Generator().manual_seed(0))
    assert frames.shape == (6, 2, 3, 4, 4) and (seconds.diff(dim=1) > 0).all()
    assert len({tuple(row) for row in seconds.tolist()}) > 1  # clips draw their own
    for row in range(6):
        assert torch.equal(frames[row], real[row, seconds[row].long()])
    drawn = torch.Generator().manual_seed(1)
    assert {time for _ in range(9) for time in gan._thinned(times, draw=drawn)[0].flatten().tolist()} == {0, 1, 2, 3, 4}


@pytest.mark.parametrize("frames", [0, 9])
def test_a_step_sees_all_frames_where_it_is_told_so_or_there_are_no_more(tmp_path, frames):
    gan, times = module(tmp_path, f"model.step_frames={frames}"), torch.rand(3, 5)
    assert torch.equal(gan._thinned(times, draw=torch.Generator().manual_seed(0))[0], times)


def test_one_frame_a_step_is_refused(tmp_path):
    with pytest.raises(UserError, match="step_frames=1"):
        module(tmp_path, "model.step_frames=1")


def test_a_thin_step_trains_every_model_of_time_alike(tmp_path):
    for temporal in ("ode", "discrete"):
        gan = module(tmp_path, f"temporal={temporal}", "model.step_frames=2", "model.warmup_clips=0")
        before = copy.deepcopy(gan.state_dict())
        fit(tmp_path, gan, steps=2)
        moved = {
            part
            for part in PARTS
            for key in before
            if not torch.equal(before[key], gan.state_dict()[key]) and part in key
        }
        assert moved >= set(PARTS)


def test_the_kinetic_weight_holds_the_path_and_nothing_else_of_the_first_step(tmp_path):
    moved = {}
    for weight in (0.0, 1e4):
        gan = module(tmp_path, f"model.kinetic={weight}", "model.warmup_clips=0")
        fit(tmp_path, gan, steps=1)
        moved[weight] = gan.state_dict()
    differ = {key for key in moved[0.0] if not torch.equal(moved[0.0][key], moved[1e4][key])}
    assert any("generator.temporal" in key for key in differ)
    assert not any(key.startswith(("critics", "generator.decoder")) for key in differ)
