"""A projection of fixed features, learned as if they were standardised, and kept as one of the features as they are."""

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn.functional import linear


class Standardised(nn.Module):
    """Weights of a linear layer in other coordinates: those in which its features have mean 0 and deviation 1.

    Features of a trained net differ in scale and lie far from zero, so that a step of one size for every weight suits
    few of them. `fold` writes the same map into the layer. A layer without bias cannot move its features to mean 0: the
    direction of their mean is taken out of them instead.

    Args:
        layer: the projection; it is learned no more by itself.
    """

    def __init__(self, layer: nn.Linear):
        super().__init__()
        self._layer = [layer.requires_grad_(False)]  # in a list: its state is the model's, not also ours
        self.weight = nn.Parameter(layer.weight.detach().clone())
        self.bias = None if layer.bias is None else nn.Parameter(torch.zeros_like(layer.bias))
        self.register_buffer("mean", torch.zeros(layer.in_features))
        self.register_buffer("deviation", torch.ones(layer.in_features))
        self.register_buffer("known", torch.zeros((), dtype=torch.bool))

    @torch.no_grad()
    def look(self, features: Callable[[], Tensor]) -> None:
        """Take mean and deviation from the features (..., F) that are given when asked for, the first time only."""
        if self.known:
            return
        rows = features().flatten(0, -2)
        self.mean.copy_(rows.mean(0))
        deviation = self._centred(rows).std(0, unbiased=False)
        self.deviation.copy_(deviation + 0.01 * deviation.mean() + 1e-6)
        self.known.fill_(True)

    def forward(self, features: Tensor, keep: Tensor | None = None) -> Tensor:
        """(..., E) from features (..., F); `keep` multiplies them once standardised."""
        x = self._centred(features) / self.deviation
        return linear(x if keep is None else x * keep, self.weight, self.bias)

    def _centred(self, rows: Tensor) -> Tensor:
        if self.bias is not None:
            return rows - self.mean
        direction = self.mean / self.mean.norm().clamp(min=1e-12)
        return rows - (rows @ direction).unsqueeze(-1) * direction

    @torch.no_grad()
    def fold(self) -> None:
        """Write the map that takes features as they are into the layer."""
        (layer,) = self._layer
        plain = self.weight / self.deviation
        if self.bias is None:
            direction = self.mean / self.mean.norm().clamp(min=1e-12)
            plain = plain - (plain @ direction).unsqueeze(-1) * direction
        else:
            layer.bias.copy_(self.bias - plain @ self.mean)
        layer.weight.copy_(plain)
