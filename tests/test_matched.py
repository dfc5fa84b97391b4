"""Laws of the maps that bring texts and frames into one space."""

import json
import math

import numpy as np
import pytest
import torch

from ode_vgan.data.shapes import write_shapes
from ode_vgan.data.store import open_source
from ode_vgan.embed import matched
from ode_vgan.embed.contrastive import Maps, Pairs, Recipe, chance, clip_loss, learn, ranks, recall
from ode_vgan.embed.frames import FrameFeatures, even_frames
from ode_vgan.embed.matched import MatchedEmbedder, fit_matched, open_embedder
from ode_vgan.errors import UserError

pytest.importorskip("efficientnet_lite_pytorch", reason="efficientnet-lite-pytorch is not installed")


def made_pairs(count: int, seed: int, width: int = 12) -> Pairs:
    """Text and frames that both show one hidden vector of six numbers, with noise, through maps of their own."""
    fixed, drawn = torch.Generator().manual_seed(9), torch.Generator().manual_seed(seed)
    mix = torch.randn(2, 6, width, generator=fixed)
    hidden = torch.randn(count, 6, generator=drawn)
    noise = torch.randn(count, 3, width, generator=drawn)
    return Pairs(hidden @ mix[0], (hidden @ mix[1])[:, None] + 0.1 * noise, torch.arange(count))


def test_clip_loss_has_its_exact_value_and_leaves_a_group_out():
    rows = torch.eye(3)
    apart, scale = torch.arange(3), torch.tensor(2.0)
    assert clip_loss(rows, rows, scale, apart) == pytest.approx(math.log(1 + 2 * math.exp(-2)), rel=1e-6)
    together = torch.tensor([0, 0, 1])  # rows 0 and 1 then have one negative each, row 2 still two
    one, two = math.log(1 + math.exp(-2)), math.log(1 + 2 * math.exp(-2))
    assert clip_loss(rows, rows, scale, together) == pytest.approx((2 * one + two) / 3, rel=1e-6)


def test_ranks_count_ties_against_the_own_clip_and_chance_is_what_shuffling_gives():
    assert ranks(torch.eye(4), torch.eye(4)).tolist() == [1, 1, 1, 1]
    assert ranks(torch.ones(4, 2), torch.ones(4, 2)).tolist() == [4, 4, 4, 4]
    places = torch.arange(1, 21)  # every place once: what a random order gives on average
    assert recall(places) == pytest.approx(chance(20), abs=1e-4)


def test_learned_maps_find_pairs_that_they_never_saw():
    maps, steps, found = learn(made_pairs(200, 0), Recipe(dim=8, steps=120, dropout=0.1), 0, made_pairs(40, 1))
    assert found["R@1"] > 0.8 > 10 * chance(40)["R@1"] and steps <= 120
    assert maps.recall(made_pairs(40, 2))["R@1"] > 0.8
    untrained = Maps(made_pairs(200, 0), 8, torch.Generator().manual_seed(0)).recall(made_pairs(40, 2))
    assert untrained["R@1"] < 0.3


def test_the_same_seed_learns_the_same_maps_and_the_global_generator_is_left_alone():
    state = torch.get_rng_state()
    first, second, other = (learn(made_pairs(30, 0), Recipe(dim=4, steps=5), seed)[0].plain() for seed in (3, 3, 4))
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert not torch.equal(first["text.weight"], other["text.weight"])
    assert torch.equal(torch.get_rng_state(), state)


def test_folded_maps_equal_the_standardised_ones():
    pairs = made_pairs(30, 0)
    maps = Maps(pairs, 4, torch.Generator().manual_seed(0))
    plain = maps.plain()
    rows = torch.nn.functional.linear(pairs.text, plain["text.weight"], plain["text.bias"])
    assert torch.allclose(torch.nn.functional.normalize(rows, dim=-1), maps("text", pairs.text), atol=1e-5)


def test_even_frames_keep_the_ends_and_repeat_where_there_are_few():
    frames = np.arange(9)[:, None, None, None]
    assert even_frames(frames, 3).ravel().tolist() == [0, 4, 8]
    assert even_frames(frames[:2], 4).ravel().tolist() == [0, 0, 1, 1]
    assert even_frames(frames, 1).ravel().tolist() == [0]


def test_frame_features_are_those_of_the_metrics_net_at_its_own_size():
    from ode_vgan.metrics.efficientnet import EfficientNetFrames

    clips = np.random.default_rng(0).integers(0, 256, (1, 2, 224, 224, 3), dtype=np.uint8)
    truth = EfficientNetFrames()(clips).float()
    assert torch.allclose(FrameFeatures(224)(clips), truth, atol=1e-4)
    wide = np.concatenate([np.zeros((1, 2, 224, 50, 3), np.uint8), clips, np.zeros((1, 2, 224, 50, 3), np.uint8)], 3)
    assert torch.allclose(FrameFeatures(224)(wide), truth, atol=1e-4)  # the central square


@pytest.fixture(scope="module")
def shipped():
    return MatchedEmbedder()


