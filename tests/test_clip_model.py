"""Laws of the CLIP for clips: towers as their packages have them, locks that hold, states that fit or are refused."""

import pytest
import torch
from torch.nn.functional import normalize

from ode_vgan.embed.clip_model import ClipModel, even_times
from ode_vgan.embed.pooling import MeanPooling, MomentPooling
from ode_vgan.errors import UserError

pytest.importorskip("open_clip")
TEXTS = ["a red ball falls", "a very happy cat"]


@pytest.fixture(scope="module")
def tiny() -> ClipModel:
    torch.manual_seed(0)
    return ClipModel("clip-tiny", MomentPooling(128), lock_image=True, lock_text=True).eval()


@pytest.fixture(scope="module")
def scratch() -> ClipModel:
    torch.manual_seed(0)
    return ClipModel("clip-xs", MomentPooling(64)).eval()


def frames(clips: int = 2, count: int = 3, side: int = 32) -> torch.Tensor:
    draw = torch.Generator().manual_seed(0)
    return torch.randint(256, (clips, count, side, side, 3), dtype=torch.uint8, generator=draw)


def test_both_sides_are_unit_rows_of_one_width(scratch: ClipModel):
    text = scratch.encode_text(scratch.tokenize(TEXTS))
    clips = scratch.encode_clips(frames(), even_times(2, 3))
    assert text.shape == clips.shape == (2, 64)
    assert torch.allclose(torch.cat([text, clips]).norm(dim=1), torch.ones(4), atol=1e-5)


def test_the_image_tower_of_clip_tiny_is_the_packages_net(tiny: ClipModel):
    from ode_vgan.embed.frames import FrameFeatures

    clip = frames(1, 2, 128)
    assert torch.allclose(tiny.image_features(clip), FrameFeatures(128)(clip), atol=1e-4)


def test_the_text_tower_of_clip_tiny_is_the_packages_minilm(tiny: ClipModel):
    from ode_vgan.embed.sentence import SentenceEmbedder

    found = normalize(tiny.text_features(tiny.tokenize(TEXTS)), dim=-1)
    assert torch.allclose(found, SentenceEmbedder().encode_text(TEXTS), atol=1e-5)


def test_features_and_projection_are_the_whole_tower(tiny: ClipModel):
    clip, tokens = frames(1, 2, 64), tiny.tokenize(TEXTS)
    whole = tiny.towers.encode_image(tiny.prepare(clip)).unflatten(0, (1, 2))
    assert torch.allclose(tiny.encode_frames(clip), whole, atol=1e-5)
    assert torch.allclose(tiny.project_text(tiny.text_features(tokens)), tiny.encode_text(tokens), atol=1e-5)


def test_locked_towers_get_no_gradient_and_stay_in_eval_mode(tiny: ClipModel):
    fresh = ClipModel("clip-tiny", MeanPooling(), lock_image=True, weights=False)
    assert fresh.training and not fresh.towers.visual.trunk.training and fresh.towers.text.transformer.training
    tiny.train()
    assert not tiny.towers.visual.trunk.training and not tiny.towers.text.transformer.training
    tiny.eval()
    learned = {name for name, parameter in tiny.named_parameters() if parameter.requires_grad}
    assert learned == {name for name in tiny.learned_state() if name in dict(tiny.named_parameters())}
    assert sum(tensor.numel() for tensor in tiny.learned_state().values()) < 300_000


def test_a_learned_state_fills_another_model_and_gives_the_same_rows(scratch: ClipModel):
    torch.manual_seed(1)
    other = ClipModel("clip-xs", MomentPooling(64)).eval()
    clip, times = frames(), even_times(2, 3)
    assert not torch.allclose(other.encode_clips(clip, times), scratch.encode_clips(clip, times))
    other.load_learned(scratch.learned_state())
    assert torch.equal(other.encode_clips(clip, times), scratch.encode_clips(clip, times))


def test_the_state_of_another_architecture_or_one_that_is_not_finite_is_refused(scratch: ClipModel):
    with pytest.raises(UserError, match="not clip-xs's with this pooling.*has besides pooling"):
        ClipModel("clip-xs", MeanPooling()).load_learned(scratch.learned_state())
    with pytest.raises(UserError, match="another shape"):
        ClipModel("clip-s", MomentPooling(64)).load_learned(scratch.learned_state())
    broken = scratch.learned_state() | {"pooling.mix.bias": torch.full((64,), float("nan"))}
    with pytest.raises(UserError, match="pooling.mix.bias holds a value that is not finite"):
        scratch.load_learned(broken)


def test_what_cannot_be_is_refused_in_a_line(scratch: ClipModel):
    for given, says in (
        ({"model": "clip-tinny", "pooling": MeanPooling()}, "no CLIP model 'clip-tinny'; close: clip-tiny"),
        ({"model": "clip-xs", "pooling": MeanPooling(), "lock_image": True}, "Set lock_image=false"),
        ({"model": "clip-xs", "pooling": MomentPooling(32)}, "64"),
    ):
        with pytest.raises(UserError, match=says):
            ClipModel(**given)
    with pytest.raises(UserError, match="give uint8"):
        scratch.encode_frames(frames().float())
    with pytest.raises(UserError, match="only a locked one"):
        scratch.image_features(frames())


def test_a_bias_of_the_logits_starts_where_siglips_does():
    model = ClipModel("clip-xs", MeanPooling(), bias=True)
    assert model.logit_bias.item() == -10 and model.logit_scale.exp().item() == pytest.approx(10)
