"""Near-duplicate clips across shards: pairs of near hashes or vectors, their groups, and the column that names them."""

import io
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from ode_vgan.data.clips import write_atomic
from ode_vgan.errors import UserError

MAX_BITS = 7  # see experiments/laion/calibration
MOST_BITS = 15  # with more the bands are so narrow that most pairs are compared
BLOCK_ROWS = 2048  # vectors compared together
PAIRS_AT_ONCE = 1 << 20


def near_hashes(hashes: np.ndarray, max_bits: int = MAX_BITS) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Every pair of hashes that differ in at most `max_bits` bits, in parts; a pair may come more than once.

    The 64 bits are cut into max_bits // 2 + 1 bands. Were each band of a pair to differ in two bits or more, the pair
    would differ in more than max_bits; so one band differs in at most one bit, and only hashes that agree there are
    compared. Work is about n^2 * bands * (bits of a band + 1) / 2^(bits of a band + 1) comparisons for hashes that
    are spread evenly, memory O(n).

    Args:
        hashes: uint64 (N,). max_bits: 0 to 15.

    Yields:
        rows (M,) and rows (M,) of `hashes`, first below second or above it, never equal.

    Raises:
        UserError: max_bits out of range.
    """
    if not 0 <= max_bits <= MOST_BITS:
        raise UserError(f"max_bits={max_bits} must be 0 to {MOST_BITS} of 64. Lower it, or compare embeddings.")
    unique, first, inverse = np.unique(hashes, return_index=True, return_inverse=True)
    copies = first[inverse]
    rows = np.flatnonzero(copies != np.arange(len(hashes)))
    yield copies[rows], rows
    for low, wide in _bands(max_bits // 2 + 1):
        band = (unique >> np.uint64(low)) & np.uint64((1 << wide) - 1)
        order = np.argsort(band, kind="stable")
        for a, b in _near_in_band(unique[order], band[order], wide, max_bits):
            yield first[order[a]], first[order[b]]


def near_vectors(vectors: np.ndarray, min_cosine: float) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Every pair of unit rows (N, E) whose cosine is at least `min_cosine`; exact, N^2 / 2 products in blocks."""
    vectors = np.asarray(vectors, np.float32)
    for top in range(0, len(vectors), BLOCK_ROWS):
        for left in range(top, len(vectors), BLOCK_ROWS):
            products = vectors[top : top + BLOCK_ROWS] @ vectors[left : left + BLOCK_ROWS].T
            a, b = np.nonzero(products >= min_cosine)
            above = a + top < b + left
            yield a[above] + top, b[above] + left


