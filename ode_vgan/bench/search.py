"""Explorer search: our index beside brute force, by numpy and by faiss."""

import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ode_vgan.bench.contest import Asked, Contest, Work
from ode_vgan.laion.index import build_index, faiss
from ode_vgan.laion.parts import SIDES, write_part
from ode_vgan.laion.recall import NEIGHBOURS, TIE
from ode_vgan.laion.search import Search

DIM, NEAREST, QUERIES = 512, 100, 16
FEW, MANY = 20_000, 120_000  # below and above FLAT_BELOW
PER_CENTRE, WIDTH = 500, 0.6  # of the made-up clusters


@dataclass(frozen=True)
class Made:
    """An index over made-up vectors, and the same vectors as they lie in memory.

    Attributes:
        vectors: (N, E) float32, unit rows. queries: (Q, E).
    """

    search: Search
    vectors: np.ndarray
    queries: np.ndarray

    def ours(self) -> list[np.ndarray]:
        """Rows of the nearest, for every query in turn, as the explorer asks."""
        return [self.search.nearest(query, NEAREST, None)[1] for query in self.queries]

    def by_numpy(self) -> list[np.ndarray]:
        """All similarities by one product, the largest by a partition."""
        found = []
        for query in self.queries:
            similarity = self.vectors @ query
            best = np.argpartition(-similarity, NEAREST)[:NEAREST]
            found.append(best[np.argsort(-similarity[best])])
        return found

    def missed(self, theirs: Callable[[], list[np.ndarray]]) -> float:
        """The share of our ten nearest that are further than their tenth; ten is what an index promises."""
        shares = []
        for query, own, other in zip(self.queries, self.ours(), theirs(), strict=True):
            near, tenth = self.vectors[own[:NEIGHBOURS]] @ query, self.vectors[other[NEIGHBOURS - 1]] @ query
            shares.append(float((near < tenth - TIE).mean()))
        return float(np.mean(shares))


def contests(asked: Asked) -> list[Contest]:
    """A small set, whose index is exact, and one so large that lists are probed."""
    dim, few, many = (32, 500, 3_000) if asked.quick else (DIM, FEW, MANY)
    found = []
    for count, limit in ((few, None), (many, many)):
        made = make(count, dim, flat_below=limit or count + 1)
        index = made.search.index.info
        told = {"name": f"{index['factory']}, {count:,} clips", "note": note(index)}
        work = work_of(index, dim)
        found.append(rival(made, "numpy", made.by_numpy, work, **told))
        if index["nprobe"] is not None:
            found.append(rival(made, "faiss, flat", by_faiss(made), work, **told))
    return found


def rival(made: Made, against: str, theirs: Callable[[], list], work: Work, *, name: str, note: str) -> Contest:
    """The index is allowed to miss what it says that it misses."""
    tolerance = 0.1 if made.search.index.info["nprobe"] is not None else 1e-9
    return Contest(
        "search", name, against, made.ours, theirs, lambda: made.missed(theirs), tolerance, work=work, note=note
    )  # fmt: skip


def note(info: dict) -> str:
    """What a search finds."""
    if info["nprobe"] is None:
        return f"the nearest {NEAREST}; exact"
    return f"the nearest {NEAREST}; difference: share missed of the ten nearest"


def work_of(info: dict, dim: int) -> Work:
    """Vectors compared, each read once: whole ones, or 8 bits a number."""
    chosen = next((one for one in info["tried"] if one["factory"] == info["factory"]), {"compared": info["count"]})
    compared = QUERIES * chosen["compared"] * dim
    return Work(2 * compared, compared * (1 if "SQ8" in info["factory"] else 4), QUERIES, "searches")


def make(count: int, dim: int, flat_below: int) -> Made:
    """Index clustered vectors in a folder that is gone afterwards."""
    vectors, queries = clustered(count, dim), clustered(QUERIES, dim, seed=1)
    rows = [{"key": f"{i:08d}", "uid": f"{i:032x}", "caption": ""} for i in range(count)]
    with tempfile.TemporaryDirectory() as folder:
        write_part(Path(folder) / "emb", 0, dict.fromkeys(SIDES, vectors), rows, {"fingerprint": "made"})
        build_index(folder, flat_below=flat_below)
        return Made(Search(folder), vectors, queries)


def clustered(count: int, dim: int, seed: int = 0) -> np.ndarray:
    """(count, dim) float32 unit rows around centres that all seeds share."""
    random = np.random.default_rng(seed)
    centres = np.random.default_rng(2).standard_normal((MANY // PER_CENTRE, dim), dtype=np.float32)
    rows = centres[random.integers(len(centres), size=count)]
    rows += WIDTH * random.standard_normal((count, dim), dtype=np.float32)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def by_faiss(made: Made) -> Callable[[], list[np.ndarray]]:
    """faiss's own exact index over the same vectors."""
    flat = faiss().IndexFlatIP(made.vectors.shape[1])
    flat.add(made.vectors)
    return lambda: [flat.search(query[None], NEAREST)[1][0] for query in made.queries]
