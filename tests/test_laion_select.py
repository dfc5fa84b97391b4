"""Laws of select: what passes, in which order, what the funnel says, and what happens to bad input."""

import json
import math
import os
import subprocess
import sys

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from ode_vgan.errors import UserError
from ode_vgan.laion.rules import DEFAULT_RULES, Rule, set_thresholds
from ode_vgan.laion.schema import laion_hash
from ode_vgan.laion.select import select
from tests.shared_data import shared

URLS = [
    "http://a.example/cat.gif",
    "http://a.example/dog.jpg",
    None,
    "ftp://a.example/x.mp4",
    "https://b.example/v.webm?x=1",
]
TEXTS = ["a cat jumps", "cat", None, "a dog that runs", '<b>it\'s</b>\n"quoted"']


def write(path, columns):
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table(columns), path, row_group_size=50)
    return path


def laion_rows(seed, rows=200):
    """Rows of LAION-5B with every kind of flaw: nulls, NaN, negative sides, repeats."""
    draw = np.random.default_rng(seed)
    pick = lambda values: [values[i] for i in draw.integers(0, len(values), rows)]  # noqa: E731
    return {
        "URL": pa.array(pick(URLS), pa.string()),
        "TEXT": pa.array(pick(TEXTS), pa.string()),
        "WIDTH": pa.array(pick([-5, 0, 63, 64, 300, 9000, None]), pa.int32()),
        "HEIGHT": pa.array(pick([64, 200, 300, None]), pa.int32()),
        "similarity": pa.array(pick([0.1, 0.28, 0.31, math.nan, None]), pa.float64()),
        "punsafe": pa.array(pick([0.0, 0.2, 0.9, math.nan]), pa.float32()),
        "pwatermark": pa.array(pick([0.1, 0.95, None]), pa.float32()),
    }


def known(value):
    return value is not None and not (isinstance(value, float) and math.isnan(value))


JUDGES = {
    "url": lambda r: known(r["URL"]) and r["URL"].startswith(("http://", "https://")),
    "moving": lambda r: known(r["URL"]) and r["URL"].partition("?")[0].endswith((".gif", ".webm", ".mp4")),
    "text_length": lambda r: known(r["TEXT"]) and len(r["TEXT"]) >= 5,
    "similarity": lambda r: known(r["similarity"]) and r["similarity"] >= 0.28,
    "punsafe": lambda r: known(r["punsafe"]) and r["punsafe"] < 0.5,
    "pwatermark": lambda r: not known(r["pwatermark"]) or r["pwatermark"] < 0.8,
    "side_min": lambda r: all(r[side] is None or r[side] >= 64 for side in ("WIDTH", "HEIGHT")),
    "side_max": lambda r: all(r[side] is None or r[side] <= 8192 for side in ("WIDTH", "HEIGHT")),
}


def test_rows_and_funnel_are_those_of_the_same_rules_in_plain_python(tmp_path):
    tables = [write(tmp_path / "in" / f"{i}.parquet", laion_rows(i)) for i in range(6)]
    rows = [row for path in tables for row in pq.read_table(path).to_pylist()]
    left, expected = rows, []
    for name, judge in JUDGES.items():
        passed = [row for row in left if judge(row)]
        expected.append((name, len(left) - len(passed), sum(not judge(row) for row in rows), len(passed)))
        left = passed
    firsts = list({(row["URL"], row["TEXT"]): row for row in reversed(left)}.values())
    firsts = [row for row in left if any(row is first for first in firsts)]
    expected.append(("duplicate", len(left) - len(firsts), None, len(firsts)))
    funnel = select(tmp_path / "in", tmp_path / "out.parquet", threads=2)
    assert [(step.name, step.removed, step.alone, step.left) for step in funnel.steps] == expected
    assert (funnel.files, funnel.rows, funnel.kept) == (6, 1200, len(firsts)) and len(firsts) > 3
    assert funnel.rows - sum(step.removed for step in funnel.steps) == funnel.kept
    assert set(funnel.skipped) == {"bytes", "nsfw", "aesthetic"}
    found = pq.read_table(tmp_path / "out.parquet").to_pylist()
    assert [(r["url"], r["text"], r["width"], r["pwatermark"]) for r in found] == [
        (r["URL"], r["TEXT"], r["WIDTH"], r["pwatermark"]) for r in firsts
    ]
    assert all(row["hash"] == laion_hash(row["url"], row["text"]) for row in found)
    report = json.loads((tmp_path / "out_funnel.json").read_text())
    assert report["kept"] == funnel.kept and report["steps"][3]["threshold"] == 0.28
    assert report["parts"] == ["out.parquet"]
    page = (tmp_path / "out_funnel.md").read_text()
    assert f"# {funnel.kept} of 1,200 rows selected" in page and "- bytes: the files have no column bytes" in page


