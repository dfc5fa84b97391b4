"""Laws of the published systems' training, their configs and their runs."""

import copy
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import pytorch_lightning as pl
import torch
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf
from torch import Tensor, nn
from torch.utils.data import DataLoader

import ode_vgan
from ode_vgan.build import build
from ode_vgan.errors import DivergedError, UserError
from ode_vgan.generator import draw_latents
from ode_vgan.published import make_optimizer
from tests.tiny import REPOSITORY, tiny_overrides

FOLDER = REPOSITORY / "conf" / "experiment" / "gordon2020"
EXPERIMENTS = [FOLDER / "tgan.yaml", *sorted(FOLDER.glob("tgan_*.yaml"))]
TEMPORAL = "gordon2020/tgan_ode_lin"
SMALL = [
    "data.size=16", "data.frames=4", "data.batch=4", "noise_dim=8", "motion_dim=8", "decoder.width=8",
    "decoder.widths=[8,8]", "discriminator.widths=[8,8]", f"temporal={TEMPORAL}",
]  # fmt: skip
PARTS = ("generator.temporal", "generator.decoder", "critics", "ema.copy")


def composed(*overrides: str) -> dict:
    with initialize_config_dir(str(REPOSITORY / "conf"), version_base="1.3"):
        config = compose("train", overrides=["embed_dim=1", "gap_seconds=0.1", *overrides])
    return OmegaConf.to_container(config, resolve=True)


@pytest.fixture(scope="module")
def model() -> dict:
    """The published recipe with thin layers."""
    return composed("+experiment=gordon2020/tgan", *SMALL, "max_clips=1000")["model"]


def made(model: dict, **changes: object):
    torch.manual_seed(0)
    return build(model | changes)


class Windows(torch.utils.data.Dataset):
    def __len__(self) -> int:
        return 12

    def __getitem__(self, i: int) -> dict:
        frames = torch.randint(0, 256, (4, 16, 16, 3), generator=torch.Generator().manual_seed(i), dtype=torch.uint8)
        return {"frames": frames, "times": torch.arange(4) * 0.1, "text": torch.ones(1)}


def trainer_of(folder: Path, steps: int, epochs: int = 1) -> pl.Trainer:
    return pl.Trainer(
        accelerator="cpu", max_epochs=epochs, limit_train_batches=steps, logger=False, enable_checkpointing=False,
        enable_progress_bar=False, enable_model_summary=False, default_root_dir=folder,
    )  # fmt: skip


def fit(folder: Path, gan, steps: int = 1):
    trainer_of(folder, steps).fit(gan, DataLoader(Windows(), batch_size=4))
    return gan


def test_a_step_moves_every_part_and_counts_clips(tmp_path, model):
    gan = made(model)
    before = copy.deepcopy(gan.state_dict())
    fit(tmp_path, gan, steps=2)
    after = gan.state_dict()
    assert gan.clips_seen == 8 and all(value.isfinite().all() for value in after.values())
    for part in PARTS:
        assert any(not torch.equal(before[key], after[key]) for key in before if key.startswith(part)), part
    assert all(parameter.requires_grad for parameter in gan.critics.parameters())


def test_every_weight_of_the_generator_and_of_the_critics_is_trained(tmp_path, model):
    gan = made(model, constraint=None)
    before = {name: parameter.detach().clone() for name, parameter in gan.named_parameters()}
    fit(tmp_path, gan)
    still = [name for name, parameter in gan.named_parameters() if torch.equal(before[name], parameter)]
    assert still == ["critics.layers.5.bias"]  # the last one: the loss is a difference of what it is added to


def test_one_seed_and_the_same_batches_give_the_same_weights(tmp_path, model):
    first = fit(tmp_path, made(model), steps=3).state_dict()
    other = made(model)
    torch.manual_seed(9)  # whatever the global state is, a step does not depend on it
    second = fit(tmp_path, other, steps=3).state_dict()
    assert all(torch.equal(first[key], second[key]) for key in first)
    third = fit(tmp_path, made(model, seed=1), steps=3).state_dict()
    assert any(not torch.equal(first[key], third[key]) for key in first)


