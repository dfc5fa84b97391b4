"""Laws of end-to-end fine-tuning."""

from dataclasses import replace

import pytest
import torch
from torch.nn.functional import cross_entropy

from ode_vgan.embed.captioned import read_sides
from ode_vgan.embed.finetune import Classifier, Tuning, finetune, unlocked
from ode_vgan.embed.labels import labels_of
from ode_vgan.errors import UserError
from tests.coloured import write_coloured

pytest.importorskip("open_clip", reason="open-clip-torch is not installed")
RECIPE = Tuning(epochs=2, batch=8, frames=2, lr=1e-3, head_lr=1e-3)


@pytest.fixture(scope="module")
def clip():
    from ode_vgan.embed.clip_model import ClipModel
    from ode_vgan.embed.pooling import MomentPooling

    torch.manual_seed(0)
    return ClipModel("clip-xs", MomentPooling(64)).eval()


@pytest.fixture(scope="module")
def sides(tmp_path_factory):
    folder = tmp_path_factory.mktemp("coloured")
    write_coloured(folder, each=3)
    return read_sides(str(folder), "test", frames=3, val_share=0.3)


@pytest.fixture(scope="module")
def kept(sides):
    labels = labels_of("colour", sides, 2)
    return labels.train, labels.choose, labels.held


@pytest.fixture(scope="module")
def rows(clip, sides):
    with torch.no_grad():
        return [clip.encode_clips(one.frames, one.times) for one in (sides.train, sides.choose)]


def test_the_model_is_left_as_it_was_and_all_of_the_copy_learns(clip, sides, kept, rows):
    before = {name: tensor.clone() for name, tensor in clip.state_dict().items()}
    finetune(clip, sides, kept, rows, seed=0, recipe=RECIPE)
    assert all(torch.equal(before[name], tensor) for name, tensor in clip.state_dict().items())
    free = Classifier(clip, 4)
    index, labels = kept[0]
    cross_entropy(free(sides.train.frames[index], sides.train.times[index]), labels).backward()
    moved = {name for name, one in free.clip.named_parameters() if one.grad is not None and one.grad.abs().sum() > 0}
    assert any(name.startswith("towers.visual.") for name in moved) and any("pooling" in name for name in moved)


def test_epoch_zero_is_the_linear_probe_and_the_kept_epoch_has_the_least_validation_loss(clip, sides, kept, rows):
    tuned = finetune(clip, sides, kept, rows, seed=0, recipe=RECIPE)
    assert len(tuned.validation) == RECIPE.epochs + 1
    assert tuned.validation[tuned.epoch] == min(tuned.validation)
    still = finetune(clip, sides, kept, rows, seed=0, recipe=replace(RECIPE, epochs=1, lr=1e-12, head_lr=1e-12))
    assert still.validation[0] == pytest.approx(tuned.validation[0], abs=1e-5)
    assert still.validation[1] == pytest.approx(still.validation[0], abs=1e-4)
    assert tuned.logits.shape == (len(kept[2][0]), 4)


def test_it_learns_what_its_training_clips_show(clip, sides, kept, rows):
    tuned = finetune(clip, sides, kept, rows, seed=0, recipe=replace(RECIPE, epochs=6))
    assert min(tuned.validation[1:]) < tuned.validation[0]


def test_the_same_seed_gives_the_same_logits_and_another_seed_others(clip, sides, kept, rows):
    same, again, other = (finetune(clip, sides, kept, rows, seed=seed, recipe=RECIPE) for seed in (0, 0, 1))
    assert torch.equal(same.logits, again.logits) and same.validation == again.validation
    assert same.validation != other.validation


def test_unlocking_frees_a_locked_tower_and_leaves_its_owner_locked():
    from ode_vgan.embed.clip_model import ClipModel
    from ode_vgan.embed.pooling import MeanPooling

    clip = ClipModel("clip-tiny", MeanPooling(), lock_image=True, lock_text=True, weights=False)
    free = unlocked(clip)
    frames, times = torch.zeros(1, 2, 32, 32, 3, dtype=torch.uint8), torch.tensor([[0.0, 1]])
    free.encode_clips(frames, times).sum().backward()
    assert next(free.towers.visual.trunk.parameters()).grad is not None
    assert clip.locks == {"image": True, "text": True} and not next(clip.towers.visual.trunk.parameters()).requires_grad
    assert not free.towers.visual.trunk.training  # norm statistics stay


@pytest.mark.parametrize(
    "change", [{"epochs": 0}, {"batch": 0}, {"lr": 0.0}, {"head_lr": -1.0}, {"weight_decay": -1.0}]
)
def test_a_recipe_that_cannot_be_is_refused(change):
    with pytest.raises(UserError, match="Change it"):
        Tuning(**change)
