"""A few drawn, mutated and malicious inputs of each kind; `python -m tests.fuzz` runs a hundred thousand."""

import os
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from tests.fuzz.__main__ import SHARES
from tests.fuzz.mutate import mutated, text, value
from tests.fuzz.watch import run

INPUTS = {"clips": 120, "parquet": 100, "captions": 60, "checkpoints": 60, "commands": 60}


@pytest.fixture(scope="module")
def counts(tmp_path_factory):
    folder = tmp_path_factory.mktemp("fuzz")
    with ThreadPoolExecutor(2) as pool:
        found = {name: pool.submit(run, name, 1, INPUTS.get(name, 200), folder / name) for name in SHARES}
        return {name: one.result() for name, one in found.items()}


@pytest.mark.parametrize("name", SHARES)
def test_no_input_crashes_hangs_writes_elsewhere_or_brings_a_traceback(counts, name):
    assert counts[name].findings == []
    assert counts[name].inputs == INPUTS.get(name, 200) == counts[name].read + counts[name].refused
    assert counts[name].refused


def test_an_input_that_does_what_none_may_is_found(tmp_path, monkeypatch):
    """The watch itself: a target that writes outside, one that starts a program, one that dies and one that raises."""
    monkeypatch.setenv("ODE_VGAN_FUZZ_BAD", str(tmp_path / "outside"))
    found = run("bad", 0, 4, tmp_path / "work")
    told = [finding["what"] for finding in found.findings]
    assert found.inputs == 4 and [finding["input"] for finding in found.findings] == [0, 1, 2, 3]
    for what, says in zip(told, ("writes", "subprocess.Popen", "dies with", "KeyError"), strict=True):
        assert says in what


def test_mutations_are_functions_of_the_seed_alone():
    seeds = [os.urandom(0) or b"abcdefgh" * 20, bytes(range(256))]
    for make in (lambda draw: mutated(seeds, draw), text, lambda draw: repr(value(draw))):
        first, again, other = (make(np.random.default_rng(seed)) for seed in (3, 3, 4))
        assert first == again and first != other
