"""Laws of the metadata's names and ids."""

import hashlib

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from ode_vgan.errors import UserError
from ode_vgan.laion.schema import (
    canonical_names,
    clip_uid,
    laion_hash,
    laion_hashes,
    parquet_files,
    read_columns,
    uid_array,
    uids_of,
)
from tests.shared_data import shared


def murmur3_x64_128(data: bytes) -> int:
    """The first 64 bits, signed, of MurmurHash3 x64 128 with seed 0, written out from Appleby's public domain text."""
    mask, c1, c2 = 2**64 - 1, 0x87C37B91114253D5, 0x4CF5AD432745937F

    def rotate(x, r):
        return (x << r | x >> 64 - r) & mask

    def mixed(k, first, r, second):
        return rotate(k * first & mask, r) * second & mask

    def final(k):
        k = (k ^ k >> 33) * 0xFF51AFD7ED558CCD & mask
        k = (k ^ k >> 33) * 0xC4CEB9FE1A85EC53 & mask
        return k ^ k >> 33

    h1 = h2 = 0
    whole = len(data) // 16 * 16
    for i in range(0, whole, 16):
        k1, k2 = (int.from_bytes(data[at : at + 8], "little") for at in (i, i + 8))
        h1 = ((rotate(h1 ^ mixed(k1, c1, 31, c2), 27) + h2) * 5 + 0x52DCE729) & mask
        h2 = ((rotate(h2 ^ mixed(k2, c2, 33, c1), 31) + h1) * 5 + 0x38495AB5) & mask
    tail = data[whole:]
    h2 ^= mixed(int.from_bytes(tail[8:], "little"), c2, 33, c1)
    h1 ^= mixed(int.from_bytes(tail[:8], "little"), c1, 31, c2)
    h1, h2 = h1 ^ len(data), h2 ^ len(data)
    h1 = (h1 + h2) & mask
    h2 = (h2 + h1) & mask
    h1, h2 = final(h1), final(h2)
    h1 = (h1 + h2) & mask
    return h1 - 2**64 if h1 >= 2**63 else h1


@pytest.mark.parametrize(
    ("url", "text"),
    [
        ("", ""),
        ("http://a.example/cat.gif", "a cat"),
        ("x" * 33, "y" * 31),
        ("http://ü.example/猫", "Katze 🐈 \n'\"<b>"),
    ],
)
def test_the_join_key_is_murmur3_of_the_url_and_the_text(url, text):
    assert laion_hash(url, text) == murmur3_x64_128((url + text).encode())


def test_the_join_key_is_the_one_that_opens_laions_own_tables():
    """The pair that LAION looks up in its aesthetic table (laion-prepro, aesthetic_ondisk_kv.py)."""
    folder = "http://1.bp.blogspot.com/-4nSga1sbduI/UDT3Q1H9dzI/AAAAAAAABWE/O7_lyFGjmU0/s1600"
    url = f"{folder}/Vintage+Wedding+Table+Decorations+Pictures.jpg"
    assert laion_hash(url, "Cake Table Decoration Ideas") == 4623837408423549118


def test_the_join_key_is_signed_64_bits_and_none_is_the_empty_string():
    keys = [laion_hash(f"http://a.example/{i}.gif", "text") for i in range(200)]
    assert all(-(2**63) <= key < 2**63 for key in keys) and min(keys) < 0 < max(keys) and len(set(keys)) == 200
    assert laion_hash(None, "a") == laion_hash("", "a") == laion_hash("a", None) == laion_hash("a", "")
    assert laion_hash(None, None) == 0
    assert laion_hashes(["a", None], [None, "b"]) == [laion_hash("a", ""), laion_hash("", "b")]


def test_a_uid_is_half_a_sha256():
    assert clip_uid(b"clip") == hashlib.sha256(b"clip").digest()[:16].hex()


