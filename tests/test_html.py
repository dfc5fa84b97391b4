import re
from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import pytest

from ode_vgan.report.canvas import Picture
from ode_vgan.report.figures import draw_figures
from ode_vgan.report.findings import findings
from ode_vgan.report.html import write_html, write_markdown
from ode_vgan.report.limits import limits
from ode_vgan.report.page import Video
from ode_vgan.report.video import grid_png, write_clips_mp4
from tests.made_study import PROTOCOL, failed_run, made_run, made_study

EMPTY = {"meta", "img", "link", "br", "hr", "input"}
EVIL = "<script>alert(1)</script>"


class Reader(HTMLParser):
    """Text, tags and attributes of a page; every tag that opens must close, in order."""

    def __init__(self, text: str):
        super().__init__()
        self.open, self.tags, self.attributes, self.text = [], [], [], []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes.append((tag, dict(attrs)))
        if tag not in EMPTY:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if not {"style", "script"} & set(self.open):
            self.text.append(data)

    def all(self, tag: str) -> list[dict]:
        return [attributes for name, attributes in self.attributes if name == tag]

    @property
    def words(self) -> str:
        return " ".join(" ".join(self.text).split())


@pytest.fixture(scope="module")
def video(tmp_path_factory):
    folder = tmp_path_factory.mktemp("clips")
    clips = np.random.default_rng(0).integers(0, 255, (2, 4, 16, 16, 3), np.uint8)
    times = np.arange(4) / 8
    film = write_clips_mp4(folder / "side_by_side.mp4", clips, times, ["ode: a", "rnn: a"])
    still = grid_png(folder / "side_by_side.png", clips, ["ode: a", "rnn: a"], times)
    return Video("side_by_side", "Clips", "Made clips.", "Two <clips>", film, still, ("discrete is not shown: cannot",))


@pytest.fixture(scope="module")
def page(tmp_path_factory, video):
    more = [made_run("gordon2020/tgan", 0, 80.0), failed_run()]
    study = made_study(more=more, skipped={"fvd": "no weights"})
    found, folder = findings(study), tmp_path_factory.mktemp("page")
    figures = draw_figures(study, found)
    path = write_html(study, found, figures, [video], folder / "report.html")
    markdown = write_markdown(study, found, figures, [video], folder / "report.md")
    return study, Reader(path.read_text()), path, markdown


def test_the_page_needs_nothing_else(page):
    _, reader, path, _ = page
    for _, attributes in reader.attributes:
        for name in ("src", "href", "poster"):
            assert (attributes.get(name) or "#").startswith(("#", "data:"))
    text = path.read_text()
    assert not re.search(r"(?:src|href)\s*=\s*[\"']?https?:|@import|url\(\s*['\"]?http", text)
    assert "<link" not in text and path.stat().st_size < 3_000_000


def test_the_page_is_valid_and_can_be_read_aloud(page):
    _, reader, path, _ = page
    assert path.read_text().startswith("<!DOCTYPE html>") and reader.all("html") == [{"lang": "en"}]
    assert all(len(image["alt"]) > 10 for image in reader.all("img")) and len(reader.all("img")) == 6
    assert reader.tags.count("caption") == reader.tags.count("table") > 8
    assert {head.get("scope") for head in reader.all("th")} == {"col", "row"}
    assert reader.tags.count("h1") == 1 and reader.all("video")[0]["aria-label"] == "Two <clips>"
    anchors = {section["id"] for section in reader.all("section")}
    assert {link["href"].removeprefix("#") for link in reader.all("a")} == anchors


def test_the_page_says_what_was_done_with_what(page):
    study, reader, _, _ = page
    words = reader.words
    assert "6 families of models, 1 to 3 seeds each, 14 runs: 13 finished, 1 failed." in words
    assert "source: made; split: test; clips real: 128" in words  # the protocol in full
    for run in study.runs:
        assert run.facts["started"]["command"] in words
    assert "made00000000" in words and "made, 2 cores, no GPU" in words
    assert "1,080 M" in words and "2,048" in words  # multiply-accumulates, noise numbers
    assert "ode is lower than rnn, so better, by" in words
    assert "ode2-seed0, failed: a loss is nan." in words and "fvd: no weights." in words
    assert "discrete is not shown: cannot" in words


