"""The whole idea on one page: four models of time in one small video GAN, with nothing but torch and pillow.

    python experiments/standalone.py                                    # two to three minutes on one core
    python experiments/standalone.py --clips 2000 --seeds 1 --out strip.png

A disc bounces in 16 x 16 px. The generator draws what stays the same (w) and a start (z0); a model of time turns the
start into a path, (z0, times) -> z; a decoder turns every z into a frame. A critic sees whole clips. Between the rows
only the model of time differs: an ODE, an SDE, a GRU with noise at each step, and transposed convolutions over time.
Clips are judged by the Frechet distance of where the disc is and how it moves, at the trained rate and at twice that
rate, where every other frame stands at a time that no training clip showed. The table gives the mean and the
spread over seeds; the strip shows clips at twice the rate, with a bar below the new frames.
"""

import argparse
import time

import torch
import torch.nn.functional as F
from PIL import Image, ImageDraw
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

SIZE, FRAMES, RATE = 16, 8, 8.0  # px, frames of a clip, frames a second
Z, W = 16, 4  # widths of the path and of what stays the same
TRAINED, TWICE = torch.arange(FRAMES) / RATE, torch.arange(2 * FRAMES - 1) / (2 * RATE)  # seconds


def real_clips(count: int, times: Tensor, draw: torch.Generator) -> Tensor:
    """Discs (B, T, S, S) in [0, 1] that fall, bounce without loss and drift between two walls; exact at any time."""
    radius, x, speed, height, gravity, phase = torch.rand(6, count, 1, generator=draw)
    radius, height, gravity = 0.12 + 0.06 * radius, 0.4 + 0.2 * height, 2 + 2 * gravity
    fall = (2 * height / gravity).sqrt()  # seconds from top to floor
    since = (2 * fall * phase + times) % (2 * fall)  # since the last bounce
    y = radius + gravity * since * (fall - since / 2)
    wide = 1 - 2 * radius
    x = radius + wide - ((wide * x + (2 * speed - 1) * times) % (2 * wide) - wide).abs()
    grid = (torch.arange(SIZE) + 0.5) / SIZE
    across, up = grid - x[..., None], 1 - grid - y[..., None]  # the floor is the last row
    distance = (across[:, :, None, :].square() + up[:, :, :, None].square()).sqrt()
    return (0.5 + SIZE * (radius[..., None, None] - distance)).clamp(0, 1)


def mlp(*widths: int) -> nn.Sequential:
    """Linear layers with SiLU between them."""
    layers = [layer for a, b in zip(widths, widths[1:], strict=False) for layer in (nn.Linear(a, b), nn.SiLU())]
    return nn.Sequential(*layers[:-1])


class Ode(nn.Module):
    """dz/dt = f(z), by one midpoint step from each time to the next: any times, the same path."""

    def __init__(self, hidden: int = 96):
        super().__init__()
        self.net = mlp(Z, hidden, Z)

    def field(self, z: Tensor) -> Tensor:
        return 4 * self.net(z).tanh() - 0.3 * z  # per second; bounded speed, and no path runs away

    def forward(self, z0: Tensor, times: Tensor) -> Tensor:
        path = [z0]
        for gap in times.diff():
            half = path[-1] + gap / 2 * self.field(path[-1])
            path.append(path[-1] + gap * self.field(half))
        return torch.stack(path, 1)


class Sde(Ode):
    """dz = f(z) dt + g(z) dB, by Euler and Maruyama, two steps from each time to the next."""

    def __init__(self):
        super().__init__(hidden=80)
        self.diffusion = mlp(Z, 16, Z)

    def forward(self, z0: Tensor, times: Tensor) -> Tensor:
        path = [z0]
        for gap in times.diff().repeat_interleave(2) / 2:
            noise = 0.1 * self.diffusion(path[-1]).sigmoid() * gap.sqrt() * torch.randn_like(z0)
            path.append(path[-1] + gap * self.field(path[-1]) + noise)
        return torch.stack(path[::2], 1)


class Gru(nn.Module):
    """z_i = GRU([noise_i, gap_i], z_{i-1}): told the gap, but two half steps need not be one whole."""

    def __init__(self, noise_dim: int = 47):
        super().__init__()
        self.noise_dim = noise_dim
        self.cell = nn.GRUCell(noise_dim + 1, Z)

    def forward(self, z0: Tensor, times: Tensor) -> Tensor:
        path = [z0]
        for gap in times.diff():
            given = torch.cat([torch.randn(len(z0), self.noise_dim), (RATE * gap).expand(len(z0), 1)], 1)
            path.append(self.cell(given, path[-1]))
        return torch.stack(path, 1)


