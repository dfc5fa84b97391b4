"""An index finds what exact search finds, says how well, and refuses rows that are not its own."""

import json
import shutil

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from ode_vgan.errors import UserError
from ode_vgan.laion.index import build_index, load_index
from ode_vgan.laion.recall import exact_search, make_probe, recall_at_10
from ode_vgan.laion.vectors import open_vectors
from tests.laion_fixture import write_emb
from tests.shared_data import shared


def clustered(count: int, dim: int = 24, seed: int = 0) -> np.ndarray:
    """(count, dim) unit rows around count // 50 centres."""
    random = np.random.default_rng(seed)
    centres = random.standard_normal((count // 50 + 1, dim))
    rows = centres[random.integers(len(centres), size=count)] + 0.6 * random.standard_normal((count, dim))
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def write_folder(folder, vectors, parts: int = 1, kind: str = "video"):
    for number, rows in enumerate(np.array_split(np.arange(len(vectors)), parts)):
        described = [{"key": f"k{i:07d}", "uid": f"{i:032x}", "caption": f"clip {i}"} for i in rows]
        write_emb(folder / "emb", number, described, vectors[rows], kind)
    return folder


def test_a_small_index_is_exact_and_row_i_is_vector_i(tmp_path):
    vectors = clustered(300)
    info = build_index(write_folder(tmp_path, vectors, parts=3))
    assert (info["factory"], info["recall@10"], info["count"], info["dim"]) == ("Flat", 1.0, 300, 24)
    index = load_index(tmp_path)
    halves = vectors.astype(np.float16).astype(np.float32)
    similarity, rows = index.faiss.search(halves[:20], 5)
    expected = -np.sort(-(halves[:20] @ halves.T), axis=1)[:, :5]
    np.testing.assert_allclose(similarity, expected, atol=2e-3)
    assert rows[:, 0].tolist() == list(range(20))
    assert index.rowmap["key"].to_pylist() == [f"k{i:07d}" for i in range(300)]
    assert len(list((tmp_path / "index" / "metadata").glob("*.parquet"))) == 3


@pytest.fixture(scope="module")
def large(tmp_path_factory):
    folder = write_folder(tmp_path_factory.mktemp("large"), clustered(6000), parts=2)
    return folder, build_index(folder, flat_below=1000, target_recall=0.9)


def test_above_the_limit_lists_are_chosen_that_reach_the_recall(large):
    folder, info = large
    assert info["factory"].startswith("IVF") and 0.9 <= info["recall@10"] <= 1
    nlist = int(info["factory"][3:].partition(",")[0])
    assert info["nprobe"] < nlist, "every list is probed: the lists do not narrow anything"
    reaching = [one for one in info["tried"] if one["recall@10"] >= 0.9]
    assert info["nprobe"] == min(reaching, key=lambda one: one["compared"])["nprobe"]


def test_the_stated_recall_is_what_other_queries_get(large):
    folder, info = large
    vectors = open_vectors(folder)
    probe = make_probe(vectors, None, seed=7)
    found = load_index(folder).faiss.search(probe.vectors, 11)[1]
    assert abs(recall_at_10(found, probe, vectors) - info["recall@10"]) < 0.06  # 200 queries of ten: s.e. below 0.01


def test_recall_counts_neighbours_as_near_as_the_exact_ten(large):
    vectors = open_vectors(large[0])
    probe = make_probe(vectors, None, seed=1)
    exact = exact_search(vectors, probe.vectors, 11)[1]
    assert recall_at_10(exact, probe, vectors) == 1.0
    half = exact.copy()
    half[:, 6:] = -1  # the query itself and five neighbours
    assert recall_at_10(half, probe, vectors) == 0.5
    assert recall_at_10(np.full_like(exact, -1), probe, vectors) == 0.0


def test_a_higher_target_probes_more_lists(large, tmp_path):
    info = build_index(large[0], tmp_path / "index", flat_below=1000, target_recall=0.99)
    assert info["recall@10"] >= 0.99
    assert max(one["nprobe"] for one in info["tried"]) > min(one["nprobe"] for one in large[1]["tried"])


def test_the_same_embeddings_give_the_same_bytes(large, tmp_path):
    folder, info = large
    again = build_index(folder, tmp_path / "again", flat_below=1000, target_recall=0.9)
    assert {**again, "build_seconds": 0} == {**info, "build_seconds": 0}
    for name in ("video.index", "rowmap.parquet"):
        assert (tmp_path / "again" / name).read_bytes() == (folder / "index" / name).read_bytes()


def test_a_rebuilt_index_replaces_the_old_one_and_leaves_nothing_else(tmp_path):
    build_index(write_folder(tmp_path, clustered(60)))
    (tmp_path / "index" / "stale").write_text("")
    build_index(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["emb", "index"]
    assert sorted(path.name for path in (tmp_path / "index").iterdir()) == [
        "metadata",
        "rowmap.parquet",
        "video.index",
        "video.json",
    ]


def test_a_failed_build_keeps_the_old_index(tmp_path):
    build_index(write_folder(tmp_path, clustered(60)))
    before = (tmp_path / "index" / "video.json").read_bytes()
    write_folder(tmp_path, np.full((60, 24), np.nan))
    with pytest.raises(UserError, match="vector 0 and 59 more is not finite"):
        build_index(tmp_path)
    assert (tmp_path / "index" / "video.json").read_bytes() == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["emb", "index"]


def test_zero_vectors_are_refused_and_long_ones_rescaled(tmp_path):
    vectors = clustered(60) * np.linspace(1, 9, 60)[:, None]
    info = build_index(write_folder(tmp_path, vectors))
    assert info["rescaled"] == 59
    similarity = load_index(tmp_path).faiss.search((vectors[40:41] / 7).astype(np.float32), 1)[0]
    assert similarity[0, 0] == pytest.approx(np.linalg.norm(vectors[40]) / 7, rel=2e-3)
    vectors[17] = 0
    with pytest.raises(UserError, match="vector 17 is zero"):
        build_index(write_folder(tmp_path, vectors))


def test_a_row_map_of_another_order_is_refused(tmp_path):
    build_index(write_folder(tmp_path, clustered(60)))
    path = tmp_path / "index" / "rowmap.parquet"
    table = pq.read_table(path)
    pq.write_table(table.take(list(reversed(range(60)))), path)
    with pytest.raises(UserError, match=r"has digest \w{12}, its index expects .* Build the index again"):
        load_index(tmp_path)
    pq.write_table(table.slice(0, 59), path)
    with pytest.raises(UserError, match="maps 59 rows, its index has 60"):
        load_index(tmp_path)
    path.unlink()
    with pytest.raises(UserError, match="cannot be read"):
        load_index(tmp_path)


def test_a_foreign_index_or_row_map_is_refused(tmp_path):
    for name, seed in (("one", 1), ("two", 2)):
        folder = write_folder(tmp_path / name, clustered(60, seed=seed))
        if name == "two":
            table = pq.read_table(folder / "emb" / "metadata" / "metadata_0000.parquet")
            keys = pa.array([f"other{i}" for i in range(60)])
            pq.write_table(table.set_column(0, "key", keys), folder / "emb" / "metadata" / "metadata_0000.parquet")
        build_index(folder)
    for name, message in (("rowmap.parquet", "has digest"), ("video.index", "not the file that video.json")):
        kept = (tmp_path / "one" / "index" / name).read_bytes()
        shutil.copyfile(tmp_path / "two" / "index" / name, tmp_path / "one" / "index" / name)
        with pytest.raises(UserError, match=message):
            load_index(tmp_path / "one")
        (tmp_path / "one" / "index" / name).write_bytes(kept)
    load_index(tmp_path / "one")


def test_rows_without_their_vectors_are_refused(tmp_path):
    write_folder(tmp_path, clustered(60), parts=2)
    path = tmp_path / "emb" / "metadata" / "metadata_0001.parquet"
    pq.write_table(pq.read_table(path).slice(0, 29), path)
    with pytest.raises(UserError, match="has 30 vectors, metadata_0001.parquet has 29 rows"):
        build_index(tmp_path)
    path.unlink()
    with pytest.raises(UserError, match=r"has no metadata_1\.parquet"):
        build_index(tmp_path)


@pytest.mark.parametrize("content", [b"", b"not an array", b"\x93NUMPY\x01\x00"])
def test_a_broken_part_is_refused_in_one_line(tmp_path, content):
    write_folder(tmp_path, clustered(60))
    (tmp_path / "emb" / "video_emb" / "video_emb_0000.npy").write_bytes(content)
    with pytest.raises(UserError) as caught:
        build_index(tmp_path)
    assert "\n" not in str(caught.value)


def test_objects_in_a_part_are_never_unpickled(tmp_path):
    write_folder(tmp_path, clustered(60))
    np.save(tmp_path / "emb" / "video_emb" / "video_emb_0000.npy", np.array([{}] * 60, dtype=object))
    with pytest.raises(UserError, match=r"not a whole \.npy of numbers"):
        build_index(tmp_path)


def test_one_key_for_two_vectors_is_refused(tmp_path):
    vectors = clustered(3)
    write_emb(tmp_path / "emb", 0, [{"key": key, "uid": "0" * 32} for key in ("a", "b", "a")], vectors)
    with pytest.raises(UserError, match="key 'a' names two vectors"):
        build_index(tmp_path)


def test_no_embeddings_and_no_index_are_said_with_the_remedy(tmp_path):
    with pytest.raises(UserError, match="ode-vgan laion embed"):
        build_index(tmp_path)
    with pytest.raises(UserError, match="ode-vgan laion index"):
        load_index(tmp_path)


def test_the_fingerprint_of_the_embedder_goes_with_the_index(tmp_path):
    write_folder(tmp_path, clustered(60))
    (tmp_path / "emb" / "model.json").write_text(json.dumps({"fingerprint": "matched-1"}))
    assert build_index(tmp_path)["embedder"] == load_index(tmp_path).info["embedder"] == "matched-1"


def test_caption_vectors_are_queries_too(tmp_path):
    """Captions far from every clip find little in few lists, so that they raise the number probed."""
    clips, captions = clustered(3000), clustered(3000, seed=9)
    alone = build_index(write_folder(tmp_path / "alone", clips), flat_below=100)
    write_folder(tmp_path / "both", clips)
    both = build_index(write_folder(tmp_path / "both", captions, kind="text"), flat_below=100)
    probes = [{one["factory"]: one["nprobe"] for one in info["tried"]} for info in (alone, both)]
    assert all(probes[1][name] >= probes[0][name] for name in probes[0]) and probes[0] != probes[1]


def test_a_folder_that_clip_retrieval_wrote_is_indexed(tmp_path):
    """Parts without padding, image_path for a key, no uid and no model.json."""
    vectors = clustered(120)
    for number, rows in enumerate(np.array_split(np.arange(120), 12)):  # img_emb_10 comes after img_emb_9
        (tmp_path / "img_emb").mkdir(exist_ok=True)
        (tmp_path / "metadata").mkdir(exist_ok=True)
        np.save(tmp_path / "img_emb" / f"img_emb_{number}.npy", vectors[rows].astype(np.float16))
        table = pa.table({"image_path": [f"{i:09d}" for i in rows], "caption": [f"picture {i}" for i in rows]})
        pq.write_table(table, tmp_path / "metadata" / f"metadata_{number}.parquet")
    assert build_index(tmp_path)["embedder"] is None
    rowmap = load_index(tmp_path).rowmap.to_pylist()
    assert [row["key"] for row in rowmap] == [f"{i:09d}" for i in range(120)]
    assert len({row["uid"] for row in rowmap}) == 120 and all(len(row["uid"]) == 32 for row in rowmap)


def test_the_real_embeddings_of_clip_retrieval_are_indexed(tmp_path):
    with np.load(shared("laion/clipretrieval_b32_embeddings.npz"), allow_pickle=False) as file:
        arrays = {name: file[name] for name in file.files}
    vectors = next(array for array in arrays.values() if array.ndim == 2)
    assert vectors.shape == (7, 512)
    (tmp_path / "img_emb").mkdir()
    (tmp_path / "metadata").mkdir()
    np.save(tmp_path / "img_emb" / "img_emb_0.npy", vectors)
    pq.write_table(pa.table({"image_path": [str(i) for i in range(7)]}), tmp_path / "metadata" / "metadata_0.parquet")
    assert build_index(tmp_path)["rescaled"] == 0
    similarity, rows = load_index(tmp_path).faiss.search(vectors.astype(np.float32), 7)
    assert np.array_equal(np.sort(rows, axis=1), np.tile(np.arange(7), (7, 1)))
    expected = -np.sort(-(vectors.astype(np.float32) @ vectors.astype(np.float32).T), axis=1)
    np.testing.assert_allclose(similarity, expected, atol=2e-3)
