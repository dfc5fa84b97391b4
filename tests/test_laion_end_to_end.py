"""From a parquet in LAION's schema to a trained model, as a user types it, over a real server with every fault."""

import json
import os
import re
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from ode_vgan.build import build
from ode_vgan.cli.main import main
from ode_vgan.data.shards import read_index
from ode_vgan.embed.none import NoEmbedder
from ode_vgan.laion.schema import laion_hash
from ode_vgan.laion.search import Search
from ode_vgan.laion.subset import read_subset
from tests.faulty_server import faulty_server
from tests.tiny import PARTS

pytest.importorskip("duckdb")
pytest.importorskip("faiss")
TRAIN = Path(__file__).resolve().parents[1] / "train.py"
WHERE = "motion > {threshold.motion} AND dup_of IS NULL"
SMALL = {
    **{"data.frames": 4, "data.size": 16, "data.batch": 4, "embed": "none", "metrics": "none", "compare": "none"},
    **{"noise_dim": 8, "motion_dim": 8, "style_dim": 16, "samples.every_clips": 1000, "samples.clips": 2},
    **{f"{part}.channel_base": 128 for part in PARTS},
    **{f"{part}.channel_max": 16 for part in PARTS},
}
# what selection is to remove, one by one: (column, value)
REMOVED = {
    "similarity": {"similarity": 0.1},
    "text_length": {"TEXT": "cat"},
    "punsafe": {"punsafe": 0.97},
    "moving": {"URL": "http://127.0.0.1/photo.jpg"},
    "side_min": {"WIDTH": 16},
}


@dataclass
class Made:
    """The folder, what was served, and what each verb printed."""

    folder: Path
    expected: list[dict]
    told: dict[str, str] = field(default_factory=dict)

    @property
    def data(self) -> Path:
        return self.folder / "DIR"

    def rows(self, part: str) -> list[dict]:
        return [row for path in sorted((self.data / part).glob("*.parquet")) for row in pq.read_table(path).to_pylist()]


def write_laion(folder: Path, rows: list[dict]) -> None:
    """LAION-5B's columns in two files, and a table of watermark tags that condemns one row."""
    table = [
        {"URL": row["url"], "TEXT": row["text"], "WIDTH": 640, "HEIGHT": 360, "similarity": 0.31, "punsafe": 0.02}
        for row in rows
    ]
    table += [table[0] | {"URL": f"{rows[0]['url']}?{name}.gif"} | changed for name, changed in REMOVED.items()]
    marked = table[0] | {"URL": f"{rows[0]['url']}?marked.gif"}
    table.append(marked)
    for row in table:
        row["hash"] = laion_hash(row["URL"], row["TEXT"])
    (folder / "laion").mkdir()
    for i in range(2):
        pq.write_table(pa.Table.from_pylist(table[i::2]), folder / "laion" / f"part-{i:05d}.parquet")
    tags = [{"hash": row["hash"], "prediction": 0.95 if row is marked else 0.1} for row in table]
    pq.write_table(pa.Table.from_pylist(tags), folder / "tags.parquet")


@pytest.fixture(
    scope="module",
    params=[(30, 1), pytest.param((300, 2), marks=[pytest.mark.slow, pytest.mark.timeout(1800)])],
    ids=["30", "300"],
)
def made(request, tmp_path_factory):
    """Everything from select to subset, by the command line."""
    good, jobs = request.param
    folder = tmp_path_factory.mktemp("laion")
    with faulty_server(good=good) as server:
        made = Made(folder, server.rows)
        write_laion(folder, server.rows)
        capture = request.getfixturevalue("typed")
        table, jobs = folder / "clips.parquet", ["--jobs", str(jobs)]
        manners = (
            "--read-seconds 5 --total-seconds 6 --backoff 0.02 --max-wait 0.1 --max-mb 2 --threads 12 --per-host 12"
        )
        clips = ["--size", "32", "--per-shard", "40", "--allow", *server.allow, *manners.split()]
        for verb, *words in (
            ("select", folder / "laion", "--out", table, "--join", f"pwatermark={folder / 'tags.parquet'}"),
            ("fetch", table, made.data, *clips, *jobs),
            ("score", made.data, *jobs),
            ("index", made.data),
            ("subset", made.data, "moving", "--where", WHERE, "--threshold", "motion=20", "--test-share", "0.2"),
        ):
            made.told[verb] = capture(verb, words)
    return made


@pytest.fixture(scope="module")
def typed():
    """A verb typed, which must succeed; what it printed."""
    import contextlib
    import io

    def run(verb: str, words) -> str:
        out, err = io.StringIO(), io.StringIO()
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            code = main(["laion", verb, *map(str, words)])
        assert code == 0, err.getvalue()
        return out.getvalue()

    return run


