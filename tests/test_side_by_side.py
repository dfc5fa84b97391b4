from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from ode_vgan.data.clips import decode_clip
from ode_vgan.errors import UserError
from ode_vgan.report.side_by_side import SCENES, checkpoint, render, side_by_side
from ode_vgan.report.study import Run, Study
from ode_vgan.runs import load
from tests.known import FRAMES, GAP
from tests.made_runs import made_clips, made_config, made_run

DISCRETE = {
    "_target_": "ode_vgan.temporal.discrete.DiscretePath", "dim": 8, "embed_dim": 1, "text_dim": 4, "widths": [8, 8],
    "frames": FRAMES, "gap_seconds": GAP,
}  # fmt: skip


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    """An ODE of two seeds, transposed convolutions, a run of other frames, and one that never trained."""
    folder = tmp_path_factory.mktemp("sweep")
    clips = made_clips(folder / "clips")
    discrete, wide = made_config(clips, 0), made_config(clips, 0)
    discrete["model"]["generator"] = discrete["model"]["generator"] | {"temporal": DISCRETE}
    wide["data"]["frames"] = 2 * FRAMES
    made_run(folder / "ode-seed0", clips, 0, looks=(8, 16))
    made_run(folder / "ode-seed1", clips, 1)
    made_run(folder / "discrete-seed0", clips, 0, config=discrete)
    made_run(folder / "ode-seed0-wide", clips, 0, config=wide)
    chosen = {"chosen": {"checkpoint": "clips_000000008.ckpt", "clips": 8}}
    runs = [
        Run(folder / "ode-seed1", "ode", 1, "finished"),
        Run(folder / "ode-seed0", "ode", 0, "finished", facts=chosen),
        Run(folder / "discrete-seed0", "discrete", 0, "finished"),
        Run(folder / "ode-seed0-wide", "ode-wide", 0, "finished"),
        Run(folder / "rnn-seed0", "rnn", 0, "failed", "a loss is nan"),
    ]
    return Study(folder, runs, [], [], {}, {})


@pytest.fixture(scope="module")
def films(study, tmp_path_factory):
    return side_by_side(study, tmp_path_factory.mktemp("films"), clips=3, seed=5)


def test_each_scene_has_a_film_and_a_still(films):
    assert [one.name for one in films] == [scene.name for scene in SCENES]
    for one, scene in zip(films, SCENES, strict=True):
        played = decode_clip(one.mp4.read_bytes())
        period = len(scene.times(FRAMES, GAP))
        assert len(played.frames) % period == 0
        with Image.open(one.png) as image:
            assert image.width > 300
    assert "real" in films[0].alt and "real" not in films[1].alt


def test_rows_are_what_the_runs_render_from_the_same_latents(study):
    paths = {"ode": study.folder / "ode-seed0", "discrete": study.folder / "discrete-seed0"}
    models = {family: load(path) for family, path in paths.items()}
    times = SCENES[0].times(FRAMES, GAP)
    rows, notes = render(models, ["a ball", "a box"], times, seed=3)
    assert notes == [] and list(rows) == ["ode", "discrete"]
    for family, clips in rows.items():
        assert np.array_equal(clips, load(paths[family]).sample(["a ball", "a box"], times, seed=3).numpy())
    again, notes = render(models, ["a ball", "a box"], SCENES[1].times(FRAMES, GAP), seed=3)
    assert list(again) == ["ode"] and notes[0].startswith("discrete is not shown: ")
    assert np.abs(again["ode"][:, ::2].astype(int) - rows["ode"]).max() <= 8  # Euler's step is halved


def test_prompts_of_ones_own_need_no_data(study, tmp_path):
    (film,) = side_by_side(study, tmp_path, prompts=["a ball"], scenes=SCENES[2:])
    assert "real" not in film.alt and film.alt.endswith("a column for each of: a ball.")


def test_who_is_missing_is_told(films):
    first, rate, long = (" ".join(one.notes) for one in films)
    for notes in (first, rate, long):
        assert "ode-wide is not shown: 16 px and 8 frames, not 16 and 4." in notes
        assert "rnn is not shown: " in notes
    assert "discrete is not shown" not in first and "discrete is not shown" in rate and "discrete is not shown" in long
    assert "ode 8, discrete 64" in films[0].caption


def test_scenes_keep_to_the_trained_times():
    same, rate, long = (scene.times(4, 0.25) for scene in SCENES)
    assert same.tolist() == [0, 0.25, 0.5, 0.75]
    assert len(rate) == 7 and torch.equal(rate[::2], same)
    assert len(long) == 12 and float(long[-1]) == pytest.approx(2.75)


def test_a_run_without_its_chosen_checkpoint_shows_its_last(study):
    run = study.runs[1]
    assert checkpoint(run).name == "clips_000000008.ckpt"
    assert checkpoint(replace(run, facts={"chosen": {"checkpoint": "gone.ckpt"}})) == run.folder
    assert checkpoint(replace(run, facts={})) == run.folder


def test_a_study_without_models_has_no_film(study, tmp_path):
    assert side_by_side(replace(study, runs=study.runs[-1:]), tmp_path) == []


def test_lost_data_is_an_error_that_says_so(study, tmp_path):
    clips = Path(made_clips(tmp_path / "clips"))
    made_run(tmp_path / "ode-seed0", clips, 0)
    for file in clips.iterdir():
        file.unlink()
    with pytest.raises(UserError, match="clips"):
        side_by_side(replace(study, runs=[Run(tmp_path / "ode-seed0", "ode", 0, "finished")]), tmp_path / "out")
