import pytest
import torch
from torch.nn.functional import normalize

from ode_vgan.errors import UserError
from ode_vgan.metrics.alignment import clipsim, temporal_consistency


def rows(*shape: int) -> torch.Tensor:
    return normalize(torch.randn(*shape, generator=torch.Generator().manual_seed(0)), dim=-1)


def test_clipsim_is_a_hundred_times_the_mean_cosine_with_the_own_text():
    angles = torch.tensor([[0.0, torch.pi / 3], [torch.pi / 2, torch.pi]])
    frames = torch.stack([angles.cos(), angles.sin()], -1)
    texts = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
    assert torch.allclose(clipsim(frames, texts), torch.tensor([75.0, 50.0]).double(), atol=1e-4)


def test_clipsim_is_blind_to_frame_order_and_bounded():
    frames, texts = rows(5, 4, 8), rows(5, 8)
    score = clipsim(frames, texts)
    assert torch.allclose(clipsim(frames.flip(1), texts), score)
    assert score.shape == (5,) and score.dtype == torch.float64 and score.abs().max() <= 100
    assert torch.allclose(clipsim(texts[:, None].expand(-1, 3, -1), texts), torch.full((5,), 100.0).double())


def test_temporal_consistency_is_one_for_a_still_clip_and_the_mean_step_otherwise():
    still = rows(3, 1, 8).expand(-1, 6, -1)
    assert torch.allclose(temporal_consistency(still), torch.ones(3).double())
    turning = torch.arange(5) * torch.pi / 6
    clip = torch.stack([turning.cos(), turning.sin()], -1)[None]
    assert torch.allclose(temporal_consistency(clip), torch.tensor([3**0.5 / 2]).double(), atol=1e-6)


def test_shapes_and_lengths_that_cannot_be_meant_are_refused():
    with pytest.raises(UserError, match="one text a clip"):
        clipsim(rows(5, 4, 8), rows(4, 8))
    with pytest.raises(UserError, match="T >= 2"):
        temporal_consistency(rows(5, 1, 8))
    with pytest.raises(UserError, match="a row has length 2, not 1"):
        clipsim(2 * rows(5, 4, 8), rows(5, 8))
    broken = rows(2, 3, 4)
    broken[1, 1, 1] = torch.nan
    with pytest.raises(UserError, match="length nan"):
        temporal_consistency(broken)
