"""Laws of subsets: which ids they hold, that they are what was written, and that sides never share a source."""

import json
import shutil

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from ode_vgan.data.clips import encode_clip
from ode_vgan.data.loader import ClipData
from ode_vgan.data.shards import Entry, Sample, Source, read_index, write_shards
from ode_vgan.embed.none import NoEmbedder
from ode_vgan.errors import UserError
from ode_vgan.laion.dataset import read_clips
from ode_vgan.laion.disjoint import testing_side as side_to_test
from ode_vgan.laion.schema import clip_uid, uid_array, uids_of
from ode_vgan.laion.sql import parse_expression
from ode_vgan.laion.subset import decontaminate, entries_of, find_subset, read_subset, write_subset


def uid(i):
    return clip_uid(f"clip {i}".encode())


def write(path, rows, schema=None):
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.Table.from_pylist(rows, schema), path)


def clip(i, **more):
    row = {"key": f"{i // 100:05d}{i % 100:04d}", "uid": uid(i), "url": f"http://a.example/{i}.gif"}
    row |= {"source_sha256": f"{i:064x}", "clip_sha256": uid(i) + "0" * 32, "status": "success", "width": 64 + i}
    return row | {"caption": f"clip {i}", "split": None, "similarity": 0.9} | more


def score(i, **more):
    row = {"key": f"{i // 100:05d}{i % 100:04d}", "uid": uid(i), "similarity": i / 100, "motion": (i % 10) / 10}
    return row | {"punsafe": 0.1, "phash": None, "dup_of": None} | more


SCORES = pa.schema(
    [("key", pa.string()), ("uid", pa.string()), ("similarity", pa.float64()), ("motion", pa.float32())]
    + [("punsafe", pa.float32()), ("phash", pa.string()), ("dup_of", pa.string())]
)


def dataset(folder, clips, scores=None):
    """Shards of 100 clips each with their scores."""
    for shard in sorted({row["key"][:5] for row in clips}):
        write(folder / "shards" / f"{shard}.parquet", [row for row in clips if row["key"][:5] == shard])
        if scores is not None:
            rows = [row for row in scores if row["key"][:5] == shard]
            write(folder / "scores" / f"{shard}.parquet", rows, SCORES)
    return folder


@pytest.fixture
def scored(tmp_path):
    return dataset(tmp_path / "set", [clip(i) for i in range(120)], [score(i) for i in range(120)])


def test_a_predicate_over_shards_and_scores_gives_the_ids_it_is_true_for(scored):
    made = write_subset(scored, "moving", sql="motion >= {threshold.motion} AND width < 164 AND similarity < 0.5",
                        thresholds={"motion": 0.35})  # fmt: skip
    expected = {uid(i) for i in range(120) if i % 10 >= 4 and i < 50}
    subset = read_subset(made["path"])
    assert subset.uids == expected and made["count"] == len(expected)
    assert subset.ids.dtype == np.dtype("u8,u8") and uids_of(subset.ids) == sorted(expected)
    assert subset.provenance["thresholds"] == {"motion": 0.35} and "{threshold.motion}" in subset.provenance["sql"]
    assert set(subset.provenance["sources"]) == {
        f"{part}/0000{i}.parquet" for part in ("shards", "scores") for i in (0, 1)
    }
    assert made["train"] + made["test"] == made["count"] and not subset.changed_since(scored)
    assert np.load(scored / "subsets" / "moving.npy", allow_pickle=False).tolist() == sorted(
        uid_array(expected).tolist()
    )


def test_a_list_of_ids_gives_those_ids_whatever_their_order(scored):
    wanted = [uid(i) for i in (7, 3, 110, 3)]
    assert read_subset(write_subset(scored, "a", wanted)["path"]).uids == set(wanted)
    first = (scored / "subsets" / "a.npy").read_bytes()
    write_subset(scored, "b", wanted[::-1])
    assert (scored / "subsets" / "b.npy").read_bytes() == first
    with pytest.raises(UserError, match="1 of 2 ids are no clips of"):
        write_subset(scored, "c", [uid(1), uid(5000)])
    with pytest.raises(UserError, match="32 hex digits"):
        write_subset(scored, "c", ["../../etc"])