def group_rows(count: int, pairs: Iterable[tuple[np.ndarray, np.ndarray]]) -> np.ndarray:
    """int64 (count,): the least row that each row is joined to by a chain of pairs, itself where there is none."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    labels = np.arange(count)
    for a, b in _gathered(pairs):
        graph = coo_array((np.ones(len(a), bool), (labels[a], labels[b])), shape=(count, count))
        joined = connected_components(graph, directed=False)[1]
        least = np.full(count, count)
        np.minimum.at(least, joined, np.arange(count))
        labels = least[joined][labels]
    return labels


def mark_duplicates(folder: str | Path, *, max_bits: int = MAX_BITS, min_cosine: float | None = None) -> dict:
    """Fill `dup_of` of every score file of a dataset: the uid of the first clip of its group, null for that one.

    First is by shard, then key. Groups are chains of pairs whose hashes differ in at most `max_bits` bits or, where
    min_cosine is given, whose embeddings have at least that cosine. A copy to the byte has its own uid as `dup_of`.
    Each file is replaced whole; running it again changes no byte, and after a kill it ends as if there had been none.

    Returns:
        clips, duplicates, groups and the largest group.

    Raises:
        UserError: there are no scores, or min_cosine is given without embeddings.
    """
    paths = sorted((Path(folder) / "scores").glob("*.parquet"))
    if not paths:
        raise UserError(f"no scores in {folder}. Run: ode-vgan laion score {folder}.")
    tables = [pq.read_table(path, columns=["key", "uid", "phash"]) for path in paths]
    rows = pa.concat_tables(tables).to_pydict()
    hashed = np.array([i for i, text in enumerate(rows["phash"]) if text is not None], dtype=np.int64)
    hashes = np.array([int(rows["phash"][i], 16) for i in hashed], dtype=np.uint64)

    def pairs() -> Iterator[tuple[np.ndarray, np.ndarray]]:
        for a, b in near_hashes(hashes, max_bits):
            yield hashed[a], hashed[b]
        if min_cosine is not None:
            yield from _near_embeddings(Path(folder), rows["uid"], min_cosine)

    groups = group_rows(len(rows["uid"]), pairs())
    names = [None if i == group else rows["uid"][group] for i, group in enumerate(groups)]
    start = 0
    for path, table in zip(paths, tables, strict=True):
        _replace(path, names[start : start + table.num_rows])
        start += table.num_rows
    sizes = np.bincount(groups, minlength=1)
    duplicates = sum(name is not None for name in names)
    return {
        "clips": len(names),
        "duplicates": duplicates,
        "groups": int((sizes > 1).sum()),
        "largest": int(sizes.max()),
    }


def parquet_bytes(table: pa.Table) -> bytes:
    """One table as a Parquet file; the same table gives the same bytes."""
    buffer = io.BytesIO()
    pq.write_table(table, buffer, compression="zstd")
    return buffer.getvalue()


def _replace(path: Path, names: list[str | None]) -> None:
    table = pq.read_table(path)
    column = pa.array(names, pa.string())
    if not table["dup_of"].combine_chunks().equals(column):
        place = table.schema.get_field_index("dup_of")
        write_atomic(path, parquet_bytes(table.set_column(place, table.schema.field(place), column)))


def _near_embeddings(folder: Path, uids: list[str], min_cosine: float) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    from ode_vgan.laion.embeddings import read_embeddings

    found = read_embeddings(folder)
    row_of = {uid: i for i, uid in reversed(list(enumerate(uids)))}
    at = np.array([row_of.get(uid, -1) for uid in found.metadata["uid"].to_pylist()], dtype=np.int64)
    known = np.flatnonzero(at >= 0)
    for a, b in near_vectors(found.video[known], min_cosine):
        yield at[known[a]], at[known[b]]


def _bands(count: int) -> list[tuple[int, int]]:
    """(lowest bit, width) of bands that share 64 bits as evenly as can be."""
    edges = [64 * i // count for i in range(count + 1)]
    return [(low, high - low) for low, high in zip(edges, edges[1:], strict=False)]


def _near_in_band(
    hashes: np.ndarray, band: np.ndarray, wide: int, max_bits: int
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Pairs within max_bits among hashes sorted by their band, of bands that differ in one bit or none."""
    own = np.arange(1, len(band) + 1)
    yield from _near_in_ranges(hashes, own - 1, own, np.searchsorted(band, band, side="right"), max_bits)
    for bit in range(min(wide, 64) if max_bits else 0):
        rows = np.flatnonzero((band >> np.uint64(bit)) & np.uint64(1) == 0)
        other = band[rows] ^ np.uint64(1 << bit)
        low, high = (np.searchsorted(band, other, side=side) for side in ("left", "right"))
        yield from _near_in_ranges(hashes, rows, low, high, max_bits)


def _near_in_ranges(
    hashes: np.ndarray, rows: np.ndarray, low: np.ndarray, high: np.ndarray, max_bits: int
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Pairs within max_bits of hashes[rows[i]] and hashes[low[i]:high[i]]."""
    while len(rows):
        left = low < high
        rows, low, high = rows[left], low[left], high[left]
        near = np.bitwise_count(hashes[rows] ^ hashes[low]) <= max_bits
        if near.any():
            yield rows[near], low[near]
        low = low + 1


def _gathered(pairs: Iterable[tuple[np.ndarray, np.ndarray]]) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """The same pairs in parts of about a million."""
    held, count = [], 0
    for pair in pairs:
        held.append(pair)
        count += len(pair[0])
        if count >= PAIRS_AT_ONCE:
            yield np.concatenate([a for a, _ in held]), np.concatenate([b for _, b in held])
            held, count = [], 0
    if count:
        yield np.concatenate([a for a, _ in held]), np.concatenate([b for _, b in held])
