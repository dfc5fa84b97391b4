"""The house rules: pins, laws of import, sizes and names, checked over the whole tree."""

import ast
import re
import subprocess
import sys
import tomllib
from importlib import metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import ode_vgan

ROOT = Path(__file__).resolve().parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
REQUIREMENTS = [
    Requirement(line)
    for group in [PROJECT["dependencies"], *PROJECT["optional-dependencies"].values()]
    for line in group
    if not line.startswith("ode_vgan[")  # an extra made of others
]
PINS = dict(line.split("==") for line in (ROOT / "constraints.txt").read_text().split())
# They come with a CUDA build of torch only, which pins them itself.
CUDA_ONLY = ("nvidia-", "cuda-", "triton")

LIGHTNING_FILES = {
    "train.py",
    "ode_vgan/training.py",
    "ode_vgan/callbacks.py",
    "ode_vgan/checkpoints.py",
    "ode_vgan/replicas.py",
    "ode_vgan/data/loader.py",
    "ode_vgan/data/drawn_loader.py",
    "ode_vgan/embed/train.py",
    "ode_vgan/report/csvlog.py",
    "ode_vgan/report/wandb.py",
}
HYDRA_FILES = {"train.py", "ode_vgan/report/sweep.py"}


def _tracked() -> list[Path]:
    """Text files of the repository: what git knows or would add, else all but the ignored folders."""
    listing = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"]
    try:
        names = subprocess.run(listing, cwd=ROOT, capture_output=True, text=True, check=True).stdout.split("\0")
        paths = [ROOT / name for name in names if name]
    except (FileNotFoundError, subprocess.CalledProcessError):
        ignored = {line.strip("/") for line in (ROOT / ".gitignore").read_text().split()} | {".git"}
        paths = [path for path in ROOT.rglob("*") if not ignored & set(path.relative_to(ROOT).parts)]
    return [path for path in paths if path.is_file() and b"\0" not in path.read_bytes()[:8192]]


def _name(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


TEXT = {_name(path): path.read_text(errors="replace") for path in _tracked()}
SOURCES = {name: text for name, text in TEXT.items() if name.startswith("ode_vgan/") and name.endswith(".py")}
CODE = {**SOURCES, **{name: text for name, text in TEXT.items() if name == "train.py"}}


def _imports(text: str) -> set[str]:
    """Top-level names of the packages that a module imports, anywhere in it."""
    modules = []
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import):
            modules += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            modules.append(node.module)
    return {module.partition(".")[0] for module in modules}


IMPORTS = {name: _imports(text) for name, text in CODE.items()}


def _importers(*packages: str) -> set[str]:
    return {name for name, imported in IMPORTS.items() if imported & set(packages)}