def test_unknown_scores_failures_and_stale_scores_are_not_passed(tmp_path):
    clips = [clip(i) for i in range(6)] + [clip(6, uid=None, status="failed_to_download")]
    scores = [score(0, similarity=float("nan")), score(1, similarity=None), score(2, uid=uid(99)), score(3), score(4)]
    folder = dataset(tmp_path, clips, scores)
    table = read_clips(folder, parse_expression("similarity >= 0.02 AND punsafe < 0.5"))
    assert dict(zip(table["key"].to_pylist(), table["passes"].to_pylist(), strict=True)) == {
        clip(i)["key"]: i in (3, 4) for i in range(6)
    }


def test_one_call_over_the_same_files_writes_the_same_bytes_and_a_name_is_taken_once(scored):
    files = ["a.json", "a.npy", "a.test.npy"]
    write_subset(scored, "a", sql="motion > 0.5")
    before = [(scored / "subsets" / file).read_bytes() for file in files]
    write_subset(scored, "a", sql="motion > 0.5")
    assert [(scored / "subsets" / file).read_bytes() for file in files] == before
    with pytest.raises(UserError, match="is another subset. Choose another name"):
        write_subset(scored, "a", sql="motion > 0.6")
    assert [(scored / "subsets" / file).read_bytes() for file in files] == before
    assert sorted(path.name for path in (scored / "subsets").iterdir()) == files


def refused(match, *arguments, **options):
    with pytest.raises(UserError, match=match) as caught:
        write_subset(*arguments, **options)
    assert "\n" not in str(caught.value)


def test_what_makes_no_subset_is_one_clear_line(scored, tmp_path):
    refused("no shards in", tmp_path / "nowhere", "a")
    for name in ("", "../a", "a/b", "a.json", ".a", "x" * 65, None):
        refused("is no name for a subset", scored, name)
    refused("no column aesthetics; there are .*motion", scored, "a", sql="aesthetics > 5")
    refused("has a subquery", scored, "a", sql="width IN (SELECT 1)")
    refused("does not parse", scored, "a", sql="width >")
    refused("is DOUBLE, not true or false", scored, "a", sql="similarity")
    refused("the SQL does not work", scored, "a", sql="caption + 1 > 2")
    refused(
        "threshold.x. is not there; its threshold has y", scored, "a", sql="motion > {threshold.x}", thresholds={"y": 1}
    )
    refused("no clip of .* is in the subset a", scored, "a", sql="width < 0")
    refused("test_share=2 must be 0 to 1", scored, "a", test_share=2)
    (scored / "scores" / "00001.parquet").write_bytes(b"PAR1")
    refused("00001.parquet is not a whole parquet", scored, "a")
    assert not (scored / "subsets").exists()


def test_a_changed_file_is_refused_in_one_line(scored):
    path = scored / "subsets" / "a.json"
    write_subset(scored, "a", sql="motion > 0.5")
    whole = {file: (scored / "subsets" / file).read_bytes() for file in ("a.json", "a.npy", "a.test.npy")}
    record = json.loads(whole["a.json"])
    changes = {
        "a.npy": [whole["a.npy"][:-1], b"", whole["a.test.npy"], bytes([*whole["a.npy"][:-1], whole["a.npy"][-1] ^ 1])],
        "a.test.npy": [b"", whole["a.npy"]],
        "a.json": [b"", b"{}", b"[]", b"\xff", b"[" * 100_000, json.dumps(record | {"sql": "motion > 0.4"}).encode()],
    }
    for file, contents in changes.items():
        for content in contents:
            (scored / "subsets" / file).write_bytes(content)
            with pytest.raises(UserError) as caught:
                read_subset(path)
            assert "\n" not in str(caught.value)
        (scored / "subsets" / file).write_bytes(whole[file])
    (scored / "subsets" / "a.npy").unlink()
    with pytest.raises(UserError, match="a.npy is not the file that its manifest names"):
        read_subset(path)
    with pytest.raises(FileNotFoundError, match="no subset at"):
        read_subset(scored / "subsets" / "b.json")
    np.save(scored / "subsets" / "datacomp.npy", np.zeros(1, "u8,u8"))
    with pytest.raises(FileNotFoundError, match="datacomp.json"):  # ids without how they came about
        read_subset(scored / "subsets" / "datacomp.npy")


