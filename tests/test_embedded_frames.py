"""Laws of frames beside texts: rows of any embedder, and the judge that comes with the repository."""

import pytest
import torch

from ode_vgan.embed.matched import MatchedEmbedder
from ode_vgan.errors import UserError
from ode_vgan.metrics.alignment import clipsim
from ode_vgan.metrics.embedded_frames import EmbeddedFrames
from ode_vgan.metrics.features import find_extractor
from ode_vgan.metrics.protocol import parse_protocol
from tests.colours import Colours


def noise(*shape: int) -> torch.Tensor:
    return torch.randint(0, 256, (*shape, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


def test_a_frame_has_the_row_that_its_embedder_gives_it_whatever_stands_beside_it():
    extractor, clips = EmbeddedFrames(Colours(), "colours"), noise(3, 4, 8, 8)
    rows = extractor(clips)
    assert torch.allclose(rows, Colours().encode_each_frame(clips).double(), atol=1e-6) and rows.shape == (3, 4, 12)
    assert torch.allclose(extractor(clips[1:2, [3, 0]])[0], rows[1, [3, 0]], atol=1e-6)
    extractor.self_test()
    assert extractor.fingerprint() != EmbeddedFrames(Colours("colours-2"), "colours").fingerprint()


def test_the_same_text_has_exactly_the_same_row_and_the_order_is_kept():
    extractor = EmbeddedFrames(Colours(), "colours")
    rows = extractor.encode_text(["dog", "cat", "dog"])
    assert torch.equal(rows[0], rows[2]) and torch.equal(rows[1], extractor.encode_text(["cat"])[0])


class Blind(Colours):
    """Sees no frame."""

    def encode_each_frame(self, clips):
        return torch.nn.functional.normalize(torch.ones(*clips.shape[:2], self.dim), dim=-1)


def test_an_embedder_that_sees_nothing_fails_the_self_test():
    with pytest.raises(UserError, match="or never changes"):
        EmbeddedFrames(Blind(), "blind").self_test()


def test_the_shipped_judge_reads_frames_as_it_conditions_generators():
    pytest.importorskip("efficientnet_lite_pytorch", reason="efficientnet-lite-pytorch is not installed")
    protocol = parse_protocol("clipsim64_16f_matched")
    extractor, clips = find_extractor(protocol.extractor), noise(2, 2, 32, 32)
    assert isinstance(extractor.embed, MatchedEmbedder)
    rows = extractor(clips)
    mean = torch.nn.functional.normalize(rows.mean(1), dim=-1)
    assert torch.allclose(mean, extractor.embed.encode_frames(clips.numpy()).double(), atol=1e-6)
    assert clipsim(rows, extractor.encode_text(["a dog", "a ball"])).shape == (2,)
    with pytest.raises(UserError, match="has no config.json"):
        find_extractor("matched", "nowhere")


def test_the_clip_trained_here_judges_each_frame_as_a_clip_of_itself():
    pytest.importorskip("efficientnet_lite_pytorch", reason="efficientnet-lite-pytorch is not installed")
    pytest.importorskip("open_clip", reason="open-clip-torch is not installed")
    extractor, clips = find_extractor(parse_protocol("clipsim64_16f_clip_tiny").extractor), noise(2, 2, 32, 32)
    rows = extractor(clips)
    assert torch.allclose(rows[:, 1], extractor.embed.encode_frames(clips[:, 1:].numpy()).double(), atol=1e-5)
    assert clipsim(rows, extractor.encode_text(["a dog", "a ball"])).shape == (2,)
