"""Laws of several processes: to the numbers, they are one. Two of them, by gloo, on the CPU."""

import copy
from collections.abc import Callable
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
import torch
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf
from torch import Tensor, nn

from ode_vgan.bench.calls import count_calls
from ode_vgan.bench.contender import stand_alone
from ode_vgan.build import build
from ode_vgan.data.drawn import World
from ode_vgan.data.drawn_captions import Curated
from ode_vgan.data.drawn_loader import DrawnClips
from ode_vgan.data.loader import PositionBatches
from ode_vgan.embed.clip_model import ClipModel
from ode_vgan.embed.none import NoEmbedder
from ode_vgan.embed.pooling import MomentPooling
from ode_vgan.embed.train import ClipTraining
from ode_vgan.generator import draw_latents
from ode_vgan.losses.contrastive import ClipLoss
from ode_vgan.processes import (
    StepDraw,
    average_gradients,
    gathered,
    rank,
    rolled,
    share,
    share_norms,
    spread,
    summed,
    told_by_all,
    world,
)
from ode_vgan.training import Training
from tests import test_clip_train, test_mocogan, test_tgan2
from tests.pair import in_two
from tests.tiny import REPOSITORY, tiny_overrides

STEPS, BATCH = 3, 4
THIN_TGAN = ["decoder.width=8", "decoder.widths=[8,8]", "discriminator.widths=[8,8]", "data.size=16", "data.frames=4"]
EVERY_TERM = [
    "model.anchor=[1.0,1.0]",
    "model.kinetic=0.1",
    "model.step_frames=3",
    "augment.p=0.5",
    "augment.p_max=1.0",
]
RECIPES = {
    "video_gan": ["temporal=sde", "model.penalty_every=2", "model.warmup_clips=0", *EVERY_TERM],
    "tgan": ["+experiment=gordon2020/tgan", "temporal=gordon2020/tgan_ode_lin", *THIN_TGAN],
    "mocogan": ["+experiment=gordon2020/mocogan", "data.size=16", "data.frames=10", *test_mocogan.THIN],
    "tgan2": ["+experiment=gordon2020/tgan2", *test_tgan2.THIN],
}


def config(name: str, folder: Path) -> dict:
    tiny = tiny_overrides(folder) if name == "video_gan" else []
    with initialize_config_dir(str(REPOSITORY / "conf"), version_base="1.3"):
        made = compose("train", overrides=[*tiny, *RECIPES[name], "embed_dim=1", "gap_seconds=0.1"])
    return OmegaConf.to_container(made, resolve=True)


def clips(frames: int, size: int) -> list[dict]:
    """The batches of a few steps, of random clips whose frames are not evenly apart."""
    draw = torch.Generator().manual_seed(7)
    shape = (STEPS, BATCH, frames, size, size, 3)
    frames_of = torch.randint(256, shape, generator=draw, dtype=torch.uint8)
    times = torch.arange(frames) * 0.1 + 0.05 * torch.rand(STEPS, BATCH, frames, generator=draw).sort(-1).values
    times = (times - times[..., :1]).float()
    text = torch.randn(STEPS, BATCH, 1, generator=draw)
    return [{"frames": frames_of[i], "times": times[i], "text": text[i]} for i in range(STEPS)]


