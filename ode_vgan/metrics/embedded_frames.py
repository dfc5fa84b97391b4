"""Frames as unit vectors beside texts, by any embedder of this package: what text alignment is measured on."""

import torch
from torch import Tensor
from torch.nn.functional import normalize

from ode_vgan.embed.embedder import Embedder
from ode_vgan.errors import UserError
from ode_vgan.metrics.features import Extractor


class EmbeddedFrames(Extractor):
    """The unit embedding of each frame.

    Args:
        embed: reads text and frames, one by one; its `encode_each_frame` gives (N, T, E).
        name: of the extractor, for its id.
    """

    min_frames, min_px = 1, 1
    per_frame, standardised = True, False
    chunk_pixels = 1 << 22  # the embedder batches frames by itself
    preprocessing = "the embedder's own resize"

    def __init__(self, embed: Embedder, name: str):
        self.embed, self.name, self.id, self.dim = embed, name, f"{name}_v1", embed.dim

    @property
    def parameters(self) -> dict:
        return {"embedder": self.embed.fingerprint}

    def to(self, device: str | torch.device) -> "EmbeddedFrames":
        self.embed.device = torch.device(device)
        return super().to(device)

    def preprocess(self, clips: Tensor) -> Tensor:
        """The clips as they are: the embedder resizes, so that these rows are those that condition a generator."""
        return clips

    def describe(self, x: Tensor) -> Tensor:
        return normalize(self.embed.encode_each_frame(x), dim=-1)

    def encode_text(self, texts: list[str]) -> Tensor:
        """(N, E) float64 unit rows in the frames' space; the same text has exactly the same row."""
        place = {text: i for i, text in enumerate(dict.fromkeys(texts))}
        rows = self.embed.encode_text(list(place)).double()
        return rows[torch.tensor([place[text] for text in texts], dtype=torch.int64)]

    def self_test(self) -> None:
        """Laws that hold for any weights; no answer is known for weights that the user chooses."""
        drawn = torch.randint(0, 256, (3, 32, 32, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
        first, again = EmbeddedFrames.describe(self, torch.stack([drawn, drawn.roll(1, 0)]))
        if not (first.norm(dim=-1) - 1).abs().max() < 1e-3:
            raise UserError(f"{self.id} fails its self test: rows are not unit. Its weights are broken; give others.")
        if (first.roll(1, 0) - again).abs().max() > 1e-3 or (first - again).abs().max() < 1e-6:
            raise UserError(f"{self.id} fails its self test: a frame's row follows its place, or never changes.")
        if self.encode_text(["a ball"]).shape != first[:1].shape:
            raise UserError(f"{self.id} fails its self test: texts and frames differ in width. Give another model.")


class MatchedFrames(EmbeddedFrames):
    """Frames as `embed=matched` reads them: ImageNet features and MiniLM, each mapped into one space.

    Args:
        path: a folder that `fit_matched` wrote; None is the repository's own.
    """

    def __init__(self, path: str | None = None):
        from ode_vgan.embed.matched import MatchedEmbedder

        super().__init__(MatchedEmbedder(path), "matched")
        self.preprocessing = f"central square to {self.embed.side_px} px, bilinear, ImageNet mean and deviation"


class ClipTinyFrames(EmbeddedFrames):
    """Frames as `embed=clip_tiny` reads them: the contrastive model trained here.

    Args:
        path: a run folder of its training, or an exported one; None is the repository's own.
    """

    def __init__(self, path: str | None = None):
        from ode_vgan.embed.clip import ClipEmbedder

        super().__init__(ClipEmbedder(path), "clip_tiny")