def test_threads_parts_and_a_second_run_change_no_byte(tmp_path):
    for i in range(5):
        write(tmp_path / "in" / f"{i}.parquet", laion_rows(i, 400))
    rules = [Rule("any", "similarity > 0.2 OR TRUE")]
    options = {"unique": False}
    select(tmp_path / "in", tmp_path / "a.parquet", rules, threads=1, **options)
    select(tmp_path / "in", tmp_path / "b.parquet", rules, threads=2, memory="1GB", **options)
    assert (tmp_path / "a.parquet").read_bytes() == (tmp_path / "b.parquet").read_bytes()
    funnel = select(tmp_path / "in", tmp_path / "parts", rules, part_rows=700, **options)
    assert funnel.parts == ("part-00000.parquet", "part-00001.parquet", "part-00002.parquet")
    parts = [pq.read_table(tmp_path / "parts" / name) for name in funnel.parts]
    assert [len(part) for part in parts] == [700, 700, 600]
    assert pa.concat_tables(parts).equals(pq.read_table(tmp_path / "a.parquet"))
    assert pq.read_table(tmp_path / "parts").num_rows == 2000  # the funnel beside them does not disturb readers
    assert (tmp_path / "parts" / "_funnel.json").is_file()
    exact = select(tmp_path / "in", tmp_path / "exact", rules, part_rows=1000, **options)
    assert len(exact.parts) == 2


def test_the_order_is_that_of_the_files_and_rows(tmp_path):
    for i in range(7):
        rows = [f"http://a.example/{i}-{j}.gif" for j in range(60)]
        names = {"URL": rows, "TEXT": ["some words"] * 60} if i % 2 else {"url": rows, "caption": ["some words"] * 60}
        write(tmp_path / "in" / f"{i}.parquet", names)
    select(tmp_path / "in", tmp_path / "out.parquet")
    urls = pq.read_table(tmp_path / "out.parquet").column("url").to_pylist()
    assert urls == [f"http://a.example/{i}-{j}.gif" for i in range(7) for j in range(60)]


def test_dialects_mix_and_other_columns_are_kept(tmp_path):
    url = ["http://a.example/1.gif"]
    write(
        tmp_path / "in" / "400m.parquet",
        {"URL": url, "TEXT": ["four hundred"], "NSFW": ["UNLIKELY"], "WIDTH": [100.0], "HEIGHT": [100.0]},
    )
    write(
        tmp_path / "in" / "5b.parquet",
        {"URL": url, "TEXT": ["five billion"], "WIDTH": [99], "HEIGHT": [98], "exif": ["{}"]},
    )
    write(
        tmp_path / "in" / "bad.parquet",
        {"url": url, "caption": ["a word as its width"], "WIDTH": ["wide"], "boxes": [[[1.0, 2.0]]]},
    )
    select(tmp_path / "in", tmp_path / "out.parquet")
    table = pq.read_table(tmp_path / "out.parquet")
    assert table.column_names == ["url", "text", "width", "height", "nsfw", "hash", "exif", "boxes"]
    assert table.schema.field("width").type == pa.int32() and table.schema.field("hash").type == pa.int64()
    rows = {row["text"]: row for row in table.to_pylist()}
    assert [rows[text]["width"] for text in ("four hundred", "five billion", "a word as its width")] == [100, 99, None]
    assert rows["five billion"]["exif"] == "{}" and rows["a word as its width"]["boxes"] == [[1.0, 2.0]]