def test_a_resumed_run_ends_as_an_uninterrupted_one(tmp_path, model):
    loader = DataLoader(Windows(), batch_size=4)
    whole = made(model)
    trainer_of(tmp_path, 2, epochs=2).fit(whole, loader)
    half, path = trainer_of(tmp_path, 2), tmp_path / "half.ckpt"
    half.fit(made(model), loader)
    half.save_checkpoint(path)
    resumed = made(model)
    trainer_of(tmp_path, 2, epochs=2).fit(resumed, loader, ckpt_path=str(path))
    expected, found = whole.state_dict(), resumed.state_dict()
    assert resumed.clips_seen == 16 and all(torch.equal(expected[key], found[key]) for key in expected)


def test_what_is_sampled_is_the_generator_itself_on_its_running_statistics(tmp_path, model):
    gan = fit(tmp_path, made(model), steps=3)
    kept, trained = gan.ema.copy.state_dict(), gan.generator.state_dict()
    assert kept.keys() == trained.keys() and all(torch.equal(kept[key], trained[key]) for key in kept)
    assert gan.generator.training and not any(module.training for module in gan.ema.copy.modules())
    latents, times, c = draw_latents(3, 8), torch.arange(4) * 0.1, torch.ones(3, 1)
    together, alone = gan.ema.copy(latents, times, c), gan.ema.copy(latents.slice(slice(1, 2)), times, c[1:2])
    torch.testing.assert_close(together[1:2], alone)  # in training mode a clip would depend on its company


def test_the_critics_are_clipped_on_steps_0_5_10(tmp_path, model):
    def largest(gan) -> float:
        layers = [layer for layer in gan.critics.modules() if isinstance(layer, nn.Conv3d)]
        return max(float(torch.linalg.matrix_norm(layer.weight.detach().flatten(1), ord=2)) for layer in layers)

    gan = made(model)
    assert largest(gan) > 1.05
    assert largest(fit(tmp_path, gan)) <= 1 + 1e-5
    assert largest(fit(tmp_path, made(model, constraint=None))) > 1.05
    gan.clips_seen = 4  # step 1
    assert largest(fit(tmp_path, gan)) > 1 + 1e-5


def test_a_loss_that_is_not_finite_ends_the_run_by_name(tmp_path, model):
    gan = made(model)
    with torch.no_grad():
        gan.critics.layers[0].weight[0] = float("inf")
    with pytest.raises(DivergedError, match="critic/loss is nan after 0 clips") as caught:
        fit(tmp_path, gan)
    assert "\n" not in str(caught.value)


def test_step_sizes_fall_linearly_to_zero_or_stay(tmp_path, model):
    for decay, expected in ((16, 5e-5 / 2), (8, 0.0), (None, 5e-5)):
        gan = made(model, decay_clips=decay)
        gan.clips_seen = 8
        before = copy.deepcopy(gan.generator.decoder.state_dict())
        trainer = trainer_of(tmp_path, 1)
        trainer.fit(gan, DataLoader(Windows(), batch_size=4))
        assert [group["lr"] for one in trainer.optimizers for group in one.param_groups] == [expected] * 2
        moved = not torch.equal(before["layers.0.weight"], gan.generator.decoder.layers[0].weight)
        assert moved == (expected > 0)


class SlopePenalty:
    """The squared gradient of the real logits, and the values it took."""

    def __init__(self, weight: float):
        self.weight, self.values = weight, []

    def __call__(self, logits: dict[str, Tensor], views: dict[str, Tensor]) -> Tensor:
        (gradient,) = torch.autograd.grad(logits["clip"].sum(), views["clip"], create_graph=True)
        self.values.append(float(gradient.detach().square().sum()))
        return self.weight * gradient.square().sum()


def test_a_penalty_on_real_clips_pulls_the_slope_of_the_critic_down(tmp_path, model):
    slopes = {}
    for weight in (0.0, 1e3):
        gan = made(model, constraint=None)
        gan.penalty = SlopePenalty(weight)
        fit(tmp_path, gan, steps=3)
        slopes[weight] = gan.penalty.values
    assert slopes[0.0][0] == slopes[1e3][0] > 0 and slopes[1e3][-1] < slopes[0.0][-1]


