"""The ledger: rows of real run folders, one file a run, and what it refuses."""

import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import yaml

from ode_vgan.embed.embedder import file_sha256
from ode_vgan.errors import UserError
from ode_vgan.report.kept import Kept
from ode_vgan.scaling.ledger import COLUMNS, append, read, rows_of_run

FORWARD = 1000.0


def gan_run(folder: Path, seed: int = 0, clips: int = 64, **config) -> Path:
    """A run of a video GAN: looks at 16 and at the end, scored on validation clips in training."""
    config = {
        "name": "study", "seed": seed, "max_clips": clips, "metrics": {"split": "val", "protocols": ["fd20_hog3d"]},
        "data": {"_target_": "ode_vgan.data.loader.ClipData", "source": "emoji", "limit": None},
        "model": {"_target_": "ode_vgan.gan.VideoGan", "generator": {"_target_": "ode_vgan.generator.Generator"}},
    } | config  # fmt: skip
    metrics = {"clips_seen": clips, "seconds": 30.5, "cpu_seconds": 29.5, "nfe": 15}
    metrics |= {"parameters": {"generator": 100, "temporal": 10, "critics": 50}, "macs": {"forward": FORWARD}}
    metrics |= {"score": {"score/fd20_hog3d": 7.0, "score/fd20_hog3d_real": 1.0}}
    csv = "clips,cpu_seconds,score/fd20_hog3d,score/fd20_hog3d_real,seconds,step\n"
    csv += f"16,4.0,,,8.0,1\n16,,9.0,1.0,,1\n{clips},16.0,,,32.0,4\n{clips},,7.0,1.0,,4\n"
    return _write(folder, config, metrics, csv)


def clip_run(folder: Path, seed: int = 0, clips: int = 64, **score) -> Path:
    """A run of contrastive training on drawn clips."""
    drawn = {"_target_": "ode_vgan.data.drawn_captions.Web", "zipf": 1.0}
    model = {"_target_": "ode_vgan.embed.train.ClipTraining"}
    config = {
        "name": "scale_clip", "seed": seed, "max_clips": clips,
        "data": {"_target_": "ode_vgan.data.drawn_loader.DrawnData", "distribution": drawn, "clips": 4096},
        "model": model | {"clip": {"_target_": "ode_vgan.embed.clip_model.ClipModel", "model": "clip-xs"}},
    }  # fmt: skip
    metrics = {"clips_seen": clips, "seconds": 3.0, "cpu_seconds": 2.0, "parameters": {"image": 30, "text": 12}}
    metrics |= {"macs": {"forward": FORWARD}, "score": {"val/R@1": 0.25, **score}}
    return _write(folder, config, metrics, f"clips,cpu_seconds,seconds,step,val/R@1\n{clips},2.0,3.0,1,\n")


def _write(folder: Path, config: dict, metrics: dict, csv: str) -> Path:
    folder.mkdir(parents=True)
    started = {"command": "python train.py", "commit": "c0ffee", "dirty": False}
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    (folder / "started.json").write_text(json.dumps(started))
    (folder / "metrics.csv").write_text(csv)
    (folder / "metrics.json").write_text(json.dumps(metrics | {"started": started, "finished": True}))
    return folder


def test_a_gan_run_has_a_row_for_every_look_with_what_it_had_spent(tmp_path):
    rows = rows_of_run(gan_run(tmp_path / "ode-seed3", seed=3))
    assert [(row["samples_seen"], row["value"], row["finished"]) for row in rows] == [(16, 9.0, False), (64, 7.0, True)]
    first, last = rows
    assert first["macs"] == 16 * FORWARD and last["macs"] == 64 * FORWARD
    assert (first["seconds"], first["cpu_seconds"]) == (8.0, 4.0)  # of the look, from the log
    assert (last["seconds"], last["cpu_seconds"]) == (30.5, 29.5)  # as metrics.json has them
    told = {"run": "study/ode-seed3", "study": "study", "kind": "gan", "family": "ode", "model": "VideoGan"}
    told |= {"distribution": "emoji", "seed": 3, "clips_data": None, "nfe": 15, "parameters": 100, "real": 1.0}
    told |= {"metric": "fd20_hog3d", "split": "val", "better": "lower", "commit": "c0ffee"}
    assert {name: first[name] for name in told} == told


def test_a_clip_run_has_its_towers_distribution_and_data_size(tmp_path):
    (row,) = rows_of_run(clip_run(tmp_path / "clip-xs-web-seed1", seed=1))
    told = {"kind": "clip", "family": "clip-xs-web", "model": "clip-xs", "distribution": "web", "clips_data": 4096}
    told |= {"metric": "R@1", "split": "val", "value": 0.25, "better": "higher", "parameters": 42, "finished": True}
    assert {name: row[name] for name in told} == told