@pytest.mark.parametrize(
    ("ids", "match"),
    [
        (uid_array([uid(1), uid(0)] if uid(0) < uid(1) else [uid(0), uid(1)]), "do not rise"),
        (uid_array([uid(0), uid(0)]), "do not rise"),
        (np.arange(4, dtype=np.uint64), "not ids of two u8"),
        (np.array([["a"]]), "not ids of two u8"),
        (np.array([{"a": 1}], dtype=object), "no .npy of ids"),  # would run code if it were unpickled
    ],
)
def test_ids_that_a_forged_manifest_vouches_for_are_still_checked(scored, ids, match):
    from ode_vgan.laion.subset import _digest, _sha256

    write_subset(scored, "a", sql="motion > 0.5", test_share=0)
    np.save(scored / "subsets" / "a.npy", ids, allow_pickle=True)
    record = json.loads((scored / "subsets" / "a.json").read_text())
    record["files"]["a.npy"] = _sha256((scored / "subsets" / "a.npy").read_bytes())
    (scored / "subsets" / "a.json").write_text(json.dumps(record | {"digest": _digest(record)}))
    with pytest.raises(UserError, match=match):
        read_subset(scored / "subsets" / "a.json")


def test_a_subset_knows_which_of_its_files_changed_since(scored):
    subset = read_subset(write_subset(scored, "a")["path"])
    write(scored / "scores" / "00001.parquet", [score(i, motion=0.0) for i in range(100, 120)], SCORES)
    (scored / "shards" / "00000.parquet").unlink()
    assert subset.changed_since(scored) == ["scores/00001.parquet", "shards/00000.parquet"]


def families(clips):
    """A table of clips, where some share a source, a url, or are near-duplicates in a chain."""
    rows = []
    for i in range(clips):
        row = clip(i, source_sha256=f"{i // 3:064x}", phash=None, dup_of=None, passes=True)
        if i % 50 == 7:
            row["dup_of"] = uid(i - 5)
        if i % 50 == 11:
            row["url"] = "http://a.example/shared.gif"
        rows.append(row)
    return pa.Table.from_pylist(rows)


def test_no_source_and_no_group_of_near_duplicates_is_on_both_sides():
    clips = families(600)
    test = side_to_test(clips, 0.3, seed=1)
    for name in ("source_sha256", "url"):
        values = np.array(clips[name].to_pylist())
        assert not set(values[test]) & set(values[~test])
    side = dict(zip(clips["uid"].to_pylist(), test, strict=True))
    assert all(side[near] == side[one] for one, near in zip(side, clips["dup_of"].to_pylist(), strict=True) if near)
    assert 0.2 < test.mean() < 0.4  # 200 sources: two standard deviations are 0.065
    assert (side_to_test(clips, 0.3, seed=2) != test).any()


def test_added_clips_move_no_clip_and_a_larger_share_only_adds():
    small, large = families(300), families(600)
    assert (side_to_test(large, 0.3)[:300] == side_to_test(small, 0.3)).all()
    assert (side_to_test(large, 0.5) >= side_to_test(large, 0.3)).all()
    assert not side_to_test(large, 0).any() and side_to_test(large, 1).all()


def test_a_stated_side_holds_for_the_whole_group():
    rows = [clip(i, source_sha256=f"{i // 2:064x}", dup_of=None, passes=True) for i in range(8)]
    rows[1]["split"], rows[3]["split"], rows[4]["split"], rows[5]["split"] = "test", "train", "train", "test"
    for share in (0.0, 1.0):
        test = side_to_test(pa.Table.from_pylist(rows), share)
        assert test[:2].all() and not test[2:4].any() and test[4:6].all() and (test[6:] == bool(share)).all()


def test_two_subsets_of_a_dataset_never_train_on_what_the_other_tests_on(scored):
    a, b = (read_subset(write_subset(scored, name, sql=sql, test_share=0.4)["path"])
            for name, sql in (("a", "motion > 0.3"), ("b", "width > 90")))  # fmt: skip
    sides = [
        {name: {one for one, side in subset.splits.items() if side == name} for name in ("train", "test")}
        for subset in (a, b)
    ]
    assert sides[0]["test"] & sides[1]["test"] and not sides[0]["test"] & sides[1]["train"]
    assert not sides[0]["train"] & sides[1]["test"]


