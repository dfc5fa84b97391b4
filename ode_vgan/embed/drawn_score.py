"""How well a contrastive model knows drawn clips: retrieval by their captions, and each attribute by words alone."""

from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from ode_vgan.data.drawn import ATTRIBUTES, SPLITS, caption_of
from ode_vgan.embed.retrieval import retrieval
from ode_vgan.embed.zero_shot import class_rows, classified
from ode_vgan.errors import UserError

if TYPE_CHECKING:
    from ode_vgan.data.drawn_loader import DrawnClips, DrawnData
    from ode_vgan.embed.clip_model import ClipModel

BATCH = 64
SENTENCES = 40  # whole captions that a word stands in, the other attributes going round


class DrawnScore:
    """Shares of right answers on one split, for a run's own log and for the ledger.

    Args:
        split: "val" to choose on, "test" to report.
        every_clips: trained between two scores; also at the end.
    """

    def __init__(self, split: str, every_clips: int):
        if split not in SPLITS[1:]:
            raise UserError(f"metrics.split={split}; drawn clips are judged on val or test. Choose one.")
        self.split, self.every_clips = split, every_clips

    def check(self, frames: int) -> None:
        """Windows of any number of frames can be judged."""

    def __call__(self, clip: "ClipModel", data: "DrawnData") -> dict[str, float]:
        """Numbers by name, such as "test/R@1" (a text finds its clip) and "test/zero_shot/shape"."""
        if not hasattr(data, "sets"):
            raise UserError("metrics=drawn judges drawn clips only; set data=drawn or data=drawn_web.")
        rows = encode_windows(clip, data.windows(self.split))
        return {f"{self.split}/{name}": share for name, share in shares(clip, rows, data.windows(self.split)).items()}


@torch.no_grad()
def encode_windows(clip: "ClipModel", windows: "DrawnClips") -> Tensor:
    """(N, E) unit rows of all clips of a set."""
    parts = []
    for start in range(0, len(windows), BATCH):
        batch = windows.batch(range(start, min(start + BATCH, len(windows))))
        parts.append(clip.encode_clips(batch["frames"], batch["times"]).cpu())
    return torch.cat(parts)


@torch.no_grad()
def shares(clip: "ClipModel", rows: Tensor, windows: "DrawnClips") -> dict[str, float]:
    """R@K from text to clip and back, the accuracy of each attribute, and the mean over attributes, `zero_shot`.

    Args:
        rows: (N, E) unit rows of the clips of `windows`.
    """

    def encode_text(texts: list[str]) -> Tensor:
        parts = [texts[start : start + 4 * BATCH] for start in range(0, len(texts), 4 * BATCH)]
        return torch.cat([clip.encode_text(clip.tokenize(part)).cpu() for part in parts])

    captions, labels = windows.captions, windows.labels
    alone = torch.arange(len(rows))
    found = retrieval(encode_text(captions), rows, captions, alone)
    sides = {"text to clip": "", "clip to text": "back/"}
    result = {sides[score.task] + score.metric: score.value for score in found}
    for column, (name, words) in enumerate(ATTRIBUTES.items()):
        classes = class_rows(encode_text, words, sentences(column))
        accuracy = classified(name, rows @ classes.T, labels[:, column], alone)[0].value
        result[f"zero_shot/{name}"] = accuracy
    return result | {"zero_shot": float(np.mean([result[f"zero_shot/{name}"] for name in ATTRIBUTES]))}


def sentences(column: int) -> tuple[str, ...]:
    """Whole captions with {} for one attribute; over all of them each word of the others comes equally often."""
    words = [len(words) for words in ATTRIBUTES.values()]
    texts = []
    for i in range(SENTENCES):
        row = [(i + turn * (i // count)) % count for turn, count in enumerate(words)]
        word = list(ATTRIBUTES.values())[column][row[column]]
        texts.append(f" {caption_of(row)} ".replace(f" {word} ", " {} ", 1).strip())
    return tuple(texts)
