"""Clips a second: fetching from a server on this machine against the bare decoder on the same files.

    python experiments/laion/fetch_speed.py --clips 60 --rounds 5

The ways are timed in turn, round by round, so that what else the machine does meets all of them. One thread each,
one decoder process; the server runs in a process of its own.
"""

import argparse
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

SIZE_PX = 64
SERVE = """
import sys
from tests.faulty_server import faulty_server
with faulty_server(good=int(sys.argv[1]), faults=False) as server:
    for row in server.rows:
        print(row["url"], flush=True)
    print("", flush=True)
    sys.stdin.read()
"""


def cpu_seconds() -> float:
    """Of this process and of all its children, the living ones too, as far as the system tells."""
    own = resource.getrusage(resource.RUSAGE_SELF)
    total, ticks = own.ru_utime + own.ru_stime, os.sysconf("SC_CLK_TCK")
    family = {os.getpid()}
    stats = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = path.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        stats[int(path.parent.name)] = int(fields[1]), (int(fields[11]) + int(fields[12])) / ticks
    grown = True
    while grown:
        children = {pid for pid, (parent, _) in stats.items() if parent in family} - family
        total, grown = total + sum(stats[pid][1] for pid in children), bool(children)
        family |= children
    return total


def measure(ways: dict[str, Callable[[], int]], rounds: int) -> dict[str, tuple[list[float], list[float]]]:
    """Clips a second and CPU milliseconds a clip of each way, round by round, after one that does not count."""
    found: dict[str, tuple[list[float], list[float]]] = {name: ([], []) for name in ways}
    for i in range(rounds + 1):
        for name, way in ways.items():
            wall, cpu = time.perf_counter(), cpu_seconds()
            clips = way()
            wall, cpu = time.perf_counter() - wall, cpu_seconds() - cpu
            if i:
                found[name][0].append(clips / wall)
                found[name][1].append(1000 * cpu / clips)
    return found


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--clips", type=int, default=60)
    parser.add_argument("--rounds", type=int, default=5)
    asked = parser.parse_args()
    import pyarrow as pa
    import pyarrow.parquet as pq

    from ode_vgan.data.clips import decode_clip
    from ode_vgan.laion.client import Client, Manners
    from ode_vgan.laion.fetch import FetchOptions, fetching
    from ode_vgan.laion.listing import Listing
    from ode_vgan.laion.media import MediaOptions, make_clips

    root, load = Path(__file__).resolve().parents[2], os.getloadavg()[0]
    command = [sys.executable, "-c", SERVE, str(asked.clips)]
    serving = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True, "cwd": root}
    with subprocess.Popen(command, **serving) as server, tempfile.TemporaryDirectory() as folder:
        urls = [line.strip() for line in iter(server.stdout.readline, "\n")]
        media = MediaOptions(size_px=SIZE_PX)
        manners = Manners(allow=(urls[0].split("/")[2],))
        options = FetchOptions(manners=manners, media=media, threads=2, decoders=1, per_host=2, progress=False)
        table = Path(folder) / "table.parquet"
        pq.write_table(pa.table({"url": urls, "text": ["a clip"] * len(urls)}), table)
        client = Client(manners)
        sources = [client.get(url).body for url in urls]
        with fetching(Listing(table), options) as fetcher:
            ways = {
                "decode (bare decoder)": lambda: len([decode_clip(source, size=SIZE_PX) for source in sources]),
                "get (download only)": lambda: len([client.get(url) for url in urls]),
                "decode, encode (in this process)": lambda: len([make_clips(source, media) for source in sources]),
                "fetch (all, shard written)": lambda: fetcher.write(0, Path(folder), None)["success"],
            }
            found = measure(ways, asked.rounds)
        server.stdin.close()
    print(f"{len(urls)} clips, {sum(map(len, sources))} bytes, {asked.rounds} rounds, load {load:.1f} at the start.\n")
    print("| way | clips/s, median | least to most | CPU ms/clip, median |\n|---|---|---|---|")
    for name, (rates, cpu) in found.items():
        spread = f"{min(rates):.1f} to {max(rates):.1f}"
        print(f"| {name} | {statistics.median(rates):.1f} | {spread} | {statistics.median(cpu):.1f} |")


if __name__ == "__main__":
    main()
