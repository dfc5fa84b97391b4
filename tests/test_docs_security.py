"""What SECURITY.md promises of the source, read from the source, and no secret in any file."""

import ast
import re

import pytest
from packaging.version import Version

from tests.test_ground import CODE, PINS, ROOT, TEXT

PAGE = (ROOT / "SECURITY.md").read_text()
MAY_UNPICKLE = {"ode_vgan/metrics/pickles.py"}  # arrays and plain containers only
MAY_READ_TORCHSCRIPT = {"ode_vgan/metrics/i3d_origins.py"}  # under a sha256 that is given or known
SECRETS = {
    "a private key": r"-----BEGIN [A-Z ]*PRIVATE KEY-----",
    "an AWS key": r"\b(AKIA|ASIA)[0-9A-Z]{16}\b",
    "a GitHub token": r"\b(gh[pousr]_[A-Za-z0-9]{36}|github_pat_[A-Za-z0-9_]{60,})\b",
    "a Hugging Face token": r"\bhf_[A-Za-z0-9]{30,}\b",
    "a Slack token": r"\bxox[abpr]-[0-9A-Za-z-]{20,}\b",
    "a Google key": r"\bAIza[0-9A-Za-z_-]{35}\b",
    "an OpenAI or Anthropic key": r"\bsk-[A-Za-z0-9_-]{32,}\b",
    "a W&B key": r"(?i)wandb[\w. -]{0,20}(key|login)\W{1,5}[0-9a-f]{40}\b",
    "a PyPI or npm token": r"\b(pypi-[A-Za-z0-9_-]{50,}|npm_[A-Za-z0-9]{36})\b",
    "a password in an address": r"[a-z]+://[^/\s:@'\"{}]+:[^/\s:@'\"{}]{6,}@(?!example)[a-z0-9]",
}


def _calls(text: str) -> list[tuple[str, ast.Call]]:
    """Every call of a module with its dotted name, and every bare use of `eval` or `exec`."""
    return [(ast.unparse(node.func), node) for node in ast.walk(ast.parse(text)) if isinstance(node, ast.Call)]


def _given(call: ast.Call, name: str) -> object:
    value = next((keyword.value for keyword in call.keywords if keyword.arg == name), None)
    return value.value if isinstance(value, ast.Constant) else value


CALLS = {name: _calls(text) for name, text in CODE.items()}


def _breaking(rule) -> list[str]:
    return [f"{name}:{call.lineno}" for name, calls in CALLS.items() for dotted, call in calls if rule(dotted, call)]


def test_no_text_is_run_as_code_and_no_command_goes_through_a_shell():
    texts = {"eval", "exec", "compile", "builtins.eval", "builtins.exec", "os.system", "os.popen", "marshal.loads"}
    assert _breaking(lambda dotted, call: dotted in texts) == []
    assert _breaking(lambda dotted, call: _given(call, "shell") not in (None, False)) == []


def test_weights_are_read_as_numbers_only():
    assert _breaking(lambda dotted, call: dotted == "torch.load" and _given(call, "weights_only") is not True) == []
    assert _breaking(lambda dotted, call: dotted in ("torch.hub.load", "torch.package.PackageImporter")) == []
    assert _breaking(lambda dotted, call: dotted in ("torch.export.load", "torch._inductor.aoti_load_package")) == []
    assert _breaking(lambda dotted, call: dotted.endswith("load_from_checkpoint")) == []  # it imports what a file names
    read = {name for name, calls in CALLS.items() if any(dotted == "torch.jit.load" for dotted, _ in calls)}
    assert read <= MAY_READ_TORCHSCRIPT


def test_nothing_is_unpickled_but_by_the_unpickler_that_knows_arrays_only():
    pickles = re.compile(r"^\s*(import|from) (pickle|dill|cloudpickle|joblib|shelve|marshal)\b", re.M)
    assert {name for name, text in CODE.items() if pickles.search(text)} <= MAY_UNPICKLE
    assert _breaking(lambda dotted, call: _given(call, "allow_pickle") not in (None, False)) == []
    assert _breaking(lambda dotted, call: dotted == "np.load" and _given(call, "allow_pickle") is not False) == []


def test_yaml_and_archives_are_read_in_their_safe_ways():
    assert _breaking(lambda dotted, call: dotted in ("yaml.load", "yaml.unsafe_load", "yaml.full_load")) == []
    unpacked = (".extractall", ".extract", ".unpack_archive")
    assert _breaking(lambda dotted, call: dotted.endswith(unpacked) and _given(call, "filter") != "data") == []


@pytest.mark.parametrize("what", SECRETS)
def test_no_file_holds_a_secret(what):
    assert [name for name, text in TEXT.items() if re.search(SECRETS[what], text)] == []


def test_every_dependency_that_the_page_speaks_of_is_pinned_as_it_says():
    table = PAGE.partition("| advisory |")[2]
    rows = re.findall(r"^\| (?:CVE|PYSEC|GHSA)[^|]* \| ([a-z-]+) \| ([^|]+) \| ([^ |]+) \|", table, re.M)
    assert len(rows) >= 10
    for name, affected, pinned in rows:
        pin = PINS.get(name)
        assert pin == pinned, f"{name} is pinned at {pin}, SECURITY.md says {pinned}: read its row again"
        before, last = (re.search(rf"{word} ([0-9.]+[0-9])", affected) for word in ("before", "up to"))
        assert before is None or Version(pinned) >= Version(before[1])
        assert last is None or Version(pinned) > Version(last[1])