def test_selection_keeps_what_is_wanted_and_says_what_removed_the_rest(made):
    kept = pq.read_table(made.folder / "clips.parquet").to_pylist()
    wanted = [row for row in made.expected if re.match("https?://[^/]", row["url"]) and len(row["text"]) >= 5]
    assert {(row["url"], row["text"]) for row in kept} == {(row["url"], row["text"]) for row in wanted}
    funnel = json.loads((made.folder / "clips_funnel.json").read_text())
    removed = {step["name"]: step["removed"] for step in funnel["steps"]}
    assert all(removed[name] >= 1 for name in (*REMOVED, "pwatermark", "url")) and removed["pwatermark"] == 1
    assert sum(removed.values()) == funnel["rows"] - len(kept)
    assert f"{len(kept)} rows selected" in made.told["select"]


def test_every_failure_is_named_in_the_parquet(made):
    expected = {(row["url"], row["text"]): (row["expected_status"], row["expected_error"]) for row in made.expected}
    rows = made.rows("shards")
    found = {(row["url"], row["text"]): (row["status"], row["error_message"]) for row in rows}
    selected = pq.read_table(made.folder / "clips.parquet").to_pylist()
    assert found == {(row["url"], row["text"]): expected[row["url"], row["text"]] for row in selected}
    assert all(row["hash"] == laion_hash(row["url"], row["text"]) for row in rows)
    reasons = {error for status, error in found.values() if error}
    assert {"HTTP 404", "robots.txt", "X-Robots-Tag: noai", "duplicate url", "address refused: private"} <= reasons
    good = sum(status == "success" for status, _ in found.values())
    assert f"{len(rows)} rows in" in made.told["fetch"] and f": {good} clips" in made.told["fetch"]


def test_every_clip_is_embedded_scored_and_found_by_itself(made):
    clips = sorted((row["key"], row["uid"]) for row in made.rows("shards") if row["status"] == "success")
    scores = made.rows("scores")
    assert [(row["key"], row["uid"]) for row in scores] == clips and not any(row["error"] for row in scores)
    for name in ("similarity", "pwatermark", "motion", "static_share", "phash"):
        assert all(row[name] is not None for row in scores), name
    assert {row["dup_of"] for row in scores} - {None} <= {uid for _, uid in clips}
    search = Search(made.data)
    assert search.count == len(clips) and search.index.info["factory"] == "Flat"
    assert search.neighbours(search.vector(5), limit=1).hits[0].similarity == pytest.approx(1, abs=1e-3)
    assert f"{len(clips)} clips" in made.told["score"] and f"{len(clips)} clips" in made.told["index"]


def test_the_subset_is_what_its_sql_says_and_its_sides_share_no_source(made):
    scores = made.rows("scores")
    source = {row["uid"]: row["source_sha256"] for row in made.rows("shards") if row["uid"]}
    subset = read_subset(made.data / "subsets" / "moving.json")
    assert subset.uids == {row["uid"] for row in scores if row["motion"] > 20 and row["dup_of"] is None}
    assert 0 < len(subset.uids) < len(scores)
    sides = {side: {source[uid] for uid, one in subset.splits.items() if one == side} for side in ("train", "test")}
    assert sides["train"] and sides["test"] and not sides["train"] & sides["test"]


def test_the_same_commands_again_change_no_byte(made, typed):
    before = {path: path.read_bytes() for path in made.data.rglob("*") if path.is_file() and "index" not in path.parts}
    typed("score", [made.data])
    typed("subset", [made.data, "moving", "--where", WHERE, "--threshold", "motion=20", "--test-share", "0.2"])
    assert {path: path.read_bytes() for path in before} == before


def test_training_sees_the_clips_of_the_subset_and_no_other(made, tmp_path):
    subset = read_subset(made.data / "subsets" / "moving.json")
    others = [entry for entry in read_index(made.data / "shards") if entry.meta["uid"] not in subset.uids]
    for entry in others:  # whoever reads one of them will complain
        with open(entry.source.path, "r+b") as file:
            file.seek(entry.source.offset)
            file.write(bytes(entry.source.size))
    source = f"data.source={made.data / 'shards'}"
    asked = ["+experiment=laion", source, "data.subset=moving", f"hydra.run.dir={tmp_path / 'run'}"]
    asked += [f"{name}={value}" for name, value in SMALL.items()] + ["max_clips=16", "tick_clips=8"]
    done = subprocess.run(
        [sys.executable, str(TRAIN), *asked], cwd=tmp_path, capture_output=True, text=True, timeout=600,
        env={name: value for name, value in os.environ.items() if name != "HYDRA_FULL_ERROR"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    assert "skipped" not in done.stdout + done.stderr
    metrics = json.loads((tmp_path / "run" / "metrics.json").read_text())
    assert metrics["clips_seen"] == 16 and metrics["finished"]
    data = trained_on(tmp_path / "run")
    data.setup()
    assert not data.skipped
    for side, windows in (("train", data.train_set), ("test", data.test_set)):
        seen = {entry.meta["uid"] for entry in windows.store.entries}
        assert seen == {uid for uid, one in subset.splits.items() if one == side}
    everything = trained_on(tmp_path / "run", subset=None)
    everything.setup()
    assert len(everything.skipped) > 0 and others


def trained_on(run: Path, **changes):
    """The data module that a run's own config builds."""
    import yaml

    return build(yaml.safe_load((run / "config.yaml").read_text())["data"] | changes, embed=NoEmbedder())
