"""The same bytes by one worker and by several, on processes and on Ray; workers together are as polite as one."""

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from ode_vgan.cli.main import main
from ode_vgan.errors import UserError
from ode_vgan.laion.addresses import split_url
from ode_vgan.laion.fetch import FetchOptions, fetching
from ode_vgan.laion.listing import Listing
from ode_vgan.laion.stages import share_crawl_delay, shared_out
from tests.faulty_server import faulty_server
from tests.ray_cluster import ray_cluster

CLIPS, PER_SHARD = 8, 3


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    """A server of a few good clips and two faults, and their table."""
    table = tmp_path_factory.mktemp("table") / "table.parquet"
    with faulty_server(good=CLIPS, faults=False) as server:
        urls = [row["url"] for row in server.rows] + [f"{server.url}/nowhere.gif", "http://10.0.0.1/a.gif"]
        texts = [row["text"] for row in server.rows] + ["missing", "private"]
        pq.write_table(pa.table({"URL": urls, "TEXT": texts}), table)
        yield server, table


def typed(*words) -> None:
    assert main(["laion", *map(str, words)]) == 0


def fetched(served, folder: Path, *further: str) -> Path:
    server, table = served
    words = ["--size", "32", "--per-shard", PER_SHARD, "--allow", *server.allow, "--per-host", "4"]
    typed("fetch", table, folder, *words, *further)
    return folder


def content(folder: Path) -> dict[str, bytes]:
    """Every file of a dataset, by its path in it."""
    files = [path for path in folder.rglob("*") if path.is_file() and not path.name.endswith(".lock")]
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


@pytest.fixture(scope="module")
def alone(served, tmp_path_factory):
    """The dataset as one process fetches it."""
    return fetched(served, tmp_path_factory.mktemp("alone"))


def test_a_fetch_by_two_workers_has_the_bytes_of_one(served, alone, tmp_path, capsys):
    found = fetched(served, tmp_path, "--jobs", "2")
    assert content(found) == content(alone) and len(content(found)) >= 12
    told = capsys.readouterr().out
    assert "2 jobs, each with 2 of 4 requests at once to a host" in told
    assert "10 rows in 4 shards: 8 clips" in told and "2 failed_to_download" in told and "1  HTTP 404" in told


def test_scores_by_two_workers_have_the_bytes_of_one(served, alone, tmp_path):
    for jobs in ("1", "2"):
        folder = tmp_path / jobs
        (folder / "shards").mkdir(parents=True)
        for path in (alone / "shards").glob("*.tar"):
            (folder / "shards" / path.name).write_bytes(path.read_bytes())
        typed("score", folder, "--no-embed", "--jobs", jobs)
    assert content(tmp_path / "1") == content(tmp_path / "2")
    assert len(list((tmp_path / "1" / "scores").glob("*.parquet"))) == 4


@pytest.fixture(scope="module")
def whole(served, tmp_path_factory):
    """Fetched, embedded and scored by one worker."""
    folder = fetched(served, tmp_path_factory.mktemp("whole"))
    typed("score", folder)
    return folder


@pytest.fixture(params=["local", "ray"])
def engine(request):
    """Each engine, Ray with three workers."""
    if request.param == "local":
        yield "local"
    else:
        with ray_cluster(3):
            yield "ray"


@pytest.mark.slow
def test_every_stage_on_every_engine_has_the_bytes_of_one_worker(served, whole, engine, tmp_path):
    workers = ["--engine", engine, "--jobs", "3"]
    fetched(served, tmp_path, *workers)
    typed("embed", tmp_path, *workers)
    typed("score", tmp_path, *workers)
    assert content(tmp_path) == content(whole)
    assert {name.partition("/")[0] for name in content(tmp_path)} == {"shards", "emb", "scores"}


def test_a_shard_that_fails_is_named_by_the_exit_and_the_others_are_done(alone, tmp_path, capsys):
    (tmp_path / "shards").mkdir()
    for path in (alone / "shards").glob("*.tar"):
        (tmp_path / "shards" / path.name).write_bytes(path.read_bytes())
    broken = tmp_path / "shards" / "00001.tar"
    broken.write_bytes(broken.read_bytes()[:1500])
    assert main(["laion", "score", str(tmp_path), "--no-embed"]) == 2
    told = capsys.readouterr().err
    assert "1 of 4 shards failed (00001: " in told and "type it again" in told
    assert sorted(path.stem for path in (tmp_path / "scores").glob("*.parquet")) == ["00000", "00002", "00003"]


def test_workers_together_ask_a_host_no_more_than_one_may():
    options = FetchOptions(per_host=6, threads=16, decoders=4, pause_seconds=0.5)
    share = shared_out(options, 3)
    assert (share.per_host, share.threads, share.decoders, share.pause_seconds) == (2, 5, 1, 1.5)
    assert share.fixed() == options.fixed()
    with pytest.raises(UserError, match="raise --per-host to 7"):
        shared_out(options, 7)


def test_workers_together_keep_to_a_sites_crawl_delay(served):
    listing, target = Listing(served[1]), split_url("http://example.org/a.gif", ("http",))
    with fetching(listing, FetchOptions(decoders=1)) as fetcher:
        hosts = fetcher.robots.slow.__self__
        share_crawl_delay(fetcher, 3)
        fetcher.robots.slow(target, 2.0)
    assert hosts.hosts[target.authority].pause_seconds == 6.0
