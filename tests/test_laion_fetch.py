"""Laws of fetching a table into shards, against a real server that does everything wrong."""

import csv
import hashlib
import io
import json
import subprocess
import sys
import tarfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from ode_vgan.data.clips import decode_clip
from ode_vgan.data.emoji import embedded_folder
from ode_vgan.data.shards import read_index
from ode_vgan.errors import UserError
from ode_vgan.laion.client import Manners
from ode_vgan.laion.columns import CLIP_COLUMNS
from ode_vgan.laion.fetch import FetchOptions, fetch, fetch_shard, plan
from ode_vgan.laion.folder import one_writer
from ode_vgan.laion.listing import Listing
from ode_vgan.laion.media import MediaOptions
from ode_vgan.laion.schema import laion_hash
from tests.faulty_server import HOSTILE, faulty_server
from tests.shared_data import shared

QUICK = {"read_seconds": 1.5, "total_seconds": 2, "backoff_seconds": 0.02, "max_wait_seconds": 0.1, "max_bytes": 2**21}


def options(server, **changes) -> FetchOptions:
    given = {"manners": Manners(allow=server.allow, **QUICK), "media": MediaOptions(size_px=32), "decoders": 1}
    return FetchOptions(**({"per_shard": 40, "threads": 12, "per_host": 12, "progress": False} | given | changes))


def write_table(path: Path, rows: list[dict], **further) -> Path:
    columns = {"URL": [row["url"] for row in rows], "TEXT": [row["text"] for row in rows]} | further
    pq.write_table(pa.table(columns), path, row_group_size=16)
    return path


def read_rows(out: Path) -> list[dict]:
    return [row for path in sorted((out / "shards").glob("*.parquet")) for row in pq.read_table(path).to_pylist()]


@pytest.fixture(scope="module")
def fetched(tmp_path_factory):
    """Two dozen good clips and every fault, fetched once: the server, DIR, the counts."""
    folder = tmp_path_factory.mktemp("fetched")
    with faulty_server(good=24) as server:
        table = write_table(
            folder / "table.parquet", server.rows, WIDTH=[1] * len(server.rows), punsafe=[0.25] * len(server.rows)
        )
        yield server, folder, fetch(table, folder / "out", options(server))


@pytest.fixture(scope="module")
def few(tmp_path_factory):
    """A server of five good clips, and their table."""
    folder = tmp_path_factory.mktemp("few")
    with faulty_server(good=5, faults=False) as server:
        yield server, write_table(folder / "table.parquet", server.rows)


def test_every_row_has_its_outcome_by_name(fetched):
    server, folder, _ = fetched
    rows = read_rows(folder / "out")
    assert [row["url"] for row in rows] == [row["url"] for row in server.rows]
    found = [(row["url"], row["status"], row["error_message"]) for row in rows]
    assert found == [(row["url"], row["expected_status"], row["expected_error"]) for row in server.rows]


def test_good_clips_come_out_whole(fetched):
    server, folder, counts = fetched
    good = {f"{i // 40:05d}{i % 40:04d}": row for i, row in enumerate(server.rows) if row["expected_error"] is None}
    entries = read_index(folder / "out" / "shards")
    assert [entry.key for entry in entries] == list(good) and len(entries) == counts["success"] >= 24
    rows = {row["key"]: row for row in read_rows(folder / "out")}
    for entry in entries:
        content, row = entry.read(), rows[entry.key]
        assert entry.meta == json.loads(json.dumps(row))  # the tar's json says what the parquet says
        assert hashlib.sha256(content).hexdigest() == row["clip_sha256"] and row["bytes"] == len(content)
        clip = decode_clip(content)
        assert (len(clip.frames), clip.frames.shape[1], clip.frames.shape[2]) == (row["num_frames"], 32, 32)
        assert row["original_width"] == row["original_height"] == 64
        assert row["duration_seconds"] == pytest.approx(row["clip_end"] - row["clip_start"])
        assert row["hash"] == laion_hash(row["url"], row["text"]) and row["uid"] == row["clip_sha256"][:32]