def tagged(tmp_path, **changes):
    rows = {"URL": [f"http://a.example/{i}.gif" for i in range(6)], "TEXT": [f"words {i}" for i in range(6)]}
    write(tmp_path / "rows.parquet", rows | changes)
    return [laion_hash(*pair) for pair in zip(rows["URL"], rows["TEXT"], strict=True)]


def test_tags_are_joined_by_hash_and_the_first_of_a_repeated_hash_counts(tmp_path):
    keys = tagged(tmp_path)
    write(
        tmp_path / "tags" / "0.parquet", {"hash": [keys[0], keys[1], 7, None], "prediction": [0.1, math.nan, 0.3, 0.4]}
    )
    write(
        tmp_path / "tags" / "1.parquet",
        {"hash": [keys[1], keys[0], keys[1], keys[2]], "prediction": [0.9, 0.95, 0.2, None]},
    )
    write(tmp_path / "safe.parquet", {"hash": keys[:5], "punsafe": [0.1, 0.1, 0.1, 0.9, 0.1]})
    joins = {"pwatermark": tmp_path / "tags", "punsafe": f"{tmp_path}/safe.parquet"}
    for memory in ("500MB", "2GB"):
        funnel = select(tmp_path / "rows.parquet", tmp_path / "out.parquet", joins=joins, memory=memory, threads=2)
        rows = pq.read_table(tmp_path / "out.parquet").to_pylist()
        assert [row["text"] for row in rows] == ["words 0", "words 2", "words 4"]  # 1 is marked, 3 unsafe, 5 unknown
        assert rows[0]["pwatermark"] == pytest.approx(0.1) and rows[1]["pwatermark"] is None
        steps = {step.name: step for step in funnel.steps}
        assert steps["pwatermark"].alone == 1 and steps["punsafe"].alone == 2
        marks, safe = funnel.joined
        assert (marks.rows, marks.repeated, marks.met) == (8, 4, 3) and (safe.rows, safe.repeated, safe.met) == (
            5,
            0,
            5,
        )


def test_a_tag_wins_over_the_files_own_value_and_fills_what_it_lacks(tmp_path):
    keys = tagged(tmp_path, aesthetic=pa.array([5.0, 6.0, None, None, 5.0, 5.0], pa.float32()))
    write(tmp_path / "tags.parquet", {"hash": keys[:3], "aesthetic": [9.0, None, 8.0]})
    rules = [Rule("nice", "aesthetic >= {threshold}", 5)]
    select(tmp_path / "rows.parquet", tmp_path / "out.parquet", rules, {"aesthetic": tmp_path / "tags.parquet"})
    assert pq.read_table(tmp_path / "out.parquet").column("aesthetic").to_pylist() == [9.0, 6.0, 8.0, 5.0, 5.0]


def test_the_files_own_hash_is_kept_unless_it_lost_its_digits(tmp_path):
    keys = tagged(tmp_path, hash=pa.array([5, None, 7, 8, 9, 10], pa.int64()))
    select(tmp_path / "rows.parquet", tmp_path / "out.parquet")
    assert pq.read_table(tmp_path / "out.parquet").column("hash").to_pylist() == [5, keys[1], 7, 8, 9, 10]
    tagged(tmp_path, hash=np.array([5, np.nan, 7, 8, 9, 10]))  # what pandas makes of it
    select(tmp_path / "rows.parquet", tmp_path / "out.parquet")
    assert pq.read_table(tmp_path / "out.parquet").column("hash").to_pylist() == keys


def test_a_nan_outside_the_range_that_a_parquet_states_is_unknown_too(tmp_path):
    tagged(tmp_path, similarity=[math.nan, 0.3, 0.4, math.nan, 0.5, 0.6])  # its statistics say 0.3 to 0.6
    for rules, kept in ((DEFAULT_RULES, 4), ([Rule("known", "similarity IS NOT NULL")], 4), ([], 6)):
        assert select(tmp_path / "rows.parquet", tmp_path / "out.parquet", rules).kept == kept
    assert pq.read_table(tmp_path / "out.parquet").column("similarity").to_pylist()[0] is None


