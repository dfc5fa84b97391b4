"""Laws of the generator's moving average."""

import torch
from torch import nn

from ode_vgan.ema import GeneratorEma


def test_half_the_way_is_gone_after_one_half_life():
    model = nn.Linear(1, 1, bias=False)
    nn.init.zeros_(model.weight)
    ema = GeneratorEma(model, halflife_clips=64)
    nn.init.ones_(model.weight)
    for _ in range(8):
        ema.update(model, batch=8, clips_seen=10**9)
    torch.testing.assert_close(ema.copy.weight, torch.full((1, 1), 0.5))


def test_early_average_forgets_the_random_start():
    model = nn.Linear(1, 1, bias=False)
    ema = GeneratorEma(model, halflife_clips=1e9)
    nn.init.constant_(model.weight, 7.0)
    ema.update(model, batch=16, clips_seen=16)
    torch.testing.assert_close(ema.copy.weight, model.weight.detach())


def test_average_has_no_gradients_and_copies_buffers():
    model = nn.BatchNorm1d(2)
    ema = GeneratorEma(model, 1)
    model.running_mean += 3
    ema.update(model, 1, 10)
    assert not any(p.requires_grad for p in ema.copy.parameters())
    torch.testing.assert_close(ema.copy.running_mean, model.running_mean)
