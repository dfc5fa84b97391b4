import hashlib
import sys
from dataclasses import replace

import pytest
import torch

from ode_vgan.errors import UserError
from ode_vgan.metrics.features import find_extractor
from ode_vgan.metrics.torchvision_video import RECIPES, TorchvisionVideo
from ode_vgan.metrics.weights import MissingWeights

models = pytest.importorskip("torchvision.models", reason="torchvision is not installed")
HEADS = {
    "r3d_18": lambda net: net.fc,
    "mc3_18": lambda net: net.fc,
    "r2plus1d_18": lambda net: net.fc,
    "s3d": lambda net: net.classifier,
    "mvit_v2_s": lambda net: net.head,
    "swin3d_t": lambda net: net.head,
}


def drawn_file(variant: str, folder, monkeypatch):
    """A file of drawn weights that passes for the published one, and its net."""
    torch.manual_seed(0)
    net = models.get_model(variant, weights=None).eval()
    path = folder / "net.pth"
    torch.save(net.state_dict(), path)
    file = f"{variant}-{hashlib.sha256(path.read_bytes()).hexdigest()[:8]}.pth"
    monkeypatch.setitem(RECIPES, variant, replace(RECIPES[variant], file=file))
    return path, net


def noise(frames: int, height: int, width: int) -> torch.Tensor:
    draw = torch.Generator().manual_seed(0)
    return torch.randint(0, 256, (1, frames, height, width, 3), dtype=torch.uint8, generator=draw)


@pytest.mark.parametrize("variant", RECIPES)
def test_each_recipe_is_torchvisions_own(variant):
    recipe, weights = RECIPES[variant], models.get_model_weights(variant)["KINETICS400_V1"]
    assert weights.url.endswith(f"/{recipe.file}")
    assert recipe.frames >= weights.meta.get("min_temporal_size", 1)
    extractor = object.__new__(TorchvisionVideo)
    extractor.recipe = recipe
    for size in ((64, 64), (90, 130)):
        clips = noise(2, *size)
        ours = extractor.preprocess(clips)
        theirs = weights.transforms()(clips.movedim(-1, 2))
        assert ours.shape == theirs.shape
        off = (ours - theirs).abs() > 1e-5
        assert off.float().mean() < 1e-3 and (ours - theirs).abs().max() < 1.01 / 255 / 0.21  # a half rounds either way


def check_features(variant: str, folder, monkeypatch):
    path, net = drawn_file(variant, folder, monkeypatch)
    extractor = TorchvisionVideo(str(path), variant)
    clips = noise(extractor.min_frames, 32, 40)
    given = []
    HEADS[variant](net).register_forward_hook(lambda head, inputs, output: given.append(inputs[0]))
    with torch.no_grad():
        net(extractor.preprocess(clips))
    expected = given[0].flatten(2).mean(2) if given[0].ndim > 2 else given[0]
    rows = extractor(clips)
    assert rows.shape == (1, extractor.dim)
    assert torch.allclose(rows, expected.double(), rtol=1e-4, atol=1e-5)
    assert extractor.id == f"tv_{variant}_v1" and extractor.parameters["weights"].startswith(extractor.recipe.prefix)
    return extractor


def test_rows_are_what_the_classifier_gets(tmp_path, monkeypatch):
    check_features("mc3_18", tmp_path, monkeypatch).self_test()


@pytest.mark.slow
@pytest.mark.parametrize("variant", RECIPES)
def test_rows_are_what_the_classifier_gets_in_every_net(variant, tmp_path, monkeypatch):
    extractor = check_features(variant, tmp_path, monkeypatch)
    frames = extractor.min_frames + 1
    if extractor.recipe.exact:
        with pytest.raises(UserError, match="got 17 frames, reads 16"):
            extractor(noise(frames, 32, 32))
    else:
        assert extractor(noise(frames, 32, 32)).shape == (1, extractor.dim)


def test_missing_and_foreign_files_are_told(tmp_path, monkeypatch):
    monkeypatch.setenv("ODE_VGAN_WEIGHTS", str(tmp_path))
    monkeypatch.setenv("ODE_VGAN_CACHE", str(tmp_path))
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path / "hub"))
    with pytest.raises(MissingWeights, match="s3d-d76dad2f.pth"):
        find_extractor("tv:s3d")
    with pytest.raises(MissingWeights, match="r3d_18-b3b3357e.pth.*begins with b3b3357e.*hog3d"):
        TorchvisionVideo()
    (tmp_path / "hub" / "checkpoints").mkdir(parents=True)
    (tmp_path / "hub" / "checkpoints" / "r3d_18-b3b3357e.pth").write_bytes(b"other")
    with pytest.raises(UserError, match="hub.*does not begin with b3b3357e"):
        TorchvisionVideo()
    with pytest.raises(UserError, match="no torchvision video net 'r3d'; there are r3d_18"):
        TorchvisionVideo(variant="r3d")


def test_without_torchvision_the_message_names_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "torchvision.models", None)
    with pytest.raises(UserError, match="pip install torchvision"):
        TorchvisionVideo()
