"""How fast are rows selected, and in how much memory? Synthetic LAION-5B tables, ours beside a plain pyarrow scan.

    nice -n 5 python experiments/laion/select_speed.py --rows 10000000 --memory 1GB --threads 2

Both apply LAION's thresholds to the same files and must keep the same rows. Only ours also counts what each rule
removes (alone and in order), drops repeated rows, and writes in the order of the files. Each runs in a process of its
own, whose peak memory is what the system says of it, less what it had once everything was imported.
"""

import argparse
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

WORDS = "cat dog river city dancer runner wave fire car bird tree cloud robot child horse train ball hand face snow"
ROW = """
    SELECT 'https://host' || (j * 7919 % 100003) || '.example/media/' || left(md5(j::VARCHAR), 16) || '.' ||
        CASE WHEN r < 15 THEN 'gif' WHEN r < 20 THEN 'webp' WHEN r < 25 THEN 'mp4?v=1' WHEN r < 27 THEN 'webm'
        WHEN r < 600 THEN 'jpg' WHEN r < 900 THEN 'png' ELSE 'jpg?w=600' END AS URL,
        CASE WHEN j % 41 = 0 THEN 'cat' ELSE 'a ' || word(j) || ' and a ' || word(j // 20) || ', ' || word(j // 400) ||
        ' no. ' || (j * 31 % 1000003) END AS TEXT,
        (32 + j * 37 % 1500)::INT AS WIDTH, (32 + j * 61 % 1200)::INT AS HEIGHT,
        0.2 + j * 17 % 2503 / 10000 AS similarity,
        (hash(j) % 9223372036854775807)::BIGINT AS hash,
        CASE WHEN j % 97 = 0 THEN NULL ELSE j * 13 % 1009 / 1600 END::FLOAT AS punsafe,
        CASE WHEN j % 89 = 0 THEN NULL ELSE j * 29 % 1013 / 1013 END::FLOAT AS pwatermark
    FROM (SELECT j, j * 2654435761 % 1000 AS r
        FROM (SELECT i - (i % 50 = 1)::INT AS j FROM range({start}, {stop}) t(i)))
"""


def make(folder: Path, rows: int, files: int) -> int:
    """Write the tables; every fiftieth row repeats the one before it. Returns their bytes."""
    import duckdb

    with duckdb.connect(config={"threads": "2", "memory_limit": "1GB"}) as database:
        words = ", ".join(f"'{word}'" for word in WORDS.split())
        database.execute(f"CREATE MACRO word(n) AS ([{words}])[(n % 20 + 1)::INT]")
        for i in range(files):
            query = ROW.format(start=rows * i // files, stop=rows * (i + 1) // files)
            database.execute(f"COPY ({query}) TO '{folder}/part-{i:05d}.snappy.parquet' (FORMAT parquet)").fetchall()
    return sum(path.stat().st_size for path in folder.glob("*.parquet"))


def run_ours(folder: Path, out: Path, memory: str, threads: int) -> int:
    """Select; returns the rows that passed the rules, before repeats were dropped."""
    from ode_vgan.laion.select import select

    funnel = select(folder, out, memory=memory, threads=threads)
    return funnel.steps[-2].left


def run_pyarrow(folder: Path, out: Path, memory: str, threads: int) -> int:
    """The same predicates in a streaming pyarrow scan; returns the rows that it wrote."""
    import pyarrow as pa
    import pyarrow.compute as pc
    import pyarrow.dataset as ds
    import pyarrow.parquet as pq

    pa.set_cpu_count(threads)
    field, suffixes = pc.field, "gif|webp|mp4|m4v|webm|avi|mov|mkv"
    rules = [
        pc.match_substring_regex(field("URL"), "^https?://[^/?#]", ignore_case=True),
        pc.match_substring_regex(field("URL"), rf"^[^?#]*\.({suffixes})([?#]|$)", ignore_case=True),
        pc.greater_equal(pc.utf8_length(field("TEXT")), 5),
        field("similarity") >= 0.28,
        field("punsafe") < 0.5,
        pc.coalesce(field("pwatermark"), pc.scalar(pa.scalar(0.5, pa.float32()))) < 0.8,
        (field("WIDTH") >= 64) & (field("HEIGHT") >= 64) & (field("WIDTH") <= 8192) & (field("HEIGHT") <= 8192),
    ]
    keep = rules[0]
    for rule in rules[1:]:
        keep = keep & rule
    scanner = ds.dataset(folder, format="parquet").scanner(filter=keep)
    with pq.ParquetWriter(out, scanner.projected_schema, compression="zstd") as writer:
        kept = 0
        for batch in scanner.to_batches():
            kept += batch.num_rows
            if batch.num_rows:
                writer.write_batch(batch)
    return kept


def measure(name: str, folder: Path, out: Path, memory: str, threads: int) -> None:
    """Run one of the two in this process and print seconds, processor seconds, MiB above the imports, and rows."""
    import duckdb  # noqa: F401
    import pyarrow.dataset  # noqa: F401
    import pyarrow.parquet  # noqa: F401

    import ode_vgan.laion.select  # noqa: F401

    before, started, worked = _peak_mib(), time.perf_counter(), time.process_time()
    kept = {"ours": run_ours, "pyarrow": run_pyarrow}[name](folder, out, memory, threads)
    print(time.perf_counter() - started, time.process_time() - worked, _peak_mib() - before, before, kept)


def _peak_mib() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def main() -> None:
    """Make the tables, measure both, print a table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rows", type=int, default=10_000_000)
    parser.add_argument("--files", type=int, default=128)
    parser.add_argument("--memory", default="1GB", help="DuckDB's buffers, at most")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--measure", nargs=3, metavar=("NAME", "FOLDER", "OUT"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.measure:
        name, folder, out = options.measure
        return measure(name, Path(folder), Path(out), options.memory, options.threads)
    with tempfile.TemporaryDirectory() as work:
        folder = Path(work) / "laion"
        folder.mkdir()
        size = make(folder, options.rows, options.files)
        print(f"{options.rows:,} rows in {options.files} files of {size / 2**20:,.0f} MiB; {options.threads} threads,")
        print(f"memory={options.memory}; load of the machine before {os.getloadavg()[0]:.1f}\n")
        print(
            "| | wall s | CPU s | rows/s (CPU) | peak MiB above imports | rows that pass |\n|---|--:|--:|--:|--:|--:|"
        )
        kept = [report(name, folder, options) for name in ("ours", "pyarrow")]
        if kept[0] != kept[1]:
            sys.exit(f"the two keep different rows: {kept}")


def report(name: str, folder: Path, options: argparse.Namespace) -> int:
    """Measure one in a process of its own and print its row; returns how many rows it kept."""
    command = [sys.executable, __file__, "--memory", options.memory, "--threads", str(options.threads)]
    command += ["--measure", name, str(folder), str(folder.parent / f"{name}.parquet")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(done.stderr)
    wall, worked, peak, _, kept = map(float, done.stdout.split())
    print(
        f"| {name} | {wall:.1f} | {worked:.1f} | {options.rows / worked:,.0f} | {peak:,.0f} | {int(kept):,} |",
        flush=True,
    )
    return int(kept)


if __name__ == "__main__":
    main()
