"""A nearest-neighbour index over a folder's embeddings: exact while small, by measured recall when large."""

import hashlib
import json
import os
import shutil
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa

from ode_vgan.embed.embedder import file_sha256
from ode_vgan.errors import UserError
from ode_vgan.laion.embeddings import read_embeddings
from ode_vgan.laion.recall import TRAIN_PER_LIST, Probe, compared_vectors, fewest_probes, make_probe
from ode_vgan.laion.rowmap import make_rowmap, read_rowmap, write_rowmap
from ode_vgan.laion.vectors import Vectors, open_vectors

FLAT_BELOW = 100_000
TARGET_RECALL = 0.95


@dataclass(frozen=True)
class Index:
    """A loaded index: the faiss object, its row map (uid, key, shard; row i is vector i) and its video.json."""

    faiss: object
    rowmap: pa.Table
    info: dict


def build_index(
    folder: str | Path,
    out: str | Path | None = None,
    *,
    target_recall: float = TARGET_RECALL,
    flat_below: int = FLAT_BELOW,
    seed: int = 0,
) -> dict:
    """Index the embeddings of a folder; returns what video.json holds.

    Exact (Flat) below `flat_below` vectors. Above, inverted lists with 8-bit vectors (IVF,SQ8), or with whole ones
    where 8 bits miss the target; the number of lists and of lists probed is the cheapest that reaches the target in
    recall@10 on held-out queries. Rows of another length than 1 are rescaled and counted. The files depend on the
    embeddings and the seed alone, but for `build_seconds`.

    Args:
        folder: DIR with emb/, or a folder that clip-retrieval's `inference` wrote.
        out: where the index goes, replaced when complete; None is folder/index.

    Raises:
        UserError: target outside (0, 1], no embeddings, a vector that is zero or not finite, rows that do not match.
    """
    if not 0 < target_recall <= 1:
        raise UserError(f"target_recall={target_recall} must be above 0 and at most 1.")
    folder, started = Path(folder), time.perf_counter()
    out = Path(out) if out is not None else folder / "index"
    vectors = open_vectors(folder)
    for _ in read_embeddings(folder):  # refuses a part that is not what its metadata's digests say
        pass
    rowmap = make_rowmap(vectors, folder / "shards")
    if vectors.count < flat_below:
        index, choice = _flat(vectors), {"factory": "Flat", "nprobe": None, "recall@10": 1.0, "tried": []}
    else:
        index, choice = _inverted(vectors, make_probe(vectors, _captions(folder, vectors), seed), target_recall, seed)
    choice |= {"target_recall": target_recall, "seed": seed}
    return _put(out, lambda temporary: _write(temporary, index, vectors, rowmap, choice, started))


def load_index(folder: str | Path) -> Index:
    """The index of DIR, or of an index folder itself, with its row map checked.

    Raises:
        UserError: it is not there, its files are not of one build, or they are broken.
    """
    folder = Path(folder)
    folder = folder / "index" if (folder / "index").is_dir() else folder
    remedy = f"Build it: `ode-vgan laion index {folder.parent if folder.name == 'index' else folder}`."
    if not (folder / "video.json").is_file() or not (folder / "video.index").is_file():
        raise UserError(f"no index in {folder}. {remedy}")
    try:
        info = json.loads((folder / "video.json").read_text())
        expected, count, dim = info["index_sha256"], info["count"], info["dim"]
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(f"{folder / 'video.json'} is not an index's description ({error}). {remedy}") from error
    if file_sha256(folder / "video.index") != expected:
        raise UserError(f"{folder / 'video.index'} is not the file that video.json describes. {remedy}")
    index = faiss().read_index(str(folder / "video.index"))
    if (index.ntotal, index.d) != (count, dim):
        raise UserError(f"{folder / 'video.index'} holds {index.ntotal}x{index.d}, expected {count}x{dim}. {remedy}")
    return Index(index, read_rowmap(folder / "rowmap.parquet", info), info)


def faiss():
    """The optional package, imported when it is first needed.

    Raises:
        UserError: it is not installed.
    """
    try:
        import faiss as module
    except ImportError as error:
        raise UserError("an index needs faiss. Run: pip install 'ode_vgan[laion]'") from error
    return module


