"""Laws of a sampler's file: it agrees with the generator for any batch, whatever it cannot do is said in one line."""

import importlib.util
import json
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml

from ode_vgan.build import build
from ode_vgan.data.shapes import write_shapes
from ode_vgan.errors import UserError
from ode_vgan.generator import Latents
from ode_vgan.runs import Trained
from ode_vgan.share.export import export_run
from ode_vgan.share.sampler import TOLERANCE, write_sampler
from ode_vgan.share.traced import runtime
from ode_vgan.temporal.noise import clip_noise
from tests.made_runs import made_config, made_run
from tests.tiny import REPOSITORY

QUICK = ("anchors", "discrete", "ode", "ode_dense", "rnn", "sde", "ssm")  # one of each kind of graph
FAMILIES = [
    path.stem if path.stem in QUICK else pytest.param(path.stem, marks=pytest.mark.slow)
    for path in sorted((REPOSITORY / "conf" / "temporal").glob("*.yaml"))
]
CANNOT = {"torchscript": {"anchors": "seeds of its own"}}
CANNOT["onnx"] = CANNOT["torchscript"] | {"driven": "ndtr", "ssm": "complex"}
SIZES = {"motion_dim": 8, "embed_dim": 1, "data.frames": 5, "gap_seconds": 0.16}
needs_onnx = pytest.mark.skipif(
    not all(map(importlib.util.find_spec, ("onnx", "onnxruntime"))), reason="onnx and onnxruntime are not installed"
)
KINDS = [pytest.param("onnx", marks=needs_onnx), "torchscript"]


def filled(node: object) -> object:
    """A config of conf/ with the names in it replaced by small sizes."""
    if isinstance(node, dict):
        return {key: filled(value) for key, value in node.items()}
    return SIZES[node[2:-1]] if isinstance(node, str) and node.startswith("${") else node


def trained(family: str) -> Trained:
    """An untrained run of a family of conf/temporal."""
    temporal = filled(yaml.safe_load((REPOSITORY / "conf" / "temporal" / f"{family}.yaml").read_text()))
    sides = {"size": 16, "style_dim": 8, "motion_dim": 8, "embed_dim": 1, "channel_base": 32, "channel_max": 4}
    decoder = {"_target_": "ode_vgan.decoder.frames.FrameDecoder", **sides, "headroom": 1.0}
    node = {"_target_": "ode_vgan.generator.Generator", "temporal": temporal, "decoder": decoder}
    node |= {"noise_dim": 6, "style_dim": 8, "embed_dim": 1}
    torch.manual_seed(0)
    generator = build(node).eval().requires_grad_(False)
    config = {"embed": {"_target_": "ode_vgan.embed.none.NoEmbedder"}, "data": {"frames": 5, "size": 16}}
    return Trained(generator, config | {"gap_seconds": 0.16, "model": {"generator": node}}, 1, Path("none"))


def asked(told: dict, clips: int, times: torch.Tensor) -> dict[str, torch.Tensor]:
    """Inputs by what sampler.json says, as someone without this package makes them."""
    draw = torch.Generator().manual_seed(clips)
    content, motion = torch.randn(2, clips, told["noise_dim"], generator=draw)
    inputs = {"content": content, "motion": motion, "text": torch.ones(clips, told["embed_dim"]), "times": times}
    for i, (steps, width) in enumerate(told["draws"]):
        inputs[f"noise{i}"] = clip_noise(torch.arange(clips), content.new_empty(clips, width), steps)
    assert list(inputs) == told["inputs"]
    return inputs


