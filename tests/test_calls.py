"""Laws of overhead, in operator calls: what must not grow with frames, and what a training step may take."""

import pytest
import torch
from hydra.utils import instantiate
from omegaconf import OmegaConf
from torch import nn

from ode_vgan.bench.calls import COPIES, WAITS, Calls, count_calls
from ode_vgan.bench.contender import Contender
from ode_vgan.bench.paths import ask, own_job
from tests.test_bench import tiny_config
from tests.test_ode import CONFIGS

SECONDS = 1.25
CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)


def path_calls(name: str, frames: int) -> Calls:
    torch.manual_seed(0)
    given = {"motion_dim": 8, "embed_dim": 12, "temporal": OmegaConf.load(CONFIGS / f"{name}.yaml")}
    job = own_job(instantiate(OmegaConf.create(given).temporal), ask(3, frames, (frames - 1) / SECONDS, 8, 12))
    return count_calls(job.run)


def test_a_dense_path_takes_the_same_calls_for_any_number_of_frames():
    few, many = (path_calls("ode_dense", frames) for frames in (4, 256))
    assert few.by_name == many.by_name


@pytest.mark.parametrize(("name", "limit"), [("ode_dense", 830), ("sde", 1_290), ("rnn", 580)])
def test_a_path_takes_no_more_calls_than_it_did(name: str, limit: int):
    """Forward and backward of 8 frames after the first; 16 steps of the SDE, 33 evaluations of the field."""
    few, many = (path_calls(name, frames).total for frames in (9, 17))
    assert (many if name == "ode_dense" else many - few) <= limit


def test_a_dense_path_waits_for_the_device_only_to_check_its_times():
    assert path_calls("ode_dense", 16).of(WAITS) <= 4


def test_counting_sees_backward_passes_copies_and_numbers_read():
    weight = torch.ones(3, 3, requires_grad=True)
    calls = count_calls(lambda: float((weight.half().float() @ weight).sum().backward() or 1))
    assert calls.by_name["mm"] >= 3 and calls.of(COPIES) >= 2 and calls.of(WAITS) == 0
    assert count_calls(lambda: float(weight.detach().sum())).of(WAITS) == 1


# Of a step: whether its times rise and begin at 0 s, which decides how the path is solved.
OF_TIMES = 3


@pytest.mark.parametrize(
    ("kind", "limit", "copies"), [("plain_step", 2_480, 430), ("penalty_step", 2_860, 455), ("sample", 420, 10)]
)
def test_a_training_step_takes_no_more_calls_than_it_did_and_waits_for_its_times_alone(kind, limit, copies):
    overrides = ("temporal=ode_dense", "+experiment=quickstart", "embed_dim=384", "trainer.precision=bf16-mixed")
    job = getattr(Contender(tiny_config(*overrides), 12), kind)
    job()  # the optimiser's state is made in the first step
    calls = count_calls(job)
    assert calls.total <= limit and calls.of(COPIES) <= copies and calls.of(WAITS) <= OF_TIMES, (
        calls.total,
        calls.of(COPIES),
        calls.of(WAITS),
        calls.by_name.most_common(5),
    )


def test_penalties_take_one_pass_of_each_kind_through_the_critics():
    """Forward, back to the clips, and back to their gradient and the weights; nothing is carried back on zeros."""
    overrides = ("+experiment=quickstart", "embed_dim=384", "trainer.precision=bf16-mixed")
    contender = Contender(tiny_config(*overrides), 12)
    layers = [
        part for part in contender.module.critics.modules() if isinstance(part, nn.Conv1d | nn.Conv2d | nn.Conv3d)
    ]
    contender.penalty_step()
    with_penalties, without = count_calls(contender.penalty_step), count_calls(contender.plain_step)
    for name, passes in (("convolution", 2), ("convolution_backward", 2)):
        assert with_penalties.by_name[name] - without.by_name[name] <= passes * len(layers), name