def test_hostile_captions_pass_unchanged(tmp_path):
    texts = [
        "<script>alert(1)</script>",
        "'; DROP TABLE rows; --",
        'a "quoted" word',
        "two\nlines\r\n",
        "{threshold}",
        "猫" * 9,
        "x" * 10_000_000,
        "\x01\x7f\\N NaN",
    ]
    write(tmp_path / "in.parquet", {"URL": [f"http://a.example/{i}.gif" for i in range(len(texts))], "TEXT": texts})
    funnel = select(tmp_path / "in.parquet", tmp_path / "out.parquet", memory="500MB")
    assert pq.read_table(tmp_path / "out.parquet").column("text").to_pylist() == texts and funnel.kept == len(texts)


def test_a_page_is_one_table_whatever_the_rules_hold(tmp_path):
    tagged(tmp_path)
    rules = [Rule("mine", "text <> {threshold}", "<b>|\n| x |", source="a | b\n# c")]
    page = select(tmp_path / "rows.parquet", tmp_path / "out.parquet", rules).to_markdown()
    lines = [line for line in page.splitlines() if line.startswith("|")]
    assert len(lines) == 4 and all(line.replace("\\|", "").count("|") == 8 for line in lines) and "<b>" not in page


def test_no_rows_are_a_whole_file_too(tmp_path):
    write(tmp_path / "in.parquet", {"URL": pa.array([], pa.string()), "TEXT": pa.array([], pa.string())})
    funnel = select(tmp_path / "in.parquet", tmp_path / "out.parquet")
    assert (funnel.rows, funnel.kept) == (0, 0) and pq.read_table(tmp_path / "out.parquet").num_rows == 0
    assert select(tmp_path / "in.parquet", tmp_path / "parts", part_rows=5).parts == ("part-00000.parquet",)
    assert select(tmp_path / "in.parquet", tmp_path / "out.parquet", [], unique=False).kept == 0


def refused(match, *arguments, **options):
    with pytest.raises(UserError, match=match) as caught:
        select(*arguments, **options)
    assert "\n" not in str(caught.value)


def test_what_cannot_be_selected_from_is_one_clear_line_and_leaves_nothing(tmp_path):
    good = write(tmp_path / "good.parquet", {"URL": ["http://a.example/1.gif"], "TEXT": ["words"]})
    out, other = tmp_path / "out.parquet", write(tmp_path / "no_url.parquet", {"link": ["x"], "TEXT": ["y"]})
    out.write_bytes(b"the old one")
    refused("no parquet file at .*nowhere", tmp_path / "nowhere", out)
    refused("no_url.parquet has no column for the url; it has link, TEXT. Name one with url=COLUMN", other, out)
    refused("no_url.parquet: no column 'nope' for the url", other, out, url="nope")
    refused("good.parquet: no column 'title' for the text", good, out, text="title")
    refused("must be a file that ends in .parquet", good, tmp_path / "out.csv")
    refused("part_rows=0 must be at least 1", good, tmp_path / "parts", part_rows=0)
    refused("is there and not empty", good, tmp_path, part_rows=5)
    refused("is one of the files to select from", good, good)
    refused("rule 'mine' has a subquery", good, out, [Rule("mine", "text IN (SELECT 1)")])
    refused("rule 'mine' does not parse", good, out, [Rule("mine", "text >")])
    refused("rule 'mine' is VARCHAR, not true or false", good, out, [Rule("mine", "text")])
    refused("rule 'mine': .*No function matches", good, out, [Rule("mine", "text + 1 > 2")])
    refused("DuckDB: .*onvert string 'words'", good, out, [Rule("mine", "text::INT > 2")])
    refused("tags need `hash` and 'aesthetic' or `prediction`", good, out, joins={"aesthetic": other})
    refused("tag 'url' must be", good, out, joins={"url": good})
    assert out.read_bytes() == b"the old one" and good.stat().st_size > 0
    assert {path.name for path in tmp_path.iterdir()} == {"good.parquet", "no_url.parquet", "out.parquet"}