def test_ids_go_to_datacomps_layout_and_back_in_the_same_order():
    uids = [clip_uid(bytes([i])) for i in range(50)] + ["0" * 32, "f" * 32, "0" * 15 + "1" + "f" * 16]
    array = uid_array(uids)
    assert array.dtype == np.dtype("u8,u8") and array.shape == (53,)
    assert tuple(array[0]) == (int(uids[0][:16], 16), int(uids[0][16:], 16))
    assert uids_of(array) == uids
    assert uids_of(np.sort(array)) == sorted(uids)  # the order of the numbers is the order of the words
    assert uid_array([]).shape == (0,)


@pytest.mark.parametrize("uid", ["", "0" * 31, "0" * 33, "g" * 32, "F" * 32, "0" * 31 + "\n", None, 5])
def test_what_is_no_id_is_refused_in_one_line(uid):
    with pytest.raises(UserError, match="uid number 1 .* 32 hex digits") as caught:
        uid_array(["0" * 32, uid])
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("columns", "expected"),
    [
        (
            ["URL", "TEXT", "WIDTH", "HEIGHT", "similarity", "hash", "punsafe", "pwatermark", "LANGUAGE", "aesthetic"],
            ["url", "text", "width", "height", "similarity", "hash", "punsafe", "pwatermark", "language", "aesthetic"],
        ),
        (
            ["SAMPLE_ID", "URL", "TEXT", "LICENSE", "NSFW", "similarity", "WIDTH", "HEIGHT"],
            ["sample_id", "url", "text", "license", "nsfw", "similarity", "width", "height"],
        ),
        (["url", "caption", "punsafe"], ["url", "text", "punsafe"]),
        (["Url", "txt", "sha256hash"], ["url", "text", "sha256hash"]),
        (["url", "text", "caption"], ["url", "text", "caption"]),
        (["uid", "url", "text", "clip_b32_similarity_score"], ["uid", "url", "text", "similarity"]),
    ],
    ids=["LAION-5B", "LAION-400M", "Re-LAION", "img2dataset", "shards", "DataComp"],
)
def test_every_dialect_has_the_same_canonical_names(columns, expected):
    assert canonical_names(columns) == dict(zip(expected, columns, strict=True))


def test_named_columns_win_and_pandas_index_is_dropped():
    columns = ["contentUrl", "name", "url", "__index_level_0__"]
    names = canonical_names(columns, url="contentUrl", text="NAME")
    assert names == {"url": "contentUrl", "text": "name", "source_url": "url"}
    with pytest.raises(UserError, match="no column 'title' for the text; there are contentUrl, name"):
        canonical_names(columns, text="title")
    with pytest.raises(UserError, match="'URL' and 'url' differ by case only"):
        canonical_names(["URL", "url"])


def write(path, **columns):
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table(columns), path)


def test_files_folders_and_globs_give_each_file_once_sorted(tmp_path):
    for name in ("b.parquet", "a.parquet", "deep/c.parquet", ".hidden.parquet"):
        write(tmp_path / name, URL=["u"])
    (tmp_path / "notes.txt").write_text("no")
    found = parquet_files([tmp_path, tmp_path / "a.parquet", f"{tmp_path}/*.parquet"])
    assert [path.name for path in found] == ["a.parquet", "b.parquet", "c.parquet"]
    for nothing in (tmp_path / "none", f"{tmp_path}/*.csv", []):
        with pytest.raises(UserError, match="no parquet file"):
            parquet_files(nothing)


def test_a_broken_file_is_named_in_one_line(tmp_path):
    write(tmp_path / "good.parquet", URL=["u"], TEXT=["t"])
    assert read_columns(tmp_path) == {tmp_path / "good.parquet": {"url": "URL", "text": "TEXT"}}
    whole = (tmp_path / "good.parquet").read_bytes()
    for content in (whole[:-20], b"", b"PAR1", b"<html>not found</html>"):
        (tmp_path / "bad.parquet").write_bytes(content)
        with pytest.raises(UserError, match="bad.parquet is not a whole parquet file") as caught:
            read_columns(tmp_path)
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["img2dataset_test_1000", "img2dataset_sample_image"])
def test_real_tables_of_img2dataset_have_their_url_and_text(name):
    path = shared(f"laion/{name}.parquet")
    names = read_columns(path)[path]
    assert names["url"].lower() == "url" and names["text"].lower() in ("text", "txt")