def test_what_compare_judged_is_read_at_the_clips_of_its_checkpoint(tmp_path):
    folder = gan_run(tmp_path / "ode-seed0")
    look = folder / "checkpoints" / "clips_000000016.ckpt"
    look.parent.mkdir()
    look.write_bytes(b"weights at 16 clips")
    protocol = {"extractor": "i3d", "clips_real": 128}
    one = {"name": "fvd128_16f", "value": 900.0, "low": 800.0, "high": 1000.0, "real": 99.0, "better": "lower"}
    asked = {"protocol": "fvd128_16f", "split": "test", "seed": 0}
    Kept(folder, file_sha256(look)).write(asked, {"results": [one | {"protocol": protocol}]})
    Kept(folder, "of a checkpoint that is gone").write(asked, {"results": [one | {"protocol": protocol}]})
    (row,) = [row for row in rows_of_run(folder) if row["metric"] == "fvd128_16f"]
    assert (row["samples_seen"], row["split"], row["low"], row["high"]) == (16, "test", 800.0, 1000.0)
    assert json.loads(row["protocol"]) == protocol


def test_evaluations_left_in_a_run_folder_become_rows(tmp_path):
    folder = clip_run(tmp_path / "clip-xs-seed0")
    (folder / "evaluations").mkdir()
    scores = {"test/R@1": {"value": 0.5, "low": 0.4, "high": 0.6}, "test/zeroshot/shape": 0.75, "test/loss": 1.5}
    content = {"protocol": {"clips": 1024}, "scores": scores}
    (folder / "evaluations" / "test.json").write_text(json.dumps(content))
    found = {(row["split"], row["metric"]): row for row in rows_of_run(folder)}
    assert found.keys() == {("val", "R@1"), ("test", "R@1"), ("test", "zeroshot/shape"), ("test", "loss")}
    assert found["test", "R@1"]["low"] == 0.4 and found["test", "R@1"]["finished"]
    assert found["test", "loss"]["better"] == "lower" and found["test", "zeroshot/shape"]["better"] == "higher"


def test_what_was_appended_is_read_back_and_appending_again_replaces_the_run(tmp_path):
    rows = rows_of_run(gan_run(tmp_path / "ode-seed0")) + rows_of_run(gan_run(tmp_path / "sde-seed0"))
    assert len(append(tmp_path / "ledger", rows)) == 2
    assert read(tmp_path / "ledger").to_pylist() == [{name: row.get(name) for name in COLUMNS} for row in rows]
    append(tmp_path / "ledger", [row for row in rows if row["finished"]])
    assert read(tmp_path / "ledger")["finished"].to_pylist() == [True, True]


def test_a_run_made_longer_replaces_itself_and_another_config_of_its_name_does_not(tmp_path):
    runs = {"short": {}, "long": {"clips": 128}, "wide": {"decoder": {"width": 8}}}
    for name, config in runs.items():
        append(tmp_path / "ledger", rows_of_run(gan_run(tmp_path / name / "ode-seed0", **config)))
    table = read(tmp_path / "ledger")
    assert len(set(table["config"].to_pylist())) == 2
    assert sorted(table["samples_seen"].to_pylist()) == [16, 16, 64, 128]


def test_processes_append_at_the_same_time_without_a_lock(tmp_path):
    rows = rows_of_run(gan_run(tmp_path / "ode-seed0"))
    many = [[row | {"run": f"study/ode-seed{i}"} for row in rows] for i in range(40)]
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda part: append(tmp_path / "ledger", part), many + many))
    assert len(read(tmp_path / "ledger")) == 40 * len(rows)
    assert len(list((tmp_path / "ledger").iterdir())) == 40  # no temporary file is left


def test_a_ledger_of_fewer_columns_reads_with_nulls(tmp_path):
    import pyarrow as pa
    import pyarrow.parquet as pq

    old = pa.table({"run": ["a"], "config": ["1"], "metric": ["R@1"], "value": [0.5]})
    pq.write_table(old, tmp_path / "old.parquet")
    (row,) = read(tmp_path).to_pylist()
    assert row["value"] == 0.5 and row["macs"] is None and row.keys() == COLUMNS.keys()


def test_unfinished_runs_and_other_folders_are_refused_in_a_line(tmp_path):
    folder = gan_run(tmp_path / "ode-seed0")
    (folder / "metrics.json").unlink()
    with pytest.raises(UserError, match="is unfinished: 64 of 64 clips"):
        rows_of_run(folder)
    with pytest.raises(UserError, match="is no run folder"):
        rows_of_run(tmp_path)
    with pytest.raises(UserError, match="is no run folder"):
        rows_of_run(tmp_path / "nothing")


def test_what_is_no_ledger_is_refused_in_a_line(tmp_path):
    with pytest.raises(UserError, match="does not exist; .*scale collect"):
        read(tmp_path / "nothing")
    with pytest.raises(UserError, match="holds no parquet file"):
        read(tmp_path)
    (tmp_path / "broken.parquet").write_bytes(b"PAR1")
    with pytest.raises(UserError, match="broken.parquet cannot be read as parquet"):
        read(tmp_path)
    with pytest.raises(UserError, match="no column 'macz'"):
        append(tmp_path, [{"run": "a", "macz": 1}])
    with pytest.raises(UserError, match="has no run"):
        append(tmp_path, [{"value": 1}])
    with pytest.raises(UserError, match="does not fit its column"):
        append(tmp_path, [{"run": "a", "value": "much"}])