def test_critics_may_have_an_optimiser_each(model):
    adam = {"name": "adam", "lr": 2e-4, "betas": [0.5, 0.999], "weight_decay": 1e-5}
    gan = made(model, optimizers={"layers": adam, "generator": {"name": "rmsprop", "lr": 1e-4, "alpha": 0.9}})
    generator, critics = gan.configure_optimizers()
    assert isinstance(generator, torch.optim.RMSprop) and generator.param_groups[0]["alpha"] == 0.9
    assert isinstance(critics, torch.optim.Adam) and critics.param_groups[0]["weight_decay"] == 1e-5
    assert critics.param_groups[0]["params"] == list(gan.critics.parameters())


@pytest.mark.parametrize(
    ("optimizers", "told"),
    [
        ({"generator": {"name": "rmsprop", "lr": 1e-4}}, "give generator, and critics"),
        ({"generator": {"name": "sgd", "lr": 1}, "critics": {"name": "adam", "lr": 1}}, "one of rmsprop, adam"),
        ({"generator": {"name": "adam"}, "critics": {"name": "adam", "lr": 1}}, "and an lr"),
        ({"generator": {"name": "adam", "lr": 1}, "critics": {"name": "adam", "lr": 1, "beta": 0}}, "beta"),
        ({"generator": {"name": "adam", "lr": 1}, "image": {"name": "adam", "lr": 1}}, "no such part"),
        (dict.fromkeys(("generator", "critics", "layers"), {"name": "adam", "lr": 1}), "and once"),
    ],
)
def test_a_wrong_recipe_is_refused_when_it_is_built(model, optimizers, told):
    with pytest.raises(UserError, match=told) as caught:
        made(model, optimizers=optimizers)
    assert "\n" not in str(caught.value)


def test_an_optimisers_lr_must_be_one():
    with pytest.raises(UserError, match="rmsprop.*-1"):
        make_optimizer(nn.Linear(1, 1), {"name": "rmsprop", "lr": -1.0})


@pytest.mark.parametrize("path", EXPERIMENTS, ids=lambda path: path.stem)
def test_an_experiment_says_its_question_and_command_and_is_the_published_system(path):
    first, second = path.read_text().splitlines()[:2]
    assert first == "# @package _global_"
    assert "?" in second and second.endswith(f"python train.py +experiment=gordon2020/{path.stem}")
    config = composed(f"+experiment=gordon2020/{path.stem}")
    assert config["name"] == "gordon2020" and config["trainer"]["precision"] == "32-true"
    assert [config["data"][key] for key in ("size", "frames", "batch")] == [64, 16, 32]
    with torch.device("meta"):
        gan = build(config["model"])
    assert sum(parameter.numel() for parameter in gan.critics.parameters()) == 11_033_281
    assert sum(parameter.numel() for parameter in gan.generator.decoder.parameters()) == 3_622_691
    assert gan.generator.noise_dim == 100


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> Path:
    """A run of train.py in its own process, as a user types it."""
    folder = tmp_path_factory.mktemp("published")
    words = [word for word in tiny_overrides(folder, *SMALL, "max_clips=16") if "channel_" not in word]
    where = f"hydra.run.dir={folder / 'run'}"
    command = [sys.executable, str(REPOSITORY / "train.py"), "+experiment=gordon2020/tgan_ode_lin", where, *words]
    environment = {key: value for key, value in os.environ.items() if key != "HYDRA_FULL_ERROR"}
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=240, env=environment)
    assert done.returncode == 0, done.stderr
    return folder / "run"


def test_a_run_is_loaded_and_sampled_as_any_other(run):
    metrics = json.loads((run / "metrics.json").read_text())
    assert metrics["clips_seen"] == 16 and metrics["parameters"]["critics"] > 0
    trained = ode_vgan.load(run)
    assert trained.clips_seen == 16 and not trained.generator.training
    times = torch.arange(4) * trained.config["gap_seconds"]
    clips = trained.sample(["a cat", "a cat"], times, seed=0)
    assert clips.shape == (2, 4, 16, 16, 3) and clips.dtype == torch.uint8
    assert torch.equal(clips, trained.sample(["a dog", "rain"], times, seed=0))  # the text is not seen
    frames = trained.generator(trained.draw(2, seed=0), times, torch.ones(2, 1))
    assert not torch.equal(frames[0], frames[1])  # the noise is