def test_names_that_are_patterns_are_refused_and_others_are_names(tmp_path):
    odd = tmp_path / 'it\'s "odd"; --'
    path = write(odd / "rows, 50 % {x}.parquet", {"URL": ["http://a.example/1.gif"], "TEXT": ["some words"]})
    assert select(path, odd / "o'ut.parquet").kept == 1 and select(odd, odd / "p'arts", part_rows=1).kept == 1
    refused(
        "rows.1..parquet holds one of",
        write(tmp_path / "rows[1].parquet", {"URL": ["u"], "TEXT": ["t"]}),
        tmp_path / "a.parquet",
    )


def test_a_file_broken_inside_is_refused_and_leaves_nothing(tmp_path):
    path = write(tmp_path / "in.parquet", laion_rows(0, 2000))
    content = bytearray(path.read_bytes())
    content[4 : len(content) // 2] = os.urandom(len(content) // 2 - 4)
    path.write_bytes(content)
    refused("DuckDB: ", path, tmp_path / "out.parquet")
    assert [path.name for path in tmp_path.iterdir()] == ["in.parquet"]


def test_too_little_memory_says_so(tmp_path):
    path = write(
        tmp_path / "in.parquet", {"URL": [f"http://a.example/{i}.gif" for i in range(3)], "TEXT": ["x" * 5_000_000] * 3}
    )
    refused("memory=5MB is not enough.*Raise it", path, tmp_path / "out.parquet", memory="5MB")


@pytest.mark.parametrize(
    ("name", "columns", "hosts"),
    [
        ("v2d_mp4.parquet", {"url": "contentUrl", "text": "name"}, []),
        ("v2d_youtube.parquet", {"url": "videoLoc", "text": "title"}, ["youtube.com"]),
    ],
)
def test_real_video_tables_are_selected_once_their_columns_are_named(tmp_path, name, columns, hosts):
    path = shared(f"laion/{name}")
    rules = set_thresholds(DEFAULT_RULES, {"moving.hosts": hosts})
    assert select(path, tmp_path / "out.parquet", rules, **columns).kept == 100
    rows, source = pq.read_table(tmp_path / "out.parquet").to_pylist(), pq.read_table(path).to_pylist()
    assert [(r["url"], r["text"]) for r in rows] == [(r[columns["url"]], r[columns["text"]]) for r in source]
    assert not any(column.startswith("__index") for column in rows[0])


def test_real_images_are_no_clips(tmp_path):
    funnel = select(shared("laion/img2dataset_test_1000.parquet"), tmp_path / "out.parquet")
    assert funnel.rows == 1000 and funnel.kept == 0 and funnel.steps[1].name == "moving"


MEASURE = """
import resource, sys
from ode_vgan.laion.rules import Rule
from ode_vgan.laion.select import select
rules, out, options = [Rule("any", "length(text) > 5")], sys.argv[1] + "-out.parquet", {"memory": "256MB", "threads": 2}
select([sys.argv[1]], out, rules, **options)
def peak(): return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
first = peak()
funnel = select(sys.argv[2:], out, rules, **options)
assert funnel.kept == funnel.rows
print(funnel.rows, peak() - first)
"""


def test_memory_does_not_grow_with_the_rows(tmp_path):
    """Nine times as many rows, all kept, sorted and without duplicates, of 250 MB in memory: the peak stays."""
    files = [str(tmp_path / f"{i:02d}.parquet") for i in range(10)]
    for i, file in enumerate(files):
        numbers = pa.array(np.arange(i * 50_000, (i + 1) * 50_000)).cast(pa.string())
        urls = pc.binary_join_element_wise("http://a.example/", numbers, ".gif", "")
        texts = pc.binary_join_element_wise(numbers, "words that fill a line " * 20, " ")
        pq.write_table(pa.table({"URL": urls, "TEXT": texts}), file, row_group_size=20_000)
    done = subprocess.run([sys.executable, "-c", MEASURE, *files], capture_output=True, text=True, check=True)
    rows, growth_mb = map(int, done.stdout.split())
    assert rows == 450_000 and growth_mb < 200, done.stdout  # 256 MB are allowed, not more
