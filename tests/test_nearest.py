"""Laws of the picture of what a text finds."""

import numpy as np
import pytest
from PIL import Image

from ode_vgan.errors import UserError
from ode_vgan.report.nearest import Found, nearest_png
from ode_vgan.report.video import INK


def clips_of(*levels: int, px: int = 16) -> list[Found]:
    frames = np.linspace(0, 1, 5)[:, None, None, None] * np.ones((1, px, px, 3))
    return [Found((frames * level).astype(np.uint8), f"level {level}", level / 255) for level in levels]


def test_each_strip_shows_its_clip_evenly_at_whole_pixels(tmp_path):
    path = nearest_png(tmp_path / "a.png", ["bright"], [clips_of(200, 100)], frames=2)
    page = np.asarray(Image.open(path))
    for level in (200, 100):  # a 16 px frame is drawn four times as large: 64 x 64 of one level
        assert (page == level).all(-1).sum() >= 64 * 64
    assert (page == 0).all(-1).sum() >= 2 * 64 * 64  # both clips begin black


def test_more_clips_make_it_wider_and_more_texts_taller(tmp_path):
    def size(texts, clips):
        return Image.open(nearest_png(tmp_path / "a.png", ["x"] * texts, [clips_of(*clips)] * texts)).size

    (width, height), (wider, _), (_, taller) = size(1, (9,)), size(1, (9, 8)), size(3, (9,))
    assert wider > 1.8 * width and taller > 2 * height


def test_the_clip_that_the_text_is_the_caption_of_is_framed(tmp_path):
    def dark(text):
        page = np.asarray(Image.open(nearest_png(tmp_path / "a.png", [text], [clips_of(200, 100)], frames=2)))
        return int((page == INK).all(-1).sum())

    assert dark("level 100") > dark("level 10x") + 200


def test_long_words_are_cut_and_stay_inside(tmp_path):
    frames = clips_of(50)[0].frames
    page = Image.open(nearest_png(tmp_path / "a.png", ["word " * 99], [[Found(frames, "caption " * 99, -0.5)]]))
    edge = np.asarray(page)[:, -8:]
    assert (edge == 255).all()


def test_rows_that_do_not_match_the_texts_are_refused(tmp_path):
    for texts, found in (([], []), (["a"], []), (["a"], [[]])):
        with pytest.raises(UserError, match="one row a text"):
            nearest_png(tmp_path / "a.png", texts, found)
    assert not list(tmp_path.iterdir())
