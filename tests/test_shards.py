"""Laws of writing shards and of finding clips again."""

import io
import json
import tarfile

import numpy as np
import pyarrow.parquet as pq
import pytest

from ode_vgan.data import shards
from ode_vgan.data.clips import decode_clip, encode_clip
from ode_vgan.data.shards import Sample, read_index, write_shards
from ode_vgan.errors import UserError


def sample(key: str, **meta) -> Sample:
    return Sample(key, f"clip {key}".encode(), f"a caption of {key}", {"duration_seconds": 1.5, **meta})


def files(folder) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_what_is_written_is_read_back(tmp_path):
    written = [sample("b", split="train"), sample("a", split="test"), sample("ü-1", keywords=["x", "y"])]
    write_shards(tmp_path, written)
    entries = {entry.key: entry for entry in read_index(tmp_path)}
    assert entries.keys() == {"a", "b", "ü-1"}
    for one in written:
        entry = entries[one.key]
        assert (entry.read(), entry.caption) == (one.clip, one.caption)
        assert one.meta.items() <= entry.meta.items()


def test_the_tar_is_sorted_and_anonymous(tmp_path):
    (path,) = write_shards(tmp_path, [sample("b"), sample("a")])
    with tarfile.open(path) as tar:
        members = tar.getmembers()
    assert [m.name for m in members] == ["a.mp4", "a.txt", "a.json", "b.mp4", "b.txt", "b.json"]
    assert {(m.mtime, m.uid, m.gid, m.uname, m.gname) for m in members} == {(0, 0, 0, "", "")}


def test_the_same_samples_in_any_order_give_the_same_bytes(tmp_path):
    names = list("dbca")
    write_shards(tmp_path / "one", [sample(name) for name in names])
    write_shards(tmp_path / "two", [sample(name) for name in sorted(names)])
    assert files(tmp_path / "one") == files(tmp_path / "two")


def test_samples_beyond_a_shard_start_the_next(tmp_path):
    tars = write_shards(tmp_path, (sample(f"{i:03d}") for i in range(7)), per_shard=3)
    assert [path.name for path in tars] == ["00000.tar", "00001.tar", "00002.tar"]
    assert sorted(files(tmp_path)) == sorted(
        f"0000{i}{end}" for i in range(3) for end in (".parquet", ".tar", "_stats.json")
    )
    assert [entry.key for entry in read_index(tmp_path)] == [f"{i:03d}" for i in range(7)]


def test_failures_are_counted_and_stay_out_of_the_tar(tmp_path):
    write_shards(tmp_path, [sample("a"), sample("b", status="failed", error_message="timeout"), sample("c")])
    stats = json.loads((tmp_path / "00000_stats.json").read_text())
    assert (stats["count"], stats["successes"], stats["failed_to_download"], stats["duration"]) == (3, 2, 1, 3.0)
    assert stats["status_dict"] == {"success": 2, "timeout": 1}
    rows = pq.read_table(tmp_path / "00000.parquet").to_pylist()
    assert [(row["key"], row["status"], row["error_message"]) for row in rows] == [
        ("a", "success", None),
        ("b", "failed", "timeout"),
        ("c", "success", None),
    ]
    assert [entry.key for entry in read_index(tmp_path)] == ["a", "c"]


def test_a_crash_among_the_samples_leaves_no_tar(tmp_path):
    def crashing():
        yield sample("a")
        raise RuntimeError("power cut")

    with pytest.raises(RuntimeError):
        write_shards(tmp_path, crashing())
    assert not list(tmp_path.rglob("*"))


@pytest.mark.parametrize("step", [0, 1, 2])
def test_a_crash_while_writing_leaves_no_tar_and_no_half_file(tmp_path, monkeypatch, step):
    calls = iter(range(9))
    real = shards.write_atomic

    def crashing(path, content):
        if next(calls) == step:
            raise OSError("disk full")
        real(path, content)

    monkeypatch.setattr(shards, "write_atomic", crashing)
    with pytest.raises(OSError, match="disk full"):
        write_shards(tmp_path, [sample("a")])
    assert len(list(tmp_path.iterdir())) == step and not (tmp_path / "00000.tar").exists()
    monkeypatch.undo()
    write_shards(tmp_path, [sample("a")])  # typing the command again works
    assert len(read_index(tmp_path)) == 1


