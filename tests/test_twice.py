"""Laws of layers that a penalty differentiates twice: the numbers of torch's own, and no work but what they need."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ode_vgan.bench.calls import count_calls
from ode_vgan.discriminator.halving import HalvingConv2d, HalvingConv3d
from ode_vgan.losses.twice import for_penalty

LAYERS = {
    "1-D convolution": (lambda: nn.Conv1d(3, 5, 3, padding=1), (2, 3, 8)),
    "2-D convolution": (lambda: nn.Conv2d(4, 6, 3, stride=2, padding=1, groups=2), (2, 4, 8, 8)),
    "3-D convolution": (lambda: nn.Conv3d(3, 5, (3, 4, 4), stride=(1, 2, 2), padding=1), (2, 3, 4, 8, 8)),
    "padding in words": (lambda: nn.Conv2d(3, 5, 3, padding="same", bias=False), (2, 3, 8, 8)),
    "leaky ReLU": (lambda: nn.Sequential(nn.LeakyReLU(0.1), nn.Conv2d(3, 2, 1)), (2, 3, 8, 8)),
    "average": (lambda: nn.Sequential(nn.AvgPool2d(2), nn.Conv2d(3, 2, 1)), (2, 3, 8, 8)),
    "halving 2-D": (lambda: HalvingConv2d(3, 5, 3, padding=1), (2, 3, 8, 8)),
    "halving 3-D of stride 2": (lambda: HalvingConv3d(3, 5, (1, 4, 4), (1, 2, 2), (0, 1, 1)), (2, 3, 3, 16, 16)),
}


def second_gradients(layer: nn.Module, x: Tensor, *, ours: bool) -> tuple[Tensor, list[Tensor]]:
    """The gradient at x of a curved function of the layer, and the gradients of that one's square at the weights."""
    x = x.detach().requires_grad_()
    with torch.enable_grad() if not ours else for_penalty():
        out = F.leaky_relu(layer(x), 0.2)
        (slope,) = torch.autograd.grad((out * out.detach()).sum(), x, create_graph=True)
    weights = [weight for name, weight in layer.named_parameters() if "bias" not in name]
    return slope, torch.autograd.grad(slope.square().sum(), weights)


@pytest.mark.parametrize("name", LAYERS)
def test_both_gradients_are_those_of_torch(name: str):
    torch.manual_seed(0)
    make, shape = LAYERS[name]
    layer, x = make().double(), torch.randn(shape, dtype=torch.float64)
    (slope, seconds), (expected, expected_seconds) = (second_gradients(layer, x, ours=ours) for ours in (True, False))
    torch.testing.assert_close(slope, expected)
    for found, wanted in zip(seconds, expected_seconds, strict=True):
        torch.testing.assert_close(found, wanted)


def test_a_penalty_takes_two_passes_forward_and_two_back():
    layers = nn.Sequential(*(layer for i in range(4) for layer in (nn.Conv2d(3, 3, 3, padding=1), nn.LeakyReLU(0.2))))
    layers = nn.Sequential(layers, nn.AvgPool2d(2), nn.Conv2d(3, 1, 4))
    x = torch.randn(2, 3, 8, 8)

    def penalty(ours: bool) -> None:
        leaf = x.detach().requires_grad_()
        with for_penalty() if ours else torch.enable_grad():
            (slope,) = torch.autograd.grad(layers(leaf).sum(), leaf, create_graph=True)
        slope.square().sum().backward()

    calls = count_calls(lambda: penalty(True))
    assert calls.by_name["convolution"] <= 2 * 5 and calls.by_name["convolution_backward"] == 2 * 5
    plain = count_calls(lambda: penalty(False)).by_name
    assert plain["convolution"] + plain["convolution_backward"] > 20


@pytest.mark.parametrize(("make", "pool"), [
    (lambda: HalvingConv2d(3, 5, 3, padding=1), lambda x: F.avg_pool2d(x, 2)),
    (lambda: HalvingConv2d(3, 5, 4, stride=2, padding=1), lambda x: F.avg_pool2d(x, 2)),
    (lambda: HalvingConv3d(3, 5, (3, 3, 3), padding=(1, 1, 1)), lambda x: F.avg_pool3d(x, (1, 2, 2))),
    (lambda: HalvingConv3d(3, 5, (1, 4, 4), (1, 2, 2), (0, 1, 1)), lambda x: F.avg_pool3d(x, (1, 2, 2))),
])  # fmt: skip
def test_a_halving_convolution_is_a_convolution_and_then_the_mean_of_each_square(make, pool):
    torch.manual_seed(0)
    layer = make().double()
    x = torch.randn(2, 3, *([4] if isinstance(layer, nn.Conv3d) else []), 16, 16, dtype=torch.float64)
    own = nn.Conv2d if isinstance(layer, nn.Conv2d) else nn.Conv3d
    torch.testing.assert_close(layer(x), pool(own.forward(layer, x)))
