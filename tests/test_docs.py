"""The docs site: its pages, commands, links and pictures are the repository's, and it builds without a warning."""

import importlib.util
import os
import re
import subprocess
import sys
from html.parser import HTMLParser

import pytest
import yaml

from ode_vgan.cli.main import build_parser
from ode_vgan.data.shards import CLIP_SUFFIXES
from tests.test_readme import ROOT, _compose, readme_commands

DOCS = ROOT / "docs"
PAGES = sorted(DOCS.glob("*.md"))
CONFIG = yaml.safe_load((ROOT / "mkdocs.yml").read_text())
OUTSIDE = re.compile(r"^(https?:)?//")


def _hooks():
    pytest.importorskip("mkdocs", reason="the docs extra is not installed")
    spec = importlib.util.spec_from_file_location("docs_hooks", DOCS / "hooks.py")
    hooks = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(hooks)
    return hooks


def _named(nav: object) -> list[str]:
    inner = nav.values() if isinstance(nav, dict) else nav
    return [nav] if isinstance(nav, str) else [leaf for one in inner for leaf in _named(one)]


class Loaded(HTMLParser):
    """What a browser fetches to show a page."""

    def __init__(self, text: str):
        super().__init__()
        self.addresses: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        if tag in ("script", "img", "source", "video", "iframe", "embed"):
            self.addresses += [given["src"]] if given.get("src") else []
        elif tag == "link" and {"stylesheet", "icon", "preload", "preconnect", "modulepreload"} & set(
            (given.get("rel") or "").split()
        ):
            self.addresses.append(given.get("href") or "")


COMMANDS = [
    pytest.param(command.words, id=f"{page.stem}: {' '.join(command.words)[:70]}")
    for page in PAGES
    for command in readme_commands(page.read_text())
    if page.stem != "temporal"  # its model is not there; tests/test_docs_temporal.py follows it
]


@pytest.mark.parametrize("words", COMMANDS)
def test_every_command_on_a_page_is_accepted(words):
    program, *rest = words
    if program == "ode-vgan":
        build_parser([rest[0]]).parse_args(rest)
    elif rest[:1] == ["train.py"]:
        _compose([word for word in rest[1:] if not word.startswith("-")])
    elif program == "make":
        subprocess.run(["make", "-n", *rest], cwd=ROOT, check=True, capture_output=True)
    else:
        assert program == "python" and (ROOT / rest[0]).is_file()


def test_the_pages_of_the_navigation_are_all_there_and_every_page_is_in_it():
    named = _named(CONFIG["nav"])
    assert {page.name for page in PAGES} <= set(named)
    missing = [name for name in named if not (DOCS / name).exists() and not (ROOT / name).exists()]
    assert missing == ["api/index.md"], "a page is neither in docs/ nor where the repository has it"


def test_every_study_is_in_the_navigation_and_in_the_overview():
    studies = {path.relative_to(ROOT).as_posix() for path in (ROOT / "experiments").glob("*/README.md")}
    assert studies <= set(_named(CONFIG["nav"]))
    listed = set(re.findall(r"\]\((experiments/[^)]+)\)", (DOCS / "studies.md").read_text()))
    assert listed <= studies and studies - listed == set()


def test_every_public_module_has_a_place_in_the_api():
    hooks = _hooks()
    shown = {module for modules in hooks.api_pages().values() for module in modules}
    for path in (ROOT / "ode_vgan").rglob("*.py"):
        name = ".".join(path.relative_to(ROOT).with_suffix("").parts)
        hidden = path.stem.startswith("_") or name.split(".")[1] in hooks.NOT_API
        assert (name in shown) != hidden, name


def test_the_page_of_clips_names_the_formats_and_the_settings_that_there_are():
    page = (DOCS / "clips.md").read_text()
    named = {word.lower() for word in re.findall(r"\b(MP4|WebM|AVI|MOV|GIF|WebP)\b", page)}
    assert named <= CLIP_SUFFIXES and len(named) == 6
    known = yaml.safe_load((ROOT / "conf" / "data" / "folder.yaml").read_text())
    for key in re.findall(r"data\.([a-z_.]+)=", page):
        here = known
        for part in key.split("."):
            here = here[part]


@pytest.mark.parametrize("name", ["docs/faults.md", "SECURITY.md"])
def test_every_test_that_a_page_points_to_is_there(name):
    named = set(re.findall(r"`(?:tests/)?(test_\w+)(?:\.py)?`", (ROOT / name).read_text()))
    assert named and [one for one in sorted(named) if not (ROOT / "tests" / f"{one}.py").exists()] == []


def test_the_picture_of_the_idea_starts_all_models_that_have_a_state_at_one_place():
    import torch

    sys.path.insert(0, str(DOCS))
    try:
        import idea
    finally:
        sys.path.remove(str(DOCS))
    starts = {name: idea.path(name, idea.FRAMES)[0] for name in ("ode", "sde", "rnn")}
    assert len({float(start) for start in starts.values()}) == 1
    earlier = torch.cat([torch.tensor([-0.4, -0.2]), idea.FRAMES])
    assert torch.equal(idea.path("ode", earlier)[2:], idea.path("ode", idea.FRAMES))


def test_the_site_builds_without_a_warning_and_loads_nothing_from_elsewhere(tmp_path):
    pytest.importorskip("mkdocs", reason="the docs extra is not installed")
    pytest.importorskip("material", reason="the docs extra is not installed")
    pytest.importorskip("mkdocstrings_handlers.python", reason="the docs extra is not installed")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(tmp_path / "site")]
    given = os.environ | {"NO_MKDOCS_2_WARNING": "1"}
    given.pop("PYTHONDONTWRITEBYTECODE", None)
    done = subprocess.run(command, cwd=ROOT, env=given, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0 and "WARNING" not in done.stderr, done.stderr[-4000:]
    pages = list((tmp_path / "site").rglob("*.html"))
    ours = [page for page in pages if 'name="generator" content="mkdocs' in page.read_text()]
    assert len(ours) >= len(_named(CONFIG["nav"]))
    fetched = {address for page in pages for address in Loaded(page.read_text()).addresses}
    assert [address for address in fetched if OUTSIDE.match(address)] == []
    styles = "".join(path.read_text() for path in (tmp_path / "site").rglob("*.css"))
    assert re.findall(r"(?:@import|url\()\s*[\"']?(?:https?:)?//[^)\"']+", styles) == []
    assert not any('class="mermaid"' in page.read_text() for page in ours), "the theme fetches what draws it"
