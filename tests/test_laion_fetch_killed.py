"""A fetch that is killed, and killed again, ends as one that was not."""

import json
import random
import subprocess
import sys
import time
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from ode_vgan.data.shards import read_index
from ode_vgan.laion.client import Manners
from ode_vgan.laion.fetch import FetchOptions, fetch
from ode_vgan.laion.media import MediaOptions
from tests.faulty_server import faulty_server

KILLS = 3
# what a user's command would do; the pause makes it last, so that there is something to kill
COMMAND = """
import json, sys
from ode_vgan.laion.client import Manners
from ode_vgan.laion.fetch import FetchOptions, fetch
from ode_vgan.laion.media import MediaOptions

if __name__ == "__main__":
    table, out, allow = sys.argv[1:]
    print(json.dumps(fetch(table, out, FetchOptions(
        manners=Manners(allow=(allow,)), media=MediaOptions(size_px=32), per_shard=3, threads=2, decoders=1,
        pause_seconds=0.2, progress=False))))
"""


def tars(out: Path) -> int:
    return len(list((out / "shards").glob("*.tar")))


def contents(out: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in (out / "shards").iterdir()}


def group_members(group: int) -> list[int]:
    """Living processes of a process group."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            state, _, own = stat.read_text().rpartition(")")[2].split()[:3]
        except (OSError, ValueError):
            continue
        if int(own) == group and state != "Z":
            found.append(int(stat.parent.name))
    return found


def wait_for(condition, seconds: float) -> bool:
    deadline = time.monotonic() + seconds
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.01)
    return condition()


@pytest.mark.slow  # four starts of Python, each with a process to fork from: minutes on a busy machine
@pytest.mark.timeout(1200)
def test_killed_thrice_and_run_again_no_clip_is_lost_none_is_twice(tmp_path):
    dice = random.Random(time.time_ns())
    with faulty_server(good=24, faults=False) as server:
        rows = server.rows + [{"url": server.url + "/missing.gif", "text": "gone"}]
        table = tmp_path / "table.parquet"
        pq.write_table(pa.table({"URL": [row["url"] for row in rows], "TEXT": [row["text"] for row in rows]}), table)
        options = {"manners": Manners(allow=server.allow), "media": MediaOptions(size_px=32), "per_shard": 3}
        fetch(table, tmp_path / "whole", FetchOptions(**options, threads=3, decoders=1, per_host=3, progress=False))

        script, out, seen = tmp_path / "command.py", tmp_path / "killed", []
        script.write_text(COMMAND)
        command = [sys.executable, str(script), str(table), str(out), *server.allow]
        for kill in range(KILLS):
            process = subprocess.Popen(command, start_new_session=True)
            assert wait_for(lambda least=2 * kill + 1: tars(out) >= least, 240), "the fetch does not get on"
            time.sleep(dice.uniform(0, 0.6))
            process.kill()
            process.wait()
            seen.append(tars(out))
            assert wait_for(lambda group=process.pid: not group_members(group), 20), "a decoder outlives its fetch"
            assert tars(out) < 9, "the kill came too late to test anything"
        done = subprocess.run(command, capture_output=True, text=True, timeout=240, check=True)

    assert seen == sorted(seen)
    expected, found = contents(tmp_path / "whole"), contents(out)
    assert found.keys() == expected.keys()
    assert found == expected
    assert json.loads(done.stdout) == {"shards": 9, "count": 25, "success": 24, "failed_to_download": 1}
    keys = [entry.key for entry in read_index(out / "shards")]
    assert len(set(keys)) == len(keys) == 24