def own(batch: dict) -> dict:
    """What a process holds of a batch."""
    total = len(batch["times"])
    part = slice(total * rank() // world(), total * (rank() + 1) // world())
    return {name: value[part] for name, value in batch.items()}


def logged(module: Training, batches: list[dict]) -> tuple[list[dict], dict[str, Tensor]]:
    """What each step logs, and the weights after the last."""
    stand_alone(module)
    share_norms(module)
    optimizers = module.optimizers()
    for one in optimizers if isinstance(optimizers, list) else [optimizers]:
        one.register_step_pre_hook(lambda optimizer, *_: module.on_before_optimizer_step(optimizer))
    told = []
    module.log_dict = lambda values: told.append({name: float(value) for name, value in values.items()})
    for number, batch in enumerate(batches):
        module.training_step(own(batch), number)
    return told, {name: value.clone() for name, value in module.state_dict().items()}


def assert_one(folder: Path, work: Callable[[], tuple[list[dict], dict[str, Tensor]]], rtol: float = 1e-4) -> None:
    """Two processes log what one does, to round-off, and their weights and averages are each other's, exactly."""
    torch.set_num_threads(1)
    expected, _ = work()
    (first, weights), (second, others) = in_two(folder, work)
    assert first == second and len(first) == STEPS
    assert weights.keys() == others.keys()
    for name, value in weights.items():
        assert torch.equal(value, others[name]), name
    for step, (one, two) in enumerate(zip(expected, first, strict=True)):
        assert one.keys() == two.keys()
        for name, value in one.items():
            assert two[name] == pytest.approx(value, rel=rtol, abs=1e-5), (step, name)


@pytest.mark.parametrize("name", RECIPES)
def test_steps_of_two_processes_are_those_of_one(name, tmp_path):
    made = config(name, tmp_path)
    batches = clips(made["data"]["frames"], made["data"]["size"])

    def work():
        torch.manual_seed(0)
        return logged(build(made["model"] | {"max_clips": 10**9}), batches)

    assert_one(tmp_path / name, work)


@pytest.mark.parametrize("locked", [False, True])
def test_a_clip_model_compares_the_clips_of_all_processes(locked, tmp_path):
    world_of = World(0, "train", 0.0, 0.0)
    drawn = DrawnClips(world_of, Curated(), NoEmbedder(), clips=64, times=np.linspace(0, 1, 2), size=32)
    batches = [drawn.batch(range(8 * i, 8 * i + 8)) for i in range(STEPS)]
    if locked:  # and some say nothing, so that one process has fewer pairs than the other
        batches = [batch | {"caption": ["", *batch["caption"][1:]]} for batch in batches]

    def work():
        if not locked:
            return logged(test_clip_train.training(reverse=0.5, max_clips=10**6), batches)
        torch.manual_seed(0)
        clip = ClipModel("clip-tiny", MomentPooling(128), lock_image=True, lock_text=True, weights=False)
        recipe = test_clip_train.RECIPE | {"dropout": 0.5, "reverse": 0.5, "max_clips": 10**6}
        return logged(ClipTraining(clip, ClipLoss(), **recipe), batches)

    assert_one(tmp_path / "clip", work)


def test_a_batch_norm_of_two_processes_is_that_of_their_clips_together(tmp_path):
    x, above = torch.randn(2, 6, 3, 5, 4, dtype=torch.float64).float().unbind()
    reference = nn.BatchNorm2d(3)
    with torch.no_grad():
        reference.weight.copy_(torch.tensor([0.5, 1.0, 2.0]))
    inside = x.clone().requires_grad_()
    layer = copy.deepcopy(reference)
    outside = reference(inside)
    outside.backward(above)
    in_eval = copy.deepcopy(reference).eval()(x)

    def work():
        share_norms(layer)
        part = slice(3 * rank(), 3 * rank() + 3)
        mine = x[part].clone().requires_grad_()
        out = layer(mine)
        (out * above[part]).sum().backward()
        average_gradients(layer.parameters())
        state = [layer.running_mean, layer.running_var, layer.num_batches_tracked]
        return [out.detach(), mine.grad, layer.weight.grad * 2, *state, layer.eval()(x).detach()]

    found = in_two(tmp_path, work)
    for got, wanted in zip((torch.cat(parts) for parts in zip(*(one[:2] for one in found), strict=True)),
                           (outside, inside.grad), strict=True):  # fmt: skip
        assert torch.allclose(got, wanted, atol=1e-5)
    for one in found:
        assert torch.allclose(one[2], reference.weight.grad, atol=1e-4)
        assert torch.allclose(one[3], reference.running_mean, atol=1e-6)
        assert torch.allclose(one[4], reference.running_var)
        assert one[5] == 1 and torch.allclose(one[6], in_eval, atol=1e-6)


def test_a_step_of_two_processes_sends_few_messages(tmp_path):
    """Gradients once an optimiser, losses once, and one caption: whatever the number of layers."""
    made = config("video_gan", tmp_path)
    batches = clips(made["data"]["frames"], made["data"]["size"])

    def work():
        module = build(made["model"] | {"max_clips": 10**9})
        stand_alone(module)
        for one in module.optimizers():
            one.register_step_pre_hook(lambda optimizer, *_: module.on_before_optimizer_step(optimizer))
        calls = count_calls(lambda: module.training_step(own(batches[0]), 0))
        return calls.by_name["allreduce_"], sum(count for name, count in calls.by_name.items() if "gather" in name)

    assert in_two(tmp_path / "messages", work) == [(4, 0), (4, 0)]


def test_rows_of_two_processes_make_the_whole(tmp_path):
    whole = torch.arange(10.0).view(5, 2)

    def work():
        sizes = [3, 2]
        mine = whole[:3] if rank() == 0 else whole[3:]
        mine = mine.clone().requires_grad_()
        together = gathered(mine, sizes)
        (slope,) = torch.autograd.grad(together.pow(3).sum(), mine, create_graph=True)
        (bend,) = torch.autograd.grad(slope.sum(), mine)
        draw = StepDraw().manual_seed(3)
        latents = draw_latents(2, 5, draw)
        alone = draw_latents(2, 5, torch.Generator().manual_seed(3))  # not of a step: nobody else's
        return {
            "gathered": together.detach(), "slope": slope.detach(), "bend": bend,
            "numbers": gathered(torch.tensor([2**62 + 1 + rank()])), "summed": summed(torch.ones(2)),
            "rolled": rolled(whole[2 * rank() : 2 * rank() + 2]),
            "spread": spread(lambda part: whole[part] + 1, 5), "few": spread(lambda part: whole[part], 1),
            "told": torch.tensor(told_by_all(rank(), 0.5)), "shares": torch.tensor(share(2, draw, None)[0]),
            "latents": torch.cat([latents.content, latents.motion, latents.seeds[:, None]], 1),
            "alone": torch.cat([alone.content, alone.motion, alone.seeds[:, None]], 1),
        }  # fmt: skip

    found = in_two(tmp_path, work)
    drawn = draw_latents(4, 5, torch.Generator().manual_seed(3))
    latents = torch.cat([drawn.content, drawn.motion, drawn.seeds[:, None]], 1)
    for number, one in enumerate(found):
        mine = whole[:3] if number == 0 else whole[3:]
        assert torch.equal(one["gathered"], whole) and torch.equal(one["spread"], whole + 1)
        assert torch.equal(one["slope"], 2 * 3 * mine**2)  # both processes ask for it
        assert torch.equal(one["bend"], 2 * 6 * mine)
        assert one["numbers"].tolist() == [2**62 + 1, 2**62 + 2] and one["summed"].tolist() == [2, 2]
        assert torch.equal(one["rolled"], whole[:4].roll(1, 0)[2 * number : 2 * number + 2])
        assert torch.equal(one["few"], whole[:1]) and one["told"].tolist() == [[0, 0.5], [1, 0.5]]
        assert one["shares"] == 4 and torch.equal(one["latents"], latents[2 * number : 2 * number + 2])
    assert torch.equal(found[0]["alone"], found[1]["alone"])


def test_processes_take_the_batches_of_one():
    def first(batch: int, rank: int, world: int) -> list:
        return list(islice(PositionBatches(10, batch, 0, lambda: 2, rank=rank, world=world), 4))

    halves = zip(first(3, 0, 2), first(3, 1, 2), strict=True)
    assert [a + b for a, b in halves] == first(6, 0, 1)