def test_decontaminate_removes_what_shares_a_source_the_bytes_a_group_or_a_near_hash():
    base = {"passes": True, "dup_of": None}
    test = pa.Table.from_pylist(
        [clip(0, phash="00000000000000ff", **base), clip(1, phash=None, dup_of=uid(50), passes=True)]
    )
    train = pa.Table.from_pylist(
        [
            clip(10, phash="00000000000000f0", source_sha256=f"{0:064x}", **base),  # the source of test clip 0; 4 bits
            clip(11, phash="ffffffffffffff00", clip_sha256=uid(1) + "0" * 32, **base),  # the bytes of test clip 1
            clip(12, phash=None, passes=True, dup_of=uid(50)),  # the group of test clip 1
            clip(50, phash=None, **base),  # the first of that group
            clip(13, phash="00000000000000fe", **base),  # 1 bit from test clip 0
            clip(14, phash="00000000000000fe", **base),  # again
            clip(15, phash="0000000000000f0f", **base),  # 8 bits
            clip(16, phash="00000000000000ff", **base),
            clip(17, phash=None, url=None, source_sha256=None, clip_sha256=None, passes=True, dup_of=None),
        ]
    )
    found = {reason: np.flatnonzero(rows).tolist() for reason, rows in decontaminate(train, test, max_bits=4).items()}
    assert found == {"source_sha256": [0], "clip_sha256": [1], "dup_of": [2, 3], "phash": [0, 4, 5, 7]}
    assert not decontaminate(train, test)["phash"].any()
    assert np.flatnonzero(decontaminate(train, test, max_bits=0)["phash"]).tolist() == [7]
    assert not any(rows.any() for rows in decontaminate(train, test.slice(0, 0), max_bits=4).values())


def test_near_hashes_are_those_of_the_plain_loop():
    draw = np.random.default_rng(0)
    centres = draw.integers(0, 2**63, 40, dtype=np.uint64)
    flips = [sum(1 << int(bit) for bit in draw.choice(64, draw.integers(0, 9), False)) for _ in range(400)]
    hashes = np.array([int(centres[i % 40]) ^ flip for i, flip in enumerate(flips)], dtype=np.uint64)
    rows = [clip(i, phash=f"{int(value):016x}", dup_of=None, passes=True) for i, value in enumerate(hashes)]
    tables = [pa.Table.from_pylist(part) for part in (rows[:300], rows[300:])]
    expected = [any(int(a ^ b).bit_count() <= 6 for b in hashes[300:]) for a in hashes[:300]]
    assert decontaminate(*tables, max_bits=6)["phash"].tolist() == expected and 0 < sum(expected) < 300


def test_a_subset_is_kept_apart_from_others_and_says_what_that_removed(scored, tmp_path):
    other = dataset(tmp_path / "other", [clip(i) for i in range(100, 110)] + [clip(500, source_sha256=f"{3:064x}")])
    path = write_subset(scored, "held", [uid(i) for i in range(20, 30)], test_share=0)["path"]
    made = write_subset(scored, "rest", apart_from=[other, path])
    assert read_subset(made["path"]).uids == {
        uid(i) for i in range(120) if i not in (3, *range(20, 30), *range(100, 110))
    }
    counts = [{name: entry[name] for name in ("source_sha256", "clip_sha256")} for entry in made["removed"]]
    assert counts == [{"source_sha256": 11, "clip_sha256": 10}, {"source_sha256": 10, "clip_sha256": 10}]
    assert [entry["apart_from"] for entry in made["removed"]] == ["other", "held.json"]


def test_entries_are_those_named_with_the_manifests_side_once_each(scored, tmp_path):
    made = write_subset(scored, "a", [uid(i) for i in range(10)] + [uid(60)], test_share=0.5)
    subset = read_subset(made["path"])
    (tmp_path / "bytes").write_bytes(b"clip 60")
    entries = [Entry(f"{i}", "", {"uid": uid(i), "split": "train"}, Source(tmp_path / "none")) for i in range(9)]
    entries += [Entry("copy", "", {"uid": uid(3)}, Source(tmp_path / "none"))]
    entries += [Entry("digest", "", {"clip_sha256": uid(9) + "0" * 32}, Source(tmp_path / "none"))]
    entries += [
        Entry("plain", "", {}, Source(tmp_path / "bytes")),
        Entry("other", "", {"uid": uid(70)}, Source(tmp_path / "none")),
    ]
    found, missing = entries_of(entries, subset)
    assert [entry.key for entry in found] == [*map(str, range(9)), "digest", "plain"] and missing == []
    assert {entry.meta["split"] for entry in found} == {"train", "test"}
    assert all(entry.meta["split"] == subset.splits[uid(int(entry.key))] for entry in found[:9])
    assert entries_of(entries[:2], subset, ("fit", "held"))[1] == sorted(subset.uids - {uid(0), uid(1)})
    assert {entry.meta["split"] for entry in entries_of(entries, subset, ("fit", "held"))[0]} == {"fit", "held"}