def test_the_clips_are_what_was_served(fetched):
    _, folder, _ = fetched
    rows = read_rows(folder / "out")
    served = decode_clip(read_index(embedded_folder())[0].read(), size=32)
    first = decode_clip(read_index(folder / "out" / "shards")[0].read())
    assert rows[0]["original_codec"] == "gif"
    assert np.abs(first.frames.astype(int) - served.frames).mean() < 8


def test_stats_count_every_row_by_status(fetched):
    server, folder, counts = fetched
    stats = [json.loads(path.read_text()) for path in sorted((folder / "out/shards").glob("*_stats.json"))]
    assert sum(one["count"] for one in stats) == len(server.rows) == counts["count"]
    for one in stats:
        kinds = ("successes", "failed_to_download", "failed_to_decode", "filtered")
        assert sum(one.get(kind, 0) for kind in kinds) == one["count"] == sum(one["status_dict"].values())
    assert not any("time" in name for one in stats for name in one)


def test_the_parquet_has_our_columns_and_the_tables_own(fetched):
    _, folder, _ = fetched
    schemas = [pq.read_schema(path) for path in sorted((folder / "out/shards").glob("*.parquet"))]
    assert all(schema.equals(schemas[0]) for schema in schemas)
    assert schemas[0].names == [*CLIP_COLUMNS.names, "listed_width", "punsafe"]
    row = read_rows(folder / "out")[0]
    assert (row["listed_width"], row["punsafe"], row["width"]) == (1, 0.25, 32)


def test_hostile_captions_are_data_and_never_names(fetched):
    server, folder, _ = fetched
    captions = {entry.caption for entry in read_index(folder / "out" / "shards")}
    assert set(HOSTILE) <= captions
    for path in (folder / "out" / "shards").glob("*.tar"):
        with tarfile.open(path) as tar:
            names = [member.name.partition(".")[0] for member in tar]
        assert all(name.isdigit() and len(name) == 9 for name in names)
    assert sorted(path.name for path in folder.iterdir()) == ["out", "table.parquet"]


def test_a_url_is_asked_for_once(fetched):
    server, _, _ = fetched
    assert server.asked["/good/0000.gif"] == 1  # its second row is a duplicate
    assert server.asked["/robots.txt"] == 1
    assert server.asked["/private/secret.gif"] == 0
    assert server.asked["/faults/broken.gif"] == 3 and server.asked["/faults/missing.gif"] == 1


def test_the_same_command_again_asks_for_nothing_and_changes_nothing(fetched):
    server, folder, counts = fetched
    before, asked = contents(folder / "out"), server.asked.total()
    assert fetch(folder / "table.parquet", folder / "out", options(server)) == counts
    assert contents(folder / "out") == before and server.asked.total() == asked


def contents(out: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in (out / "shards").iterdir()}


def test_another_table_or_option_is_refused_by_name(fetched, tmp_path):
    server, folder, _ = fetched
    table = folder / "table.parquet"
    before = contents(folder / "out")
    wrong = options(server, media=MediaOptions(size_px=48), per_shard=30)
    with pytest.raises(UserError, match=r"media\.size_px=32, now 48; per_shard=40, now 30"):
        fetch(table, folder / "out", wrong)
    other = write_table(tmp_path / "other.parquet", server.rows[:3])
    with pytest.raises(UserError, match=r"table\.rows=\d+, now 3; table\.sha256="):
        fetch(other, folder / "out", options(server))
    assert contents(folder / "out") == before
    faster = options(server, threads=3, manners=replace(options(server).manners, retries=7))
    fetch(table, folder / "out", faster)  # how fast may change
    (tmp_path / "shards").mkdir()
    (tmp_path / "shards" / "00000.tar").touch()
    with pytest.raises(UserError, match="no fetch wrote"):
        fetch(table, tmp_path, options(server))


