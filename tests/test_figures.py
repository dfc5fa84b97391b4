import re
from dataclasses import replace
from io import BytesIO
from xml.etree import ElementTree

import pytest
from PIL import Image

from ode_vgan.report.canvas import looks_of, spread_out
from ode_vgan.report.figures import draw_figures
from ode_vgan.report.reading import families
from ode_vgan.report.trends import evaluations
from tests.made_study import MEANS, failed_run, made_run, made_study

NAMES = ["score_by_family", "score_by_spending", "evaluations", "other_times", "differences"]


@pytest.fixture(scope="module")
def drawn():
    """A study with a published system, one seed of it, and a failed run."""
    more = [failed_run(), made_run("gordon2020/tgan", 0, 80.0)]
    return {one.name: one for one in draw_figures(made_study(more=more))}


def test_every_figure_is_there_both_ways(drawn):
    assert list(drawn) == NAMES
    for one in drawn.values():
        assert ElementTree.fromstring(one.svg).tag == "{http://www.w3.org/2000/svg}svg"
        with Image.open(BytesIO(one.png)) as image:
            small = image.convert("RGB").resize((80, 60))
            assert image.width > 500 and len(small.getcolors(1 << 16)) > 20  # something is drawn
        assert len(one.svg) < 400_000 and len(one.png) < 400_000
        assert one.title and one.caption and len(one.alt) > 20


def test_svg_names_nothing_elsewhere(drawn):
    for one in drawn.values():
        links = re.findall(r'(?:href|src)="([^"]*)"', one.svg)
        assert all(link.startswith("#") for link in links) and "<!DOCTYPE" not in one.svg and "metadata" not in one.svg


def test_the_same_study_gives_the_same_bytes(drawn):
    study = made_study(more=[failed_run(), made_run("gordon2020/tgan", 0, 80.0)])
    again = evaluations(study, looks_of(families(study)))
    assert again.svg == drawn["evaluations"].svg and again.png == drawn["evaluations"].png


def test_alternative_texts_tell_the_numbers(drawn):
    assert re.search(r"fvd128_16f/test: ode (399|400|401) ± 2\d;", drawn["score_by_family"].alt)
    assert "gordon2020/tgan 7" in drawn["score_by_family"].alt  # one seed: no deviation
    assert "sde 60" in drawn["evaluations"].alt
    assert "ode minus gordon2020/tgan -" in drawn["differences"].alt and "one seed" in drawn["differences"].alt


def test_a_family_that_cannot_is_named_in_the_caption(drawn):
    assert drawn["other_times"].caption.endswith("Cannot be asked for all of these times: discrete.")


def test_partial_studies_draw_what_they_have():
    bare = [replace(run, answers=[], curves={}) for run in made_study(means={"<b>$x$": 40.0, "a_b$c": 60.0}).runs]
    figures = draw_figures(made_study(means={}, more=bare))
    assert [one.name for one in figures] == ["score_by_family", "differences"]
    for one in figures:
        ElementTree.fromstring(one.svg)  # markup in a name does not break a figure
    assert draw_figures(made_study(means={})) == [] and draw_figures(made_study(means={}, more=[failed_run()])) == []


def test_no_two_families_look_alike():
    looks = looks_of([f"f{i}" for i in range(40)])
    assert len({(look.colour, look.marker, look.dash) for look in looks.values()}) == 40
    assert len({look.marker for look in list(looks.values())[: len(MEANS)]}) == len(MEANS)


def test_labels_keep_apart_and_in_order():
    placed = spread_out([0.5, 0.5, 0.52, 0.0, 1.0], 0.1)
    ordered = sorted(placed)
    assert all(b - a >= 0.1 - 1e-9 for a, b in zip(ordered, ordered[1:], strict=False))
    assert min(placed) >= 0 and max(placed) <= 1 and placed[3] == min(placed) and placed[4] == max(placed)
    assert spread_out([0.3], 0.1) == [0.3] and spread_out([], 0.1) == []
