"""Laws of the published MoCoGAN's parts and configs, against its layers written out in numpy."""

import copy
from collections import Counter

import numpy as np
import pytest
import pytorch_lightning as pl
import torch
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf
from torch import nn
from torch.nn.functional import binary_cross_entropy_with_logits as cross_entropy
from torch.utils.data import DataLoader

from ode_vgan.build import build
from ode_vgan.decoder.mocogan import MocoganDecoder
from ode_vgan.discriminator.mocogan import ImageCritic, MocoganCritics, VideoCritic
from ode_vgan.errors import UserError
from ode_vgan.losses.bce import CrossEntropy
from tests.numpy_layers import convolve, convolve_back, drawn, leaky, norm, relu
from tests.tiny import REPOSITORY

EXPERIMENTS = sorted((REPOSITORY / "conf" / "experiment" / "gordon2020").glob("mocogan*.yaml"))
FRAMES = {64: 16, 32: 13, 16: 10}  # the fewest
THIN = ["decoder.channels=1", "discriminator.image.channels=2", "discriminator.video.channels=2"]


def count(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def critics(size: int, channels: int = 2) -> MocoganCritics:
    return MocoganCritics(ImageCritic(size, channels=channels), VideoCritic(size, FRAMES[size], channels=channels))


def made(*overrides: str) -> dict:
    with initialize_config_dir(str(REPOSITORY / "conf"), version_base="1.3"):
        config = compose("train", overrides=["embed_dim=1", "gap_seconds=0.1", *overrides])
    return OmegaConf.to_container(config, resolve=True)


@pytest.mark.parametrize("size", FRAMES)
def test_frames_and_logits_have_their_shapes(size):
    frames = MocoganDecoder(size, 5, 3, channels=2)(torch.randn(2, 5), torch.randn(2, FRAMES[size], 3))
    assert frames.shape == (2, FRAMES[size], 3, size, size) and frames.abs().max() <= 1
    model, draw = critics(size), torch.Generator().manual_seed(0)
    logits = model(model.views(frames, draw))
    assert logits["image"].shape == (2, 16)
    assert logits["video"].shape == (2, 1)


def test_longer_clips_have_more_video_logits_and_shorter_ones_are_refused():
    assert VideoCritic(16, 12, channels=2)(torch.randn(2, 12, 3, 16, 16)).shape == (2, 3)
    with pytest.raises(UserError, match="frames=15.* 64 px needs 16"):
        VideoCritic(64, 15, channels=2)
    with pytest.raises(UserError, match="size=48"):
        ImageCritic(48, channels=2)
    with pytest.raises(UserError, match="size=128"):
        MocoganDecoder(128, 5, 3, channels=2)


def test_published_parts_have_their_parameters():
    with torch.device("meta"):
        model = build(made("+experiment=gordon2020/mocogan")["model"])
    maps = [50 + 16, 512, 256, 128, 64, 3]
    layers = 16 * sum(a * b for a, b in zip(maps, maps[1:], strict=False))
    assert count(model.generator.decoder) == layers + 2 * (512 + 256 + 128 + 64) == 3_298_176
    image = 16 * (3 * 64 + 64 * 128 + 128 * 256 + 256)
    assert count(model.critics.image) == image + 2 * (128 + 256) == 663_296
    video = 64 * (3 * 64 + 64 * 128 + 128 * 256 + 256 * 512 + 512)
    assert count(model.critics.video) == video + 2 * (128 + 256 + 512) == 11_056_896
    assert model.generator.to_style.dim == 50 and model.generator.to_start.dim == 16


def np_decoder(decoder: MocoganDecoder, w: np.ndarray, z: np.ndarray) -> np.ndarray:
    x = np.concatenate([np.repeat(w, z.shape[1], 0), z.reshape(-1, z.shape[-1])], 1)[..., None, None]
    layers = list(decoder.layers)[:-1]
    x = convolve_back(x, layers[0], 1, 0)
    for batch_norm, conv in zip(layers[1::3], layers[3::3], strict=True):
        x = convolve_back(relu(norm(x, batch_norm)), conv, 2, 1)
    return np.tanh(x).reshape(*z.shape[:2], *x.shape[1:])


@pytest.mark.parametrize("size", FRAMES)
def test_the_decoder_is_its_equations(size):
    decoder = drawn(MocoganDecoder(size, 5, 3, channels=2))
    w, z = torch.randn(3, 5, dtype=torch.float64), torch.randn(3, 2, 3, dtype=torch.float64)
    expected = np_decoder(decoder, w.numpy(), z.numpy())
    assert expected.std() > 0.05
    np.testing.assert_allclose(decoder(w, z).detach(), expected, atol=2e-7)  # frames alone are rounded to float32


def np_critic(critic: nn.Module, x: np.ndarray, strides: tuple[int, ...], pads: tuple[int, ...]) -> np.ndarray:
    layers = list(critic.layers)
    for layer in layers[:-1]:
        if isinstance(layer, nn.LeakyReLU):
            x = leaky(x)
        else:
            x = convolve(x, layer, strides, pads) if "Conv" in type(layer).__name__ else norm(x, layer)
    last = (strides, pads) if x.ndim == 4 else ((1, 1, 1), (0, 0, 0))  # the image critic's last layer is like the rest
    return convolve(x, layers[-1], *last).reshape(len(x), -1)


@pytest.mark.parametrize("size", [64, 16])
def test_the_critics_are_their_equations(size):
    model = drawn(critics(size, channels=1))
    x = torch.randn(3, FRAMES[size], 3, size, size, dtype=torch.float64)
    views = model.views(x, torch.Generator().manual_seed(2))
    logits = model(views)
    image = np_critic(model.image, views["image"].numpy(), (2, 2), (1, 1))
    video = np_critic(model.video, x.numpy().transpose(0, 2, 1, 3, 4), (1, 2, 2), (0, 1, 1))
    np.testing.assert_allclose(logits["image"].detach(), image, rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(logits["video"].detach(), video, rtol=1e-9, atol=1e-12)


def test_the_image_critic_sees_one_frame_of_each_clip_that_the_draw_decides():
    model, clips, frames = critics(16), 6, 10
    numbers = torch.arange(clips * frames).view(clips, frames, 1, 1, 1).expand(-1, -1, 3, 16, 16).float()
    seen = [model.views(numbers, torch.Generator().manual_seed(seed)) for seed in (0, 0, *range(1, 60))]
    assert all(view["video"] is numbers for view in seen)
    chosen = torch.stack([view["image"][:, 0, 0, 0] for view in seen])
    assert torch.equal(chosen // frames, torch.arange(clips).float().expand(len(seen), clips))  # its own clip
    assert torch.equal(chosen[0], chosen[1]) and not torch.equal(chosen[0], chosen[2])
    picks = Counter((chosen[1:] % frames).flatten().tolist())
    assert len(picks) == frames and min(picks.values()) > 15  # 36 each on average
    assert any(len(set(row.tolist())) > 1 for row in chosen % frames)  # clips do not share a draw


def test_a_clip_moves_its_own_logits_alone():
    model = critics(16).eval()
    x = torch.rand(3, 10, 3, 16, 16)
    other = x.clone()
    other[1] = -other[1]
    before, after = (model(model.views(one, torch.Generator().manual_seed(0))) for one in (x, other))
    for name in ("image", "video"):
        moved = (after[name] - before[name]).abs().amax(1) > 1e-6
        assert moved.tolist() == [False, True, False], name


def test_a_frame_depends_on_its_clips_content_and_its_own_motion_alone():
    decoder = MocoganDecoder(16, 5, 3, channels=2).eval()
    w, z = torch.randn(2, 5), torch.randn(2, 4, 3)
    before = decoder(w, z)
    z[0, 2] += 1
    moved = (decoder(w, z) - before).abs().amax((2, 3, 4)) > 1e-7
    assert moved.nonzero().tolist() == [[0, 2]]


def test_the_loss_is_cross_entropy_over_patches():
    real, fake = torch.randn(4, 16), torch.randn(4, 16)
    one, zero = torch.ones_like(real), torch.zeros_like(fake)
    expected = cross_entropy(real, one) + cross_entropy(fake, zero)
    torch.testing.assert_close(CrossEntropy.critic(real, fake), expected)
    torch.testing.assert_close(CrossEntropy.generator(fake), cross_entropy(fake, one))


class Windows(torch.utils.data.Dataset):
    def __len__(self) -> int:
        return 4

    def __getitem__(self, i: int) -> dict:
        frames = torch.randint(0, 256, (10, 16, 16, 3), generator=torch.Generator().manual_seed(i), dtype=torch.uint8)
        return {"frames": frames, "times": torch.arange(10) * 0.1, "text": torch.ones(1)}


@pytest.mark.parametrize("path", EXPERIMENTS, ids=lambda path: path.stem)
def test_an_experiment_says_what_it_asks_and_trains(path, tmp_path):
    first, second = path.read_text().splitlines()[:2]
    assert first == "# @package _global_"
    assert "? python train.py +experiment=gordon2020/" + path.stem == second[second.index("?") :]
    config = made(f"+experiment=gordon2020/{path.stem}", "data.size=16", "data.frames=10", *THIN)
    assert config["name"] == "gordon2020" and config["data"]["batch"] == 32
    model = build(config["model"])
    before = copy.deepcopy(model.state_dict())
    trainer = pl.Trainer(
        accelerator="cpu", max_epochs=1, logger=False, enable_checkpointing=False, enable_progress_bar=False,
        enable_model_summary=False, default_root_dir=tmp_path,
    )  # fmt: skip
    trainer.fit(model, DataLoader(Windows(), batch_size=4))
    after = model.state_dict()
    assert model.clips_seen == 4 and all(value.isfinite().all() for value in after.values())
    for part in ("generator.temporal", "generator.decoder", "critics.image", "critics.video", "ema.copy.decoder"):
        assert any(not torch.equal(before[key], after[key]) for key in before if key.startswith(part)), part
    assert [group["weight_decay"] for one in model.optimizers() for group in one.param_groups] == [1e-5] * 3
    assert all(one.defaults["betas"] == (0.5, 0.999) and one.defaults["lr"] == 2e-4 for one in model.optimizers())


def test_every_temporal_model_of_the_family_has_an_experiment():
    models = {path.name for path in (REPOSITORY / "conf" / "temporal" / "gordon2020").glob("mocogan*.yaml")}
    assert models == {path.name for path in EXPERIMENTS}
