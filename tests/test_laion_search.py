"""A filter narrows the search itself: as many results as were asked for, and the right ones."""

import numpy as np
import pyarrow.parquet as pq
import pytest

from ode_vgan.data.clips import encode_clip
from ode_vgan.data.shards import read_index
from ode_vgan.errors import UserError
from ode_vgan.laion.facets import BINS
from ode_vgan.laion.index import build_index
from ode_vgan.laion.predicate import Filter
from ode_vgan.laion.search import MAX_DEPTH, Search
from tests.laion_fixture import DIM, WordEmbedder, make_dataset, write_emb


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("dataset")
    make_dataset(folder)
    build_index(folder)
    return folder


@pytest.fixture(scope="module")
def search(folder):
    return Search(folder, WordEmbedder())


@pytest.fixture(scope="module")
def large(tmp_path_factory):
    """4000 clustered vectors in inverted lists; `rare` is true of 12 rows, spread over all clusters."""
    folder = tmp_path_factory.mktemp("large")
    random = np.random.default_rng(0)
    centres = random.standard_normal((60, DIM))
    vectors = centres[random.integers(60, size=4000)] + 0.5 * random.standard_normal((4000, DIM))
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    rare = set(random.choice(4000, 12, replace=False).tolist())
    rows = [{"key": f"k{i:05d}", "uid": f"{i:032x}", "score": i / 4000, "rare": i in rare} for i in range(4000)]
    write_emb(folder / "emb", 0, rows, vectors)
    build_index(folder, flat_below=100)
    return Search(folder), sorted(rare)


