"""Scores beside the shards: exact columns, nulls with their reason, resuming, and a kill in the middle."""

import hashlib
import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from ode_vgan.data.clips import decode_clip, encode_clip
from ode_vgan.data.emoji import embedded_folder
from ode_vgan.data.shards import Sample, read_index, write_shards
from ode_vgan.errors import UserError
from ode_vgan.laion import score as score_module
from ode_vgan.laion.duplicates import parquet_bytes
from ode_vgan.laion.fitted import FittedHead
from ode_vgan.laion.pixels import SpreadFrames, measure_pixels, shrunk
from ode_vgan.laion.score import SCHEMA, ScoreOptions, score_shards
from ode_vgan.laion.stillness import stillness
from ode_vgan.laion.toxicity import why_absent
from ode_vgan.laion.watermark import PlacedDetector

FAST = ScoreOptions(frames=2)
ENTRIES = read_index(embedded_folder())


def _samples() -> list[Sample]:
    """Nine clips: six of the set, a still one, a copy to the byte, and one that breaks off."""
    samples = [Sample(f"{i:05d}", ENTRIES[40 * i].read(), ENTRIES[40 * i].caption or "") for i in range(6)]
    still = np.repeat(decode_clip(samples[0].clip, max_frames=1).frames, 10, 0)
    samples.append(Sample("00006", encode_clip(None, still, 10.0), "a still"))
    samples.append(Sample("00007", samples[1].clip, "a copy"))
    samples.append(Sample("00008", samples[2].clip[:-600], "broken"))
    return samples


@pytest.fixture(scope="module")
def shards(tmp_path_factory):
    folder = tmp_path_factory.mktemp("dataset")
    write_shards(folder / "shards", _samples(), per_shard=3)
    return folder


@pytest.fixture
def dataset(shards, tmp_path):
    shutil.copytree(shards / "shards", tmp_path / "shards")
    return tmp_path


@pytest.fixture(scope="module")
def scored(shards):
    """The dataset scored once, its counts and rows."""
    counts = score_shards(shards, FAST)
    return shards, counts, _rows(shards)


def _files(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted((folder / "scores").iterdir())}


def _rows(folder: Path) -> list[dict]:
    return [row for path in sorted((folder / "scores").glob("*.parquet")) for row in pq.read_table(path).to_pylist()]


def test_there_is_a_row_for_each_clip_in_the_columns_agreed(scored):
    folder, counts, rows = scored
    assert sorted(_files(folder)) == ["00000.parquet", "00001.parquet", "00002.parquet"]
    assert pq.read_schema(folder / "scores" / "00000.parquet").equals(SCHEMA)
    assert [row["key"] for row in rows] == [sample.key for sample in _samples()]
    uids = [hashlib.sha256(sample.clip).hexdigest()[:32] for sample in _samples()]
    assert [row["uid"] for row in rows] == uids
    assert (counts.shards, counts.kept, counts.clips) == (3, 0, 9)


def test_scores_are_those_of_each_clip_alone(scored):
    _, _, rows = scored
    detector = PlacedDetector()
    for row, sample in zip(rows[:3], _samples(), strict=False):
        clip = decode_clip(sample.clip)
        assert row["motion"] == pytest.approx(stillness(clip).motion, rel=1e-5)
        assert row["static_share"] == pytest.approx(stillness(clip).static_share, abs=1e-6)
        found = measure_pixels(sample.clip, detector, FAST.frames)
        assert row["phash"] == found.pop("phash")
        assert {name: row[name] for name in found} == pytest.approx(found, rel=1e-6, abs=1e-6)
    assert (rows[6]["motion"] < 1, rows[6]["static_share"]) == (True, 1.0)


def test_one_bad_clip_is_a_row_with_nulls_and_its_reason(scored):
    _, counts, rows = scored
    bad = rows[8]
    assert bad["error"].startswith("CorruptClip: clip of ")
    assert [bad[name] for name in ("pwatermark", "motion", "static_share", "phash", "dup_of")] == [None] * 5
    assert counts.errors == {"CorruptClip": 1}
    assert all(row["error"] is None for row in rows[:8])


def test_a_copy_in_another_shard_is_named_for_the_first(scored):
    _, counts, rows = scored
    assert [row["dup_of"] for row in rows[:8]] == [None] * 7 + [rows[1]["uid"]]
    assert counts.duplicates["duplicates"] == 1


