import json

import pytest
import torch

from ode_vgan.embed.openclip import OpenClipEmbedder
from ode_vgan.errors import UserError
from ode_vgan.metrics.alignment import clipsim, temporal_consistency
from ode_vgan.metrics.clip_frames import ClipClips, ClipFrames
from ode_vgan.metrics.features import find_extractor
from ode_vgan.metrics.weights import MissingWeights


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    """A checkpoint of drawn weights, of a CLIP small enough for a test."""
    library = pytest.importorskip("open_clip", reason="open-clip-torch is not installed")
    folder = tmp_path_factory.mktemp("clip")
    text = {"context_length": 16, "vocab_size": 49408, "width": 16, "heads": 2, "layers": 1}
    vision = {"image_size": 16, "patch_size": 8, "width": 64, "layers": 1}
    (folder / "tiny-frames.json").write_text(json.dumps({"embed_dim": 8, "vision_cfg": vision, "text_cfg": text}))
    library.add_model_config(folder / "tiny-frames.json")
    torch.manual_seed(0)
    torch.save(library.create_model("tiny-frames").state_dict(), folder / "tiny.pt")
    return str(folder / "tiny.pt")


@pytest.fixture(scope="module")
def frames(path):
    return find_extractor("clip_frames:tiny-frames", path)


def noise(*shape: int) -> torch.Tensor:
    draw = torch.Generator().manual_seed(0)
    return torch.randint(0, 256, (*shape, 3), dtype=torch.uint8, generator=draw)


def test_each_frame_has_a_unit_row_of_its_own(frames):
    clips = noise(2, 3, 20, 20)
    rows = frames(clips)
    assert rows.shape == (2, 3, 8) and rows.dtype == torch.float64
    assert torch.allclose(rows.norm(dim=-1), torch.ones(2, 3).double(), atol=1e-6)
    assert torch.allclose(frames(clips[:, [2, 0, 1]]), rows[:, [2, 0, 1]], atol=1e-6)


def test_the_mean_of_the_rows_is_the_embedding_that_conditions_a_generator(frames, path):
    clips = noise(2, 3, 20, 20)
    embedding = OpenClipEmbedder("tiny-frames", path).encode_frames(clips.numpy())
    mean = torch.nn.functional.normalize(frames(clips).mean(1), dim=-1)
    assert torch.allclose(mean, embedding.double(), atol=1e-6)


def test_clip_rows_are_three_statistics_over_time(frames, path):
    clips = noise(3, 4, 20, 20)
    rows, each = ClipClips(path, "tiny-frames")(clips), frames(clips)
    step = (each[:, 1:] - each[:, :-1]).abs().mean(1)
    assert torch.allclose(rows, torch.cat([each.mean(1), each.std(1, correction=0), step], 1))
    with pytest.raises(UserError, match="got 1 frames, needs 2"):
        ClipClips(path, "tiny-frames")(clips[:, :1])


def test_texts_and_frames_share_the_space_of_the_alignment_scores(frames):
    rows, texts = frames(noise(2, 3, 20, 20)), frames.encode_text(["a ball", "a dog"])
    assert clipsim(rows, texts).shape == temporal_consistency(rows).shape == (2,)


def test_self_tests_hold_for_drawn_weights_and_not_for_broken_ones(path):
    for kind in (ClipFrames, ClipClips):
        extractor = kind(path, "tiny-frames")
        extractor.self_test()
        assert extractor.id == f"{extractor.name}_tiny-frames_v1"
    extractor.net.visual.proj.data.fill_(torch.nan)
    with pytest.raises(UserError, match="rows are not unit"):
        extractor.self_test()


def test_a_dead_image_tower_fails_the_self_test(path):
    extractor = ClipFrames(path, "tiny-frames")
    extractor.net.visual.conv1.weight.data.zero_()
    with pytest.raises(UserError, match="or never changes"):
        extractor.self_test()


def test_the_fingerprint_follows_the_weights(frames, path, tmp_path):
    state = torch.load(path, weights_only=True)
    torch.save({name: tensor + 0.01 for name, tensor in state.items()}, tmp_path / "other.pt")
    assert ClipFrames(str(tmp_path / "other.pt"), "tiny-frames").fingerprint() != frames.fingerprint()


def test_missing_files_and_unknown_models_are_told(path, tmp_path, monkeypatch):
    monkeypatch.setenv("ODE_VGAN_WEIGHTS", str(tmp_path))
    monkeypatch.setenv("ODE_VGAN_CACHE", str(tmp_path))
    with pytest.raises(MissingWeights, match="clip:ViT-B-32 needs ViT-B-32.safetensors.*quickgelu.*hog3d"):
        find_extractor("clip_frames")
    with pytest.raises(UserError, match="no model 'ViT-B32'.*Close names: ViT-B-32"):
        ClipClips(path, "ViT-B32")
    torch.save({"logit_scale": torch.zeros(())}, tmp_path / "part.pt")
    with pytest.raises(UserError, match="does not load as tiny-frames"):
        ClipFrames(str(tmp_path / "part.pt"), "tiny-frames")
