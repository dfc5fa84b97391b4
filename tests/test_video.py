import numpy as np
import pytest
from PIL import Image

from ode_vgan.data.clips import decode_clip
from ode_vgan.errors import UserError
from ode_vgan.report.video import _wrapped, grid_png, sans, shortened, write_clips_mp4, write_mp4

RED, BLUE = (220, 20, 20), (20, 20, 220)


def flat_clips(*colours, frames=4, px=8):
    return np.stack([np.full((frames, px, px, 3), colour, np.uint8) for colour in colours])


def count(image, colour):
    return int((np.abs(np.asarray(image, int) - colour).max(-1) < 3).sum())


def test_a_grid_shows_every_pixel_of_every_frame_enlarged_to_64_px(tmp_path):
    path = grid_png(tmp_path / "grid.png", flat_clips(RED, BLUE), ["red", "blue"], np.arange(4) / 24, title="two")
    with Image.open(path) as image:
        assert count(image, RED) == count(image, BLUE) == 4 * 64 * 64


def test_a_long_clip_shows_twelve_frames_with_both_ends(tmp_path):
    clips = np.zeros((1, 50, 8, 8, 3), np.uint8) + 100
    clips[0, 0], clips[0, -1] = RED, BLUE
    with Image.open(grid_png(tmp_path / "grid.png", clips, ["x"])) as image:
        assert count(image, RED) == count(image, BLUE) == 64 * 64
        assert image.width < 64 * 12 + 300


def test_many_clips_are_cut_to_a_sensible_page(tmp_path):
    with Image.open(grid_png(tmp_path / "grid.png", flat_clips(*[RED] * 60), ["x"] * 60)) as image:
        assert image.height < 24 * 70 + 100


def test_a_film_keeps_the_true_times_and_repeats_for_two_seconds(tmp_path):
    times = np.array([0, 0.04, 0.2, 0.5])
    film = decode_clip(write_clips_mp4(tmp_path / "film.mp4", flat_clips(RED, BLUE, RED), times, ["a", "b", "c"]))
    assert np.allclose(film.times[:4], times, atol=1e-4)
    period = film.times[4]
    assert np.allclose(film.times[4:8], times + period, atol=1e-3)
    assert film.times[-1] + 0.16 >= 2.0
    assert film.frames.shape[1] % 2 == film.frames.shape[2] % 2 == 0
    assert film.frames.shape[1] >= 112


@pytest.mark.parametrize("min_seconds", [0.0, 2.0])
def test_a_film_of_stretches_is_that_of_the_whole_clips(tmp_path, min_seconds):
    clips, times = np.random.default_rng(0).integers(0, 256, (3, 7, 8, 8, 3), dtype=np.uint8), np.arange(7) / 8
    whole = write_clips_mp4(tmp_path / "whole.mp4", clips, times, ["a", "b", "c"], min_seconds=min_seconds)
    parts = iter([clips[:, :4], clips[:, 4:5], clips[:, 5:]])
    film = write_clips_mp4(tmp_path / "parts.mp4", parts, times, ["a", "b", "c"], min_seconds=min_seconds)
    assert film.read_bytes() == whole.read_bytes()


def test_a_film_too_large_for_players_is_refused(tmp_path):
    with pytest.raises(UserError, match="1000 clips of 8x8 px side by side are .*; ask for fewer"):
        write_clips_mp4(tmp_path / "film.mp4", np.zeros((1000, 1, 8, 8, 3), np.uint8), np.zeros(1), ["x"] * 1000)
    assert not list(tmp_path.iterdir())


def test_a_grid_of_some_clips_says_how_many_there_are(tmp_path):
    few = grid_png(tmp_path / "few.png", flat_clips(*[RED] * 3), ["x"] * 3, total=60)
    with (
        Image.open(few) as image,
        Image.open(grid_png(tmp_path / "all.png", flat_clips(*[RED] * 3), ["x"] * 3)) as all3,
    ):
        assert image.height == all3.height + 16


def test_one_clip_keeps_its_size_its_times_and_nearly_its_colours(tmp_path):
    clip = flat_clips(RED)[0]
    back = decode_clip(write_mp4(tmp_path / "clip.mp4", clip, np.array([-0.1, 0.0, 0.1, 0.4])))
    assert back.frames.shape == clip.shape
    assert np.allclose(back.times, [0, 0.1, 0.2, 0.5], atol=1e-4)
    assert np.abs(back.frames.astype(int) - clip).max() <= 6  # YCbCr at 8 bits


def test_nothing_but_the_whole_file_is_left(tmp_path, monkeypatch):
    write_mp4(tmp_path / "sub" / "clip.mp4", flat_clips(RED)[0], np.arange(4.0))
    monkeypatch.setattr("os.replace", lambda *_: (_ for _ in ()).throw(OSError("disk full")))
    with pytest.raises(OSError, match="disk full"):
        grid_png(tmp_path / "sub" / "grid.png", flat_clips(RED), ["x"])
    assert [path.name for path in (tmp_path / "sub").iterdir()] == ["clip.mp4"]


def test_captions_wrap_and_end_in_dots_only_when_they_must():
    font = sans(13)
    text = "a family of four with a dog watches the sun go down over the sea " * 3
    lines = _wrapped(text, font, 160, 3)
    assert len(lines) == 3 and lines[-1].endswith("...") and not lines[0].endswith("...")
    assert all(font.getlength(line) <= 160 for line in lines)
    assert _wrapped("short", font, 160, 3) == ["short"]
    assert shortened("incomprehensibilities" * 3, font, 100).endswith("...")


@pytest.mark.parametrize(
    ("clips", "captions", "times", "told"),
    [
        (np.zeros((1, 2, 8, 8, 3)), ["x"], None, "uint8"),
        (flat_clips(RED), ["x", "y"], None, "2 captions for 1 clips"),
        (flat_clips(RED), ["x"], np.arange(3), "4 frames"),
        (flat_clips(RED)[:0], [], None, "non-empty"),
    ],
)
def test_what_does_not_fit_together_is_refused(tmp_path, clips, captions, times, told):
    with pytest.raises(UserError, match=told):
        grid_png(tmp_path / "grid.png", clips, captions, times)
