"""Every command that README.md shows is one that works.

Each line of a ```bash block is checked without running it: Hydra composes what `train.py` is given, the parser
accepts what `ode-vgan` is given, `make` knows the target. A block after `<!-- test: skip REASON -->` is passed over.
The slow test runs them for real, in order, in an empty folder; `<!-- test: append key=value ... -->` before a block
makes its training commands small.
"""

import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).resolve().parents[1]
README = ROOT / "README.md"
# They set up the clone that the tests already run in.
SETUP = {"git", "cd", "pip", "uv", "source", "."}


class Command(NamedTuple):
    """One shell command of the README, and what to append when it is run for real."""

    words: tuple[str, ...]
    append: tuple[str, ...]


def readme_commands(text: str) -> list[Command]:
    """The commands of the bash blocks of a Markdown text, in order, without the skipped blocks."""
    commands = []
    block = re.compile(r"(?:<!-- test: (skip|append) (.+?) -->\s*\n)?^```bash\n(.*?)^```", re.M | re.S)
    for verb, rest, body in block.findall(text):
        if verb == "skip":
            continue
        for line in body.replace("\\\n", " ").splitlines():
            for part in " ".join(map(shlex.quote, shlex.split(line, comments=True))).split(" '&&' "):
                words = shlex.split(part)
                while words and re.fullmatch(r"[A-Z_]+=.*", words[0]):
                    words.pop(0)
                if words:
                    words[0] = words[0].removeprefix(".venv/bin/")
                    commands.append(Command(tuple(words), tuple(shlex.split(rest))))
    return commands


if not README.exists():
    pytest.skip("README.md is not written yet", allow_module_level=True)
COMMANDS = readme_commands(README.read_text())


def _compose(overrides: list[str]) -> None:
    """Compose conf/train.yaml under the overrides; of a sweep, each choice in turn beside the others' first."""
    from hydra import compose, initialize_config_dir
    from hydra.core.override_parser.overrides_parser import OverridesParser

    parsed = OverridesParser.create().parse_overrides(overrides)
    choices = [
        [f"{one.get_key_element()}={value}" for value in one.sweep_string_iterator()]
        if one.is_sweep_override()
        else [one.input_line]
        for one in parsed
    ]
    first = [options[0] for options in choices]
    with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
        compose("train", overrides=first)
        for i, options in enumerate(choices):
            for option in options[1:]:
                compose("train", overrides=[*first[:i], option, *first[i + 1 :]])


def test_blocks_become_commands_unless_they_are_skipped():
    text = """
<!-- test: skip needs a GPU -->
```bash
make fly
```
<!-- test: append data.limit=4 -->
```bash
# a comment
WANDB_MODE=offline .venv/bin/python train.py \\
    name="a b"   # why
cd there && make test
```
```text
make tea
```
"""
    append = ("data.limit=4",)
    assert readme_commands(text) == [
        Command(("python", "train.py", "name=a b"), append),
        Command(("cd", "there"), append),
        Command(("make", "test"), append),
    ]


def test_the_readme_shows_the_two_commands_that_start_everything():
    assert {("make", "quickstart"), ("make", "test")} <= {command.words for command in COMMANDS}


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: " ".join(command.words)[:90])
def test_readme_command_is_accepted(command):
    program, *rest = command.words
    if program in ("python", "python3") and rest[:1] == ["train.py"]:
        _compose([word for word in rest[1:] if not word.startswith("-")])
    elif program == "ode-vgan":
        from ode_vgan.cli.main import build_parser

        build_parser().parse_args(rest)
    elif program == "make":
        subprocess.run(["make", "-n", *rest], cwd=ROOT, check=True, capture_output=True)
    elif program in ("python", "python3") and rest and rest[0].endswith(".py"):
        assert (ROOT / rest[0]).is_file(), f"README.md runs {rest[0]}, which is not there"
    else:
        assert program in SETUP, f"README.md shows {program!r}: teach this test to check it, or skip its block"


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_readme_commands_run_in_order(tmp_path):
    for words, append in COMMANDS:
        if words[0] in SETUP | {"make"}:
            continue
        line = [str(Path(sys.executable).with_name(words[0])), *words[1:]]
        if words[1:2] == ("train.py",):
            line = [sys.executable, str(ROOT / "train.py"), *words[2:], *append]
        done = subprocess.run(line, cwd=tmp_path, capture_output=True, text=True)
        assert done.returncode == 0, f"{shlex.join(line)}\n{done.stdout[-2000:]}\n{done.stderr[-4000:]}"
    shutil.rmtree(tmp_path)