def test_what_the_numbers_do_not_show_is_said(page):
    study, *_ = page
    told = " ".join(limits(study))
    assert (
        "no claim about gordon2020/tgan: one seed" in told and "were still improving" in told and "8,192 clips" in told
    )
    assert "noise numbers drawn along a path" in told and "Not told apart does not mean equal" in told
    assert "survivors" not in told  # ode2 has none
    half = made_study(more=[failed_run(family="rnn", seed=3)])
    assert "means of rnn are of survivors" in " ".join(limits(half))


def test_the_markdown_has_the_same_numbers_and_its_figures_beside_it(page):
    study, reader, _, path = page
    text = path.read_text()
    for name in re.findall(r"\((figures/[^)]*)\)", text):
        assert (path.parent / name).is_file()
    assert len(re.findall(r"!\[", text)) == 6
    assert "python train.py +experiment=made temporal=ode seed=0" in text
    for one in study.spreads:
        shown = f"{one.mean:.0f} ± {one.sd:.0f}" if one.sd and one.key == "fvd128_16f/test" else ""
        assert shown in text and shown in reader.words


def test_names_and_errors_are_text(tmp_path):
    bad = [failed_run(family=f"{EVIL}", error=f"it said {EVIL} & left")]
    means = {f"x{EVIL}": 40.0, 'y" onload="z': 50.0}
    study = made_study(means=means, more=bad, skipped={EVIL: EVIL})
    study = replace(study, settings={EVIL: EVIL, "notes": [EVIL]})
    found = findings(study)
    picture = Picture("name", EVIL, EVIL, EVIL, "<svg></svg>", b"")
    path = write_html(study, found, [picture], [], tmp_path / "report.html")
    reader = Reader(path.read_text())
    assert reader.tags.count("script") == 1 and not any("onload" in attributes for _, attributes in reader.attributes)
    assert reader.words.count("alert(1)") > 5
    text = write_markdown(study, found, [], [], tmp_path / "report.md").read_text()
    assert "<script" not in re.sub(r"`[^`]*`", "", text) and text.count("&lt;script") > 5


def test_a_missing_protocol_and_unlike_ones_are_said(tmp_path):
    runs = made_study(means={"ode": 40.0, "rnn": 60.0}).runs
    bare = [replace(run, scores={k: replace(s, protocol={}) for k, s in run.scores.items()}) for run in runs]
    study = made_study(means={}, more=bare)
    words = Reader(write_html(study, [], [], [], tmp_path / "bare.html").read_text()).words
    assert "no protocol is stated" in words
    other = {k: replace(s, protocol=PROTOCOL | {"seed": 1}) for k, s in runs[0].scores.items()}
    study = made_study(means={}, more=[replace(runs[0], scores=other), *runs[1:]])
    words = Reader(write_html(study, [], [], [], tmp_path / "unlike.html").read_text()).words
    assert "Not comparable between runs, which differ in seed" in words


def test_partial_studies_have_a_page(tmp_path):
    for name, study in {
        "nothing": made_study(means={}),
        "failed": made_study(means={}, more=[failed_run()]),
        "one": made_study(means={"ode": 40.0}, seeds=(0,)),
        "unknown": made_study(means={"a": 40.0, "b": 50.0}),
        "unfinished": made_study(means={}, more=[made_run("ode", 0, 40.0, state="unfinished", note="512 of 8,192")]),
    }.items():
        found = findings(study)
        words = Reader(write_html(study, found, [], [], tmp_path / f"{name}.html").read_text()).words
        write_markdown(study, found, [], [], tmp_path / f"{name}.md")
        assert "What went wrong" in words
    assert "512 of 8,192" in words


def test_folders_of_this_machine_stay_out(tmp_path):
    run = failed_run(tmp_path / "sweep", error=f"cannot read {tmp_path}/sweep/clips/a.mp4")
    study = made_study(tmp_path / "sweep", more=[run])
    text = write_html(study, [], [], [], tmp_path / "report.html").read_text()
    assert str(tmp_path) not in text and "cannot read sweep/clips/a.mp4" in text
