"""Laws of the decoder's layers and of the frame decoder."""

import pytest
import torch
import torch.nn.functional as F

from ode_vgan.decoder.frames import FrameDecoder
from ode_vgan.decoder.layers import ModulatedConv
from ode_vgan.errors import UserError


def decoder(size: int = 16, headroom: float = 1.02) -> FrameDecoder:
    torch.manual_seed(0)
    widths = dict(channel_base=128, channel_max=16, headroom=headroom)
    return FrameDecoder(size, style_dim=8, motion_dim=4, embed_dim=6, **widths)


def test_modulated_conv_equals_convolving_with_each_samples_own_weights():
    torch.manual_seed(0)
    conv = ModulatedConv(3, 5, style_dim=4).double()
    x, style = torch.randn(2, 3, 6, 6).double(), torch.randn(2, 4).double()
    out = conv(x, style)
    for i in range(2):
        weight = conv.weight * conv.style(style[i])[None, :, None, None]
        weight = weight * torch.rsqrt(weight.square().sum((1, 2, 3), keepdim=True) + 1e-8)
        alone = F.conv2d(x[i : i + 1], weight, conv.bias, padding=1)
        torch.testing.assert_close(out[i : i + 1], alone, rtol=1e-5, atol=1e-6)  # the gain is computed in float32


@pytest.mark.parametrize("size", [32, 64, 128])
def test_decoder_makes_the_size_it_is_told(size):
    frames = decoder(size)(torch.randn(2, 8), torch.randn(2, 3, 4), torch.randn(2, 6))
    assert frames.shape == (2, 3, 3, size, size) and frames.dtype == torch.float32


def test_a_frame_depends_on_its_own_state_and_its_own_clip_only():
    model, w, z, c = decoder(), torch.randn(3, 8), torch.randn(3, 4, 4), torch.randn(3, 6)
    before = model(w, z, c)
    z2, c2 = z.clone(), c.clone()
    z2[1, 2] += 1
    changed = (model(w, z2, c) - before).abs().amax((2, 3, 4))
    assert changed[1, 2] > 1e-3
    changed[1, 2] = 0
    assert changed.max() < 1e-5  # convolutions may round differently, nothing more
    c2[0] += 1
    changed = (model(w, z, c2) - before).abs().amax((1, 2, 3, 4))
    assert changed[0] > 1e-3 and changed[1:].max() < 1e-5


def test_white_is_reached_and_stays_flat_under_what_moves_beneath_it():
    model, w, z, c = decoder(), torch.randn(2, 8), torch.randn(2, 3, 4), torch.randn(2, 6)
    spread = model(w, z, c).std()
    torch.nn.init.constant_(model.to_rgb[-1].bias, 4.0)
    white = model(w, z, c)
    assert white.max() <= 1.02 and white.mean() > 1
    assert white.std() < 0.05 * spread


def test_a_headroom_below_the_range_of_frames_is_refused():
    with pytest.raises(UserError, match="headroom=0.9"):
        decoder(headroom=0.9)


def test_a_side_the_decoder_cannot_make_is_refused():
    with pytest.raises(UserError, match="size=48"):
        decoder(48)
