"""TGANv2's temporal models as Gordon and Parde (2020) compare them: states are maps, (channels, side, side), flattened.

TGANv2's own state has 1024 channels of 3 x 3, so Z = 9216; its noise has 256 numbers.
"""

import math

import torch
from torch import Tensor, nn

from ode_vgan.errors import UserError
from ode_vgan.temporal.gordon2020_fields import LEAK
from ode_vgan.temporal.gordon2020_frames import FramePath


def map_shape(dim: int, side: int) -> tuple[int, int, int]:
    """(channels, side, side) of a state of dim numbers, with the largest side up to the one asked that divides it.

    9216 and 3 give (1024, 3, 3); 64 and 3 give (16, 2, 2), because 9 does not divide 64.

    Raises:
        UserError: a side below 1.
    """
    if side < 1:
        raise UserError(f"side={side}; give 1 or more, 3 as published.")
    side = next(one for one in range(side, 0, -1) if dim % one**2 == 0)
    return dim // side**2, side, side


class LinearStart(nn.Module):
    """The initial state as a linear map of noise of another width.

    Args:
        inputs: width of the noise; 256 as published.
        dim: Z.
    """

    def __init__(self, inputs: int, dim: int):
        super().__init__()
        self.inputs = inputs
        self.layer = nn.Linear(inputs, dim)

    def forward(self, x: Tensor) -> Tensor:
        """(B, Z) from (B, inputs)."""
        return self.layer(x)


class ConvField(nn.Module):
    """LeakyReLU(3 x 3 convolution of the state's map): not bounded, so that paths grow beyond the window.

    Args:
        dim: Z. side: of the map, see `map_shape`.
        slope: of the LeakyReLU below 0: 0.2 in the published ODE, 0 (a ReLU) in the SDE.
    """

    def __init__(self, dim: int, *, side: int, slope: float):
        super().__init__()
        self.shape, self.slope = map_shape(dim, side), slope
        self.conv = nn.Conv2d(self.shape[0], self.shape[0], 3, padding=1)
        nn.init.xavier_uniform_(self.conv.weight, math.sqrt(2))

    def forward(self, state: Tensor) -> Tensor:
        """(B, Z) from (B, Z)."""
        return nn.functional.leaky_relu(self.maps(state), self.slope).flatten(1)

    def maps(self, state: Tensor) -> Tensor:
        """The convolution (B, channels, side, side) of a state (B, Z)."""
        return self.conv(state.unflatten(1, self.shape))


class ConvTanhField(ConvField):
    """tanh(3 x 3 convolution of the state's map), bounded as TGAN-ODE's field is.

    Args:
        dim, side: see `ConvField`.
    """

    def __init__(self, dim: int, *, side: int):
        super().__init__(dim, side=side, slope=LEAK)

    def forward(self, state: Tensor) -> Tensor:
        return self.maps(state).tanh().flatten(1)


class ConvLstmPath(FramePath):
    """TGANv2's convolutional LSTM: the map of the noise is the input of the first frame, and 0 that of all others.

    Memory and output are 0 before the first frame. z_i is the output, within (-1, 1).

    Args:
        gap_seconds: see `FramePath`.
        side: of the state's map, see `map_shape`.
        start: maps noise (B, start.inputs) to the first input (B, Z).

    Source: Saito et al. (2020), TGANv2, as in the code of Gordon and Parde (2020): no peepholes.
    """

    def __init__(self, dim: int, embed_dim: int, *, gap_seconds: float | None, side: int, start: nn.Module):
        super().__init__(dim, embed_dim, gap_seconds=gap_seconds, start_dim=start.inputs)
        self.shape, self.start = map_shape(dim, side), start
        self.of_input = nn.Conv2d(self.shape[0], 4 * self.shape[0], 3, padding=1)
        self.of_output = nn.Conv2d(self.shape[0], 4 * self.shape[0], 3, padding=1, bias=False)

    def path(self, z0: Tensor, times: Tensor, c: Tensor, seeds: Tensor | None) -> Tensor:
        given = self.of_input(self.start(z0).unflatten(1, self.shape))
        of_zero = self.of_input.bias.view(1, -1, 1, 1)
        memory, outputs = torch.zeros_like(given[:, : self.shape[0]]), []
        for i in range(times.shape[-1]):
            if i:
                given = self.of_output(outputs[-1]) + of_zero
            come, stay, show, new = given.chunk(4, 1)  # input, forget and output gate, and what may enter
            memory = stay.sigmoid() * memory + come.sigmoid() * new.tanh()
            outputs.append(show.sigmoid() * memory.tanh())
        self.nfe = len(outputs)
        return torch.stack(outputs, 1).flatten(2)
