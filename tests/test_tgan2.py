"""Laws of the published TGANv2's parts and configs, against its layers written out in numpy."""

import copy

import numpy as np
import pytest
import pytorch_lightning as pl
import torch
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf
from torch import Tensor, nn
from torch.utils.data import DataLoader

from ode_vgan.build import build
from ode_vgan.decoder.tgan2 import Tgan2Decoder
from ode_vgan.discriminator.tgan2 import LevelCritic, PyramidCritics, halve
from ode_vgan.errors import UserError
from ode_vgan.generator import draw_latents
from ode_vgan.losses.zero_centred import SummedZeroCentred, ZeroCentred
from ode_vgan.pyramid import pyramid, sparse_frames
from tests.numpy_layers import convolve, drawn, norm, pooled, relu, weights
from tests.tiny import REPOSITORY

EXPERIMENTS = sorted((REPOSITORY / "conf" / "experiment" / "gordon2020").glob("tgan2*.yaml"))
SIDES = [24, 48, 96, 192]
FRAMES = {2: [16, 8, 4, 2], 4: [16, 4, 1, 1]}
THIN = [
    "motion_dim=8", "noise_dim=6", "data.size=32", "data.frames=4", "decoder.map_side=2", "decoder.trunk=[3,2]",
    "decoder.levels=[2,2]", "discriminator.first_size=8", "discriminator.widths=[2,3]",
]  # fmt: skip


