"""A folder with generated clips, its explorer and a client: for the tests of the page's addresses."""

import pytest

from ode_vgan.data.shards import read_index
from ode_vgan.laion.index import build_index
from ode_vgan.web.explorer import Explorer, create_app
from tests.laion_fixture import WordEmbedder, make_dataset

TestClient = pytest.importorskip("fastapi.testclient", reason="the explorer's extra is not installed").TestClient


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("dataset")
    make_dataset(folder)
    build_index(folder)
    generated = folder / "made"
    generated.mkdir()
    for i, entry in enumerate(read_index(folder / "shards")[:3]):
        (generated / f"{i}.mp4").write_bytes(entry.read())
    (generated / "broken.mp4").write_bytes(b"not a clip")
    return folder


@pytest.fixture(scope="module")
def explorer(folder):
    return Explorer(folder, WordEmbedder(), folder / "made")


@pytest.fixture(scope="module")
def client(explorer):
    with TestClient(create_app(explorer), base_url="http://127.0.0.1", raise_server_exceptions=False) as client:
        yield client


@pytest.fixture(scope="module")
def clip(folder):
    """The uid and the bytes of a clip in the second shard."""
    entry = next(entry for entry in read_index(folder / "shards") if entry.key.startswith("00001"))
    return entry.meta["uid"], entry.read()