def test_a_second_writer_is_refused(few, tmp_path):
    server, table = few
    hold = "f = open(sys.argv[1], 'w'); fcntl.flock(f, fcntl.LOCK_EX)"
    code = f"import fcntl, sys; {hold}; print('held', flush=True); input()"
    (tmp_path / "shards").mkdir()
    command = [sys.executable, "-c", code, str(tmp_path / "shards" / "_fetch.lock")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout.readline() == "held\n"
        with pytest.raises(UserError, match="written by another fetch"):
            fetch(table, tmp_path, options(server))
        assert sorted(path.name for path in (tmp_path / "shards").iterdir()) == ["_fetch.lock"]
        other.kill()
        other.wait()
    with one_writer(tmp_path / "shards"):  # who died holds nothing
        with pytest.raises(UserError, match="another fetch"), one_writer(tmp_path / "shards"):
            pass


def test_left_overs_and_half_shards_are_made_anew(few, tmp_path):
    server, table = few
    fetch(table, tmp_path / "a", options(server, per_shard=2))
    expected = contents(tmp_path / "a")
    fetch(table, tmp_path / "b", options(server, per_shard=2))
    shards = tmp_path / "b" / "shards"
    (shards / "00001.tar").unlink()  # as if killed before the last of a shard's files
    (shards / "00001.parquet").write_bytes(b"half")
    (shards / ".00001.tar.x7f3").write_bytes(b"temporary")
    (shards / ".mine").write_bytes(b"not ours")
    assert fetch(table, tmp_path / "b", options(server, per_shard=2))["success"] == 5
    found = contents(tmp_path / "b")
    assert found.pop(".mine") == b"not ours" and found == expected


def test_engines_write_the_same_shards_in_any_order(few, tmp_path):
    server, table = few
    fetch(table, tmp_path / "a", options(server, per_shard=3))
    assert plan(table, tmp_path / "b", options(server, per_shard=3)) == [0, 1]
    for number in (1, 0):
        fetch_shard(table, tmp_path / "b", number, options(server, per_shard=3))
    one, two = contents(tmp_path / "a"), contents(tmp_path / "b")
    assert one.pop("_fetch.lock") == b"" and one == two


def test_hashes_are_verified_where_the_table_has_them(few, tmp_path):
    server, _ = few
    rows, gif = server.rows[:3], read_index(embedded_folder())
    entries = gif[:: len(gif) // 5]
    good = hashlib.sha256(entries[2].read()).hexdigest()  # the third is served as the MP4 that it is
    table = write_table(tmp_path / "t.parquet", rows, sha256=[None, "0" * 64, good.upper()], md5=[None, None, ""])
    fetch(table, tmp_path, options(server))
    assert [(row["status"], row["error_message"]) for row in read_rows(tmp_path)] == [
        ("success", None),
        ("failed_to_download", "hash mismatch"),
        ("success", None),
    ]
    fetch(table, tmp_path / "unverified", options(server, verify_hash=False))
    assert {row["status"] for row in read_rows(tmp_path / "unverified")} == {"success"}


def test_sources_are_cut_into_spans_with_their_own_keys(tmp_path):
    from PIL import Image

    shots = [Image.new("RGB", (64, 64), colour) for colour in ("white", "black", "white") for _ in range(20)]
    clip = animated_mp4(shots)
    with faulty_server([(clip, "three shots"), (clip, "a url that is gone")], good=2, faults=False) as server:
        server.rows[0]["url"], server.rows[1]["url"] = server.url + "/good/0000.gif", server.url + "/missing.gif"
        table = write_table(tmp_path / "t.parquet", server.rows)
        media = MediaOptions(size_px=32, cuts="content", clip_max_seconds=1.0)
        fetch(table, tmp_path, options(server, media=media))
    rows = read_rows(tmp_path)
    assert [row["key"] for row in rows] == [f"000000000_{i:05d}" for i in range(3)] + ["000000001"]
    spans = [(row["clip_start"], row["clip_end"], row["num_frames"]) for row in rows[:3]]
    assert spans == [(0.0, 0.8, 20), (0.8, 1.6, 20), (1.6, 2.4, 20)]
    assert {row["source_sha256"] for row in rows[:3]} == {rows[0]["source_sha256"]}
    assert {row["caption"] for row in rows[:3]} == {"three shots"}
    assert len(read_index(tmp_path / "shards")) == 3


def animated_mp4(images) -> bytes:
    """The images at 25 a second, each a little unlike the one before, so that GIF keeps them all."""
    from ode_vgan.data.clips import encode_clip

    frames = np.stack([np.asarray(image) for image in images]).copy()
    for i, frame in enumerate(frames):
        frame[i % 60 : i % 60 + 4, :4] = (200, 30 * (i % 8), 40)
    return encode_clip(None, frames, 25)


def test_tables_of_every_kind_say_the_same(few, tmp_path):
    server, table = few
    rows = [{"url": row["url"], "caption": row["text"]} for row in server.rows]
    buffer = io.StringIO(newline="")
    writer = csv.DictWriter(buffer, ["url", "caption"])
    writer.writeheader()
    writer.writerows(rows)
    (tmp_path / "t.csv").write_text(buffer.getvalue())
    (tmp_path / "t.tsv").write_text("url\tcaption\n" + "".join(f"{row['url']}\t{row['caption']}\n" for row in rows))
    (tmp_path / "t.json").write_text(json.dumps(rows))
    (tmp_path / "t.jsonl").write_text("\n".join(map(json.dumps, rows)))
    expected = [(row["url"], row["text"]) for row in server.rows]
    for path in (table, *(tmp_path / f"t.{suffix}" for suffix in ("csv", "tsv", "json", "jsonl"))):
        listing = Listing(path)
        assert [(row["url"], row["text"]) for row in listing.rows(0, len(listing))] == expected, path


def test_a_listing_reads_any_slice_and_knows_first_rows(tmp_path):
    urls = [f"http://example.com/{i % 70}.gif" for i in range(100)]
    path = write_table(tmp_path / "t.parquet", [{"url": url, "text": None} for url in urls])
    listing = Listing(path)
    for start, stop in ((0, 100), (5, 6), (15, 17), (31, 64), (96, 100)):
        assert [row["url"] for row in listing.rows(start, stop)] == urls[start:stop]
    assert listing.first_rows.tolist() == [*range(70), *range(30)]


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.csv", "x,y\n1,2\n"),
        ("a.json", "{"),
        ("a.json", "[]"),
        ("a.txt", "x"),
        ("a.parquet", "x"),
        ("a.jsonl", "[1]"),
    ],
)
def test_tables_that_say_nothing_are_refused(tmp_path, name, content):
    (tmp_path / name).write_text(content)
    with pytest.raises(UserError):
        Listing(tmp_path / name)
    with pytest.raises(UserError, match="no table"):
        Listing(tmp_path / "absent.csv")


