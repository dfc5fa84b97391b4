"""Laws of compiling: the same numbers, penalties that reach the weights, and a fall back where there is no compiler."""

import functools

import pytest
import torch
from torch import Tensor

from ode_vgan import gan as recipe
from ode_vgan.compiled import Compiled, wanted
from tests.test_gan import Windows, module

CPU, GPU = torch.device("cpu"), torch.device("cuda")


@pytest.mark.parametrize(("asked", "device", "expected"), [
    ("auto", CPU, False), ("auto", GPU, True), (True, CPU, True), (False, GPU, False),
])  # fmt: skip
def test_auto_compiles_on_a_gpu_only(asked, device, expected):
    assert wanted(asked, device) is expected


def test_a_compiler_that_fails_is_told_once_and_does_without():
    def broken(graph, inputs):
        raise RuntimeError("no C++ compiler\nhere")

    calls = []

    def double(x: Tensor) -> Tensor:
        calls.append(1)
        return 2 * x

    double = Compiled(double, backend=broken)
    with pytest.warns(RuntimeWarning, match="not compiled") as told:
        assert torch.equal(double(torch.ones(3)), torch.full((3,), 2.0))
        assert torch.equal(double(torch.ones(3)), torch.full((3,), 2.0))
    assert len(told) == 1 and "\n" not in str(told[0].message)


def gradients(folder, backend: str | None, monkeypatch, gamma: float) -> tuple[dict[str, Tensor], dict[str, float]]:
    """Of every weight in one step with penalties, and what the step told."""
    torch.compiler.reset()
    made = module(folder, f"model.gamma=[{gamma},{gamma}]", "model.penalty_every=1", f"model.compile={bool(backend)}")
    monkeypatch.setattr(recipe, "Compiled", functools.partial(Compiled, backend=backend))
    made.optimizers, told = lambda: [None, None], {}
    made._set_step_sizes = lambda: None
    made._step = lambda optimizer, loss: loss.backward()
    made.log_dict = lambda values: told.update({name: float(value) for name, value in values.items()})
    made.on_fit_start()
    assert bool(made._compiled) is (backend is not None)
    made.training_step(torch.utils.data.default_collate([Windows()[i] for i in range(4)]), 0)
    return {name: weight.grad for name, weight in made.named_parameters() if weight.grad is not None}, told


def check_alike(tmp_path, monkeypatch, backend: str) -> None:
    eager, told = gradients(tmp_path, None, monkeypatch, gamma=8.0)
    compiled, told_compiled = gradients(tmp_path, backend, monkeypatch, gamma=8.0)
    assert eager.keys() == compiled.keys() and told == pytest.approx(told_compiled, rel=1e-4, abs=1e-6)
    for name, expected in eager.items():
        torch.testing.assert_close(compiled[name], expected, rtol=1e-3, atol=1e-5 * float(expected.abs().max() + 1))
    without, _ = gradients(tmp_path, None, monkeypatch, gamma=0.0)
    for name in ("frame.stem", "clip.stem", "frame.blocks.0.conv2", "clip.blocks.0.conv2", "frame.project.text"):
        key = f"critics.{name}.weight"
        assert not torch.allclose(without[key], compiled[key]), key


def test_a_compiled_step_has_the_gradients_of_an_eager_one_and_its_penalties_reach_the_weights(tmp_path, monkeypatch):
    check_alike(tmp_path, monkeypatch, "eager")  # traced, and run as it was traced


@pytest.mark.slow
def test_a_step_compiled_to_machine_code_has_the_gradients_of_an_eager_one(tmp_path, monkeypatch):
    check_alike(tmp_path, monkeypatch, "inductor")
