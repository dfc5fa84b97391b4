"""Choosing an approximate index by what it finds: recall@10 against exact search on held-out queries."""

from dataclasses import dataclass

import numpy as np

from ode_vgan.laion.vectors import Vectors

NEIGHBOURS = 10
QUERIES = 200
TRAIN_PER_LIST = 40  # k-means gains little above
TIE = 1e-5  # similarities this close are one neighbour as good as the other


@dataclass(frozen=True)
class Probe:
    """Queries with what exact search finds for them.

    Attributes:
        vectors: (Q, E) float32, unit rows.
        own: (Q,) the query's own row, never counted as its neighbour; -1 for a query from outside.
        floor: (Q,) the similarity of the tenth exact neighbour.
    """

    vectors: np.ndarray
    own: np.ndarray
    floor: np.ndarray


def make_probe(vectors: Vectors, text: Vectors | None, seed: int) -> Probe:
    """Held-out queries: clips of the set, each without itself, and captions where there are caption vectors."""
    chosen = np.sort(np.random.default_rng(seed).choice(vectors.count, min(QUERIES, vectors.count), replace=False))
    queries, own = vectors.take(chosen), chosen
    if text is not None:
        queries = np.concatenate([queries, text.take(chosen)])
        own = np.concatenate([own, np.full(len(chosen), -1)])
    similarity, rows = exact_search(vectors, queries, NEIGHBOURS + 1)
    similarity[rows == own[:, None]] = -np.inf
    similarity = -np.sort(-similarity, axis=1)
    return Probe(queries, own, similarity[:, min(NEIGHBOURS, similarity.shape[1]) - 1])


def exact_search(vectors: Vectors, queries: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    """(Q, k) similarities, falling, and rows, by comparing with every vector, block by block."""
    from faiss import METRIC_INNER_PRODUCT, knn

    best = np.empty((len(queries), 0), dtype=np.float32)
    rows = np.empty((len(queries), 0), dtype=np.int64)
    for start, block in vectors.blocks():
        similarity, near = knn(queries, block, min(k, len(block)), metric=METRIC_INNER_PRODUCT)
        best, rows = np.concatenate([best, similarity], axis=1), np.concatenate([rows, near + start], axis=1)
        order = np.argsort(-best, axis=1, kind="stable")[:, :k]
        best, rows = np.take_along_axis(best, order, 1), np.take_along_axis(rows, order, 1)
    return best, rows


def recall_at_10(found: np.ndarray, probe: Probe, vectors: Vectors) -> float:
    """The share of ten neighbours that are as near as the exact ten; the worse of clip and caption queries.

    Args:
        found: (Q, 11) rows, -1 where none.
    """
    near = np.where(found == probe.own[:, None], -1, found)
    filled = near >= 0
    similarity = np.full(near.shape, -np.inf, dtype=np.float32)
    owner = np.broadcast_to(np.arange(len(near))[:, None], near.shape)[filled]
    similarity[filled] = (vectors.take(near[filled]) * probe.vectors[owner]).sum(1)
    hits = (similarity >= probe.floor[:, None] - TIE).sum(1).clip(max=NEIGHBOURS)
    wanted = min(NEIGHBOURS, vectors.count - 1) or 1
    kinds = [hits[probe.own >= 0], hits[probe.own < 0]]
    return round(min(float(kind.clip(max=wanted).mean()) / wanted for kind in kinds if len(kind)), 4)


def fewest_probes(index, probe: Probe, vectors: Vectors, target: float) -> tuple[int, float]:
    """The smallest power of two of lists that reaches the target, and its recall@10; all lists if none does."""
    from faiss import SearchParametersIVF

    nprobe = 1
    while True:
        params = SearchParametersIVF(nprobe=min(nprobe, index.nlist))
        found = index.search(probe.vectors, NEIGHBOURS + 1, params=params)[1]
        recall = recall_at_10(found, probe, vectors)
        if recall >= target or nprobe >= index.nlist:
            return min(nprobe, index.nlist), recall
        nprobe *= 2


def compared_vectors(index, probe: Probe, nprobe: int) -> float:
    """Mean distances computed a query: the centres, and every vector of the lists probed."""
    lists = index.quantizer.search(probe.vectors, nprobe)[1]
    sizes = np.array([index.invlists.list_size(i) for i in range(index.nlist)])
    return index.nlist + float(sizes[lists].sum(1).mean())
