import json

import numpy as np
import pytest
import torch

from ode_vgan.cli.main import VERBS, build_parser, main
from ode_vgan.cli.sample import parse_times, uniform_times
from ode_vgan.data.clips import decode_clip, encode_clip
from ode_vgan.errors import UserError
from ode_vgan.runs import build_generator

FRAMES, PX, WIDTH = 3, 16, 8


def config(source) -> dict:
    widths = {"dim": WIDTH, "embed_dim": 1, "noise_dim": 4, "text_dim": 4}
    sides = {"size": PX, "style_dim": WIDTH, "motion_dim": WIDTH, "embed_dim": 1, "channel_base": 64, "channel_max": 8}
    generator = {
        "_target_": "ode_vgan.generator.Generator",
        "temporal": {"_target_": "ode_vgan.temporal.rnn.RnnPath", **widths},
        "decoder": {"_target_": "ode_vgan.decoder.frames.FrameDecoder", **sides},
        **{"noise_dim": WIDTH, "style_dim": WIDTH, "embed_dim": 1},
    }
    data = {"source": str(source), "frames": FRAMES, "size": PX, "batch": 4}
    return {
        "embed": {"_target_": "ode_vgan.embed.none.NoEmbedder"},
        "data": {"_target_": "ode_vgan.data.loader.ClipData", **data},
        "model": {"generator": generator},
    }


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run folder whose generator has had no training, beside a folder of clips."""
    folder = tmp_path_factory.mktemp("runs")
    draw = np.random.default_rng(0)
    for i in range(4):
        frames = draw.integers(0, 256, (6, PX, PX, 3), dtype=np.uint8)
        (folder / "clips").mkdir(exist_ok=True)
        encode_clip(folder / "clips" / f"{i}.mp4", frames, 24.0, crf=30, options={"preset": "ultrafast"})
        (folder / "clips" / f"{i}.txt").write_text(f"noise {i}")
    plain = config(folder / "clips")
    torch.manual_seed(0)
    weights = {f"ema.copy.{name}": value for name, value in build_generator(plain).state_dict().items()}
    (folder / "run" / "checkpoints").mkdir(parents=True)
    content = {"ode_vgan": {"config": plain, "clips_seen": 1234}, "state_dict": weights}
    torch.save(content, folder / "run" / "checkpoints" / "last.ckpt")
    return folder / "run"


def test_every_verb_has_a_file_with_a_parser_and_a_description():
    parser = build_parser()
    for verb in VERBS:
        with pytest.raises(SystemExit) as told:
            parser.parse_args([verb, "--help"])
        assert told.value.code == 0


def test_asked_for_nothing_it_lists_the_verbs(capsys):
    assert main([]) == main(["--help"]) == 0
    out = capsys.readouterr().out
    assert all(verb in out for verb in VERBS)


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["smaple"], "no verb 'smaple'; did you mean sample?"),
        (["xyzzy"], "there are data, sample, evaluate, bench."),
        (["sample", "nowhere", "--text", "x"], "nowhere does not exist"),
        (["sample", "nowhere"], "--text"),
        (["sample", "nowhere", "--text", "x", "--fps", "many"], "invalid float value: 'many'"),
        (["sample", "nowhere", "--text", "x", "--count", "0"], "--count 0"),
        (["sample", "nowhere", "--text", "x", "--times", "0,1", "--fps", "3"], "leave out --fps"),
        (["sample", "nowhere", "--text", "x", "--times", "0,0.2,0.1"], "times[1]=0.2 s >= times[2]=0.1 s"),
        (["evaluate", "nowhere", "--split", "all"], "invalid choice: 'all'"),
        (["evaluate", "nowhere"], "nowhere does not exist"),
    ],
)
def test_a_users_error_is_one_line_and_exit_code_2(arguments, told, capsys):
    assert main(arguments) == 2
    out, err = capsys.readouterr()
    assert out == "" and err.startswith("ode-vgan: error: ") and err.count("\n") == 1
    assert told in err


def test_ctrl_c_is_exit_code_130(monkeypatch, capsys):
    monkeypatch.setattr("ode_vgan.cli.main.build_parser", lambda verbs: (_ for _ in ()).throw(KeyboardInterrupt))
    assert main(["sample"]) == 130
    assert capsys.readouterr().err == "ode-vgan: interrupted\n"


def test_sample_writes_a_film_and_a_grid_at_any_rate_and_length(run, tmp_path, capsys):
    arguments = [
        "--text",
        "person surfing",
        "--text",
        "dog",
        "--fps",
        "48",
        "--seconds",
        "0.25",
        "--raw",
        "--seed",
        "3",
    ]
    assert main(["sample", str(run), *arguments, "--out", str(tmp_path)]) == 0
    stem = tmp_path / "person-surfing-and-1-more-12x48fps-seed3"
    paths = [f"{stem}.mp4", f"{stem}.png", f"{stem}/0000.mp4", f"{stem}/0001.mp4"]
    assert capsys.readouterr().out.split() == paths
    clip = decode_clip(paths[2])
    assert clip.frames.shape == (12, PX, PX, 3)
    assert np.allclose(clip.times, np.arange(12) / 48, atol=1e-4)
    assert sorted(str(path) for path in tmp_path.rglob("*.*")) == sorted(paths)


def test_the_same_seed_samples_the_same_clips_and_another_seed_others(run, tmp_path):
    def film(folder, seed):
        main(["sample", str(run), "--text", "dog", "--seed", seed, "--raw", "--out", str(tmp_path / folder)])
        return decode_clip(tmp_path / folder / f"dog-3x24fps-seed{seed}" / "0000.mp4").frames

    assert np.array_equal(film("a", "0"), film("b", "0"))
    assert not np.array_equal(film("a", "0"), film("a", "1"))


def test_uneven_times_reach_the_file(run, tmp_path):
    assert main(["sample", str(run), "--text", "x", "--times", "0,0.1,0.35", "--raw", "--out", str(tmp_path)]) == 0
    assert np.allclose(decode_clip(tmp_path / "x-3xtimes-seed0" / "0000.mp4").times, [0, 0.1, 0.35], atol=1e-4)


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--times", "-0.1,0"], "cannot run before 0 s"),
        (["--fps", "0"], "--fps 0 is outside"),
        (["--seconds", "-1"], "--seconds -1 is no length"),
        (["--seconds", "1e9"], "ask for fewer or shorter ones"),
    ],
)
def test_what_cannot_be_sampled_leaves_nothing_behind(run, tmp_path, capsys, arguments, told):
    arguments = [arguments[0] + "=" + arguments[1]]
    assert main(["sample", str(run), "--text", "x", *arguments, "--out", str(tmp_path / "out")]) == 2
    assert told in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_evaluate_prints_the_floor_and_the_controls_and_keeps_the_protocol(run, capsys):
    assert main(["evaluate", str(run), "--clips", "20", "--repeats", "2"]) == 0
    out = capsys.readouterr().out
    assert "not FVD" in out and "Not comparable across tables: they differ in split" in out
    for line in ("generator  ", "generator before training", "real, held on one", "real, frames sh", "floor: other"):
        assert out.count(f"\n| {line}") == 2, line
    found = json.loads((run / "evaluation.json").read_text())
    assert found["clips_seen"] == 1234 and found["splits"].keys() == {"train", "test"}
    score = found["splits"]["test"]["generator"]["fd_hog3d"]
    assert (
        score["protocol"]["split"] == "test"
        and score["value"] > 0
        and score["controls"].keys() == {"frozen", "shuffled"}
    )


def test_times_are_read_or_refused_in_one_line():
    assert parse_times("0, 0.1 0.35") == [0, 0.1, 0.35]
    for text, told in [
        ("", "no or infinite"),
        ("0,inf", "infinite"),
        ("0,x", "could not convert"),
        ("0,0", "must rise"),
    ]:
        with pytest.raises(UserError, match=told):
            parse_times(text)


def test_uniform_times_are_whole_frames_of_the_rate():
    data = {"frames": 8, "size": 16}
    assert uniform_times(10, 0.3, data, 1) == [0, 0.1, 0.2]
    assert len(uniform_times(None, None, data, 1)) == 8
    assert uniform_times(1, 0.01, data, 1) == [0]
