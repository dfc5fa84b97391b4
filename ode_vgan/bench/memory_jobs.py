"""Work whose memory is stated: each function imports what it needs and gives the work, still to be done."""

import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np

Job = Callable[[], object]
FPS = 24.0
DIM, ROWS = 512, 50_000  # of made-up embeddings, and of a part on disk


def training(config: dict, steps: int = 2) -> Job:
    """Steps with R1 and R2 and without, of a fresh model on made-up clips."""
    from ode_vgan.bench.contender import Contender

    def work() -> None:
        contender = Contender(config, FPS)
        for _ in range(steps):
            contender.penalty_step()
            contender.plain_step()

    return work


def sampling(config: dict, seconds: float, clips: int = 1) -> Job:
    """`ode-vgan sample` of an untrained generator at 24 frames a second: film and still."""
    import ode_vgan.runs  # noqa: F401  what the work imports is none of its memory
    from ode_vgan.sampled import Sampled, write_sampled

    def work() -> None:
        times = np.arange(max(1, round(seconds * FPS))) / FPS
        with tempfile.TemporaryDirectory() as folder:
            made = Sampled(fresh_run(config), ["a clip"] * clips, times, 0)
            write_sampled(made, Path(folder) / "film", title="a clip")

    return work


def judging(config: dict, protocol: str) -> Job:
    """`ode-vgan evaluate --split all --no-cache` of an untrained generator; its texts are all alike.

    Args:
        protocol: with frames, such as fvd2048_16f.
    """
    import ode_vgan.runs  # noqa: F401
    from ode_vgan.data.windows import Sampling
    from ode_vgan.metrics.clipsets import RunSet, open_real
    from ode_vgan.metrics.evaluate import evaluate
    from ode_vgan.metrics.features import find_extractor
    from ode_vgan.metrics.protocol import parse_protocol

    asked, data = parse_protocol(protocol), config["data"]
    extractor = find_extractor(asked.extractor)

    def work() -> None:
        trained = fresh_run(config)
        real = open_real(
            data["source"], frames=asked.frames, sampling=Sampling(loop=True), size=data["size"], split="all"
        )
        evaluate(real, {"run": lambda _, o, seed: RunSet(trained, o, seed=seed)}, [asked], {asked.extractor: extractor})

    return work


def indexing(folder: str) -> Job:
    """`ode-vgan laion index` of the embeddings of a folder."""
    from ode_vgan.laion.index import build_index, faiss

    faiss()
    return lambda: build_index(folder)


def searching(folder: str, queries: int = 50) -> Job:
    """Open a folder as the explorer does, and ask."""
    from ode_vgan.laion.index import faiss
    from ode_vgan.laion.rows import duckdb
    from ode_vgan.laion.search import Search

    faiss(), duckdb()

    def work() -> None:
        search, draw = Search(folder), np.random.default_rng(1)
        for _ in range(queries):
            search.neighbours(draw.standard_normal(search.index.info["dim"]), limit=40)

    return work


JOBS = {
    "training": training,
    "sampling": sampling,
    "judging": judging,
    "indexing": indexing,
    "searching": searching,
}


def make_vectors(folder: Path, count: int, dim: int = DIM) -> Path:
    """Embeddings of a folder, as `ode-vgan laion embed` leaves them: unit vectors around some centres."""
    from ode_vgan.bench.search import clustered
    from ode_vgan.laion.parts import SIDES, write_part

    for number, start in enumerate(range(0, count, ROWS)):
        rows = range(start, min(count, start + ROWS))
        described = [{"key": f"{i:09d}", "uid": f"{i:032x}", "caption": f"clip {i}"} for i in rows]
        vectors = dict.fromkeys(SIDES, clustered(len(rows), dim, seed=3 + number))
        write_part(folder / "emb", number, vectors, described, {"fingerprint": "made"})
    return folder


def fresh_run(config: dict):
    """A run that has seen no clip, and to whose embedder all texts are one."""
    import torch

    from ode_vgan.embed.none import NoEmbedder
    from ode_vgan.runs import Trained, build_generator

    torch.manual_seed(0)
    generator = build_generator(config).eval().requires_grad_(False)
    return Trained(generator, config, 0, Path("none"), NoEmbedder())