def run_file(path: Path, inputs: dict[str, torch.Tensor]) -> torch.Tensor:
    """Frames of a sampler's file."""
    if path.suffix == ".pt":
        with torch.no_grad():
            return torch.jit.load(path)(*inputs.values())
    session = runtime().InferenceSession(path, providers=["CPUExecutionProvider"])
    known = {one.name for one in session.get_inputs()}
    return torch.from_numpy(session.run(None, {key: each.numpy() for key, each in inputs.items() if key in known})[0])


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("family", FAMILIES)
def test_a_file_makes_the_generators_frames_for_any_number_of_clips(family: str, kind: str, tmp_path: Path):
    run = trained(family)
    if family in CANNOT[kind]:
        with pytest.raises(UserError, match=CANNOT[kind][family]) as error:
            write_sampler(run, tmp_path, kind)
        assert "\n" not in str(error.value) and "Leave out --sampler" in str(error.value)
        assert list(tmp_path.iterdir()) == []
        return
    write_sampler(run, tmp_path, kind)
    told = json.loads((tmp_path / "sampler.json").read_text())
    times, clips = torch.arange(5) * 0.16, 4
    inputs = asked(told, clips, times)
    latents = Latents(inputs["content"], inputs["motion"], torch.arange(clips))
    wanted = run.generator.render(latents, times, inputs["text"])
    found = run_file(next(tmp_path.glob("sampler.[op]*")), inputs)
    assert found.shape == wanted.shape and float((found - wanted).abs().max()) <= TOLERANCE
    assert not run.generator.training
    assert not any(str(REPOSITORY).encode() in content for content in contents(next(tmp_path.glob("sampler.[op]*"))))


def contents(path: Path) -> list[bytes]:
    """A file, or those in it."""
    if not zipfile.is_zipfile(path):
        return [path.read_bytes()]
    with zipfile.ZipFile(path) as archive:
        return [archive.read(name) for name in archive.namelist()]


@pytest.mark.parametrize("kind", KINDS)
def test_a_path_of_a_grid_of_its_own_takes_any_number_of_frames(kind: str, tmp_path: Path):
    run = trained("ode_dense")
    told = write_sampler(run, tmp_path, kind, frames=9)
    assert told.frames is None and told.horizon_seconds == pytest.approx(8 * 0.16)
    times = torch.tensor([0.0, 0.013, 0.4, 0.41, 0.9, 1.0, 1.28])
    inputs = asked(json.loads((tmp_path / "sampler.json").read_text()), 2, times)
    latents = Latents(inputs["content"], inputs["motion"], torch.arange(2))
    found = run_file(next(tmp_path.glob("sampler.[op]*")), inputs)
    assert float((found - run.generator.render(latents, times, inputs["text"])).abs().max()) <= TOLERANCE


def test_an_adaptive_solver_is_refused(tmp_path: Path):
    run = trained("ode")
    run.generator.temporal.solver = "dopri5"
    with pytest.raises(UserError, match="adaptive solver's steps cannot be written"):
        write_sampler(run, tmp_path, "torchscript")


def test_a_file_that_does_not_agree_is_not_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("ode_vgan.share.sampler._questions", lambda told, times: [(2, times * 0.3)])  # other steps
    run = trained("ode2")
    with torch.no_grad():
        run.generator.temporal.field.log_rate += 2  # stiff, so that steps matter
    with pytest.raises(UserError, match="differs by"):
        write_sampler(run, tmp_path, "torchscript")
    assert list(tmp_path.iterdir()) == []


def test_the_generator_is_left_as_it_was(tmp_path: Path):
    run = trained("sde")
    before = {name: value.clone() for name, value in run.generator.state_dict().items()}
    write_sampler(run, tmp_path, "torchscript")
    after = run.generator.state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before)


def test_onnx_without_its_packages_is_refused_before_anything_is_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(__import__("sys").modules, "onnxruntime", None)
    with pytest.raises(UserError, match="pip install"):
        runtime()


def test_the_card_tells_of_the_sampler(tmp_path: Path):
    from ode_vgan.share.sampler import sampler_writer

    clips = write_shapes(tmp_path / "clips", 10, frames=8, size=16)
    run = made_run(tmp_path / "run", clips, config=made_config(clips))
    folder = export_run(run, tmp_path / "out", texts=["a"], more=sampler_writer("torchscript", None))
    assert "`sampler.pt` maps latents" in (folder / "README.md").read_text()
    frames = run_file(
        folder / "sampler.pt", asked(json.loads((folder / "sampler.json").read_text()), 1, np_times(folder))
    )
    assert frames.shape[0] == 1 and float(frames.abs().max()) <= 1


def np_times(folder: Path) -> torch.Tensor:
    """Times as sampler.json names them."""
    told = json.loads((folder / "sampler.json").read_text())
    frames = told["frames"] or round(told["horizon_seconds"] / told["gap_seconds"]) + 1
    return torch.from_numpy(np.arange(frames, dtype=np.float32)) * told["gap_seconds"]