def test_rows_are_unit_and_do_not_depend_on_their_neighbours(shipped):
    clips = np.random.default_rng(0).integers(0, 256, (2, 3, 64, 64, 3), dtype=np.uint8)
    rows, each = shipped.encode_frames(clips), shipped.encode_each_frame(clips)
    assert rows.shape == (2, shipped.dim) and each.shape == (2, 3, shipped.dim) and rows.dtype == torch.float32
    assert torch.allclose(each.norm(dim=-1), torch.ones(2, 3), atol=1e-5)
    assert torch.allclose(rows, torch.cat([shipped.encode_frames(clip[None]) for clip in clips]), atol=1e-4)
    assert torch.allclose(rows, shipped.encode_frames(clips[:, ::-1]), atol=1e-4)  # blind to order, as it says
    text = shipped.encode_text(["a dog", ""])
    assert torch.allclose(text.norm(dim=1), torch.ones(2), atol=1e-5)
    assert shipped.encode_text([]).shape == (0, shipped.dim)


def test_shipped_maps_find_unseen_concepts_far_above_chance_as_their_config_says(shipped):
    told = shipped.config["retrieval"]["test"]
    entries = [entry for entry in open_source("emoji") if entry.meta["split"] == "test"][::3]
    from ode_vgan.data.clips import decode_clip

    clips = np.stack([even_frames(decode_clip(entry.read()).frames, 4) for entry in entries])
    found = recall(ranks(shipped.encode_text([entry.caption for entry in entries]), shipped.encode_frames(clips)))
    assert told["found"]["R@1"] > 10 * told["chance"]["R@1"] and told["clips"] == 67
    assert found["R@5"] > 2.5 * chance(len(entries))["R@5"], found


def test_shipped_folder_is_small_and_plain(shipped):
    assert sum(path.stat().st_size for path in shipped.folder.iterdir()) < 1.5e6
    assert shipped.config["trained"]["clips"] == 665 and len(shipped.config["trained"]["digest"]) == 64
    assert all(tensor.dtype == torch.float32 for tensor in shipped.maps.values())


@pytest.fixture(scope="module")
def fitted(tmp_path_factory):
    folder = tmp_path_factory.mktemp("matched")
    write_shapes(folder / "clips", 24, seed=0, frames=6, size=16)
    recipe = Recipe(dim=8, steps=10, every=5)
    config = fit_matched(str(folder / "clips"), folder / "out", side_px=32, frames=2, val_share=0.2, recipe=recipe)
    return folder, config, recipe


def test_a_fit_is_loaded_by_its_folder_alone_and_repeats_to_the_byte(fitted):
    folder, config, recipe = fitted
    embed = MatchedEmbedder(str(folder / "out"))
    assert embed.dim == 8 and embed.side_px == 32 and embed.encode_text(["a ball"]).shape == (1, 8)
    assert config == json.loads((folder / "out" / "config.json").read_text())
    fit_matched(str(folder / "clips"), folder / "again", side_px=32, frames=2, val_share=0.2, recipe=recipe)
    assert (folder / "again" / "model.safetensors").read_bytes() == (folder / "out" / "model.safetensors").read_bytes()
    assert MatchedEmbedder(str(folder / "again")).fingerprint == embed.fingerprint != MatchedEmbedder().fingerprint


def test_what_is_not_a_whole_folder_is_refused_in_one_line(fitted, tmp_path):
    source = fitted[0] / "out"

    def refused(match, **changed):
        folder = tmp_path / str(len(list(tmp_path.iterdir())))
        folder.mkdir()
        for name in ("config.json", "model.safetensors"):
            (folder / name).write_bytes(changed.get(name.partition(".")[0], (source / name).read_bytes()))
        with pytest.raises(UserError, match=match) as caught:
            MatchedEmbedder(str(folder)).encode_text(["a"])
        assert "\n" not in str(caught.value)

    model, config = (source / "model.safetensors").read_bytes(), json.loads((source / "config.json").read_text())
    refused("no whole safetensors", model=model[:200])
    refused("no config of matched maps", config=b"{}")
    refused("no config of matched maps", config=b"\x00\xff")
    refused("kind 'other'", config=json.dumps(config | {"kind": "other"}).encode())
    refused("its config says", config=json.dumps(config | {"dim": 9}).encode())
    other = config["text"] | {"net": "sentence-0000-mean"}
    refused("was fitted on sentence-0000-mean", config=json.dumps(config | {"text": other}).encode())
    with pytest.raises(UserError, match="no config.json"):
        MatchedEmbedder(str(tmp_path))


def test_open_embedder_knows_the_shipped_folder_any_folder_and_openclip(fitted, tmp_path):
    assert open_embedder("matched").folder == matched.shipped_folder()
    assert open_embedder(str(fitted[0] / "out")).dim == 8
    for name, match in (("openclip:ViT-B-32", "MODEL:CHECKPOINT"), ("sentences", "no embedder 'sentences'")):
        with pytest.raises(UserError, match=match):
            open_embedder(name)
    pytest.importorskip("open_clip", reason="open-clip-torch is not installed")
    with pytest.raises(UserError, match="is not a file"):
        open_embedder(f"openclip:ViT-B-32:{tmp_path / 'none.pt'}")
