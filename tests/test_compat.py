"""The torchvision remedy: there when the compiled operators do not load, absent when they do."""

import subprocess
import sys
import textwrap

from ode_vgan._compat import define_torchvision_operators

# Both ode_vgan and torchvision load the extension through this function.
_WITHOUT_OPERATORS = """
    import torch

    def refuse(path):
        raise OSError("libtorch_cuda.so: cannot open shared object file")

    torch.ops.load_library = refuse
"""


def _run(code: str) -> subprocess.CompletedProcess:
    script = textwrap.dedent(_WITHOUT_OPERATORS) + textwrap.dedent(code)
    return subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)


def test_remedy_applies_exactly_where_the_compiled_operators_do_not_load():
    applied = define_torchvision_operators()
    from torchvision.extension import _has_ops

    assert applied == (not _has_ops())


def test_torchvision_imports_after_ode_vgan_without_its_compiled_operators():
    done = _run("""
        import ode_vgan
        from ode_vgan._compat import define_torchvision_operators
        assert define_torchvision_operators() and define_torchvision_operators()
        import torchvision
        assert not torchvision.extension._has_ops()
        try:
            torch.ops.torchvision.nms(torch.zeros(1, 4), torch.zeros(1), 0.5)
        except NotImplementedError:
            print("no kernel")
    """)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "no kernel"


def test_without_the_remedy_torchvision_fails_on_the_missing_operator():
    done = _run("import torchvision")
    assert "operator torchvision::nms does not exist" in done.stderr, "the remedy may be dropped: torchvision mended it"


def test_a_missing_torchvision_is_left_alone(monkeypatch):
    monkeypatch.setattr("ode_vgan._compat._library", None)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert define_torchvision_operators() is False
