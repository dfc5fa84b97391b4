"""What a contrastive model is worth while it trains: retrieval on concepts set aside, and which way clips run."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from ode_vgan.embed.direction import REVERSED, told_apart
from ode_vgan.embed.retrieval import retrieval
from ode_vgan.errors import UserError

if TYPE_CHECKING:
    from ode_vgan.data.loader import ClipData, RealClips
    from ode_vgan.embed.clip_model import ClipModel
    from ode_vgan.embed.remembered import LockedFeatures

MOST = 512  # clips looked at
BATCH = 32


@dataclass
class Encoder:
    """A model as it is now, in eval mode; locked towers' features are taken from what is remembered.

    Args:
        features: of the model's locked towers.
    """

    clip: "ClipModel"
    features: "LockedFeatures"

    @torch.no_grad()
    def text(self, texts: list[str]) -> Tensor:
        """(N, E) unit rows, on the CPU."""
        return torch.cat([self._text(texts[start : start + BATCH]) for start in range(0, len(texts), BATCH)]).cpu()

    def _text(self, texts: list[str]) -> Tensor:
        if self.clip.locks["text"]:
            return self.clip.project_text(self.features.texts(texts))
        return self.clip.encode_text(self.clip.tokenize(texts))

    @torch.no_grad()
    def frames(self, frames: Tensor) -> Tensor:
        """(N, T, E) rows of uint8 frames (N, T, H, W, C)."""
        return torch.cat([self._frames(part) for part in frames.split(BATCH)])

    def _frames(self, frames: Tensor) -> Tensor:
        frames = frames.to(self.clip.logit_scale.device)
        if self.clip.locks["image"]:
            return self.clip.project_frames(self.features.frames(frames))
        return self.clip.encode_frames(frames)

    @torch.no_grad()
    def pool(self, rows: Tensor, times: Tensor) -> Tensor:
        """(N, E) unit rows, on the CPU."""
        return self.clip.pool(rows, times.to(rows.device)).cpu()


def validation_clips(data: "ClipData") -> "RealClips | None":
    """The clips set aside that have captions, each once, `MOST` at most; None where there are not two."""
    try:
        count = len(data.windows("val"))
    except UserError:
        return None
    clips = data.real_clips(min(count, MOST), split="val", seed=0)
    told = [i for i, caption in enumerate(clips.captions) if caption.strip()]
    if len({clips.captions[i] for i in told}) < 2:
        return None
    captions = [clips.captions[i] for i in told]
    return clips._replace(frames=clips.frames[told], times=clips.times[told], captions=captions, text=clips.text[told])


def validate(encoder: Encoder, clips: "RealClips", *, reverse: bool) -> dict[str, float]:
    """Recall by text of clip ("val/R@1") and back ("val/back/R@1"), and "val/direction" where reversal has words."""
    rows = encoder.frames(clips.frames)
    forward, text, alone = encoder.pool(rows, clips.times), encoder.text(clips.captions), torch.arange(len(rows))
    sides = {"text to clip": "val/", "clip to text": "val/back/"}
    found = {sides[one.task] + one.metric: one.value for one in retrieval(text, forward, clips.captions, alone)}
    if reverse:
        backward = encoder.pool(rows.flip(1), clips.times[:, -1:] - clips.times.flip(1))
        told = told_apart(encoder.text, clips.captions, forward, backward, alone)
        found["val/direction"] = next(one.value for one in told if one.metric == "own words")
    return found


def draw_nearest(path: Path, encoder: Encoder, clips: "RealClips", *, texts: int, note: str) -> Path:
    """A picture: captions of the validation clips, and the clips nearest to each.

    Args:
        texts: rows, at most. note: a line below.
    """
    from ode_vgan.embed.neighbours import nearest
    from ode_vgan.report.nearest import Found, nearest_png

    asked = list(dict.fromkeys(clips.captions))[:texts]
    rows = encoder.pool(encoder.frames(clips.frames), clips.times)
    near = nearest(encoder.text(asked), rows, min(3, len(rows)))
    found = [
        [
            Found(clips.frames[i].numpy(), clips.captions[i], float(cosine))
            for i, cosine in zip(index.tolist(), cosines, strict=True)
        ]
        for index, cosines in zip(near.index, near.cosine, strict=True)
    ]
    return nearest_png(path, asked, found, note=note)


def played(
    shown: Tensor, times: Tensor, captions: Sequence[str], backwards: Tensor
) -> tuple[Tensor, Tensor, list[str]]:
    """Clips of which some run backwards and say so: what is shown, times, captions.

    Args:
        shown: (B, T, ...) frames, or what is known of each. times: (B, T) seconds. backwards: (B,) bool.
    """
    if not backwards.any():
        return shown, times, list(captions)
    back = backwards.to(shown.device)
    turned = shown.clone()
    turned[back] = shown[back].flip(1)
    later = torch.where(back[:, None], times[:, -1:] - times.flip(1), times)
    told = zip(captions, backwards.tolist(), strict=True)
    return turned, later, [REVERSED.format(caption) if there else caption for caption, there in told]
