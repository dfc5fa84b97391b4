"""3x3x3 convolutions with fewer multiplications: Winograd's F(4x4, 3x3) in space, plain in time."""

import torch
from torch import Tensor
from torch.nn import functional

TILE, POINTS = 4, 6
TILES_AT_ONCE = 1600  # bounds the memory; a clip of 16 frames has 1568 of them in the largest layer
KERNEL = torch.tensor(  # 3 taps -> 6 points, at 0, 1, -1, 2, -2 and infinity
    [
        [1 / 4, 0, 0],
        [-1 / 6, -1 / 6, -1 / 6],
        [-1 / 6, 1 / 6, -1 / 6],
        [1 / 24, 1 / 12, 1 / 6],
        [1 / 24, -1 / 12, 1 / 6],
        [0, 0, 1],
    ],
    dtype=torch.float64,
)


class WinogradConv:
    """ReLU, a 3x3x3 convolution padded by one on all sides, ReLU; of clips that are (N, T, H, W, C) in memory.

    Each 4x4 tile of the output takes 36 products a channel pair instead of 144; the 36 are convolutions over time.
    Rounding errors are two to four times those of the plain sum.

    Args:
        weight: (out, in, 3, 3, 3). bias: (out,).

    Source: Lavin and Gray (2016), Fast Algorithms for Convolutional Neural Networks, section 4.
    """

    def __init__(self, weight: Tensor, bias: Tensor):
        kernel = KERNEL.to(weight.device)
        points = torch.einsum("octhw,ih,jw->ijoct", weight.double(), kernel, kernel).float().unsqueeze(-1)
        layout = torch.channels_last
        self.weights = [[points[i, j].contiguous(memory_format=layout) for j in range(POINTS)] for i in range(POINTS)]
        self.bias = bias

    def __call__(self, x: Tensor, out: Tensor | None = None) -> Tensor:
        """(N, T, H, W, in) -> (N, T, H, W, out), written to `out` if given."""
        clips, frames, height, width, channels = x.shape
        out = x.new_empty(clips, frames, height, width, len(self.bias)) if out is None else out
        rows, columns = -(-height // TILE), -(-width // TILE)
        padded = x.new_zeros(clips, frames, TILE * rows + 2, TILE * columns + 2, channels)
        torch.clamp_min(x, 0, out=padded[:, :, 1 : height + 1, 1 : width + 1])
        blocks = min(rows, -(-clips * frames * rows * columns // TILES_AT_ONCE))
        step = -(-rows // blocks)
        for row in range(0, rows, step):
            end = TILE * min(row + step, rows)
            self._block(padded[:, :, TILE * row : end + 2], out[:, :, TILE * row : end])
        return out

    def _block(self, padded: Tensor, out: Tensor) -> None:
        """The rows of tiles whose output is `out`."""
        points = _points(padded)
        rows, columns = points.shape[4:6]
        mixed = [_outputs([self._product(points[j, i], i, j) for j in range(POINTS)]) for i in range(POINTS)]
        for b in range(TILE):
            for a, found in enumerate(_outputs([own[b] for own in mixed])):
                place = out[:, :, a::TILE, b::TILE]
                found = found.unflatten(2, (rows, columns))[:, :, : place.shape[2], : place.shape[3]]
                torch.clamp_min(found, 0, out=place)

    def _product(self, point: Tensor, i: int, j: int) -> Tensor:
        """One point of all tiles, (N, T, rows, columns, in) -> (N, T, tiles, out)."""
        flat = point.flatten(2, 3).permute(0, 3, 1, 2)
        bias = self.bias if i == j == 1 else None  # this point counts once in every output
        return functional.conv2d(flat, self.weights[i][j], bias, padding=(1, 0)).permute(0, 2, 3, 1)


def _points(padded: Tensor) -> Tensor:
    """The 6x6 points of every tile: (6 across, 6 down, N, T, rows, columns, in)."""
    clips, frames, height, width, channels = padded.shape
    rows, columns = height // TILE, width // TILE
    down = padded.new_empty(POINTS, clips, frames, rows, width, channels)
    _inputs([padded[:, :, j : j + TILE * rows - 3 : TILE] for j in range(POINTS)], down)
    points = padded.new_empty(POINTS, POINTS, clips, frames, rows, columns, channels)
    _inputs([down[..., j : j + TILE * columns - 3 : TILE, :] for j in range(POINTS)], points)
    return points


def _inputs(d: list[Tensor], out: Tensor) -> None:
    """Six neighbours -> six points."""
    torch.add(d[4], d[0], alpha=4, out=out[0]).sub_(d[2], alpha=5)
    torch.add(d[5], d[1], alpha=4, out=out[5]).sub_(d[3], alpha=5)
    even, odd = torch.sub(d[4], d[2], alpha=4), torch.sub(d[3], d[1], alpha=4)
    torch.add(even, odd, out=out[1])
    torch.sub(even, odd, out=out[2])
    torch.sub(d[4], d[2], out=even)
    torch.sub(d[3], d[1], out=odd)
    torch.add(even, odd, alpha=2, out=out[3])
    torch.sub(even, odd, alpha=2, out=out[4])


def _outputs(m: list[Tensor]) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Six points -> four neighbours."""
    near, far = m[1] + m[2], m[3] + m[4]
    near_odd, far_odd = m[1] - m[2], m[3] - m[4]
    first = (m[0] + near).add_(far)
    last = torch.add(near_odd, far_odd, alpha=8).add_(m[5])
    return first, near_odd.add_(far_odd, alpha=2), near.add_(far, alpha=4), last
