"""Laws of growth: exponents are found, what grows faster than it needs to is named, sizes reach the model."""

import json
import math
from argparse import Namespace
from pathlib import Path

import pytest
import torch

from ode_vgan.bench.growth import Curve, Slope, Sweep, measure_growth, slope, superlinear
from ode_vgan.bench.growth_plot import draw_growth
from ode_vgan.bench.growth_sweeps import judging_sweeps, resized
from ode_vgan.bench.startup import commands
from ode_vgan.cli.bench_growth import KINDS, chosen, run_growth
from ode_vgan.cli.main import VERBS
from ode_vgan.errors import UserError


@pytest.mark.parametrize("power", [0.5, 1.0, 2.0])
def test_the_exponent_of_a_power_is_found_exactly(power: float):
    found = slope([2, 4, 16, 64], [3 * size**power for size in (2, 4, 16, 64)])
    assert found.value == pytest.approx(power, rel=1e-9) == found.end
    assert found.low == pytest.approx(power, abs=1e-6) == found.high


def test_two_sizes_have_a_slope_and_no_interval():
    found = slope([1, 10], [5, 50])
    assert found.value == pytest.approx(1) and math.isnan(found.low)


def made(time_end: float, memory_end: float) -> Curve:
    ends = {"time": Slope(1, 0.9, 1.1, time_end), "memory": Slope(1, 0.9, 1.1, memory_end)}
    return Curve("work", "clips", [1.0, 2.0], [[0.1, 0.2], [0.2, 0.3]], [1e6, 2e6], 1.0, 1.0, ends)


def test_what_is_steeper_than_it_needs_to_be_is_named():
    assert superlinear(made(1.0, 1.1)) == []
    assert superlinear(made(1.5, 1.0)) == ["time"]
    assert superlinear(made(2.0, 2.0)) == ["time", "memory"]


def test_memory_is_counted_to_the_byte():
    curve = measure_growth(Sweep("zeros", "n", (1000, 4000), lambda n: lambda: torch.zeros(int(n))), repeats=1)
    assert curve.bytes == [4000, 16000] and curve.slopes["memory"].value == pytest.approx(1)
    assert len(curve.seconds) == 2 and json.dumps(curve.to_json())


def test_a_size_reaches_every_part_that_has_it():
    critic = {"size": 32, "channel_base": 512, "channel_max": 96, "features": 128}
    model = {"generator": {"decoder": {"size": 32, "channel_base": 768, "channel_max": 96}}, "critics": [critic]}
    config = {"data": {"frames": 8, "batch": 8, "size": 32}, "model": model}
    larger = resized(config, "side, px", 64)
    assert larger["data"]["size"] == larger["model"]["critics"][0]["size"] == 64
    assert larger["model"]["generator"]["decoder"] == {"size": 64, "channel_base": 768, "channel_max": 96}
    wide = resized(config, "width", 2.0)["model"]["critics"][0]
    assert wide == {"size": 32, "channel_base": 1024, "channel_max": 192, "features": 256}
    assert resized(config, "clips", 4)["data"]["batch"] == 4 and config["data"]["batch"] == 8


def test_a_figure_shows_every_curve_and_says_its_exponents():
    drawn = draw_growth("growth", "Growth", [made(1.0, 1.0)])
    assert drawn.png.startswith(b"\x89PNG") and "work against clips: time 1.00, memory 1.00" in drawn.alt


def test_all_verbs_are_started():
    assert {f"ode-vgan {verb} --help" for verb in VERBS} <= set(commands())


def test_kinds_are_chosen_by_name():
    assert chosen("all") == list(KINDS) and chosen("search, paths") == ["paths", "search"]
    with pytest.raises(UserError, match="--growth loader: there are models, paths"):
        chosen("loader")


def asked(folder: Path, growth: str) -> Namespace:
    options = {"experiment": "quickstart", "overrides": [], "repeats": 1, "threads": 1, "quick": True}
    return Namespace(growth=growth, figures=folder, judge="fd32_16f_hog3d", json=folder / "growth.json", **options)


def test_distances_grow_as_they_should_and_the_table_says_so(tmp_path, capsys, monkeypatch):
    cheap = [sweep for sweep in judging_sweeps(quick=True) if "KVD" in sweep.what]
    monkeypatch.setattr("ode_vgan.bench.growth_sweeps.judging_sweeps", lambda quick: cheap)
    assert run_growth(asked(tmp_path, "judging")) == 0
    out = capsys.readouterr().out
    assert "| KVD, F = 400" in out and "steeper than it needs" in out
    found = json.loads((tmp_path / "growth.json").read_text())["judging"]
    assert {curve["what"]: curve["power"] for curve in found}["KVD, F = 400"] == 2
    assert (tmp_path / "growth_judging.png").exists()


@pytest.mark.slow
@pytest.mark.parametrize("growth", ["models", "paths", "memory", "search", "startup"])
def test_each_kind_runs_at_its_smallest(tmp_path, capsys, growth):
    assert run_growth(asked(tmp_path, growth)) == 0
    assert growth in json.loads((tmp_path / "growth.json").read_text()) and "| " in capsys.readouterr().out