def test_rows_without_a_url_and_odd_values_are_rows(few, tmp_path):
    server, _ = few
    rows = [{"url": None, "text": "none"}, {"url": "", "text": None}, server.rows[0], {"url": server.rows[1]["url"]}]
    rows[2] |= {"score": float("nan"), "tags": ["a", float("inf")], "uid": "theirs"}
    (tmp_path / "t.json").write_text(json.dumps(rows))
    fetch(tmp_path / "t.json", tmp_path, options(server))
    found = read_rows(tmp_path)
    assert [row["error_message"] for row in found] == ["no url", "no url", None, None]
    assert (found[2]["listed_uid"], found[2]["score"], found[3]["caption"]) == ("theirs", None, "")
    for entry in read_index(tmp_path / "shards"):
        assert entry.meta["url"]


@pytest.mark.parametrize(
    "wrong", [{"per_shard": 0}, {"per_shard": 10_001}, {"threads": 0}, {"decoders": 0}, {"per_host": 0}]
)
def test_wrong_options_are_refused(wrong):
    with pytest.raises(UserError):
        FetchOptions(**wrong)


def test_video2datasets_own_tar_is_a_dataset(tmp_path):
    tar = shared("laion/v2d_return_all_test.tar")
    (tmp_path / tar.name).write_bytes(tar.read_bytes())
    entries = read_index(tmp_path)
    assert len(entries) == 6
    assert all(entry.caption for entry in entries)
    clips = [decode_clip(entry.read(), size=32, max_frames=4) for entry in entries]
    assert [len(clip.frames) for clip in clips] == [1, 1, 1, 4, 4, 4]  # three of them are stills
