"""What the captions of drawn clips say: everything, or what alt-text of the web says."""

from collections.abc import Sequence

import numpy as np

from ode_vgan.data.drawn import ATTRIBUTES, CAPTION_STREAM, World, caption_of, draw_labels, uniforms
from ode_vgan.errors import UserError

OTHERS = 1 << 40  # clips are numbered below this; beyond lie the clips whose captions went astray
ALT_TEXT = (
    "{} stock clip",
    "free {} download",
    "buy {} now",
    "{} - new 2021",
    "my {}",
    "best {} ever",
    "img 0042 {}",
    "{} gif",
)


class Curated:
    """Every word equally often, and captions that say everything.

    Attributes:
        zipf: exponent of the words' frequencies, which `World` takes.
    """

    name = "curated"
    zipf = 0.0

    def captions(self, world: World, index: np.ndarray) -> list[str]:
        """B captions of the clips `index` of a world; see `drawn.caption_of`."""
        return [caption_of(row) for row in draw_labels(world, index).tolist()]


class Web:
    """Words by Zipf's law, and captions as alt-text has them.

    Args:
        zipf: exponent of the frequencies of all words.
        said: chance that a caption tells the colour, the shape, the motion and the ground.
        astray: share of captions that are another clip's.
        filler: share that has words around it that say nothing.
    """

    name = "web"

    def __init__(self, zipf: float, said: Sequence[float], astray: float, filler: float):
        shares = [*said, astray, filler]
        if len(said) != len(ATTRIBUTES) or not all(0 <= share <= 1 for share in shares):
            names = ", ".join(ATTRIBUTES)
            raise UserError(f"said={list(said)}, astray={astray}, filler={filler}: shares of 0 to 1, said of {names}.")
        self.zipf, self.said, self.astray, self.filler = zipf, tuple(said), astray, filler

    def captions(self, world: World, index: np.ndarray) -> list[str]:
        """B captions of the clips `index` of a world."""
        index = np.asarray(index)
        draws = uniforms(world, index, CAPTION_STREAM + len(ATTRIBUTES) + 3)[:, CAPTION_STREAM:]
        told = draws[:, : len(ATTRIBUTES)] < np.array(self.said)
        astray, filled, which = draws[:, len(ATTRIBUTES) :].T
        rows = draw_labels(world, np.where(astray < self.astray, index + OTHERS, index))
        captions = []
        for row, said, fill, template in zip(rows.tolist(), told.tolist(), filled, which, strict=True):
            words = caption_of(row, said) or "clip"
            frame = ALT_TEXT[int(template * len(ALT_TEXT))] if fill < self.filler else "{}"
            captions.append(frame.format(words.removeprefix("a ") if frame != "{}" else words))
        return captions
