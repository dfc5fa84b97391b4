"""The published files were never seen here: random ones of their names and shapes stand in."""

import numpy as np
import pytest
import torch
from torch.nn.functional import conv3d, max_pool3d, pad

from ode_vgan.errors import UserError
from ode_vgan.metrics.c3d import C3d, C3dNet
from ode_vgan.metrics.features import find_extractor
from ode_vgan.metrics.weights import MissingWeights

WIDTH, HIDDEN = 2, 8
CHANNELS = (1, 2, 4, 4, 8, 8, 8, 8)
CONVOLUTIONS = ("conv1a", "conv2a", "conv3a", "conv3b", "conv4a", "conv4b", "conv5a", "conv5b")


@pytest.fixture(scope="module")
def arrays():
    draw = np.random.default_rng(0)
    found, inputs = {}, 3
    for name, times in zip(CONVOLUTIONS, CHANNELS, strict=True):
        found[f"{name}/W"] = draw.normal(0, (27 * inputs) ** -0.5, (times * WIDTH, inputs, 3, 3, 3))
        found[f"{name}/b"] = draw.normal(0.5, 0.1, times * WIDTH)
        inputs = times * WIDTH
    for name, rows, columns in (("fc6", HIDDEN, 16 * inputs), ("fc7", HIDDEN, HIDDEN), ("fc8", 101, HIDDEN)):
        found[f"{name}/W"], found[f"{name}/b"] = draw.normal(0, columns**-0.5, (rows, columns)), np.full(rows, 0.1)
    return {name: array.astype(np.float32) for name, array in found.items()}


@pytest.fixture(scope="module")
def mean():
    return np.random.default_rng(1).uniform(80, 110, (3, 16, 128, 171)).astype(np.float32)


@pytest.fixture(scope="module")
def folder(arrays, mean, tmp_path_factory):
    folder = tmp_path_factory.mktemp("c3d")
    np.savez(folder / "conv3d_deepnetA_ucf.npz", **arrays)
    np.savez(folder / "mean2.npz", mean=mean)
    return folder


@pytest.fixture(scope="module")
def c3d(folder):
    return C3d(str(folder / "conv3d_deepnetA_ucf.npz"), width=WIDTH, hidden=HIDDEN)


def noise(count: int, px: int) -> torch.Tensor:
    return torch.randint(0, 256, (count, 16, px, px, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


def test_rows_and_probabilities_equal_an_independent_forward(c3d, arrays, mean):
    clips = noise(1, 112)  # as large as the net's input: no resize
    weights = {name: torch.from_numpy(array) for name, array in arrays.items()}
    bgr = clips.float().permute(0, 4, 1, 2, 3)[:, [2, 1, 0]]
    x = bgr - torch.from_numpy(mean[:, :, 8:120, 8:120])
    for name in CONVOLUTIONS:
        x = conv3d(x, weights[f"{name}/W"], weights[f"{name}/b"], padding=1).clamp_min(0)
        if name in ("conv1a", "conv2a", "conv3b", "conv4b", "conv5b"):
            odd = x.shape[-1] % 2
            x = pad(x, (0, odd, 0, odd), value=-torch.inf)
            x = max_pool3d(x, (1, 2, 2) if name == "conv1a" else 2)
    assert x.shape == (1, 8 * WIDTH, 1, 4, 4)
    for name in ("fc6", "fc7"):
        x = (x.flatten(1) @ weights[f"{name}/W"].T + weights[f"{name}/b"]).clamp_min(0)
    assert torch.allclose(c3d(clips), x.double(), rtol=1e-3, atol=1e-3)
    logits = x @ weights["fc8/W"].T + weights["fc8/b"]
    assert torch.allclose(c3d.probabilities(clips), logits.softmax(1).double(), atol=1e-3)
    assert torch.equal(c3d.probabilities(clips), c3d.classify(c3d(clips)))


def test_probabilities_are_distributions_over_the_classes(c3d):
    rows = c3d.probabilities(noise(3, 20).numpy())
    assert rows.shape == (3, 101) and rows.dtype == torch.float64
    assert rows.min() >= 0 and torch.allclose(rows.sum(1), torch.ones(3).double())


def test_a_resize_keeps_the_corners_and_the_channels_turn_to_bgr(c3d):
    clips = noise(1, 64)
    x = c3d.preprocess(clips) + c3d.net.mean
    assert x.shape == (1, 3, 16, 112, 112)
    corners = clips[..., ::63, ::63, :].permute(0, 4, 1, 2, 3).flip(1).float()
    assert torch.allclose(x[..., ::111, ::111], corners, atol=1e-3)


def test_the_full_net_has_the_published_shapes():
    with torch.device("meta"):
        net = C3dNet()
    assert net.fc6.weight.shape == (4096, 8192) and net.conv5b.weight.shape == (512, 512, 3, 3, 3)
    assert sum(weight.numel() for weight in net.parameters()) == 78_409_573


def test_the_self_test_passes_and_the_fingerprint_follows_both_files(c3d, folder, arrays, mean, tmp_path):
    c3d.self_test()
    np.savez(tmp_path / "conv3d_deepnetA_ucf.npz", **arrays)
    np.savez(tmp_path / "mean2.npz", mean=mean + 1)
    other = C3d(str(tmp_path / "conv3d_deepnetA_ucf.npz"), width=WIDTH, hidden=HIDDEN)
    assert other.fingerprint() != c3d.fingerprint()


def test_it_reads_sixteen_frames_only(c3d):
    with pytest.raises(UserError, match="got 17 frames, reads 16"):
        c3d(torch.zeros(1, 17, 20, 20, 3, dtype=torch.uint8))


def test_missing_and_foreign_files_are_told(folder, arrays, tmp_path, monkeypatch):
    monkeypatch.setenv("ODE_VGAN_WEIGHTS", str(tmp_path))
    monkeypatch.setenv("ODE_VGAN_CACHE", str(tmp_path))
    with pytest.raises(MissingWeights, match="conv3d_deepnetA_ucf.npz.*tgan2.*hog3d.*no Inception Score"):
        find_extractor("c3d")
    path = tmp_path / "conv3d_deepnetA_ucf.npz"
    np.savez(path, **arrays)
    with pytest.raises(MissingWeights, match="mean2.npz"):
        C3d(width=WIDTH, hidden=HIDDEN)
    np.savez(tmp_path / "mean2.npz", mean=np.zeros((3, 112, 112)))
    with pytest.raises(UserError, match=r"`mean` of \(3, 16, 128, 171\), has \(3, 112, 112\)"):
        C3d(width=WIDTH, hidden=HIDDEN)
    with pytest.raises(UserError, match="does not fit C3dNet"):
        C3d(str(folder / "conv3d_deepnetA_ucf.npz"), width=WIDTH, hidden=4)
    np.savez(path, **{"conv1a/W": np.array([object()])})
    with pytest.raises(UserError, match="not a plain npz file"):
        C3d(width=WIDTH, hidden=HIDDEN)
