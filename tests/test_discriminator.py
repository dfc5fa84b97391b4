"""Laws of the critics and of the augmentation."""

import torch

from ode_vgan.discriminator.augment import ClipAugment
from ode_vgan.discriminator.clip import ClipCritic
from ode_vgan.discriminator.critics import Critics
from ode_vgan.discriminator.frame import FrameCritic


def critics(size: int = 16) -> Critics:
    torch.manual_seed(0)
    widths = dict(channel_base=128, channel_max=16, features=12)
    return Critics(FrameCritic(size, 6, **widths), ClipCritic(size, 6, **widths), frames_per_clip=2)


def batch(clips: int = 3, frames: int = 5, size: int = 16):
    torch.manual_seed(1)
    times = torch.arange(frames).float().repeat(clips, 1) * 0.1
    return torch.rand(clips, frames, 3, size, size) * 2 - 1, times, torch.randn(clips, 6)


def test_each_critic_judges_its_own_view():
    model, (x, times, c) = critics(), batch()
    picks = model.choose(3, 5, torch.Generator().manual_seed(0))
    logits = model(x, times, c, picks)
    assert logits["frame"].shape == (6,) and logits["clip"].shape == (3,)
    assert all(len(set(row.tolist())) == 2 for row in picks)


def test_clip_critic_sees_order_and_frame_critic_does_not():
    model, (x, times, c) = critics(), batch()
    assert not torch.allclose(model.clip(x, times, c), model.clip(x.flip(1), times, c), atol=1e-4)
    torch.testing.assert_close(model.frame(x, times, c).view(3, 5), model.frame(x.flip(1), times, c).view(3, 5).flip(1))


def test_clip_critic_sees_the_gaps_between_frames():
    model, (x, times, c) = critics(), batch()
    uneven = times.clone()
    uneven[:, 2] += 0.05
    base = model.clip(x, times, c)
    assert not torch.allclose(base, model.clip(x, times * 2, c), atol=1e-5)
    assert not torch.allclose(base, model.clip(x, uneven, c), atol=1e-5)


def test_a_logit_depends_on_its_own_clip_and_caption_only():
    model, (x, times, c) = critics(), batch()
    picks = model.choose(3, 5, torch.Generator().manual_seed(0))
    before = model(x, times, c, picks)
    c2 = c.clone()
    c2[1] += 1
    after = model(x, times, c2, picks)
    for name, owner in (("frame", torch.tensor([0, 0, 1, 1, 2, 2])), ("clip", torch.arange(3))):
        moved = (after[name] - before[name]).abs() > 1e-6
        assert torch.equal(moved, owner == 1)


def augment(p: float = 1.0, p_max: float = 1.0) -> ClipAugment:
    options = dict(translate=0.1, scale=0.2, colour=0.2, cutout=0.4)
    return ClipAugment(p=p, p_max=p_max, target=0.5, ramp_clips=100, **options)


def test_augmentation_is_constant_over_a_clip_and_differs_between_clips():
    still = batch(4, 1)[0].expand(-1, 6, -1, -1, -1).contiguous()
    seen = augment()(still, torch.Generator().manual_seed(0))
    torch.testing.assert_close(seen, seen[:, :1].expand_as(seen))
    same = augment()(still[:1].repeat(4, 1, 1, 1, 1), torch.Generator().manual_seed(0))
    assert (same[0] - same[1]).abs().max() > 0.1


def test_augmentation_off_changes_nothing_and_on_passes_gradients():
    x = batch()[0]
    torch.testing.assert_close(augment(p=0.0)(x), x, atol=1e-5, rtol=0)  # the identity warp rounds
    x.requires_grad_(True)
    augment()(x).square().sum().backward()
    assert x.grad.abs().sum() > 0


def test_augmentation_grows_when_the_critic_is_too_sure_and_shrinks_when_not():
    model = augment(p=0.3, p_max=0.4)
    model.adapt(torch.tensor(0.9), 5)
    assert abs(float(model.p) - 0.35) < 1e-6
    model.adapt(torch.tensor(0.9), 50)
    assert abs(float(model.p) - 0.4) < 1e-6
    model.adapt(torch.tensor(0.1), 100)
    assert float(model.p) == 0