def _captions(folder: Path, vectors: Vectors) -> Vectors | None:
    """Caption vectors of the same rows, as further queries; None where there are none."""
    try:
        text = open_vectors(folder, "text")
    except UserError:
        return None
    return text if (text.count, text.dim) == (vectors.count, vectors.dim) else None


def _flat(vectors: Vectors):
    index = faiss().IndexFlatIP(vectors.dim)
    for _, block in vectors.blocks():
        index.add(block)
    return index


def _inverted(vectors: Vectors, probe: Probe, target: float, seed: int) -> tuple[object, dict]:
    tried: list[dict] = []
    best = None
    root = 2 ** round(np.log2(np.sqrt(vectors.count)))
    for codec in ("SQ8", "Flat"):
        for nlist in (root, 2 * root) if vectors.count > 3 * TRAIN_PER_LIST * root else (root,):
            index = _lists(vectors, probe, f"IVF{nlist},{codec}", nlist, seed)
            nprobe, recall = fewest_probes(index, probe, vectors, target)
            compared = round(compared_vectors(index, probe, nprobe), 1)
            tried.append(
                {"factory": f"IVF{nlist},{codec}", "nprobe": nprobe, "recall@10": recall, "compared": compared}
            )
            if recall >= target and (best is None or compared < best[1]["compared"]):
                best = index, tried[-1]
        if best is not None:
            break
    if best is None:
        seen = max(one["recall@10"] for one in tried)
        raise UserError(f"no inverted index reaches recall@10 {target}; the best has {seen}. Lower target_recall.")
    index, choice = best
    index.nprobe = choice["nprobe"]  # what a reader that knows only faiss will use
    return index, {name: choice[name] for name in ("factory", "nprobe", "recall@10")} | {"tried": tried}


def _lists(vectors: Vectors, probe: Probe, factory: str, nlist: int, seed: int):
    index = faiss().index_factory(vectors.dim, factory, faiss().METRIC_INNER_PRODUCT)
    index.cp.seed = seed + 1234  # of k-means; 1234 is faiss's own
    rest = np.setdiff1d(np.arange(vectors.count), probe.own)
    size = min(len(rest), TRAIN_PER_LIST * nlist)
    index.train(vectors.take(np.sort(np.random.default_rng(seed).choice(rest, size, replace=False))))
    for _, block in vectors.blocks():
        index.add(block)
    return index


def _write(folder: Path, index, vectors: Vectors, rowmap: pa.Table, choice: dict, started: float) -> dict:
    faiss().write_index(index, str(folder / "video.index"))
    (folder / "metadata").mkdir()
    for part in vectors.parts:
        shutil.copyfile(part.metadata, folder / "metadata" / part.metadata.name)
    info = choice | {
        "rowmap_digest": write_rowmap(folder / "rowmap.parquet", rowmap),
        "index_sha256": file_sha256(folder / "video.index"),
        "bytes": (folder / "video.index").stat().st_size,
        "count": vectors.count,
        "dim": vectors.dim,
        "embedder": vectors.model.get("fingerprint"),
        "frames": vectors.model.get("frames"),
        "rescaled": vectors.rescaled,
        "vectors_sha256": _digest(vectors),
        "build_seconds": round(time.perf_counter() - started, 3),
    }
    (folder / "video.json").write_text(json.dumps(info, indent=2, sort_keys=True) + "\n")
    return info


def _digest(vectors: Vectors) -> str:
    """sha256 of the vectors as they lie on disk: tells whether an index is older than its embeddings."""
    digest = hashlib.sha256()
    for part in vectors.parts:
        digest.update(np.ascontiguousarray(part.rows).data)
    return digest.hexdigest()


def _put(out: Path, write: Callable[[Path], dict]) -> dict:
    """Write a folder under another name, then put it in place; the old one, if any, is moved aside and removed."""
    out.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(dir=out.parent, prefix=f".{out.name}."))
    old = out.with_name(f".{out.name}.old.{os.getpid()}")
    try:
        info = write(temporary)
        os.chmod(temporary, 0o755)
        if out.exists():
            os.replace(out, old)
        os.replace(temporary, out)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
        shutil.rmtree(old, ignore_errors=True)
    return info
