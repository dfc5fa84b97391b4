"""What asking for help may load: on counts of heavy packages, since seconds depend on the machine."""

import subprocess
import sys
from pathlib import Path

import pytest

from ode_vgan.cli.main import VERBS

ROOT = Path(__file__).resolve().parents[1]
# each takes a tenth of a second or more; torch alone takes two seconds and 640 MB
HEAVY = (
    "torch", "torchvision", "torchmetrics", "torchdiffeq", "pytorch_lightning", "transformers", "wandb", "numpy",
    "scipy", "matplotlib", "PIL", "av", "cv2", "pyarrow", "duckdb", "faiss", "fastapi", "open_clip", "timm", "sklearn",
    "pandas", "ray", "hydra", "omegaconf",
)  # fmt: skip


def loaded(code: str) -> set[str]:
    """The heavy packages in a fresh process after a piece of code."""
    told = f"import sys\n{code}\nprint('loaded', *[name for name in {HEAVY!r} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", told], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return set(done.stdout.splitlines()[-1].split()[1:])


def asked(*arguments: str) -> set[str]:
    """After a call of ode-vgan that prints help and leaves."""
    call = f"main({list(arguments)})"
    code = f"from ode_vgan.cli.main import main\ntry:\n    {call}\nexcept SystemExit as told:\n    assert not told.code"
    return loaded(code)


def test_importing_the_package_loads_nothing_heavy():
    assert loaded("import ode_vgan") == set()


@pytest.mark.parametrize("arguments", [[], ["--version"]])
def test_the_overview_loads_nothing_heavy(arguments: list[str]):
    assert asked(*arguments) == set()


@pytest.mark.parametrize("verb", VERBS)
def test_the_help_of_a_verb_loads_nothing_heavy(verb: str):
    assert asked(verb, "--help") == set()


def test_the_help_of_train_loads_hydra_and_nothing_else_heavy():
    run = "import runpy\nsys.argv = ['train.py', '--help']\ntry:\n    runpy.run_path('train.py', run_name='__main__')\n"
    assert loaded(run + "except SystemExit:\n    pass\nprint()") <= {"hydra", "omegaconf"}


def test_a_typing_error_is_told_before_anything_heavy_is_loaded():
    assert asked_in_error("smaple") == asked_in_error("sample", "run", "--count", "x") == set()


def asked_in_error(*arguments: str) -> set[str]:
    return loaded(f"from ode_vgan.cli.main import main\nassert main({list(arguments)}) == 2")


def test_torchvision_is_watched_for_until_it_is_looked_for():
    code = """
import ode_vgan
from importlib.util import find_spec
watching = lambda: [type(finder).__name__ for finder in sys.meta_path].count("_BeforeTorchvision")
assert watching() == 1 and "torch" not in sys.modules
assert find_spec("torchvision") is not None and watching() == 0
"""
    assert loaded(code) >= {"torch"}