def test_shards_are_never_overwritten(tmp_path):
    write_shards(tmp_path, [sample("a")])
    before = files(tmp_path)
    with pytest.raises(UserError, match="already holds shards"):
        write_shards(tmp_path, [sample("b")])
    assert files(tmp_path) == before


@pytest.mark.parametrize("keys", [["a", "a"], [""], ["a.b"], ["a/b"]])
def test_keys_that_would_not_come_back_are_refused(tmp_path, keys):
    with pytest.raises(UserError, match="key"):
        write_shards(tmp_path, [sample(key) for key in keys])


def test_tars_of_other_makers_are_read(tmp_path):
    """img2dataset and video2dataset: any member order, members that are no clip, samples without one."""
    members = {
        "folder/7.json": b'{"caption": "from the json", "fps": 25}',
        "folder/7.mp4": b"seven",
        "8.txt": b" from the text\n",
        "8.json": b'{"caption": "not this one"}',
        "8.webm": b"eight",
        "9.mp4": b"nine",
        "10.jpg": b"an image",
        "10.txt": b"an image's caption",
        "11.txt": b"",
        "11.mp4": b"eleven",
    }
    with tarfile.open(tmp_path / "00003.tar", "w") as tar:
        for name, content in members.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    found = [(entry.key, entry.caption, entry.read()) for entry in read_index(tmp_path)]
    assert found == [
        ("folder/7", "from the json", b"seven"),
        ("8", "from the text", b"eight"),
        ("9", None, b"nine"),
        ("11", None, b"eleven"),
    ]


def test_webdataset_reads_our_shards(tmp_path):
    webdataset = pytest.importorskip("webdataset", reason="webdataset is not installed")
    write_shards(tmp_path, [sample("a"), sample("b")])
    read = list(webdataset.WebDataset(str(tmp_path / "00000.tar"), shardshuffle=False))
    assert [(one["__key__"], one["mp4"], one["txt"]) for one in read] == [
        ("a", b"clip a", b"a caption of a"),
        ("b", b"clip b", b"a caption of b"),
    ]
    assert json.loads(read[0]["json"])["duration_seconds"] == 1.5


def test_a_folder_of_videos_is_an_index(tmp_path):
    frames = np.random.default_rng(0).integers(0, 256, (3, 16, 16, 3), dtype=np.uint8)
    encode_clip(tmp_path / "dive.mp4", frames, 24)
    (tmp_path / "dive.txt").write_text("a dive\n")
    encode_clip(tmp_path / "sub" / "Jump.MP4", frames, 24)
    (tmp_path / "sub" / "Jump.json").write_text('{"caption": "a jump", "split": "test"}')
    encode_clip(tmp_path / "mute.mp4", frames, 24)
    (tmp_path / "notes.txt").write_text("no clip")
    (tmp_path / ".hidden.mp4").write_bytes(b"left by another program")
    entries = read_index(tmp_path)
    assert [(e.key, e.caption) for e in entries] == [("dive", "a dive"), ("mute", None), ("sub/Jump", "a jump")]
    assert entries[2].meta["split"] == "test"
    assert all(decode_clip(entry.read()).frames.shape == frames.shape for entry in entries)


def test_a_missing_folder_and_an_empty_one_are_one_line(tmp_path):
    with pytest.raises(FileNotFoundError, match="nowhere"):
        read_index(tmp_path / "nowhere")
    with pytest.raises(UserError, match="no clips in"):
        read_index(tmp_path)


@pytest.mark.parametrize("length", [0, 100, 512, 520, 1024, 4500, 4608, 5000])
def test_half_a_tar_is_named(tmp_path, length):
    (path,) = write_shards(tmp_path, [sample(name) for name in "abc"])
    path.write_bytes(path.read_bytes()[:length])  # within a header, a content, and between two members
    with pytest.raises(UserError, match=r"00000\.tar") as error:
        read_index(tmp_path)
    assert "\n" not in str(error.value)


def test_json_that_does_not_parse_is_named(tmp_path):
    (tmp_path / "a.mp4").write_bytes(b"clip")
    (tmp_path / "a.json").write_text("{")
    with pytest.raises(UserError, match="json of a"):
        read_index(tmp_path)