def test_columns_that_cannot_be_made_are_null_with_the_reason(scored):
    _, counts, rows = scored
    assert {row["similarity"] for row in rows} == {None}
    assert "laion embed" in counts.missing["similarity"]
    assert counts.missing["aesthetic"] == "no head is given"
    assert ("ptoxic" in counts.missing) == (why_absent() is not None)
    assert (rows[0]["ptoxic"] is None) == (why_absent() is not None)


def test_each_row_says_what_scored_it(scored):
    _, _, rows = scored
    (scorer,) = {row["scorer"] for row in rows[:3]}
    assert PlacedDetector().fingerprint in scorer
    assert "captions " in scorer and "embeddings none" in scorer


def test_typed_again_it_scores_nothing_and_changes_no_byte(scored):
    folder, _, _ = scored
    before = _files(folder)
    again = score_shards(folder, FAST)
    assert again.missing == scored[1].missing
    assert (again.shards, again.kept, again.clips) == (0, 3, 9)
    assert again.errors == {"CorruptClip": 1}
    assert _files(folder) == before


def test_bytes_do_not_depend_on_the_order_of_shards(scored, dataset):
    folder, _, _ = scored
    for name in ("00002", "00000"):
        score_module.score_shard(dataset / "shards" / f"{name}.tar", FAST)
    counts = score_shards(dataset, FAST)
    assert (counts.shards, counts.kept) == (1, 2)
    assert _files(dataset) == _files(folder)


@pytest.mark.slow
def test_bytes_do_not_depend_on_the_number_of_processes(scored, dataset):
    folder, _, _ = scored
    assert score_shards(dataset, FAST, jobs=2).shards == 3
    assert _files(dataset) == _files(folder)


def test_a_changed_shard_and_other_options_are_scored_again(dataset):
    score_shards(dataset, FAST)
    before = _files(dataset)
    shutil.copy(dataset / "shards" / "00000.tar", dataset / "shards" / "00001.tar")
    counts = score_shards(dataset, FAST)
    assert (counts.shards, counts.kept, counts.duplicates["duplicates"]) == (1, 2, 4)
    assert [row["dup_of"] for row in _rows(dataset)[3:6]] == [row["uid"] for row in _rows(dataset)[:3]]
    assert score_shards(dataset, replace(FAST, frames=1)).shards == 3
    (dataset / "shards" / "00001.tar").unlink()
    assert score_shards(dataset, FAST).duplicates["duplicates"] == 1
    assert _files(dataset) == {name: before[name] for name in ("00000.parquet", "00002.parquet")}


def test_a_torn_file_of_scores_is_made_again(scored, dataset):
    folder, _, _ = scored
    (dataset / "scores").mkdir()
    (dataset / "scores" / "00000.parquet").write_bytes(_files(folder)["00000.parquet"][:900])
    assert score_shards(dataset, FAST).shards == 3
    assert _files(dataset) == _files(folder)


def _embed(folder: Path, similarity: float) -> None:
    """A part for the first shard as `embed_shards` lays it, of which one clip is another than the shard's."""
    rows = _rows(folder)[:3]
    table = pa.table({
        "key": [row["key"] for row in rows],
        "uid": [rows[0]["uid"], "0" * 32, rows[2]["uid"]],
        "similarity": pa.array([similarity, 0.5, 0.75], pa.float32()),
        "similarity_min": pa.array([0.125, 0.5, 0.25], pa.float32()),
        "similarity_std": pa.array([0.0, 0.0, None], pa.float32()),
    })  # fmt: skip
    for kind in ("video_emb", "metadata"):
        (folder / "emb" / kind).mkdir(parents=True, exist_ok=True)
    np.save(folder / "emb" / "video_emb" / "video_emb_0000.npy", np.eye(3, dtype=np.float16))
    (folder / "emb" / "metadata" / "metadata_0000.parquet").write_bytes(parquet_bytes(table))


def test_embeddings_fill_their_columns_without_decoding_a_clip_again(scored, dataset, monkeypatch):
    folder, _, _ = scored
    shutil.copytree(folder / "scores", dataset / "scores")
    _embed(dataset, 0.25)

    def refuse(*arguments):
        raise AssertionError("a clip was decoded")

    monkeypatch.setattr(score_module, "measure_pixels", refuse)
    counts = score_shards(dataset, FAST)
    rows = _rows(dataset)
    assert (counts.shards, counts.kept) == (1, 2)
    assert [row["similarity"] for row in rows] == [0.25, None, 0.75] + [None] * 6
    assert [row["similarity_min"] for row in rows[:3]] == [0.125, None, 0.25]
    assert rows[2]["similarity_std"] is None
    assert [row["phash"] for row in rows] == [row["phash"] for row in _rows(folder)]
    _embed(dataset, 0.5)
    assert score_shards(dataset, FAST).shards == 1
    assert _rows(dataset)[0]["similarity"] == 0.5


