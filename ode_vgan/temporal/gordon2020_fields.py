"""What the vector-valued equations of Gordon and Parde (2020) are made of: starts and fields, without time and text.

TGAN's are drawn from Xavier's law with gain sqrt(2), MoCoGAN's from torch's own.
"""

from torch import Tensor, nn

LEAK = 0.2


def dense(inputs: int, outputs: int, gain: float | None) -> nn.Linear:
    """A linear layer whose weights follow Xavier's uniform law of that gain; None: torch's own law."""
    layer = nn.Linear(inputs, outputs)
    if gain is not None:
        nn.init.xavier_uniform_(layer.weight, gain)
    return layer


class LeakyStart(nn.Module):
    """The initial state as an MLP of the noise, leaky ReLU after every layer, the last one too ("lin").

    Args:
        dim: of the noise and the state.
        widths: of the hidden layers; TGAN [512, 512, 512], MoCoGAN [64].
        gain: of Xavier's law for the weights; None: torch's own law.
    """

    def __init__(self, dim: int, *, widths: list[int], gain: float | None):
        super().__init__()
        self.inputs = dim
        sizes = [dim, *widths, dim]
        self.layers = nn.ModuleList(dense(a, b, gain) for a, b in zip(sizes[:-1], sizes[1:], strict=True))

    def forward(self, x: Tensor) -> Tensor:
        """(B, Z) from (B, Z)."""
        for layer in self.layers:
            x = nn.functional.leaky_relu(layer(x), LEAK)
        return x


class TanhField(nn.Module):
    """tanh(W s + b): every coordinate moves by less than 1 in a window.

    Args:
        dim: Z, outputs.
        derivatives: how many vectors of Z numbers s has: 1, or as many as an equation of higher order shows.
        gain: of Xavier's law for the weights; None: torch's own law.
    """

    def __init__(self, dim: int, *, derivatives: int, gain: float | None):
        super().__init__()
        self.derivatives = derivatives
        self.layer = dense(derivatives * dim, dim, gain)

    def forward(self, state: Tensor) -> Tensor:
        """(B, Z) from (B, derivatives * Z)."""
        return self.layer(state).tanh()


class DeepField(nn.Module):
    """W2 tanh(W1 s + b1) + b2.

    Args:
        dim, derivatives, gain: see `TanhField`.
        hidden: width of the hidden layer.
    """

    def __init__(self, dim: int, *, derivatives: int, hidden: int, gain: float | None):
        super().__init__()
        self.derivatives = derivatives
        self.enter = dense(derivatives * dim, hidden, gain)
        self.leave = dense(hidden, dim, gain)

    def forward(self, state: Tensor) -> Tensor:
        """(B, Z) from (B, derivatives * Z)."""
        return self.leave(self.enter(state).tanh())
