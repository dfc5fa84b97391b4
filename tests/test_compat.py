"""The torchvision remedy: there when the compiled operators do not load, absent when they do."""

import subprocess
import sys

from ode_vgan._compat import define_torchvision_operators

# Both ode_vgan and torchvision load the extension through torch.ops.load_library.
_SCRIPT = """
import torch

def refuse(path):
    raise OSError("libtorch_cuda.so: cannot open shared object file")

torch.ops.load_library = refuse
try:
    import torchvision
except RuntimeError as error:
    print(error)

import ode_vgan
from ode_vgan._compat import define_torchvision_operators
assert define_torchvision_operators() and define_torchvision_operators()

import torchvision
assert not torchvision.extension._has_ops()
try:
    torch.ops.torchvision.nms(torch.zeros(1, 4), torch.zeros(1), 0.5)
except NotImplementedError:
    print("no kernel")
"""


def test_remedy_applies_exactly_where_the_compiled_operators_do_not_load():
    applied = define_torchvision_operators()
    from torchvision.extension import _has_ops

    assert applied == (not _has_ops())


def test_without_its_compiled_operators_torchvision_imports_after_ode_vgan_and_not_before():
    done = subprocess.run([sys.executable, "-c", _SCRIPT], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == ["operator torchvision::nms does not exist", "no kernel"]


def test_a_missing_torchvision_is_left_alone(monkeypatch):
    monkeypatch.setattr("ode_vgan._compat._library", None)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert define_torchvision_operators() is False