def count(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def decoder(size: int, frame_stride: int = 2) -> Tgan2Decoder:
    return Tgan2Decoder(size, 18, map_side=3, trunk=[2, 3, 2], levels=[3, 2, 2], frame_stride=frame_stride)


def critics(size: int, frame_stride: int = 2, rectified: bool = True) -> PyramidCritics:
    return PyramidCritics(size, first_size=24, frame_stride=frame_stride, widths=[2, 3], rectified=rectified)


def made(*overrides: str) -> dict:
    with initialize_config_dir(str(REPOSITORY / "conf"), version_base="1.3"):
        config = compose("train", overrides=["embed_dim=1", "gap_seconds=0.1", *overrides])
    return OmegaConf.to_container(config, resolve=True)


@pytest.mark.parametrize("size", SIDES)
def test_sampling_renders_every_frame_at_full_size(size):
    frames = decoder(size)(torch.zeros(2, 1), torch.randn(2, 5, 18))
    assert frames.shape == (2, 5, 3, size, size) and frames.abs().max() <= 1


@pytest.mark.parametrize("frame_stride", FRAMES)
@pytest.mark.parametrize("levels", [4, 2])
def test_the_pyramids_of_real_and_generated_clips_have_the_published_shapes(frame_stride, levels):
    size, draw = SIDES[levels - 1], torch.Generator().manual_seed(0)
    model = critics(size, frame_stride)
    expected = [(1, n, 3, side, side) for n, side in zip(FRAMES[frame_stride], SIDES, strict=True)][:levels]
    real = model.views(torch.rand(1, 16, 3, size, size), draw)
    fake = model.views(decoder(size, frame_stride).pyramid(torch.randn(1, 16, 18), draw), draw)
    assert [tuple(view.shape) for view in real.values()] == expected
    assert [tuple(view.shape) for view in fake.values()] == expected
    assert list(real) == list(fake) == [f"level{i}" for i in range(levels)]
    assert model(fake)["pyramid"].shape == (levels,)


def test_sizes_that_are_no_level_are_refused():
    with pytest.raises(UserError, match=r"size=64 px .*\[24, 48, 96, 192\]"):
        decoder(64)
    with pytest.raises(UserError, match=r"size=64 px .*\[24, 48, 96, 192\]"):
        critics(64)
    with pytest.raises(UserError, match="motion_dim=20"):
        Tgan2Decoder(24, 20, map_side=3, trunk=[2, 2, 2], levels=[], frame_stride=2)
    with pytest.raises(UserError, match="frame_stride=0"):
        decoder(24, frame_stride=0)


def up(a: int, b: int) -> int:
    return 9 * a * b + b + 9 * b * b + b + a * b + b + 2 * a + 2 * b  # two convolutions, the skip, two norms


def down(a: int, b: int) -> int:
    return 27 * a * a + a + 27 * a * b + b + a * b + b


def test_published_parts_have_their_parameters():
    with torch.device("meta"):
        model = build(made("+experiment=gordon2020/tgan2")["model"])
    widths = [1024, 512, 256, 128, 64, 32, 32]
    blocks = sum(up(a, b) for a, b in zip(widths, widths[1:], strict=False))
    renders = sum(2 * a + 27 * a + 3 for a in (128, 64, 32, 32))
    assert count(model.generator.decoder) == blocks + renders == 10_162_380
    widths = [64, 128, 256, 512, 1024]
    first = 27 * 3 * 64 + 64 + 27 * 64 * 64 + 64 + 3 * 64 + 64
    level = first + sum(down(a, b) for a, b in zip(widths, widths[1:], strict=False)) + 1024 + 1
    assert [count(one) for one in model.critics.levels] == [level] * 4
    assert model.generator.noise_dim == 256 and model.generator.decoder.map_shape == (1024, 3, 3)


def doubled(x: np.ndarray) -> np.ndarray:
    return x.repeat(2, -1).repeat(2, -2)


def np_up(x: np.ndarray, block: nn.Module) -> np.ndarray:
    residual = convolve(doubled(relu(norm(x, block.norm1))), block.conv1, (1, 1), (1, 1))
    residual = convolve(relu(norm(residual, block.norm2)), block.conv2, (1, 1), (1, 1))
    return residual + convolve(doubled(x), block.skip, (1, 1), (0, 0))


def np_pyramid(model: Tgan2Decoder, z: np.ndarray) -> list[np.ndarray]:
    """Without sub-sampling."""
    x, views = z.reshape(-1, 2, 3, 3), []
    for block in model.trunk:
        x = np_up(x, block)
    for i, render in enumerate(model.renders):
        x = np_up(x, model.levels[i - 1]) if i else x
        picture = np.tanh(convolve(relu(norm(x, render.norm)), render.conv, (1, 1), (1, 1)))
        views.append(picture.reshape(*z.shape[:2], *picture.shape[1:]))
    return views


def test_the_decoder_is_its_equations():
    model = drawn(decoder(96, frame_stride=1))
    z = torch.randn(2, 2, 18, dtype=torch.float64)
    expected = np_pyramid(model, z.numpy())
    with torch.no_grad():
        found, whole = model.pyramid(z), model(None, z)
    assert len(found) == len(expected) == 3
    for one, other in zip(found, expected, strict=True):
        assert other.std() > 0.02
        np.testing.assert_allclose(one, other, atol=2e-7)  # frames alone are rounded to float32
    np.testing.assert_allclose(whole, expected[-1], atol=2e-7)


def np_halved(x: np.ndarray) -> np.ndarray:
    blocks = tuple(2 if side > 1 else 1 for side in x.shape[2:])
    return pooled(np.pad(x, [(0, 0), (0, 0), *((side % 2, side % 2) for side in x.shape[2:])]), blocks)


def np_level(critic: LevelCritic, x: np.ndarray) -> np.ndarray:
    def conv(x: np.ndarray, layer: nn.Module) -> np.ndarray:
        return convolve(x, layer, (1, 1, 1), (layer.kernel_size[0] // 2,) * 3)

    x, first = x.transpose(0, 2, 1, 3, 4), critic.blocks[0]
    residual = pooled(conv(relu(conv(x, first.conv1)), first.conv2), (1, 2, 2))
    x = residual + conv(pooled(x, (1, 2, 2)), first.skip)
    for block in critic.blocks[1:]:
        residual = conv(relu(conv(relu(x), block.conv1)), block.conv2)
        x = np_halved(residual) + np_halved(conv(x, block.skip))
    x = relu(x) if critic.rectified else x
    kernel, bias = weights(critic.last)
    return x.sum((2, 3, 4)) @ kernel[0] + bias


@pytest.mark.parametrize("rectified", [True, False])
@pytest.mark.parametrize("frames", [4, 3, 1])
def test_a_level_critic_is_its_equations_at_even_and_odd_sides_and_at_one_frame(frames, rectified):
    critic = drawn(LevelCritic([2, 3, 4, 3], rectified=rectified))
    x = torch.randn(2, frames, 3, 12, 12, dtype=torch.float64)  # sides of 6, 3 and 2 px
    np.testing.assert_allclose(critic(x).detach(), np_level(critic, x.numpy()), rtol=1e-9)


def test_halving_pads_odd_sides_with_zeros_as_published():
    x = torch.ones(1, 1, 1, 3, 4)
    assert halve(x).shape == (1, 1, 3, 2, 2)  # one frame becomes three
    assert halve(x)[0, 0, :, :, 0].tolist() == [[0, 0], [0.5, 1], [0, 0]]


def numbered(clips: int, frames: int, size: int) -> Tensor:
    return torch.arange(frames).view(1, frames, 1, 1, 1).expand(clips, frames, 3, size, size).float()


@pytest.mark.parametrize(("frame_stride", "frames"), [(2, 16), (2, 7), (4, 16), (4, 3), (1, 5)])
def test_sub_sampling_keeps_every_strideth_frame_from_a_drawn_first(frame_stride, frames):
    firsts = set()
    for seed in range(40):
        kept = sparse_frames(numbered(2, frames, 1), frame_stride, torch.Generator().manual_seed(seed))
        assert torch.equal(kept[0], kept[1])
        kept = kept[0, :, 0, 0, 0].tolist()
        assert kept == list(range(int(kept[0]), frames, frame_stride))
        firsts.add(kept[0])
    assert firsts == set(range(min(frame_stride, frames)))


def test_real_clips_are_averaged_down_to_each_level():
    x = torch.rand(2, 16, 3, 8, 8)
    views = pyramid(x, 4, 2, torch.Generator().manual_seed(3))
    draw, frames = torch.Generator().manual_seed(3), torch.arange(16)[None]
    for level, view in enumerate(views):
        frames = sparse_frames(frames, 2, draw) if level else frames
        px = 8 // 2**level
        expected = x[:, frames[0]].unflatten(-1, (-1, 8 // view.shape[-1])).unflatten(3, (-1, px)).mean((-1, 4))
        torch.testing.assert_close(view, expected)
    assert torch.equal(views[-1], x[:, frames[0]])


def test_levels_of_a_generated_pyramid_are_frames_of_the_clip_that_is_sampled():
    model, z = decoder(48).eval(), torch.randn(2, 6, 18)
    kept = sparse_frames(torch.arange(6)[None], 2, torch.Generator().manual_seed(1))[0]
    with torch.no_grad():
        views, whole = model.pyramid(z, torch.Generator().manual_seed(1)), model(None, z)
        moved = model(None, torch.cat([z[:1], z[1:] + 1])) - whole
    torch.testing.assert_close(views[1], whole[:, kept])
    assert (moved.abs().amax((2, 3, 4)) > 1e-6).tolist() == [[False] * 6, [True] * 6]


def test_a_clip_moves_its_own_logits_alone():
    model, x = critics(48).eval(), torch.rand(3, 4, 3, 48, 48)
    other = x.clone()
    other[1] = -other[1]
    before, after = (model(model.views(one, torch.Generator().manual_seed(0)))["pyramid"] for one in (x, other))
    assert ((after - before).abs() > 1e-6).tolist() == [False, True, False] * 2


def linear_critic(clips: int) -> tuple[dict[str, Tensor], dict[str, Tensor], list[Tensor]]:
    """Logits <a_l, x_l> of two levels, the levels, and the a_l."""
    slopes = [torch.randn(3, 2, requires_grad=True), torch.randn(5, requires_grad=True)]
    views = {f"level{i}": torch.randn(clips, *a.shape, requires_grad=True) for i, a in enumerate(slopes)}
    logits = [(view * a).flatten(1).sum(1) for view, a in zip(views.values(), slopes, strict=True)]
    return {"pyramid": torch.cat(logits)}, views, slopes


@pytest.mark.parametrize("clips", [1, 4])
def test_the_zero_centred_penalty_of_a_linear_critic_is_its_closed_form(clips):
    logits, views, slopes = linear_critic(clips)
    norms = sum(a.detach().square().sum() for a in slopes)
    penalty = SummedZeroCentred(0.5)(logits, views)
    torch.testing.assert_close(penalty, 0.5 * clips * norms)
    torch.testing.assert_close(ZeroCentred(0.5)(logits, views), 0.5 * norms)
    for a, gradient in zip(slopes, torch.autograd.grad(penalty, slopes), strict=True):
        torch.testing.assert_close(gradient, clips * a.detach())  # it reaches the weights


class Windows(torch.utils.data.Dataset):
    def __len__(self) -> int:
        return 2

    def __getitem__(self, i: int) -> dict:
        frames = torch.randint(0, 256, (4, 32, 32, 3), generator=torch.Generator().manual_seed(i), dtype=torch.uint8)
        return {"frames": frames, "times": torch.arange(4) * 0.1, "text": torch.ones(1)}


@pytest.mark.parametrize("path", EXPERIMENTS, ids=lambda path: path.stem)
def test_an_experiment_says_what_it_asks_and_trains(path, tmp_path):
    first, second = path.read_text().splitlines()[:2]
    assert first == "# @package _global_"
    assert "? python train.py +experiment=gordon2020/" + path.stem == second[second.index("?") :]
    config = made(f"+experiment=gordon2020/{path.stem}", *THIN)
    assert config["name"] == "gordon2020" and config["data"]["batch"] == 32
    corrected = "corrected" in path.stem
    stride = 2 if corrected or "reference" in path.stem else 4
    assert config["decoder"]["frame_stride"] == config["discriminator"]["frame_stride"] == stride
    model = build(config["model"])
    assert type(model.penalty) is (ZeroCentred if corrected else SummedZeroCentred)
    before = copy.deepcopy(model.state_dict())
    trainer = pl.Trainer(
        accelerator="cpu", max_epochs=1, logger=False, enable_checkpointing=False, enable_progress_bar=False,
        enable_model_summary=False, default_root_dir=tmp_path,
    )  # fmt: skip
    trainer.fit(model, DataLoader(Windows(), batch_size=2))
    after = model.state_dict()
    assert model.clips_seen == 2 and all(value.isfinite().all() for value in after.values())
    levels = [f"critics.levels.{i}" for i in range(3)] + [f"generator.decoder.renders.{i}" for i in range(3)]
    for part in ("generator.temporal", "generator.decoder.trunk", "ema.copy.decoder", *levels):
        assert any(not torch.equal(before[key], after[key]) for key in before if key.startswith(part)), part
    assert all(one.defaults["betas"] == (0.0, 0.9) and one.defaults["lr"] == 1e-4 for one in model.optimizers())
    assert trainer.callback_metrics["penalty/real"] > 0
    clip = model.ema.copy.render(draw_latents(1, 6), torch.arange(4) * 0.1, torch.ones(1, 1))
    assert clip.shape == (1, 4, 3, 32, 32)


def test_every_temporal_model_of_the_family_has_an_experiment():
    models = {path.name for path in (REPOSITORY / "conf" / "temporal" / "gordon2020").glob("tgan2*.yaml")}
    assert models <= {path.name for path in EXPERIMENTS}