class Deconvolution(nn.Module):
    """The whole window at once, as TGAN does: it knows its own frames, and between them only a straight line."""

    def __init__(self):
        super().__init__()
        layers = [nn.ConvTranspose1d(a, b, 4, 2, 1) for a, b in ((Z, 18), (18, 14), (14, Z))]
        self.layers = nn.Sequential(layers[0], nn.SiLU(), layers[1], nn.SiLU(), layers[2])

    def forward(self, z0: Tensor, times: Tensor) -> Tensor:
        path = self.layers(z0[..., None])
        return F.interpolate(path, len(times), mode="linear", align_corners=True).transpose(1, 2)


class Generator(nn.Module):
    """Noise -> (w, z0) -> path -> frames: a soft disc, whose place, size and edge (w, z) tell."""

    def __init__(self, temporal: nn.Module):
        super().__init__()
        self.temporal, self.start, self.tell = temporal, mlp(Z, 64, Z), mlp(W + Z, 128, 4)

    def forward(self, noise: Tensor, times: Tensor) -> Tensor:
        z = self.temporal(self.start(noise[:, W:]), times)
        w = noise[:, None, :W].expand(-1, len(times), -1)
        x, y, size, edge = self.tell(torch.cat([w, z], -1)).tanh()[..., None, None].unbind(2)
        grid = (torch.arange(SIZE) + 0.5) / SIZE - 0.5
        distance = ((grid - x / 2).square() + (grid[:, None] - y / 2).square() + 1e-6).sqrt()
        return torch.sigmoid(20 * edge.exp() * (0.15 * size.exp() - distance))


def make_critic() -> nn.Sequential:
    """Logits (B, 1) of clips (B, T, S, S): the frames are channels, so that motion is in sight from the first layer."""
    return nn.Sequential(
        nn.Conv2d(FRAMES, 32, 4, 2, 1), nn.LeakyReLU(0.2), nn.Conv2d(32, 64, 4, 2, 1), nn.LeakyReLU(0.2),
        nn.Flatten(), nn.Linear(64 * 16, 128), nn.LeakyReLU(0.2), nn.Linear(128, 1),
    )  # fmt: skip


def steepness(critic: nn.Module, x: Tensor) -> Tensor:
    """Half the mean squared gradient of the critic at x: R1 at real clips, R2 at generated ones."""
    x = x.detach().requires_grad_()
    (gradient,) = torch.autograd.grad(critic(x).sum(), x, create_graph=True)
    return gradient.square().sum() / (2 * len(x))


