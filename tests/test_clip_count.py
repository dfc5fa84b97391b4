"""Counts of contrastive models: the scaling study's table, and what each part of a clip adds."""

import csv

import pytest
import torch

from ode_vgan.embed.clip_model import ClipModel
from ode_vgan.embed.pooling import AttentionPooling, MeanPooling, MomentPooling
from ode_vgan.errors import UserError
from ode_vgan.scaling.clip_count import clip_macs, model_macs, tower_macs
from tests.shared_data import shared

pytest.importorskip("open_clip")


def test_vit_b_32_counts_7_27_gmacs_and_its_attention_a_hundredth_part_more():
    macs = model_macs("ViT-B-32")
    assert (macs["forward"] - macs["attention"]) / 1e9 == pytest.approx(7.27, abs=0.005)
    image, text = 2 * 12 * 50**2 * 768, 2 * 12 * 77**2 * 512  # layers, tokens squared, width
    assert macs["attention"] == image + text
    assert macs["forward"] / 1e9 == pytest.approx(7.39, abs=0.005)


def test_counts_meet_the_studys_table_of_architectures():
    with open(shared("scaling/slo_arch_info.csv")) as file:
        told = {row["model"]: row for row in csv.DictReader(file)}
    for name in ("ViT-S-32", "ViT-B-32", "ViT-B-16", "ViT-L-14", "ViT-H-14"):
        macs = model_macs(name)
        assert macs["image"] / 1e9 == pytest.approx(float(told[name]["image_gmacs"]), rel=1e-2)
        assert macs["text"] / 1e9 == pytest.approx(float(told[name]["text_gmacs"]), rel=1e-2)
        assert macs["forward"] / 1e9 == pytest.approx(float(told[name]["gmacs"]), rel=1e-2)


def test_a_vits_count_is_the_one_by_hand_on_every_device():
    tokens, width, layers, out = 17, 32, 1, 64  # clip-xs: (32 / 8)^2 patches and a class token
    patches = 16 * 3 * 8 * 8 * width
    block = tokens * (4 * width**2 + 2 * 4 * width**2) + 2 * tokens**2 * width
    image = patches + layers * block + width * out
    macs = model_macs("clip-xs")
    assert macs["image"] == image
    model = ClipModel("clip-xs", MeanPooling())
    assert tower_macs(model.towers, 32, 16) == macs


def test_a_clip_counts_its_frames_one_caption_and_its_pooling():
    model = ClipModel("clip-xs", MomentPooling(64)).train()
    state = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    one, eight = clip_macs(model, 1, 32), clip_macs(model, 8, 48)
    assert eight["image"] == 8 * one["image"] and eight["text"] == one["text"]
    assert one["pooling"] == eight["pooling"] == 128 * 64
    assert eight["forward"] == eight["image"] + eight["text"] + eight["pooling"]
    assert model.training and all(torch.equal(state[name], tensor) for name, tensor in model.state_dict().items())
    assert clip_macs(ClipModel("clip-xs", MeanPooling()), 8, 32)["pooling"] == 0
    assert clip_macs(ClipModel("clip-xs", AttentionPooling(64, 2)), 8, 32)["pooling"] > 8 * 64**2


def test_an_unknown_model_is_told_with_close_names():
    with pytest.raises(UserError, match="no CLIP model 'ViT-B32'; close: ViT-B-32"):
        model_macs("ViT-B32")
