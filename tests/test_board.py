import json
import os
import struct
import time

import numpy as np
import pytest
import wandb
from wandb.proto import wandb_internal_pb2

from ode_vgan.report.board import log_study, run_id, wandb_mode
from ode_vgan.report.canvas import looks_of
from ode_vgan.report.findings import findings
from ode_vgan.report.html import write_html
from ode_vgan.report.page import Video
from ode_vgan.report.reading import families
from ode_vgan.report.trends import evaluations
from ode_vgan.report.video import grid_png, write_clips_mp4
from tests.made_study import failed_run, made_study

HEADER, BLOCK, FULL, LAST = 7, 32768, 1, 4


def records(folder):
    """What an offline run wrote: protobuf records in the blocks of a LevelDB log, behind a header of 7 bytes."""
    data, found, whole, at = next(folder.glob("run-*.wandb")).read_bytes(), [], b"", HEADER
    while at + HEADER <= len(data):
        left = BLOCK - at % BLOCK
        if left < HEADER:
            at += left
            continue
        _, size, kind = struct.unpack("<IHB", data[at : at + HEADER])
        whole += data[at + HEADER : at + HEADER + size]
        at += HEADER + size
        if kind in (FULL, LAST):
            found.append(wandb_internal_pb2.Record.FromString(whole))
            whole = b""
    return found


def logged(folder):
    """What each key of the history holds, field by field."""
    found = {}
    for record in records(folder):
        for item in record.history.item:
            key, *fields = item.nested_key
            found.setdefault(key, {})["/".join(fields)] = json.loads(item.value_json)
    return found


def exit_code(folder):
    """How the run ended; its last record is written a moment after it has."""
    for _ in range(300):
        for record in records(folder):
            if record.HasField("exit"):
                return record.exit.exit_code
        time.sleep(0.1)
    raise AssertionError("the run was not finished")


@pytest.fixture
def offline(monkeypatch):
    for name in [name for name in os.environ if name.startswith("WANDB")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("WANDB_SILENT", "true")


def test_the_whole_report_is_one_offline_run(tmp_path, offline):
    study = made_study(tmp_path / "sweep", more=[failed_run(tmp_path / "sweep", error="<script>")])
    (tmp_path / "sweep").mkdir()
    clips = np.zeros((2, 4, 16, 16, 3), np.uint8)
    film = write_clips_mp4(tmp_path / "a.mp4", clips, np.arange(4) / 8, ["ode: a", "rnn: a"])
    still = grid_png(tmp_path / "a.png", clips, ["ode: a", "rnn: a"])
    video = Video("a", "Clips", "Made.", "Clips", film, still)
    found = findings(study)
    figures = [evaluations(study, looks_of(families(study)))]
    page = write_html(study, found, figures, [video], tmp_path / "report.html")
    folder = tmp_path / "sweep" / "wandb"
    told = log_study(study, found, figures, [video], page)
    (run,) = folder.glob("offline-run-*")
    assert told == str(run)
    assert exit_code(run) == 0
    values = logged(run)
    assert values["tables/answers"]["nrows"] == len(found)
    assert values["tables/scores"]["nrows"] == len(study.spreads)
    assert values["tables/pairs"]["nrows"] == len(study.contrasts)
    assert values["figures/evaluations"]["_type"] == "image-file"
    assert values["videos/a"]["_type"] == "video-file" and values["report"]["_type"] == "html-file"
    files = [path for path in (run / "files" / "media").rglob("*") if path.is_file()]
    assert next(path for path in files if path.suffix == ".html").read_text() == page.read_text()
    assert next(path for path in files if path.suffix == ".mp4").read_bytes() == film.read_bytes()
    answers = json.loads(next(path for path in files if path.name.startswith("answers")).read_text())
    assert answers["data"][0][:3] == [found[0].question, *found[0].pair]
    assert wandb.run is None


def test_a_run_that_cannot_be_logged_is_finished_all_the_same(tmp_path, offline):
    study = made_study(tmp_path)
    with pytest.raises(FileNotFoundError):
        log_study(study, [], [], [], tmp_path / "missing.html")
    (run,) = (tmp_path / "wandb").glob("offline-run-*")
    assert exit_code(run) == 1
    assert wandb.run is None


def test_the_mode_is_offline_without_a_key(monkeypatch, offline):
    assert wandb_mode() == "offline"
    monkeypatch.setenv("WANDB_API_KEY", "made")
    assert wandb_mode() == "online"
    monkeypatch.setenv("WANDB_MODE", "disabled")
    assert wandb_mode() == "disabled"


def test_a_study_keeps_its_run(tmp_path):
    assert run_id(made_study(tmp_path / "a b=c")) == "a-b-c-report"
    assert run_id(made_study(tmp_path / "a" / "report")) == "a-report"