def test_a_head_is_read_at_the_clip_s_own_vector(scored, dataset):
    folder, _, _ = scored
    shutil.copytree(folder / "scores", dataset / "scores")
    _embed(dataset, 0.25)
    weight = np.array([1.0, 2.0, -3.0], np.float32)
    head = FittedHead("punsafe", weight, 0.5, link="logistic", fingerprint="any", notes={})
    head.save(dataset / "head")
    options = replace(FAST, nsfw=str(dataset / "head"))
    counts = score_shards(dataset, options)
    found = [row["punsafe"] for row in _rows(dataset)]
    assert found == [pytest.approx(1 / (1 + np.exp(-1.5))), None, pytest.approx(1 / (1 + np.exp(2.5)))] + [None] * 6
    assert "punsafe" in _rows(dataset)[0]["scorer"]
    assert "not embedded" in counts.missing["punsafe"]  # of the other shards
    assert score_shards(dataset, options).kept == 3


def test_embeddings_that_are_near_are_duplicates_where_asked(scored, dataset):
    folder, _, _ = scored
    shutil.copytree(folder / "scores", dataset / "scores")
    _embed(dataset, 0.25)
    np.save(dataset / "emb" / "video_emb" / "video_emb_0000.npy", np.float16([[1, 0], [0, 1], [0.995, 0.0998]]))
    assert score_shards(dataset, FAST).duplicates["duplicates"] == 1
    assert score_shards(dataset, replace(FAST, min_cosine=0.99)).duplicates["duplicates"] == 2
    assert _rows(dataset)[2]["dup_of"] == _rows(dataset)[0]["uid"]


SCRIPT = "import sys; from ode_vgan.laion.score import *; score_shards(sys.argv[1], ScoreOptions(frames=2))"


def test_a_kill_in_the_middle_loses_nothing(scored, dataset):
    folder, _, _ = scored
    command = [sys.executable, "-c", SCRIPT, str(dataset)]
    process = subprocess.Popen(command, env=os.environ | {"OMP_NUM_THREADS": "1"})
    deadline = time.monotonic() + 120
    while not (dataset / "scores" / "00000.parquet").exists() and time.monotonic() < deadline:
        time.sleep(0.002)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL, "it ended before it could be killed"
    assert 1 <= len(list((dataset / "scores").glob("*.parquet"))) < 3
    counts = score_shards(dataset, FAST)
    assert counts.kept >= 1
    assert {name: content for name, content in _files(dataset).items() if name.endswith(".parquet")} == _files(folder)


def test_frames_are_spread_over_a_clip_of_any_length_in_bounded_memory():
    for length in (1, 3, 40, 1000):
        spread = SpreadFrames(4)
        for i in range(length):
            spread.add(np.array([[[i // 256, i % 256, 0]]], np.uint8), i / 10)
            assert len(spread.held) < 16
        at = spread.read()[:, 0, 0, :2] @ [256, 1]
        assert len(at) == min(4, length)
        assert np.abs(at - np.linspace(0, length - 1, len(at))).max() <= length / 7


def test_large_frames_are_held_small():
    assert shrunk(np.zeros((1080, 1920, 3), np.uint8)).shape == (144, 256, 3)
    assert shrunk(np.zeros((64, 200, 3), np.uint8)).shape == (64, 200, 3)
    assert shrunk(np.zeros((3, 8000, 3), np.uint8)).shape == (1, 256, 3)


def test_wrong_options_are_refused_before_anything_is_written(dataset):
    with pytest.raises(UserError, match="frames=0"):
        score_shards(dataset, ScoreOptions(frames=0))
    with pytest.raises(UserError, match="no watermark weights at"):
        score_shards(dataset, ScoreOptions(watermark=str(dataset / "none.pt")))
    with pytest.raises(UserError, match="no head for punsafe"):
        score_shards(dataset, replace(FAST, nsfw=str(dataset / "none.pt")))
    assert not (dataset / "scores").exists()
    with pytest.raises(UserError, match="no shards"):
        score_shards(dataset / "shards", FAST)
