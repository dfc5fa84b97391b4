"""Laws of the training steps that are held against ours: the same step, written plainly."""

import torch
from torch import nn

from ode_vgan.bench.contest import Asked, Contest
from ode_vgan.bench.plain import Adjoint, PlainGan, write_as_in_2020, write_plainly
from ode_vgan.bench.step import BF16, FP32, OF_2020, beside
from ode_vgan.build import build
from tests import test_published
from tests.test_bench import tiny_config

OURS = (
    "temporal=ode_dense",
    "data.size=32",
    "model.penalty_every=2",
)  # a clip critic with two blocks, one of them halved


def compose(overrides) -> dict:
    if OF_2020 in overrides:
        return test_published.composed(*overrides, *test_published.SMALL)
    return tiny_config(*overrides, "embed_dim=12")


def rows(overrides: tuple[str, ...], plainly) -> dict[str, Contest]:
    found = beside("a", "b", overrides, Asked(compose=compose), plainly, 0.5)
    return {precision: row for precision, row in zip((FP32, BF16), found, strict=True)}


def test_our_step_is_the_plain_step_and_the_published_one_that_of_2020():
    for overrides, plainly in ((OURS, write_plainly), ((OF_2020,), write_as_in_2020)):
        found = rows(overrides, plainly)
        for row in found.values():
            row.ours(), row.theirs()
            assert row.differ() <= row.tolerance, row
        assert found[BF16].target == 0.5 and found[FP32].target is None and found[FP32].work.items > 0


def test_a_plain_gan_has_no_layer_of_ours_left_and_torchs_layout():
    gan = write_plainly(build(compose(OURS)["model"]))
    kinds = {type(part).__module__ for part in gan.critics.modules()}
    assert type(gan) is PlainGan and "ode_vgan.bench.plain" in kinds
    assert all(weight.is_contiguous() for weight in gan.parameters())
    assert not any(optimizer.defaults["fused"] for optimizer in gan.optimizers())
    gan = write_as_in_2020(build(compose((OF_2020,))["model"]))
    assert type(gan.generator.temporal) is Adjoint


def test_convolutions_of_ours_are_channels_last():
    gan = build(compose(OURS)["model"])
    layouts = {nn.Conv2d: torch.channels_last, nn.Conv3d: torch.channels_last_3d}
    for part in gan.modules():
        for kind, layout in layouts.items():
            if isinstance(part, kind):
                assert part.weight.is_contiguous(memory_format=layout), part
