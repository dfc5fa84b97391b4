import json

import pytest
import torch

from ode_vgan.cli.continuous import number, parse_questions, parse_rates
from ode_vgan.cli.main import main
from ode_vgan.data.loader import ClipData
from ode_vgan.embed.none import NoEmbedder
from ode_vgan.errors import UserError
from ode_vgan.metrics.continuous import Subject, frame_rms, pair_distances, paths, pixel_rms
from ode_vgan.metrics.rates import decimation, horizon, rates, shift
from ode_vgan.metrics.solver import reversal, solver
from ode_vgan.runs import build_generator
from tests.known import FIELD, FRAMES, PX, STRIDE, WIDTH, Known, Windowed, by, ode, sde, shapes_data, subjects, trained


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return shapes_data(tmp_path_factory.mktemp("shapes"))


@pytest.fixture(scope="module")
def subject_of(tmp_path_factory):
    return subjects(tmp_path_factory.mktemp("shapes"))


def test_what_a_model_cannot_do_is_a_row_with_the_reason(subject_of):
    subject = subject_of(Windowed())
    asked = [rates(subject, (0.5, 2.0)), decimation(subject)[1:], horizon(subject)[1:], shift(subject, (0.5,))]
    asked += [solver(subject), reversal(subject)]
    for answer in (answer for answers in asked for answer in answers):
        assert answer.note.startswith("cannot: ") and "fd" not in answer.numbers, answer
    able = [rates(subject, (1.0,)), decimation(subject)[:1], horizon(subject)[:1], shift(subject, (0.0,))]
    assert len({round(answers[0].numbers["fd"], 6) for answers in able[1:]}) == 1
    assert all(answers[0].numbers["fd"] > 0 and not answers[0].note for answers in able)


def test_paths_of_an_ode_do_not_differ_and_those_of_an_sde_do_more_the_later(subject_of):
    still = by(paths(subject_of(ode())), "differ in")
    assert still["path"].numbers["pixel_rms"] == 0 and "0 by construction" in still["path"].note
    assert still["all latents"].numbers["pixel_rms"] > 1 and still["all latents"].numbers["pixel_rms_share"] == 1
    subject = subject_of(ode())
    assert torch.equal(subject.frames(subject.times, latents=subject.new_paths(1)), subject.base)

    answers = [answer for answer in paths(subject_of(sde())) if answer.asked["differ in"] == "path"]
    in_time = [answer.numbers["pixel_rms"] for answer in answers if answer.asked["at"] != "clip"]
    assert in_time[0] == 0 and in_time == sorted(set(in_time)) and len(in_time) == FRAMES
    wider = [answer for answer in paths(subject_of(sde(gate=2.0))) if answer.asked["differ in"] == "path"]
    assert wider[0].numbers["feature_distance"] > answers[0].numbers["feature_distance"] > 0
    assert 1.3 < wider[0].numbers["pixel_rms"] / answers[0].numbers["pixel_rms"] < 2.1


def test_diversity_is_over_pairs_within_a_group():
    rows = torch.tensor([[0.0, 0], [3, 4], [10, 0], [10, 2]])
    assert torch.equal(pair_distances(rows, 2), torch.tensor([[5.0], [2.0]]))
    frames = torch.zeros(2, 3, 3, 4, 4)
    frames[1] = torch.tensor([0, 1, 2]).reshape(3, 1, 1, 1) / 127.5
    assert torch.allclose(frame_rms(frames, 2), torch.tensor([0.0, 1.0, 2.0]))
    assert torch.allclose(pixel_rms(frames[:1], frames[1:]), torch.tensor((5 / 3) ** 0.5))


def test_a_subject_refuses_what_has_no_distance(data):
    made = trained(Known())
    with pytest.raises(UserError, match="20 or more"):
        Subject(made, data, clips=10)
    single = ClipData(data.source, NoEmbedder(), frames=1, size=PX, batch=4)
    with pytest.raises(UserError, match="no motion"):
        Subject(made, single)


@pytest.fixture(scope="module")
def run(tmp_path_factory, data):
    """A run folder whose generator has had no training."""
    sides = {"size": PX, "style_dim": WIDTH, "motion_dim": WIDTH, "embed_dim": 1, "channel_base": 64, "channel_max": 8}
    temporal = {"_target_": "ode_vgan.temporal.ode.OdePath", "dim": WIDTH, "embed_dim": 1, **FIELD}
    generator = {
        "_target_": "ode_vgan.generator.Generator",
        "temporal": temporal | {"order": 1, "solver": "midpoint"},
        "decoder": {"_target_": "ode_vgan.decoder.frames.FrameDecoder", **sides, "headroom": 1.0},
        **{"noise_dim": WIDTH, "style_dim": WIDTH, "embed_dim": 1},
    }
    sampling = {"_target_": "ode_vgan.data.windows.Sampling", "strides": [STRIDE]}
    clips = {"source": data.source, "frames": FRAMES, "size": PX, "batch": 4, "sampling": sampling}
    plain = {
        "embed": {"_target_": "ode_vgan.embed.none.NoEmbedder"},
        "data": {"_target_": "ode_vgan.data.loader.ClipData", **clips},
        "model": {"generator": generator},
    }
    weights = {f"ema.copy.{name}": value for name, value in build_generator(plain).state_dict().items()}
    folder = tmp_path_factory.mktemp("run")
    (folder / "checkpoints").mkdir()
    content = {"ode_vgan": {"config": plain, "clips_seen": 0}, "state_dict": weights}
    torch.save(content, folder / "checkpoints" / "last.ckpt")
    return folder


def test_the_verb_prints_a_table_a_question_and_writes_the_answers(run, capsys):
    asked = ["--only", "shift,rates", "--rates", "1,2", "--clips", "20"]
    assert main(["continuous", str(run), *asked]) == 0
    out, err = capsys.readouterr()
    assert out.index("## Rates") < out.index("## Shift") and "hog3d_v1" in out and "floor" in out
    assert "1/2 rates" in err
    content = json.loads((run / "continuous.json").read_text())
    assert [answer["question"] for answer in content["answers"]] == ["rates"] * 2 + ["shift"] * 5
    assert main(["continuous", str(run), "--only", "reversal", "--clips", "20"]) == 0
    after = [answer["question"] for answer in json.loads((run / "continuous.json").read_text())["answers"]]
    assert after == ["rates"] * 2 + ["shift"] * 5 + ["reversal"] * 6
    assert content["temporal"] == "OdePath" and content["answers"][0]["protocol"]["frames"] == FRAMES


def test_wrong_arguments_are_one_line(run, capsys):
    for wrong, told in (
        (["--only", "speed"], "there are rates, decimation"),
        (["--rates", "1,fast"], "give multiples"),
        (["--rates", "-1"], "above 0"),
        (["--clips", "3"], "20 or more"),
        (["--json", str(run)], "name a file"),
        (["--extractor", "i4d"], "no extractor"),
    ):
        assert main(["continuous", str(run), *wrong]) == 2
        assert told in capsys.readouterr().err
    assert parse_questions("paths, rates") == ["rates", "paths"] and parse_rates("1,.5,1") == [1, 0.5]


def test_a_number_shows_its_interval():
    assert number({"fd": 94.81, "fd_low": 91.0, "fd_high": 98.62}, "fd") == "94.81 (91 to 98.62)"
    assert number({"fd": 94.81}, "floor") == ""