def test_constraints_hold_one_plain_pin_a_line():
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    assert [line for line in lines if not re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*==[0-9]+(\.[0-9a-z]+)*", line)] == []
    assert lines == sorted(set(lines), key=lambda line: line.partition("==")[0])
    assert len(PINS) == len(lines), "a package is pinned twice"


@pytest.mark.parametrize("requirement", REQUIREMENTS, ids=str)
def test_every_dependency_is_pinned_inside_its_range(requirement):
    pin = PINS.get(canonicalize_name(requirement.name))
    assert pin is not None, f"{requirement.name} has no pin: add it to constraints.txt"
    assert requirement.specifier.contains(pin, prereleases=True)


def test_what_the_dependencies_need_is_pinned_too():
    pending, closure = list(REQUIREMENTS), set()
    while pending:
        name = canonicalize_name(pending.pop().name)
        if name in closure or name.startswith(CUDA_ONLY):
            continue
        closure.add(name)
        try:
            needs = metadata.requires(name) or []
        except metadata.PackageNotFoundError:
            continue  # an extra that is not installed here
        needs = map(Requirement, needs)
        pending += [need for need in needs if need.marker is None or need.marker.evaluate({"extra": ""})]
    assert sorted(closure - set(PINS)) == []
    assert [name for name in PINS if name.startswith(CUDA_ONLY)] == []


def test_what_installs_the_project_names_no_address():
    files = ["pyproject.toml", "constraints.txt", "Makefile", ".ci/run", ".pre-commit-config.yaml"]
    assert [name for name in files if "://" in (ROOT / name).read_text()] == []
    assert [name for name in TEXT if re.search(r"\.lock$|(^|/)package-lock\.json$", name)] == []


def test_no_file_names_a_path_of_one_machine():
    private = re.compile(r"(?<![\w./:>-])/(root|home|Users|work|opt|mnt)/\w")
    assert [name for name, text in TEXT.items() if private.search(text)] == []


def test_only_the_named_files_import_lightning():
    assert sorted(_importers("pytorch_lightning", "lightning") - LIGHTNING_FILES) == []


def test_only_the_entry_point_and_the_sweep_callback_import_hydra():
    assert sorted(_importers("hydra") - HYDRA_FILES) == []


def test_no_part_of_a_model_knows_config_objects():
    parts = ("data", "embed", "temporal", "decoder", "discriminator", "losses", "metrics")
    folders = tuple(f"ode_vgan/{part}/" for part in parts)
    assert [name for name in sorted(_importers("omegaconf", "hydra")) if name.startswith(folders)] == []


def test_lightning_comes_from_one_package():
    assert sorted(_importers("lightning")) == [], "import pytorch_lightning, the one we depend on"


def test_every_import_is_declared_and_every_dependency_is_used():
    extras = PROJECT["optional-dependencies"]
    core, further = (
        {canonicalize_name(Requirement(line).name) for line in lines}
        for lines in (
            PROJECT["dependencies"],
            [*extras["openclip"], *extras["metrics"], *extras["laion"], *extras["web"], *extras["bench"]],
        )
    )
    sources = {
        module: {canonicalize_name(one) for one in found} for module, found in metadata.packages_distributions().items()
    }
    modules = set().union(*IMPORTS.values()) - sys.stdlib_module_names - {"ode_vgan"}
    assert sorted(module for module in modules if not sources.get(module, set()) & (core | further)) == []
    used = set().union(*(sources[module] for module in modules))
    used |= {name for name in core if any(f'"{name}"' in text for text in CODE.values())}
    assert sorted(core - used) == []


@pytest.mark.parametrize("name", sorted(CODE))
def test_source_files_stay_under_300_lines(name):
    assert len(CODE[name].splitlines()) < 300


def test_no_module_is_named_for_nothing():
    empty = {"utils", "util", "helpers", "misc", "common", "tools"}
    assert [name for name in SOURCES if Path(name).stem in empty] == []


def test_a_todo_has_a_number():
    loose = re.compile(r"\bTO" r"DO\b(?!\s*\(?#\d)")
    assert [
        name for name, text in TEXT.items() if name.endswith((".py", ".yaml", ".toml")) and loose.search(text)
    ] == []


def test_the_legend_defines_every_letter_and_symbol():
    cells = {cell.strip() for row in re.findall(r"^\|.*\|$", ode_vgan.__doc__, re.M) for cell in row.split("|")}
    assert {"B", "T", "C H W", "Z, W, E, F", "times", "z0", "z", "w", "c", "x"} <= cells


def test_the_version_is_said_once():
    assert PROJECT["dynamic"] == ["version"]
    assert f"version: {ode_vgan.__version__}\n" in (ROOT / "CITATION.cff").read_text()


def test_the_license_is_the_whole_of_apache_2():
    text = (ROOT / "LICENSE").read_text()
    assert "Version 2.0, January 2004" in text and "9. Accepting Warranty" in text and "END OF TERMS" in text


@pytest.mark.parametrize("target", ["help", "quickstart", "test", "lint", "docs", "audit", "clean"])
def test_make_help_lists_each_target_and_make_knows_it(target):
    listed = subprocess.run(["make", "help"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert f"make {target} " in listed
    subprocess.run(["make", "-n", target], cwd=ROOT, capture_output=True, check=True)


def test_an_old_python_is_refused_in_one_line(tmp_path):
    old = tmp_path / "python3"
    old.write_text('#!/bin/sh\n[ "$1" = --version ] && echo Python 3.9.2 && exit 0\nexit 1\n')
    old.chmod(0o755)
    venv = tmp_path / ".venv"
    command = ["make", f"{venv}/bin/python", f"VENV={venv}", f"PYTHON={old}"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode != 0
    assert "Python 3.9.2; Python 3.11 or newer is needed" in done.stderr
    assert not venv.exists()
