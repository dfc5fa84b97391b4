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
        "decoder": {"_target_": "ode_vgan.decoder.frames.FrameDecoder", **sides, "headroom": 1.0},
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
        (["xyzzy"], "there are data, laion, clip, "),
        (["sample", "nowhere", "--text", "x"], "nowhere does not exist"),
        (["sample", "nowhere"], "--text"),
        (["sample", "nowhere", "--text", "x", "--fps", "many"], "invalid float value: 'many'"),
        (["sample", "nowhere", "--text", "x", "--count", "0"], "--count 0"),
        (["sample", "nowhere", "--text", "x", "--times", "0,1", "--fps", "3"], "leave out --fps"),
        (["sample", "nowhere", "--text", "x", "--times", "0,0.2,0.1"], "times[1]=0.2 s >= times[2]=0.1 s"),
        (["evaluate", "nowhere", "--split", "some"], "invalid choice: 'some'"),
        (["evaluate", "nowhere"], "nowhere does not exist"),
        (["evaluate", "nowhere", "--real", "emoji"], "nowhere does not exist"),
        (["evaluate", "data/emoji", "--protocol", "fvd"], "fvd2048_16f"),
        (["evaluate", "data/emoji"], "--real is missing"),
        (["evaluate", "data/emoji", "--real", "emoji", "--protocol", "fvd20_8f"], "i3d"),
        (["evaluate", "data/emoji", "--real", "emoji", "--untrained"], "--untrained needs a run"),
        (["evaluate", "data/emoji", "--real", "emoji", "--weights", "i3d"], "EXTRACTOR=FILE"),
        (["evaluate", "data/emoji", "--real", "emoji", "--weights", "i3d=x"], "the protocols use colour, hog3d"),
        (["evaluate", "data/emoji", "--real", "emoji", "--clips", "999"], "data/emoji has 732 clips, 999 are needed"),
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
        (["--seconds", "1e9"], "ask for shorter ones"),
        (["--count", "9999"], "ask for fewer"),
    ],
)
def test_what_cannot_be_sampled_leaves_nothing_behind(run, tmp_path, capsys, arguments, told):
    arguments = [arguments[0] + "=" + arguments[1]]
    assert main(["sample", str(run), "--text", "x", *arguments, "--out", str(tmp_path / "out")]) == 2
    assert told in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_evaluate_prints_every_number_with_its_interval_and_keeps_the_protocol(run, capsys):
    asked = ["--clips", "20", "--repeats", "2", "--controls", "--untrained", "--split", "test"]
    assert main(["evaluate", str(run), *asked]) == 0
    out = capsys.readouterr().out
    assert "Only fvd is FVD" in out and "split: test" in out and "hog3d_v1" in out
    for line in (f"{run}, 1,234 clips", "before training", "real, held on one", "real, frames sh"):
        assert out.count(f"| {line}") >= 2, line
    found = json.loads((run / "evaluation.json").read_text())
    assert found["clips_seen"] == {str(run): 1234}
    results = {(one["name"], one["subject"]): one for one in found["results"]}
    one = results["fd20_hog3d", str(run)]
    assert one["protocol"]["split"] == "test" and one["value"] > 0 and one["low"] < one["high"]
    assert {subject for _, subject in results} == {str(run), "before training", "frozen", "shuffled"}


def test_evaluate_compares_two_plain_folders_and_a_run(run, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    clips = str(run.parent / "clips")
    draw = np.random.default_rng(1)
    for i in range(21):
        for name, top in (("dark", 90), ("bright", 256)):
            (tmp_path / name).mkdir(exist_ok=True)
            frames = draw.integers(0, top, (4, PX, PX, 3), dtype=np.uint8)
            encode_clip(tmp_path / name / f"{i}.mp4", frames, 24.0, crf=30, options={"preset": "ultrafast"})
    (tmp_path / "dark" / "3.mp4").write_bytes(b"no video")
    asked = ["--real", clips, "--split", "all", "--protocol", "fd21_3f_colour,kvd21_3f_hog3d"]
    assert main(["evaluate", "bright", "dark", *asked]) == 0
    out = capsys.readouterr().out
    assert "dark: 1 skipped (3: " in out
    found = json.loads((tmp_path / "evaluation.json").read_text())
    values = {(one["name"], one["subject"]): one["value"] for one in found["results"]}
    assert values["fd21_3f_colour", "bright"] < values["fd21_3f_colour", "dark"]
    assert main(["evaluate", str(run), "bright", "--protocol", "fd20_colour", "--json", "both.json"]) == 0
    assert json.loads((tmp_path / "both.json").read_text())["differences"][0]["a"] == str(run)


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
    assert uniform_times(10, 0.3, 8) == [0, 0.1, 0.2]
    assert len(uniform_times(None, None, 8)) == 8
    assert uniform_times(1, 0.01, 8) == [0]


@pytest.mark.parametrize("name", ["abc", "cpu:0", "cuda:999", "cuda:x", "", "auto:1"])
def test_a_device_that_is_not_here_is_one_line(name, capsys):
    assert main(["sample", "nowhere", "--text", "a", "--device", name]) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1 and "--device" in said and "cpu" in said
