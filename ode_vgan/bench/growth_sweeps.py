"""What grows with what: training, sampling, paths of time, judging and search, each over one size at a time."""

import copy
from collections.abc import Callable, Sequence
from functools import partial

import torch

from ode_vgan.bench.growth import Sweep

FPS = 12.0
FRAMES, CLIPS, SIDES_PX, WIDTHS = (8, 16, 32, 64), (4, 8, 16, 32), (16, 32, 64, 128), (0.5, 1.0, 2.0, 4.0)
LONG, MANY = (16, 64, 256, 1024), (1, 4, 16, 64)
ROWS, DIMS, JUDGED = (512, 1024, 2048, 4096, 8192), (64, 128, 256, 512, 1024), (32, 64, 128, 256)
MODELS = ("ode", "ode_dense", "sde", "rnn", "ssm", "transformer")
Work = Callable[[], object]


def model_sweeps(config: dict, quick: bool = False) -> list[Sweep]:
    """A training step with penalties, and sampling a batch, of one config."""
    sizes = {"frames": FRAMES, "clips": CLIPS, "side, px": SIDES_PX, "width": WIDTHS}
    drawn = sizes | {"frames": LONG, "clips": MANY}
    sweeps = []
    for axis, own in sizes.items():
        power = 2.0 if axis in ("side, px", "width") else 1.0
        sweeps.append(Sweep("training step", axis, _some(own, quick), partial(_step, config, axis), power))
        made = partial(_sample, config, axis)
        sweeps.append(Sweep("sampling", axis, _some(drawn[axis], quick), made, power))
    return sweeps


def path_sweeps(models: dict[str, torch.nn.Module], quick: bool = False) -> list[Sweep]:
    """Forward and backward of whole latent paths, by the names of their configs."""
    sweeps = []
    for name, model in models.items():
        power = 2.0 if name == "transformer" else 1.0  # every frame attends to every frame
        sweeps.append(Sweep(name, "frames", _some(LONG, quick), partial(_path, model, "frames"), power))
        sweeps.append(Sweep(name, "clips", _some((16, 64, 256), quick), partial(_path, model, "clips")))
    return sweeps


def judging_sweeps(quick: bool = False) -> list[Sweep]:
    """Features of clips, and distances between features, by the number of clips and by the width of features."""
    rows, dims, judged = (_some(sizes, quick) for sizes in (ROWS, DIMS, JUDGED))
    return [
        Sweep("features, hog3d", "clips", judged, _features, arrays=True),
        Sweep("Fréchet, F = 400", "clips", rows, lambda n: _frechet(int(n), 400), arrays=True),
        Sweep("Fréchet, N = 2048", "F", dims, lambda f: _frechet(2048, int(f)), 3.0, 2.0, arrays=True),
        Sweep("KVD, F = 400", "clips", rows, lambda n: _kvd(int(n)), 2.0, 1.0),
        Sweep("precision and recall, F = 400", "clips", rows, lambda n: _prdc(int(n)), 2.0, 1.0),
    ]


def resized(config: dict, axis: str, size: float) -> dict:
    """A config at another number of frames, clips, side or width."""
    config = copy.deepcopy(config)
    if axis in ("frames", "clips", "side, px"):
        config["data"][{"frames": "frames", "clips": "batch", "side, px": "size"}[axis]] = int(size)
    _visit(config["model"], axis, size)
    return config


def _visit(node: object, axis: str, size: float) -> None:
    """Set what of a model follows the side or the width of its layers."""
    if isinstance(node, list):
        for item in node:
            _visit(item, axis, size)
    if not isinstance(node, dict):
        return
    for key, value in node.items():
        if axis == "side, px" and key == "size" and isinstance(value, int):
            node[key] = int(size)
        elif axis == "width" and key in ("channel_base", "channel_max", "features"):
            node[key] = int(value * size)
        else:
            _visit(value, axis, size)


def _contender(config: dict, axis: str, size: float):
    from ode_vgan.bench.contender import Contender

    torch.manual_seed(0)
    return Contender(resized(config, axis, size), FPS)


def _step(config: dict, axis: str, size: float) -> Work:
    return _contender(config, axis, size).penalty_step


def _sample(config: dict, axis: str, size: float) -> Work:
    """A batch of clips as `ode-vgan sample` makes them: a stretch of frames after the other."""
    from ode_vgan.bench.memory_jobs import fresh_run

    config = resized(config, axis, size)
    run, data = fresh_run(config), config["data"]
    text, times = torch.ones(data["batch"], 1), torch.arange(data["frames"]) / FPS

    def work() -> None:
        for _ in run.stretches(text, times, seed=0):
            pass

    return work


def _path(model: torch.nn.Module, axis: str, size: float) -> Work:
    from ode_vgan.bench.paths import ask, own_job

    frames, clips = (int(size), 16) if axis == "frames" else (16, int(size))
    return own_job(model, ask(clips, frames, FPS)).run


def _features(clips: float) -> Work:
    from ode_vgan.metrics.features import find_extractor

    extractor = find_extractor("hog3d")
    frames = torch.randint(256, (16, 16, 64, 64, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    return lambda: torch.cat([extractor(frames) for _ in range(int(clips) // 16)])


def _rows(clips: int, dim: int, sets: int = 2) -> Sequence[torch.Tensor]:
    draw = torch.Generator().manual_seed(0)
    return [torch.randn(clips, dim, dtype=torch.float64, generator=draw) for _ in range(sets)]


def _frechet(clips: int, dim: int) -> Work:
    from ode_vgan.metrics.frechet import frechet_from_features

    return partial(frechet_from_features, *_rows(clips, dim))


def _kvd(clips: int) -> Work:
    from ode_vgan.metrics.mmd import kvd

    return partial(kvd, *_rows(clips, 400))


def _prdc(clips: int) -> Work:
    from ode_vgan.metrics.quality import prdc

    return partial(prdc, *_rows(clips, 400))


def _some(sizes: Sequence[float], quick: bool) -> Sequence[float]:
    return sizes[:2] if quick else sizes
