"""Captions as they are scored, and the real model where it is installed."""

import subprocess
import sys
import time

import pytest

from ode_vgan.errors import UserError
from ode_vgan.laion import toxicity
from ode_vgan.laion.toxicity import MAX_CHARACTERS, Toxicity, plain_text, why_absent


@pytest.fixture(scope="module")
def model():
    if why_absent():
        pytest.skip(f"alt-profanity-check cannot be used: {why_absent()}")
    return Toxicity()


@pytest.mark.parametrize(
    ("caption", "seen"),
    [
        ("a  red\tball\n bounces ", "a red ball bounces"),
        ("\u202eyou idiot\u202c", "you idiot"),
        ("i\u200bd\u200di\ufeffot", "idiot"),
        ("\uff49\uff44\uff49\uff4f\uff54", "idiot"),
        ("\x00\x07\x1b", ""),
        ("lone \ud800 surrogate", "lone surrogate"),
        ("\u0645\u0631\u062d\u0628\u0627", "\u0645\u0631\u062d\u0628\u0627"),
        ("", ""),
    ],
)
def test_a_caption_is_scored_as_it_is_seen(caption, seen):
    assert plain_text(caption) == seen


def test_captions_are_cut_where_laion_cuts_them():
    assert plain_text("x" * 199 + " you idiot") == "x" * 199
    assert len(plain_text("ab " * 1000)) <= MAX_CHARACTERS


def test_a_caption_of_ten_megabytes_costs_no_more_than_its_start():
    started = time.process_time()
    assert plain_text("\ufdfa" * 10_000_000)[:8] == "\u0635\u0644\u0649 \u0627\u0644\u0644\u0647"
    assert plain_text("\u200b" * 10_000_000) == ""
    assert time.process_time() - started < 1.0


def test_an_absent_package_is_named_with_its_remedy(monkeypatch):
    monkeypatch.setattr(toxicity, "MODULE", "no_such_module_at_all")
    with pytest.raises(UserError, match=r"alt-profanity-check.*pip install 'ode_vgan\[laion\]'"):
        Toxicity()


def test_nothing_heavy_is_imported_before_a_caption_is_scored():
    code = "import sys, ode_vgan.laion.toxicity; print(sorted({'sklearn', 'profanity_check'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_threats_and_insults_score_high_and_plain_captions_low(model):
    toxic = model.score(["kill all of them", "you are a stupid idiot", "shut up you bitch"])
    plain = model.score(["cyclone", "face with tears of joy", "a red ball bounces"])
    assert min(toxic) > 0.9
    assert max(plain) < 0.15


def test_a_score_is_of_its_caption_alone(model):
    captions = ["cyclone", None, "kill all of them", "\x00", "ki\u200bll a\u202ell of them", "hello"]
    scores = model.score(captions)
    assert scores[1] is scores[3] is None
    assert scores[2] == scores[4]
    assert [model.score([caption])[0] for caption in captions] == scores
    assert model.score(captions[::-1]) == scores[::-1]


def test_the_fingerprint_names_the_model_and_its_scikit_learn(model):
    assert model.fingerprint.startswith("alt-profanity-check-1.")
    assert "sklearn-1." in model.fingerprint
