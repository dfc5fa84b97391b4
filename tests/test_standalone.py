"""Laws of experiments/standalone.py: it runs alone as a script, and its solver and its distance are right."""

import ast
import importlib.util
import math
import re
import subprocess
import sys

import pytest
import torch
from PIL import Image
from torchdiffeq import odeint

from ode_vgan.metrics.frechet import frechet_from_features
from tests.tiny import REPOSITORY

SCRIPT = REPOSITORY / "experiments" / "standalone.py"
NUMBER = r" +([\d,.]+)"
ROW = re.compile(rf"^(Ode|Sde|Gru|Deconvolution){NUMBER}{NUMBER} \+-{NUMBER}{NUMBER} \+-{NUMBER}{NUMBER}$", re.M)


@pytest.fixture(scope="module")
def page():
    spec = importlib.util.spec_from_file_location("standalone", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_it_trains_four_models_prints_their_table_and_draws_them(tmp_path):
    strip = tmp_path / "strip.png"
    command = [sys.executable, str(SCRIPT), "--clips", "128", "--seeds", "2", "--judged", "64", "--out", str(strip)]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    rows = {name: [float(cell.replace(",", "")) for cell in cells] for name, *cells in ROW.findall(done.stdout)}
    assert list(rows) == ["Ode", "Sde", "Gru", "Deconvolution"], done.stdout
    numbers = [cells[:-1] for cells in rows.values()]  # the last are seconds, which a fast machine rounds to 0.0
    assert all(math.isfinite(cell) and cell > 0 for cells in numbers for cell in cells)
    assert all(math.isfinite(cells[-1]) and cells[-1] >= 0 for cells in rows.values())
    weights = [cells[0] for cells in rows.values()]
    assert max(weights) <= 1.05 * min(weights)
    with Image.open(strip) as picture:
        assert picture.width > 15 * 64 and picture.height > 10 * 64 and len(picture.getcolors()) > 20


def test_it_needs_nothing_but_torch_and_pillow():
    nodes = list(ast.walk(ast.parse(SCRIPT.read_text())))
    names = {alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names}
    names |= {node.module for node in nodes if isinstance(node, ast.ImportFrom)}
    assert {name.partition(".")[0] for name in names} - sys.stdlib_module_names == {"torch", "PIL"}


def test_its_ode_is_torchdiffeqs_midpoint_path(page):
    model = page.Ode().double()
    z0 = torch.randn(5, page.Z, dtype=torch.float64)
    times = torch.tensor([0.0, 0.1, 0.15, 0.4], dtype=torch.float64)
    expected = odeint(lambda t, z: model.field(z), z0, times, method="midpoint").transpose(0, 1)
    assert torch.allclose(model(z0, times), expected, atol=1e-12)


def test_its_frechet_distance_is_the_packages(page):
    a, b = torch.randn(50, 7) @ torch.randn(7, 7), torch.randn(60, 7) + 1
    assert page.frechet(a, b) == pytest.approx(float(frechet_from_features(a, b)), rel=1e-9)
    flat = torch.cat([a, a[:, :1]], 1)  # a singular covariance
    other = torch.cat([b, b[:, :1]], 1)
    assert page.frechet(flat, other) == pytest.approx(float(frechet_from_features(flat, other)), rel=1e-6)


def test_its_discs_are_the_same_world_at_another_rate_and_stay_inside(page):
    slow, fast = (page.real_clips(20, times, torch.Generator().manual_seed(4)) for times in (page.TRAINED, page.TWICE))
    assert torch.allclose(slow, fast[:, ::2], atol=1e-4)
    assert fast.min() == 0 and fast.max() == 1
    mass = fast.sum((2, 3))
    assert (mass - mass[:, :1]).abs().max() < 0.1 * mass.min()  # no part of a disc is ever outside
