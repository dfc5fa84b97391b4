"""How long a search takes and what it finds, at 10^4, 10^5 and 10^6 vectors: exact against inverted lists.

nice -n 5 env OMP_NUM_THREADS=1 python experiments/laion/search_speed.py --out experiments/laion/search_speed.md

Vectors are clustered (one centre for 100 of them), 128 wide, float16 on disk. The filter keeps 1 % of them, at random.
Recall is over 100 other vectors of the same law, against exact search among the rows that the filter keeps.
"""

import argparse
import os
import platform
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from ode_vgan.laion.index import build_index
from ode_vgan.laion.search import Search

DIM, QUERIES, FILTERED, K = 128, 100, 0.01, 10


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--counts", type=int, nargs="+", default=[10_000, 100_000, 1_000_000])
    parser.add_argument("--out", type=Path, help="a markdown file; without it the table is only printed")
    arguments = parser.parse_args()
    started, rows = time.process_time(), []
    for count in arguments.counts:
        with tempfile.TemporaryDirectory() as folder:
            rows += measure(Path(folder), count)
    table = report(rows, time.process_time() - started)
    print(table)
    if arguments.out:
        arguments.out.write_text(table)


def measure(folder: Path, count: int) -> list[dict]:
    """One row an index: how it was built, and its latency and recall with and without the filter."""
    queries = write_vectors(folder, count)
    random = np.random.default_rng(2)
    kept = np.sort(random.choice(count, int(count * FILTERED), replace=False))
    rows, exact = [], {}
    for name, flat_below in (("flat", count + 1), ("inverted", 1)):
        info = build_index(folder, flat_below=flat_below)
        search = Search(folder)
        row = {"count": count, "factory": info["factory"], "nprobe": info["nprobe"], "build": info["build_seconds"]}
        row |= {"bytes": info["bytes"], "stated": info["recall@10"]}
        for filtered, chosen in (("all", None), ("filter", kept)):
            took, found = time_queries(search, queries, chosen)
            if name == "flat":
                exact[filtered] = found
            hits = [len(set(one) & set(best)) for one, best in zip(found, exact[filtered], strict=True)]
            row[filtered] = (np.median(took), np.quantile(took, 0.95), np.mean(hits) / K)
        rows.append(row)
    return rows


def write_vectors(folder: Path, count: int) -> np.ndarray:
    """Write `count` clustered unit vectors in clip-retrieval's layout; returns 100 others of the same law."""
    random = np.random.default_rng(count)
    centres = random.standard_normal((count // 100, DIM), dtype=np.float32)
    rows = centres[random.integers(len(centres), size=count + QUERIES)]
    rows += 0.7 * random.standard_normal(rows.shape, dtype=np.float32)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    for name in ("video_emb", "metadata"):
        (folder / "emb" / name).mkdir(parents=True)
    np.save(folder / "emb" / "video_emb" / "video_emb_0000.npy", rows[:count].astype(np.float16))
    table = pa.table({"key": [f"{i:09d}" for i in range(count)], "uid": [f"{i:032x}" for i in range(count)]})
    pq.write_table(table, folder / "emb" / "metadata" / "metadata_0000.parquet")
    return rows[count:]


def time_queries(search: Search, queries: np.ndarray, kept: np.ndarray | None) -> tuple[np.ndarray, list[list[int]]]:
    """(Q,) milliseconds of CPU and the ten rows found for each query; the first is asked once before."""
    search.nearest(queries[0], K, kept)
    took, found = [], []
    for query in queries:
        started = time.process_time()  # one thread: the time that it would take on a core of its own
        _, rows = search.nearest(query, K, kept)
        took.append(1000 * (time.process_time() - started))
        found.append(rows.tolist())
    return np.array(took), found


def report(rows: list[dict], seconds: float) -> str:
    """The rows as markdown, with the command and the machine."""
    lines = [
        "# Search: latency and recall",
        "",
        f"`nice -n 5 env OMP_NUM_THREADS={os.environ.get('OMP_NUM_THREADS', '')} python {' '.join(sys.argv)}`",
        "",
        f"{platform.machine()}, {os.cpu_count()} cores shared with other work, one thread, Python "
        f"{platform.python_version()}; {seconds:.0f} CPU seconds in all. {QUERIES} queries, {DIM} numbers a vector, "
        f"k = {K}, one centre for 100 vectors. The filter keeps 1 % of the rows; its bitmap is made for each query. "
        "Latency is CPU time, since the cores were shared; building is wall time, under that load.",
        "",
        "| vectors | index | lists probed | build, s | MB | median / p95, ms CPU | recall@10 | "
        "filtered: median / p95, ms CPU | recall@10 |",
        "|---:|---|---:|---:|---:|---:|---:|---:|---:|",
    ]
    for row in rows:
        cells = [f"{row['count']:,}", row["factory"], str(row["nprobe"] or "all"), f"{row['build']:.1f}"]
        cells.append(f"{row['bytes'] / 2**20:.1f}")
        for median, high, recall in (row["all"], row["filter"]):
            cells += [f"{median:.2f} / {high:.2f}", f"{recall:.3f}"]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