@pytest.fixture(scope="module")
def clips(tmp_path_factory):
    """A dataset of ten real clips, two of each source, in shards as they are fetched."""
    folder, samples = tmp_path_factory.mktemp("clips"), []
    for i in range(10):
        frames = np.full((8, 16, 16, 3), 20 * i, dtype=np.uint8)
        content = encode_clip(None, frames, 10.0)
        meta = {
            "uid": clip_uid(content),
            "source_sha256": f"{i // 2:064x}",
            "clip_sha256": f"{i:064x}",
            "split": "train",
        }
        samples.append(Sample(f"0000000{i:02d}", content, f"grey {i}", meta | {"num_frames": 8, "url": None}))
    write_shards(folder / "shards", samples)
    return folder


def clip_data(source, **changes):
    return ClipData(str(source), NoEmbedder(), frames=4, size=16, batch=2, **changes)


def test_data_trains_and_tests_on_the_clips_of_a_subset(clips):
    entries = read_index(clips / "shards")
    kept = [entry.meta["uid"] for entry in entries[:8]]
    made = write_subset(clips, "eight", kept, test_share=0.5)
    sides = read_subset(made["path"]).splits
    for subset in (made["path"], "eight", "eight.json", "eight.npy"):
        data = clip_data(clips / "shards", subset=subset)
        data.setup()
        assert {entry.meta["uid"]: entry.meta["split"] for entry in data.train_set.store.entries} == {
            one: side for one, side in sides.items() if side == "train"
        }
        # the clips' own split says train for all
        assert {entry.meta["uid"] for entry in data.test_set.store.entries} == {
            o for o, side in sides.items() if side == "test"
        }
    assert clip_data(clips, subset="eight").gap_seconds() == pytest.approx(0.1)
    named = clip_data(clips, subset="eight", train_split="fit", test_split="held")
    named.setup()
    assert len(named.train_set) + len(named.test_set) == 8


def test_a_subset_of_other_clips_and_a_missing_clip_are_said(clips, scored, tmp_path):
    path = write_subset(scored, "other")["path"]
    with pytest.raises(UserError, match="none of its clips is in .*other.json") as caught:
        clip_data(clips, subset=path).setup()
    assert "\n" not in str(caught.value)
    with pytest.raises(FileNotFoundError, match="no subset at nothing"):
        clip_data(clips, subset="nothing").setup()
    entries = read_index(clips)
    made = write_subset(clips, "all", test_share=0)
    shutil.copytree(clips, tmp_path / "less")
    (tmp_path / "less" / "shards" / "00000.tar").unlink()
    write_shards(tmp_path / "less" / "tars", [Sample(e.key, e.read(), e.caption, e.meta) for e in entries[1:]])
    data = clip_data(tmp_path / "less", subset=made["path"])
    data.setup()
    assert data.skipped == {entries[0].meta["uid"]: "in all.json, not in the source"}
    assert find_subset("all", tmp_path / "less").uids == {entry.meta["uid"] for entry in entries}


def test_the_embedded_clips_are_a_dataset_too(tmp_path):
    from ode_vgan.data.emoji import embedded_folder

    shutil.copytree(embedded_folder(), tmp_path / "emoji")
    made = write_subset(tmp_path / "emoji", "long", sql="num_frames >= 60")
    data = ClipData(str(tmp_path / "emoji"), NoEmbedder(), frames=4, size=16, batch=2, subset="long", cache_mb=0)
    data.setup()
    everything = read_index(tmp_path / "emoji")
    assert made["count"] == len({e.meta["sha256"] for e in everything if e.meta["num_frames"] >= 60}) > 50
    assert made["test"] == len(data.test_set) and made["train"] == len(data.train_set)
    stated = {entry.key: entry.meta["split"] for entry in everything}
    assert all(stated[entry.key] == "test" for entry in data.test_set.store.entries)  # concepts were split already