def train(temporal: type[nn.Module], clips: int, seed: int, batch: int = 32, every: int = 4) -> nn.Module:
    """The averaged generator after so many clips; under one seed every model sees the same real clips."""
    torch.manual_seed(seed)
    draw = torch.Generator().manual_seed(seed)
    critic, generator = make_critic(), Generator(temporal())
    average = AveragedModel(generator, multi_avg_fn=get_ema_multi_avg_fn(0.99))
    critics, makers = (torch.optim.Adam(net.parameters(), betas=(0.0, 0.99)) for net in (critic, generator))
    steps = max(1, clips // batch)
    for step in range(steps):
        critics.param_groups[0]["lr"] = makers.param_groups[0]["lr"] = 2e-3 * (1 - step / steps)
        real, fake = real_clips(batch, TRAINED, draw), generator(torch.randn(batch, W + Z), TRAINED)
        loss = F.softplus(critic(fake.detach()) - critic(real)).mean()  # the real one of a pair should look more real
        if step % every == 0:
            loss = loss + 2.0 * every * (steepness(critic, real) + steepness(critic, fake))
        critics.zero_grad()
        loss.backward()
        critics.step()
        loss = F.softplus(critic(real).detach() - critic(fake)).mean()  # and the generated one, says the generator
        makers.zero_grad()
        loss.backward()
        makers.step()
        average.update_parameters(generator)
    return average.eval()


def motion(clips: Tensor) -> Tensor:
    """Features (B, 6 T - 2): brightness, centre and spread of each frame, and how far the centre moves between two."""
    clips = clips.square()  # a faint haze hardly counts
    grid = (torch.arange(SIZE) + 0.5) / SIZE
    mass = clips.sum((2, 3)) + 0.1
    columns, rows = clips.sum(2) / mass[..., None], clips.sum(3) / mass[..., None]
    x, y = columns @ grid, rows @ grid
    spread = columns @ grid**2 + rows @ grid**2 - x**2 - y**2
    return torch.cat([mass / 10, x, y, 10 * spread, 4 * x.diff(), 4 * y.diff()], 1)


def frechet(a: Tensor, b: Tensor) -> float:
    """Squared Frechet distance of the Gaussians fitted to two sets of features (N, F)."""
    a, b = a.double(), b.double()
    (values, vectors), other = torch.linalg.eigh(a.T.cov()), b.T.cov()
    root = vectors * values.clamp(min=0).sqrt() @ vectors.T
    cross = torch.linalg.eigvalsh(root @ other @ root).clamp(min=0).sqrt().sum()
    return float((a.mean(0) - b.mean(0)).square().sum() + values.sum() + other.trace() - 2 * cross)


def write_strip(rows: dict[str, Tensor], path: str, zoom: int = 4, left: int = 100) -> None:
    """Clips (T, S, S) at twice the rate as rows of a PNG beside their names; a bar marks the times training lacked."""
    strips = torch.stack(list(rows.values())).repeat_interleave(zoom, 2).repeat_interleave(zoom, 3)
    tiles = F.pad(strips, (0, 2, 0, 6), value=1.0)  # (rows, T, side + 6, side + 2)
    tiles[:, 1::2, -5:-2, :-2] = 0.5
    sheet = F.pad(tiles.permute(0, 2, 1, 3).flatten(2).flatten(0, 1), (left, 0), value=1.0)
    picture = Image.fromarray((255 * sheet).round().byte().numpy())
    for i, name in enumerate(rows):
        ImageDraw.Draw(picture).text((4, (i + 0.4) * tiles.shape[2]), name, fill=0)
    picture.save(path)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clips", type=int, default=16_000, help="real clips that each training sees")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--judged", type=int, default=1024, help="clips in a Frechet distance")
    parser.add_argument("--out", default="standalone.png", help="the strip of clips")
    given = parser.parse_args()
    torch.set_num_threads(1)  # small tensors: more threads only wait for each other
    draw, rates = torch.Generator().manual_seed(1000), (TRAINED, TWICE)
    real, others = ([real_clips(given.judged, times, draw) for times in rates] for _ in range(2))

    def judge(made: list[Tensor]) -> list[float]:
        return [frechet(motion(there), motion(clips)) for there, clips in zip(real, made, strict=True)]

    print(f"{'':15s}{'weights':>8s}{'trained rate':>18s}{'twice the rate':>18s}{'seconds':>10s}")
    print(f"{'real clips':23s}{{:9.2f}}{{:18.2f}}".format(*judge(others)))
    print(f"{'stopped clips':23s}{{:9.2f}}{{:18.2f}}".format(*judge([one[:, :1].expand_as(one) for one in others])))
    shown = {f"real clip {i + 1}": clip for i, clip in enumerate(others[1][:2])}
    for temporal in (Ode, Sde, Gru, Deconvolution):
        began, name, scores = time.perf_counter(), temporal.__name__, []
        for seed in range(given.seeds):
            generator = train(temporal, given.clips, seed)
            with torch.no_grad():
                made = [generator(torch.randn(given.judged, W + Z), times) for times in rates]
            scores.append(judge(made))
        shown |= {f"{name} {i + 1}": clip for i, clip in enumerate(made[1][:2])}
        spread, mean = torch.std_mean(torch.tensor(scores), 0, correction=min(1, given.seeds - 1))
        cells = "".join(f"{m:9.2f} +- {s:5.2f}" for m, s in zip(mean, spread, strict=True))
        weights = sum(weight.numel() for weight in temporal().parameters())
        print(f"{name:15s}{weights:8,d}{cells}{(time.perf_counter() - began) / given.seeds:10.1f}", flush=True)
    write_strip(shown, given.out)
    print(f"Frechet distance of motion, lower is better: mean +- spread over {given.seeds} seeds. Look at {given.out}")


if __name__ == "__main__":
    main()
