"""Figures of laws: what is held out, refused or told apart shows, and the same numbers give the same picture."""

import re
from io import BytesIO

import numpy as np
import pytest
from PIL import Image

from ode_vgan.errors import UserError
from ode_vgan.scaling.fits import Recipe, fit_groups
from ode_vgan.scaling.laws import Points
from ode_vgan.scaling.plot import check_ending, draw, slug, write
from ode_vgan.scaling.table import Chosen, Group


def chosen(*exponents: float, levels: int = 6, marks: bool = False) -> Chosen:
    """Groups of an exact law each, seeds a hair apart."""
    groups = []
    for i, alpha in enumerate(exponents):
        compute = np.repeat(np.geomspace(1e9, 1e11, levels), 2)
        error = 20 * compute**alpha * np.tile([0.99, 1.01], levels)
        run = np.repeat([f"size {k}" for k in range(levels)], 2)
        points = Points(compute, error, run, np.tile([0, 1], levels))
        groups.append(Group(f"g{i}", points, tuple(run) if marks else ("all",) * len(points)))
    return Chosen(tuple(groups), "forward multiply-accumulates", "1 - R@1 (test)")


def test_the_same_numbers_draw_the_same_bytes_and_a_name_without_signs():
    recipe = Recipe(select="all", bootstrap=100)
    first, again = (draw(fit_groups(chosen(-0.1, -0.2), recipe)) for _ in range(2))
    assert first.png == again.png and first.svg == again.svg
    assert first.name == "r_1_test"
    assert Image.open(BytesIO(first.png)).size[0] > 800


def test_what_stands_beside_the_figure_tells_the_laws_and_what_was_held_out():
    drawn = draw(fit_groups(chosen(-0.1), Recipe(select="all", bootstrap=100, hold_out=1)))
    assert "Hollow ones were held out" in drawn.caption and "Crosses" not in drawn.caption
    assert drawn.alt.startswith("1 - R@1 (test) against") and "α = -0.100 [-0.1" in drawn.alt
    assert "Crosses are what the fit rests on" in draw(fit_groups(chosen(-0.1), Recipe(bootstrap=100))).caption


def test_a_group_without_a_law_is_drawn_as_points_and_named_as_such():
    few = fit_groups(chosen(-0.1, levels=2), Recipe(), none_is_fine=True)
    drawn = draw(few)
    assert drawn.alt.endswith("no law.") and "band" not in drawn.caption


def test_kinds_of_points_have_a_marker_each():
    plain, marked = (draw(fit_groups(chosen(-0.1, marks=on), Recipe(select="all", bootstrap=100))) for on in (0, 1))
    assert len(set(re.findall(r'id="(m[0-9a-f]{10})"', marked.svg))) > len(
        set(re.findall(r'id="(m[0-9a-f]{10})"', plain.svg))
    )


def test_pictures_are_written_as_their_ending_says(tmp_path):
    drawn = draw(fit_groups(chosen(-0.1), Recipe(select="all", bootstrap=100)))
    assert write(drawn, tmp_path / "law.png").read_bytes() == drawn.png
    assert write(drawn, tmp_path / "law.SVG").read_text() == drawn.svg
    with pytest.raises(UserError, match="law.pdf is no picture; end its name in .png or .svg"):
        check_ending("law.pdf")
    assert slug("fvd128_16f (test)") == "fvd128_16f_test"
