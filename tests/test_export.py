"""Laws of `ode-vgan export` as it is typed."""

from pathlib import Path

import pytest

import ode_vgan
from ode_vgan.cli.export import run
from ode_vgan.cli.main import build_parser
from ode_vgan.errors import UserError
from tests.made_runs import made_clips, made_config, made_run


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("made")
    clips = made_clips(folder / "clips")
    return made_run(folder / "run", clips, config=made_config(clips))


def export(*arguments: object) -> int:
    return run(build_parser(["export"]).parse_args(["export", *map(str, arguments)]))


def test_it_prints_every_file_that_it_wrote(made: Path, tmp_path: Path, capsys: pytest.CaptureFixture):
    out = tmp_path / "deep" / "shared"
    assert export(made, "--out", out, "--text", "a ball", "--license", "cc-by-4.0") == 0
    printed = capsys.readouterr().out.splitlines()
    assert printed == sorted(str(path) for path in out.rglob("*") if path.is_file())
    assert "license: cc-by-4.0" in (out / "README.md").read_text()
    assert ode_vgan.load(out).clips_seen == 64


def test_with_a_sampler_it_writes_that_too(made: Path, tmp_path: Path):
    assert export(made, "--out", tmp_path / "out", "--text", "a", "--sampler", "torchscript", "--frames", 3) == 0
    assert (tmp_path / "out" / "sampler.pt").is_file() and (tmp_path / "out" / "sampler.json").is_file()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--frames", "3"), "--frames is of a sampler"),
        (("--sampler", "torchscript", "--frames", "1"), "--frames 1 makes no clip"),
        (("--sampler", "pickle"), "choose from"),
        (("--critics",), "holds no critics"),
        (("--out", "."), "not an empty folder"),
    ],
)
def test_what_cannot_be_is_refused_in_one_line_and_leaves_nothing(made: Path, tmp_path: Path, arguments, words):
    with pytest.raises(UserError, match=words) as error:
        export(made, "--out", tmp_path / "out", "--text", "a", *arguments)
    assert "\n" not in str(error.value) and list(tmp_path.iterdir()) == []


def test_a_run_that_is_not_there_is_named(tmp_path: Path):
    with pytest.raises(UserError, match="does not exist"):
        export(tmp_path / "none", "--out", tmp_path / "out")


def test_a_folder_that_was_exported_is_not_exported_again(made: Path, tmp_path: Path):
    export(made, "--out", tmp_path / "one", "--text", "a")
    with pytest.raises(UserError, match="is an exported folder already"):
        export(tmp_path / "one", "--out", tmp_path / "two")