def exact(search: Search, query: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """The rows by falling similarity, compared one by one."""
    vectors = search.index.faiss.reconstruct_n(0, search.count)[rows]
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    return np.asarray(rows)[np.argsort(-(vectors @ (query / np.linalg.norm(query))), kind="stable")]


def test_text_finds_the_clip_with_that_caption(search, folder):
    for i in (3, 20, 47):
        caption = search.describe(search.browse(offset=i, limit=1).hits)[0]["caption"]
        best = search.describe(search.neighbours(search.embed_text(caption), limit=1).hits)[0]
        assert best["caption"] == caption and best["near"] == pytest.approx(1, abs=2e-3)


def test_every_clip_is_its_own_nearest_and_is_left_out_when_asked(search):
    uid = search.index.rowmap["uid"][30].as_py()
    row = search.row(uid)
    assert row == 30
    found = search.neighbours(search.vector(row), limit=48)
    assert found.hits[0].row == row and {hit.row for hit in found.hits} == set(range(48))
    others = search.neighbours(search.vector(row), limit=48, without=[row])
    assert [hit.row for hit in others.hits] == [hit.row for hit in found.hits[1:]]


def test_an_uploaded_clip_is_embedded_from_its_bytes(folder):
    """Frames and text meet only in a real model; the stand-in embeds a clip's mean colour, which the search keeps."""
    embedder = WordEmbedder()
    clips = read_index(folder / "shards")[:12]
    search = Search(folder, embedder)
    rows = np.stack([search.embed_clip(clip.read()) for clip in clips])
    assert rows.shape == (12, DIM)
    np.testing.assert_allclose(np.linalg.norm(rows, axis=1), 1, atol=1e-5)
    np.testing.assert_array_equal(search.embed_clip(clips[5].read()), rows[5])
    assert not np.allclose(rows[0], rows[5])


@pytest.mark.parametrize("content", [b"", b"<html>not a clip</html>", b"\x00" * 5000])
def test_what_is_no_clip_is_refused_in_one_line(search, content):
    with pytest.raises(UserError) as caught:
        search.embed_clip(content)
    assert "\n" not in str(caught.value)


def test_a_clip_above_the_limit_is_refused_before_it_is_decoded(search):
    with pytest.raises(UserError, match="33554433 bytes, at most 33554432"):
        search.embed_clip(bytes(32 * 2**20 + 1))


def test_a_clip_with_absurd_sides_is_refused_and_a_long_one_is_read_in_part(search, monkeypatch):
    wide = encode_clip(None, np.zeros((2, 16, 4098, 3), np.uint8), 10.0, options={"preset": "ultrafast"})
    with pytest.raises(UserError, match="4098x16 px, at most 4096 a side"):
        search.embed_clip(wide)
    frames = np.concatenate([np.full((5, 16, 16, 3), 20, np.uint8), np.full((20, 16, 16, 3), 250, np.uint8)])
    clip = encode_clip(None, frames, 10.0)
    whole = search.embed_clip(clip)
    monkeypatch.setattr("ode_vgan.laion.search.UPLOAD_PIXELS", 5 * 16 * 16)
    start = search.embed_clip(clip)
    assert start @ whole < 0  # the first five frames are darker than grey, the whole is lighter


def test_a_filter_keeps_what_it_says_and_orders_by_similarity(search):
    query = search.embed_text("grinning face with big eyes")
    found = search.neighbours(query, Filter({"motion": (0.5, None)}, {"split": ["train"]}), limit=48)
    records = search.describe(found.hits)
    assert records and all(one["motion"] >= 0.5 and one["split"] == "train" for one in records)
    assert len(records) == found.kept < 48
    kept = search.rows.select(Filter({"motion": (0.5, None)}, {"split": ["train"]}))
    assert [hit.row for hit in found.hits] == exact(search, query, kept).tolist()


def test_a_rare_filter_still_returns_all_that_were_asked_for(large):
    """Twelve of 4000 clips: the top ten of an unfiltered search would hold hardly one of them."""
    search, rare = large
    assert search.index.info["nprobe"] < search.index.faiss.nlist
    random = np.random.default_rng(3)
    unfiltered = 0
    for _ in range(20):
        query = random.standard_normal(DIM)
        found = search.neighbours(query, Filter(where="rare"), limit=10)
        assert [hit.row for hit in found.hits] == exact(search, query, np.array(rare))[:10].tolist()
        assert (found.kept, found.more) == (12, True)
        unfiltered += len({hit.row for hit in search.neighbours(query, limit=10).hits} & set(rare))
    assert unfiltered < 20


def test_a_half_filter_keeps_the_recall_of_the_index(large, monkeypatch):
    """Without the rule for few rows, so that lists are left out."""
    monkeypatch.setattr("ode_vgan.laion.search.FEW_ROWS", 0)
    search, _ = large
    random = np.random.default_rng(4)
    wanted, hits = Filter({"score": (0.5, None)}), 0
    kept = search.rows.select(wanted)
    assert kept.tolist() == list(range(2000, 4000))
    for _ in range(40):
        query = random.standard_normal(DIM)
        found = search.neighbours(query, wanted, limit=10)
        hits += len({hit.row for hit in found.hits} & set(exact(search, query, kept)[:10].tolist()))
    assert hits / 400 >= search.index.info["target_recall"] - 0.05


def test_a_filter_that_keeps_nothing_finds_nothing(search, large):
    for one in (search, large[0]):
        found = one.neighbours(np.ones(DIM), Filter(where="false"))
        assert (found.hits, found.kept, found.more) == ([], 0, False)


@pytest.mark.parametrize("which", ["flat", "inverted"])
def test_pages_together_are_one_list_without_repeats(search, large, which):
    one = search if which == "flat" else large[0]
    query = np.random.default_rng(5).standard_normal(DIM)
    whole = [hit.row for hit in one.neighbours(query, limit=48).hits]
    pages = [one.neighbours(query, offset=i, limit=12) for i in range(0, 48, 12)]
    assert [hit.row for page in pages for hit in page.hits] == whole
    assert [page.more for page in pages] == [True, True, True, which == "inverted"]


def test_near_duplicates_collapse_into_the_first_and_are_counted(tmp_path):
    random = np.random.default_rng(6)
    originals = random.standard_normal((40, DIM))
    copies = originals[:10] + 0.02 * random.standard_normal((10, DIM))
    vectors = np.concatenate([originals, copies])
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    write_emb(tmp_path / "emb", 0, [{"key": str(i), "uid": f"{i:032x}"} for i in range(50)], vectors)
    build_index(tmp_path)
    search = Search(tmp_path)
    whole = search.neighbours(originals[3], limit=50, collapse=0.94)
    assert len(whole.hits) == 40 and not whole.more
    assert sum(hit.alike for hit in whole.hits) == 10
    assert whole.hits[0].row % 40 == 3 and whole.hits[0].alike == 1
    pages = [search.neighbours(originals[3], offset=i, limit=10, collapse=0.94) for i in range(0, 40, 10)]
    assert [hit.row for page in pages for hit in page.hits] == [hit.row for hit in whole.hits]
    assert len(search.neighbours(originals[3], limit=50).hits) == 50


def test_browsing_orders_by_a_column_and_puts_the_unknown_last(search):
    records = search.describe(search.browse(order="-motion", limit=48).hits)
    motion = [one["motion"] for one in records]
    assert motion == sorted(motion, reverse=True) and len(motion) == 48
    assert search.browse(order="-motion", offset=40, limit=20).more is False
    first = search.describe(search.browse(order="dup_of", limit=1).hits)[0]
    assert first["dup_of"] is not None
    with pytest.raises(UserError, match="no column 'nonsense' to order by"):
        search.browse(order="nonsense")


def test_facets_count_what_each_filter_would_leave(search):
    wanted = Filter({"motion": (0.5, None)}, {"split": ["train"]}, "aesthetic > 3")
    facets = search.facets(wanted)
    records = search.describe(search.browse(limit=48).hits)
    fits = {
        "motion": [one for one in records if one["split"] == "train" and one["aesthetic"] > 3],
        "split": [one for one in records if one["motion"] >= 0.5 and one["aesthetic"] > 3],
        "punsafe": [
            one for one in records if one["motion"] >= 0.5 and one["split"] == "train" and one["aesthetic"] > 3
        ],
    }
    assert facets["count"] == len(fits["punsafe"])
    for name in ("motion", "punsafe"):
        column = next(column for column in search.columns if column.name == name)
        expected, _ = np.histogram([one[name] for one in fits[name]], bins=BINS, range=(column.low, column.high))
        assert facets["histograms"][name] == expected.tolist()
    for value in ("train", "test"):
        assert facets["words"]["split"][value] == sum(one["split"] == value for one in fits["split"])


def test_columns_are_numbers_that_differ_and_words_that_recur(search):
    kinds = {column.name: column.kind for column in search.columns}
    assert kinds["motion"] == "number" and kinds["split"] == "word" and kinds["near_duplicate"] == "word"
    assert not {"caption", "url", "uid", "row", "status", "width"} & set(kinds)  # all clips are 64 px wide


def test_vectors_and_pages_out_of_range_are_refused(search):
    for vector, message in (
        (np.ones(DIM + 1), "33 numbers"),
        (np.zeros(DIM), "zero"),
        (np.full(DIM, np.nan), "finite"),
    ):
        with pytest.raises(UserError, match=message):
            search.neighbours(vector)
    for page in ({"offset": -1}, {"limit": 0}, {"offset": MAX_DEPTH, "limit": 1}):
        with pytest.raises(UserError, match="lie outside"):
            search.neighbours(np.ones(DIM), **page)
    with pytest.raises(UserError, match="no clip"):
        search.row("../../etc/passwd")


def test_another_embedder_than_the_one_that_made_the_index_is_refused(folder):
    other = WordEmbedder()
    other.fingerprint = "other"
    with pytest.raises(UserError, match="made by words-32, the embedder is other"):
        Search(folder, other)
    other.dim = 8
    with pytest.raises(UserError, match="8 numbers, the index has 32"):
        Search(folder, other)
    with pytest.raises(UserError, match="has no embedder"):
        Search(folder).embed_text("face")


def test_an_index_of_clips_that_are_in_no_shard_is_refused(tmp_path):
    make_dataset(tmp_path, clips=20, per_shard=10)
    build_index(tmp_path)
    path = tmp_path / "shards" / "00001.parquet"
    pq.write_table(pq.read_table(path).slice(0, 4), path)
    with pytest.raises(UserError, match="6 of 20 indexed clips .* are in no shard. Build the index again"):
        Search(tmp_path)
