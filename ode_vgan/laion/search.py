"""Search: words, a clip or a vector in, the nearest clips out, among those that a filter keeps."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from threading import Lock

import numpy as np

from ode_vgan.data.clips import decode_clip
from ode_vgan.embed.embedder import Embedder
from ode_vgan.embed.frames import even_frames
from ode_vgan.errors import UserError
from ode_vgan.laion.embeddings import FRAMES, LARGE_PX
from ode_vgan.laion.facets import count_facets, facet_columns
from ode_vgan.laion.index import faiss, load_index
from ode_vgan.laion.predicate import Filter
from ode_vgan.laion.rows import Rows
from ode_vgan.laion.vectors import unit_rows

NEAR_DUPLICATE = 0.94  # LAION's own search page hides results this alike
MAX_DEPTH = 3000
DEPTHS = (100, 500, MAX_DEPTH)  # pages within one depth are parts of one search
FEW_ROWS, FEW_SHARE = 50_000, 0.1
# of a dropped clip: refused beyond the first two, and not read on beyond the others
UPLOAD_BYTES, UPLOAD_SIDE_PX, UPLOAD_FRAMES, UPLOAD_PIXELS = 32 * 2**20, 4096, 600, 10**9


@dataclass(frozen=True)
class Hit:
    """One result: its row in the index, its similarity to the query, and how many near duplicates it stands for."""

    row: int
    similarity: float | None = None
    alike: int = 0


@dataclass(frozen=True)
class Found:
    """One page of results, the clips that the filter keeps, and whether another page follows."""

    hits: list[Hit]
    kept: int
    more: bool


class Search:
    """Nearest clips of a dataset folder.

    Args:
        folder: DIR with index/, and with shards/ and scores/ where there are.
        embedder: what embedded the clips; None searches by clip and vector only.

    Raises:
        UserError: no index, or one of other rows, or an embedder that did not make these vectors.
    """

    def __init__(self, folder: str | Path, embedder: Embedder | None = None):
        self.folder, self.embedder = Path(folder), embedder
        self.index = load_index(folder)
        self._embedding = Lock()  # one request embeds at a time
        self._check_embedder()
        self.rows = Rows(folder, self.index.rowmap)
        self.columns = facet_columns(self.rows)
        uids = self.index.rowmap["uid"].to_pylist()
        self.row_of_uid = dict(zip(reversed(uids), range(len(uids) - 1, -1, -1), strict=True))  # the first of equals
        if self._inverted:
            self.index.faiss.make_direct_map()  # reconstruct needs it

    @property
    def count(self) -> int:
        """Clips in the index."""
        return self.index.info["count"]

    def embed_text(self, text: str) -> np.ndarray:
        """(E,) float32, unit length.

        Raises:
            UserError: there is no embedder, or the text is empty.
        """
        if not text.strip():
            raise UserError("the query is empty. Type what the clip should show.")
        embedder = self._embedder()
        with self._embedding:
            return embedder.encode_text([text])[0].numpy()

    def embed_clip(self, content: bytes) -> np.ndarray:
        """(E,) float32, unit length, of a clip's file.

        Raises:
            UserError: no embedder, more than 32 MB, sides above 4096 px, or nothing that decodes.
        """
        if len(content) > UPLOAD_BYTES:
            raise UserError(f"the clip has {len(content)} bytes, at most {UPLOAD_BYTES}. Cut it shorter.")
        embedder = self._embedder()
        height, width = decode_clip(content, max_frames=1).frames.shape[1:3]
        if max(height, width) > UPLOAD_SIDE_PX:
            raise UserError(f"the clip is {width}x{height} px, at most {UPLOAD_SIDE_PX} a side. Scale it down.")
        size = None if max(height, width) <= LARGE_PX else LARGE_PX  # as the set was embedded
        most = max(1, min(UPLOAD_FRAMES, UPLOAD_PIXELS // (height * width)))
        clip = decode_clip(content, size=size, max_frames=most)
        frames = even_frames(clip.frames, self.index.info.get("frames") or FRAMES)
        with self._embedding:
            return embedder.encode_frames(frames[None])[0].numpy()

    def row(self, uid: str) -> int:
        """The row of a clip.

        Raises:
            UserError: there is no such clip.
        """
        if uid not in self.row_of_uid:
            raise UserError(f"no clip {uid[:40]!r} among {self.count}. Its uid has 32 hexadecimal digits.")
        return self.row_of_uid[uid]

    def vector(self, row: int) -> np.ndarray:
        """(E,) float32 of a row, as the index holds it, at unit length."""
        return unit_rows(self.index.faiss.reconstruct(int(row))[None], "index", row)[0][0]

    def neighbours(
        self,
        vector: np.ndarray,
        wanted: Filter | None = None,
        *,
        offset: int = 0,
        limit: int = 40,
        collapse: float | None = None,
        without: Iterable[int] = (),
    ) -> Found:
        """The clips nearest to a vector among those that the filter keeps; the filter narrows the search itself.

        Args:
            vector: (E,), any length but zero.
            offset, limit: which results, to 3000 in all.
            collapse: leave out a result at least this similar to one before it (0.94), and count it there.
            without: rows that are no result, such as the query's own.

        Raises:
            UserError: a vector of another width or not finite, a bad filter, results beyond 3000.
        """
        query = self._query(vector)
        check_page(offset, limit)
        kept = self.rows.select(wanted)
        without = sorted(set(without))
        if without:
            kept = np.setdiff1d(np.arange(self.count) if kept is None else kept, without)
        count = self.count if kept is None else len(kept)
        for depth in (depth for depth in DEPTHS if depth > offset + limit or depth == MAX_DEPTH):
            similarity, rows = self.nearest(query, min(depth, count), kept)
            hits = [Hit(int(row), float(near)) for row, near in zip(rows, similarity, strict=True)]
            hits = hits if collapse is None else self._collapse(hits, collapse)
            if len(hits) > offset + limit or depth >= count:
                break
        return Found(hits[offset : offset + limit], count, len(hits) > offset + limit)

    def nearest(self, query: np.ndarray, k: int, kept: np.ndarray | None) -> tuple[np.ndarray, np.ndarray]:
        """Similarities, falling, and rows of the k nearest among the rows kept; all k are found.

        Over inverted lists, the fewer rows are kept, the more lists are probed: all of them up to a tenth of the rows.
        """
        if k < 1:
            return np.empty(0, np.float32), np.empty(0, np.int64)
        selector = None if kept is None else bitmap(kept, self.count)
        if not self._inverted:
            params = faiss().SearchParameters(sel=selector) if selector else None
            similarity, rows = self.index.faiss.search(query[None], k, params=params)
            return similarity[0], rows[0]
        share = 1.0 if kept is None else len(kept) / self.count
        nlist = self.index.faiss.nlist
        nprobe = max(self.index.info["nprobe"] / share, nlist * min(1.0, 10 * k / (self.count * share)))
        if kept is not None and len(kept) <= max(FEW_ROWS, FEW_SHARE * self.count):
            nprobe = nlist  # compares no more than the rows kept, and misses none
        for probed in (min(nlist, int(np.ceil(nprobe))), nlist):
            params = faiss().SearchParametersIVF(nprobe=probed, sel=selector)
            similarity, rows = self.index.faiss.search(query[None], k, params=params)
            if (rows >= 0).all():
                break
        return similarity[0], rows[0]

    def browse(self, wanted: Filter | None = None, *, order: str = "", offset: int = 0, limit: int = 40) -> Found:
        """Clips that the filter keeps, without a query, by a column ("-motion" falls) or as they lie."""
        check_page(offset, limit)
        kept = self.rows.query(f"SELECT count(*) FROM clips WHERE ({self.rows.condition(wanted)})")[0][0]
        rows = self.rows.ordered(wanted, order, offset, limit)
        return Found([Hit(row) for row in rows], kept, offset + len(rows) < min(kept, MAX_DEPTH))

    def describe(self, hits: list[Hit]) -> list[dict]:
        """The columns of each result, with its similarity to the query as `near` and its `alike`."""
        records = self.rows.read([hit.row for hit in hits])
        return [
            record | {"near": hit.similarity, "alike": hit.alike} for record, hit in zip(records, hits, strict=True)
        ]

    def facets(self, wanted: Filter | None = None) -> dict:
        """Counts of every column under the filter (see `count_facets`)."""
        return count_facets(self.rows, self.columns, wanted or Filter())

    @property
    def _inverted(self) -> bool:
        return self.index.info["nprobe"] is not None

    def _check_embedder(self) -> None:
        made_by = self.index.info.get("embedder")
        if self.embedder is not None and self.embedder.dim != self.index.info["dim"]:
            raise UserError(f"the embedder makes {self.embedder.dim} numbers, the index has {self.index.info['dim']}.")
        if self.embedder is not None and made_by and self.embedder.fingerprint != made_by:
            raise UserError(
                f"the index was made by {made_by}, the embedder is {self.embedder.fingerprint}. "
                f"Give the same one, or embed and index {self.folder} again."
            )

    def _embedder(self) -> Embedder:
        if self.embedder is None:
            raise UserError("this index has no embedder: search from a clip of the set, or start with --embedder.")
        return self.embedder

    def _query(self, vector: np.ndarray) -> np.ndarray:
        query = np.asarray(vector, dtype=np.float32).reshape(-1)
        if len(query) != self.index.info["dim"]:
            raise UserError(f"the query has {len(query)} numbers, the index has {self.index.info['dim']}.")
        return unit_rows(query[None], "the query", 0)[0][0]

    def _collapse(self, hits: list[Hit], threshold: float) -> list[Hit]:
        """Keep a hit unless it is near one that was kept before it, so that a longer list begins with a shorter one."""
        vectors = np.stack([self.vector(hit.row) for hit in hits]) if hits else np.empty((0, 1))
        kept: list[int] = []
        alike: list[int] = []
        for i in range(len(hits)):
            near = vectors[kept] @ vectors[i] if kept else np.empty(0)
            if len(near) and near.max() >= threshold:
                alike[int(near.argmax())] += 1
            else:
                kept.append(i)
                alike.append(0)
        return [Hit(hits[i].row, hits[i].similarity, number) for i, number in zip(kept, alike, strict=True)]


def bitmap(rows: np.ndarray, count: int):
    """A faiss selector of the rows: one bit a row of the index."""
    bits = np.zeros(count, dtype=bool)
    bits[rows] = True
    return faiss().IDSelectorBitmap(np.packbits(bits, bitorder="little"))


def check_page(offset: int, limit: int) -> None:
    """Raise unless the page lies within the first 3000 results."""
    if not (0 <= offset and 1 <= limit and offset + limit <= MAX_DEPTH):
        raise UserError(
            f"results {offset} to {offset + limit} lie outside 0 to {MAX_DEPTH}. Narrow the filter instead."
        )
