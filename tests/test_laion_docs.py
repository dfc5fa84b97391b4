"""The part's own page says what the code does."""

import re
from pathlib import Path

import pytest

from ode_vgan.cli.main import build_parser
from ode_vgan.laion.columns import CLIP_COLUMNS
from ode_vgan.laion.rules import DEFAULT_RULES, Rule
from ode_vgan.laion.score import SCHEMA
from tests.test_readme import _compose, readme_commands

ROOT = Path(__file__).resolve().parents[1]
PAGES = [ROOT / "ode_vgan" / "laion" / "README.md", ROOT / "experiments" / "laion" / "README.md"]
PAGE = PAGES[0].read_text()
COMMANDS = readme_commands(PAGE)
VERBS = ("select", "fetch", "embed", "score", "index", "subset", "explore", "calibrate")


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: " ".join(command.words)[:60])
def test_every_command_on_the_page_is_accepted(command):
    program, *rest = command.words
    if program == "ode-vgan":
        asked = build_parser(["laion"]).parse_args(rest)
        if asked.action == "subset":
            used = Rule("where", asked.where, {"motion": 2}).expression().columns
            assert used <= {*CLIP_COLUMNS.names, *SCHEMA.names}
    elif rest[:1] == ["train.py"]:
        _compose(rest[1:])
    else:
        assert program == "pip"


def test_the_page_goes_through_every_verb():
    shown = {command.words[2] for command in COMMANDS if command.words[:2] == ("ode-vgan", "laion")}
    assert shown | {"embed"} == set(VERBS)


def test_every_rule_and_every_column_is_on_the_page():
    names = set(re.findall(r"`([a-z_0-9]+)`", PAGE))
    others = {name for name in CLIP_COLUMNS.names if name.startswith("original_")} | {"split"}
    assert {*CLIP_COLUMNS.names, *SCHEMA.names} - others - names == {"error"}
    rules = PAGE.partition("| rule |")[2].partition("\n\n")[0]
    assert all(re.search(rf"\b{rule.name}\b", rules) for rule in DEFAULT_RULES)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.parent.name)
def test_every_link_leads_to_a_file(page):
    links = re.findall(r"\]\(([^)#]+)[^)]*\)", page.read_text())
    assert links and [link for link in links if "://" in link or not (page.parent / link).exists()] == []
