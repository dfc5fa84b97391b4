"""What --help says: every verb and every verb of a verb has a sentence, a line for each option, and lines that fit."""

import argparse
import re
import shlex
from collections.abc import Iterator

import pytest

from ode_vgan.cli.main import VERBS, build_parser


def _inner(parser: argparse.ArgumentParser) -> dict[str, argparse.ArgumentParser]:
    found = [action.choices for action in parser._actions if isinstance(action, argparse._SubParsersAction)]
    return found[0] if found else {}


def _parsers(parser: argparse.ArgumentParser) -> Iterator[argparse.ArgumentParser]:
    for inner in _inner(parser).values():
        yield inner
        yield from _parsers(inner)


PARSERS = {parser.prog: parser for parser in _parsers(build_parser())}


@pytest.fixture(params=PARSERS)
def parser(request, monkeypatch) -> argparse.ArgumentParser:
    monkeypatch.setenv("COLUMNS", "80")
    return PARSERS[request.param]


def test_every_verb_is_looked_at():
    assert {f"ode-vgan {verb}" for verb in VERBS} <= PARSERS.keys() and len(PARSERS) > 25


def test_a_help_says_in_sentences_what_the_verb_does(parser):
    assert parser.description and parser.description.strip().endswith((".", "?")), parser.prog
    assert parser.description[0].isupper()


def test_every_option_has_a_line(parser):
    bare = [action.dest for action in parser._actions if not action.help and not isinstance(action, PARTS)]
    assert bare == []


PARTS = (argparse._SubParsersAction,)


def test_a_help_has_no_left_over_of_formatting_and_its_prose_fits_a_terminal(parser):
    text = parser.format_help()
    assert "%%" not in text and "%(" not in text and "{}" not in text
    prose = text.partition("\n\n")[2].partition("\n\n")[0] if parser.description else ""
    assert max(map(len, prose.splitlines())) <= 80


def test_the_examples_below_a_help_are_accepted(parser):
    lines = re.sub(r"\\\n\s*", "", parser.epilog or "").splitlines()
    for line in lines:
        words = shlex.split(line) if line.startswith("  ode-vgan ") else []
        if words:
            build_parser([words[1]]).parse_args(words[1:])
