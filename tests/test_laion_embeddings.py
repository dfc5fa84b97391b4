"""Laws of embeddings on disk: every row is its clip's, a kill costs a shard at most, nothing misaligned is read."""

import os
import shutil
import signal
import subprocess
import sys
import tarfile
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pyarrow.parquet as pq
import pytest

from ode_vgan.data.clips import decode_clip
from ode_vgan.data.shapes import write_shapes
from ode_vgan.data.shards import Sample, read_tar, write_shards
from ode_vgan.data.store import open_source
from ode_vgan.embed.matched import MatchedEmbedder
from ode_vgan.embed.sentence import SentenceEmbedder
from ode_vgan.errors import UserError
from ode_vgan.laion.embeddings import embed_shards, read_embeddings
from ode_vgan.laion.parts import uids_digest, write_part
from ode_vgan.laion.schema import clip_uid
from tests.colours import Colours
from tests.shared_data import shared


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    """Two shards of four clips: the first has one without caption and one broken, the second a copy."""
    folder = tmp_path_factory.mktemp("laion")
    write_shapes(folder / "made", 6, seed=0, frames=6, size=16)
    made = [entry.read() for tar in sorted((folder / "made").glob("*.tar")) for entry in read_tar(tar)]
    clips = [*made[:3], made[3][: len(made[3]) // 2], *made[3:6], made[0]]
    captions = ["red ball", "", "a pendulum", "half", "a square", "blue", "violet", "again"]
    samples = [
        Sample(f"{i // 4:05d}{i % 4:04d}", clip, caption, {"url": f"http://example.com/{i}.mp4"})
        for i, (clip, caption) in enumerate(zip(clips, captions, strict=True))
    ]
    write_shards(folder / "shards", samples, per_shard=4)
    return folder


@pytest.fixture
def folder(dataset, tmp_path):
    shutil.copytree(dataset / "shards", tmp_path / "data" / "shards")
    return tmp_path / "data"


def content(folder):
    """Bytes of every visible file of emb/ by name."""
    files = sorted(path for path in (folder / "emb").rglob("[!.]*") if path.is_file())
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


def test_each_row_is_its_clips_own_vector(folder):
    embed = Colours()
    counts = embed_shards(folder, embed, frames=3)
    assert (counts.shards, counts.kept, counts.clips) == (2, 0, 7)
    assert list(counts.bad) == ["00000/000000003"] and "\n" not in counts.bad["00000/000000003"]
    found = read_embeddings(folder)
    assert found.video.dtype == found.text.dtype == np.float16 and found.video.shape == found.text.shape == (7, 12)
    assert found.model["fingerprint"] == "colours-1" and found.model["frames"] == 3 and found.model["dim"] == 12
    by_key = {entry.key: entry for tar in sorted((folder / "shards").glob("*.tar")) for entry in read_tar(tar)}
    for row, video, text in zip(found.metadata.to_pylist(), found.video, found.text, strict=True):
        entry = by_key[row["key"]]
        clip = decode_clip(entry.read()).frames[[0, 2, 5]]  # 2.5 is rounded to the even frame
        each, said = embed.encode_each_frame(clip[None])[0], embed.encode_text([entry.caption or ""])[0]
        assert np.allclose(video, embed.encode_frames(clip[None])[0], atol=1e-3)
        assert np.allclose(text, said, atol=1e-3)
        assert row["uid"] == clip_uid(entry.read()) and row["url"] == entry.meta["url"]
        if entry.caption:
            cosines = (each @ said).numpy()
            told = [row[f"similarity{name}"] for name in ("", "_min", "_std")]
            assert told == pytest.approx([cosines.mean(), cosines.min(), cosines.std()], abs=1e-6)
        else:
            assert row["similarity"] is None
    assert np.allclose(np.linalg.norm(found.video.astype(np.float32), axis=1), 1, atol=1e-3)
    assert [block.number for block in found] == [0, 1] and found.blocks[1].video.base is not None


def test_typed_again_it_redoes_what_changed_and_nothing_else(folder):
    embed_shards(folder, Colours())
    before = content(folder)
    times = {path: path.stat().st_mtime_ns for path in (folder / "emb").rglob("[!.]*") if path.is_file()}
    again = embed_shards(folder, Colours())
    assert (again.shards, again.kept) == (0, 2) and content(folder) == before
    assert {path: path.stat().st_mtime_ns for path in times} == times
    for name in ("video_emb/video_emb_0001.npy", "text_emb/text_emb_0000.npy", "metadata/metadata_0001.parquet"):
        path = folder / "emb" / name
        path.write_bytes(path.read_bytes()[:-1] + b"\7")
        assert embed_shards(folder, Colours()).shards == 1 and content(folder) == before
        path.unlink()
        assert embed_shards(folder, Colours()).shards == 1 and content(folder) == before
    assert embed_shards(folder, Colours("colours-2")).shards == 2
    assert embed_shards(folder, Colours("colours-2"), frames=2).shards == 2
    shard = folder / "shards" / "00000.tar"
    shutil.copy(folder / "shards" / "00001.tar", shard)
    assert (embed_shards(folder, Colours("colours-2"), frames=2).shards, shard.stem) == (1, "00000")


def test_processes_write_the_same_bytes_as_one(folder, tmp_path):
    embed_shards(folder, Colours())
    shutil.copytree(folder / "shards", tmp_path / "other" / "shards")
    counts = embed_shards(tmp_path / "other", Colours(), jobs=2)
    assert (counts.shards, counts.clips, len(counts.bad)) == (2, 7, 1)
    assert content(tmp_path / "other") == content(folder)


KILLED = """
import sys
from tests.colours import Colours
from ode_vgan.laion.embeddings import embed_shards
embed_shards(sys.argv[1], Colours(pause=1.0))
"""


def test_a_kill_costs_a_shard_at_most_and_leaves_the_bytes_of_an_uninterrupted_run(folder, tmp_path):
    embed_shards(folder, Colours())
    other = tmp_path / "killed"
    shutil.copytree(folder / "shards", other / "shards")
    root = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    process = subprocess.Popen([sys.executable, "-c", KILLED, str(other)], cwd=root)
    first, deadline = other / "emb" / "metadata" / "metadata_0000.parquet", time.monotonic() + 240
    while not first.exists() and time.monotonic() < deadline:
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert first.exists() and not (other / "emb" / "metadata" / "metadata_0001.parquet").exists()
    left = other / "emb" / "video_emb" / ".video_emb_0001.npy.half"  # what a kill inside a write leaves
    left.write_bytes(b"half")
    counts = embed_shards(other, Colours())
    assert (counts.shards, counts.kept) == (1, 1) and content(other) == content(folder) and not left.exists()


def test_rows_that_are_not_their_metadatas_are_refused_in_one_line(folder):
    embed_shards(folder, Colours())
    root = folder / "emb"
    video, table = root / "video_emb" / "video_emb_0000.npy", root / "metadata" / "metadata_0000.parquet"
    whole = {path: path.read_bytes() for path in (video, table, root / "model.json")}

    def refused(match):
        with pytest.raises(UserError, match=match) as caught:
            _ = read_embeddings(folder).video
        assert "\n" not in str(caught.value)
        for path, kept in whole.items():
            path.write_bytes(kept)

    rows = np.load(video)
    np.save(video, rows[::-1])  # as many rows, in another order
    refused("another sha256")
    np.save(video, rows[:-1])
    refused("its metadata has 3 rows")
    video.write_bytes(whole[video][:100])
    refused("no whole .npy")
    np.save(video, np.array([{"a": 1}], dtype=object), allow_pickle=True)
    refused("no whole .npy")
    read = pq.read_table(table)
    pq.write_table(read.take([1, 0, 2]).replace_schema_metadata(read.schema.metadata), table)
    refused("uids are not those")
    table.write_bytes(b"PAR1")
    refused("no whole parquet")
    (root / "model.json").write_text('{"fingerprint": "other"}')
    refused("is of colours-1, its folder of other")
    table.unlink()
    refused("has no metadata_0000.parquet")
    assert len(read_embeddings(folder).video) == 7
    (root / "text_emb" / "text_emb_0001.npy").unlink()
    with pytest.raises(UserError, match="text_emb_0001"):
        _ = read_embeddings(folder).text


def test_what_clip_retrieval_wrote_is_read_without_digests(tmp_path):
    with np.load(shared("laion/clipretrieval_b32_embeddings.npz"), allow_pickle=False) as file:
        vectors, names = file["embeddings"].astype(np.float16), file["filenames"].tolist()
    for name in ("img_emb", "metadata"):
        (tmp_path / name).mkdir()
    np.save(tmp_path / "img_emb" / "img_emb_0.npy", vectors)
    import pyarrow as pa

    pq.write_table(pa.table({"image_path": names}), tmp_path / "metadata" / "metadata_0.parquet")
    found = read_embeddings(tmp_path)
    assert np.array_equal(found.video, vectors) and found.metadata["image_path"].to_pylist() == names
    assert found.model == {} and found.blocks[0].text is None
    with pytest.raises(UserError, match="no text_emb"):
        _ = found.text


def test_writers_at_the_same_time_do_each_shard_once(folder, tmp_path):
    shutil.copytree(folder / "shards", tmp_path / "alone" / "shards")
    embed_shards(tmp_path / "alone", Colours())
    with ThreadPoolExecutor(3) as pool:
        counts = list(pool.map(lambda _: embed_shards(folder, Colours(pause=0.05)), range(3)))
    assert sum(count.shards for count in counts) == 2 and sum(count.kept for count in counts) == 4
    assert content(folder) == content(tmp_path / "alone")


def test_parts_of_several_widths_are_refused(folder):
    embed_shards(folder, Colours())
    number, root = 1, folder / "emb"
    made_from = {"shard_sha256": "", "fingerprint": "colours-1"}
    write_part(root, number, {"video": np.ones((1, 5)), "text": np.ones((1, 5))}, [{"uid": "0" * 32}], made_from)
    with pytest.raises(UserError, match=r"widths \[5, 12\]"):
        _ = read_embeddings(folder).video


def test_a_shard_without_a_readable_clip_is_an_empty_part(tmp_path):
    write_shards(tmp_path / "shards", [Sample("0", b"no clip", "nothing", {})])
    assert (embed_shards(tmp_path, Colours()).clips, embed_shards(tmp_path, Colours()).kept) == (0, 1)
    assert read_embeddings(tmp_path).video.shape == (0, 12)


def test_a_user_is_told_what_is_missing(folder, tmp_path):
    with pytest.raises(UserError, match="no shards in"):
        embed_shards(tmp_path / "none", Colours())
    with pytest.raises(UserError, match="gives no vector of a frame"):
        embed_shards(folder, SentenceEmbedder())
    with pytest.raises(UserError, match="frames=0"):
        embed_shards(folder, Colours(), frames=0)
    with pytest.raises(UserError, match="no embeddings in"):
        read_embeddings(tmp_path / "none")
    (folder / "shards" / "train.tar").write_bytes(b"")
    with pytest.raises(UserError, match="named for its number"):
        embed_shards(folder, Colours())


def test_video2datasets_own_shard_is_embedded(tmp_path):
    path = shared("laion/v2d_return_all_test.tar")
    (tmp_path / "shards").mkdir()
    shutil.copy(path, tmp_path / "shards" / "00000.tar")
    counts = embed_shards(tmp_path, Colours(), frames=2)
    with tarfile.open(path) as tar:
        clips = [name for name in tar.getnames() if name.endswith(".mp4")]
    assert counts.clips == len(clips) and not counts.bad
    assert len(read_embeddings(tmp_path).metadata) == len(clips)


def test_a_named_embedder_finds_each_clip_by_its_caption(tmp_path):
    pytest.importorskip("efficientnet_lite_pytorch", reason="efficientnet-lite-pytorch is not installed")
    entries = [entry for entry in open_source("emoji") if entry.meta["split"] == "train"][::60]
    samples = [Sample(entry.key, entry.read(), entry.caption, {}) for entry in entries]
    write_shards(tmp_path / "shards", samples, per_shard=6)
    counts = embed_shards(tmp_path, "matched", frames=2)
    assert (counts.shards, counts.clips) == (-(-len(entries) // 6), len(entries)) and len(entries) >= 10
    found = read_embeddings(tmp_path)
    assert found.model["fingerprint"] == MatchedEmbedder().fingerprint
    cosines = found.text.astype(np.float32) @ found.video.astype(np.float32).T
    assert (cosines.argmax(1) == np.arange(len(entries))).mean() > 0.7  # these are clips it was learned on
    own = np.array(found.metadata["similarity"].to_pylist())
    assert own.mean() > cosines.mean() + 0.2
    assert embed_shards(tmp_path, "matched", frames=2).shards == 0


def test_the_digest_of_ids_is_that_of_their_lines():
    assert uids_digest(["a", "b"]) != uids_digest(["b", "a"]) != uids_digest(["ba"])
    assert len(uids_digest([])) == 64
