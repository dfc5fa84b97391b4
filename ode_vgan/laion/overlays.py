"""Watermarks that are known: text and logos laid over frames, in a corner, anywhere or tiled."""

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from ode_vgan.errors import UserError

KINDS = ("text", "logo", "tiled")
PLACES = ("corner", "anywhere")
OPACITY = (0.15, 0.6)
# matplotlib's own fonts; marks that judge a detector are written in faces that it was not trained on
TRAINING_FACES = ("DejaVuSans-Bold", "DejaVuSerif", "DejaVuSansMono", "STIXGeneralBol", "DejaVuSans")
OTHER_FACES = ("DejaVuSerif-Bold", "STIXGeneral", "DejaVuSansMono-Bold", "cmss10")
LETTERS = "ABCDEFGHIJKLMNOPRSTUVWXYZabcdefghiklmnoprstuvwxyz0123456789"
VISIBLE_LEVELS = 4.0  # grey levels that a mark changes its own pixels by, in the mean: below it nobody sees it
TRIES = 20


@dataclass(frozen=True)
class Overlay:
    """A mark of one colour.

    Attributes:
        alpha: float32 (H, W), 0 to its opacity.
        colour: uint8 (3,), RGB.
        kind, place: of KINDS, and of PLACES or "all" for tiles.
        opacity: greatest alpha that was asked for.
    """

    alpha: np.ndarray
    colour: np.ndarray
    kind: str
    place: str
    opacity: float


def lay_over(frames: np.ndarray, overlay: Overlay) -> np.ndarray:
    """The overlay on each of uint8 frames (T, H, W, 3), rounded to uint8."""
    alpha = overlay.alpha[None, ..., None]
    return np.rint(frames * (1 - alpha) + overlay.colour * alpha).astype(np.uint8)


def draw_overlay(
    rng: np.random.Generator,
    frames: np.ndarray,
    *,
    kind: str | None = None,
    opacity: float | None = None,
    faces: tuple[str, ...] = TRAINING_FACES,
) -> Overlay:
    """A random mark that can be seen on these frames.

    Args:
        frames: uint8 (T, H, W, 3), sides from 32 px; what the mark will lie on.
        kind: of KINDS; None draws one.
        opacity: 0 to 1; None draws one of OPACITY.
        faces: names of font files.

    Raises:
        UserError: frames below 32 px, no such kind, or nothing visible after 20 tries.
    """
    height, width = frames.shape[1:3]
    if min(height, width) < 32 or kind not in (None, *KINDS):
        raise UserError(f"kind={kind} on {width}x{height} px; use one of {', '.join(KINDS)} and sides from 32 px.")
    mean = frames.mean(0)
    for _ in range(TRIES):
        chosen = kind or KINDS[rng.choice(3, p=(0.5, 0.25, 0.25))]
        strength = float(rng.uniform(*OPACITY)) if opacity is None else opacity
        mask, place = _mask(rng, chosen, (height, width), faces)
        overlay = Overlay(mask * np.float32(strength), _colour(rng), chosen, place, strength)
        change = np.abs(overlay.colour - mean).mean(2) * overlay.alpha
        if mask.any() and change[mask > 0.25].mean() >= VISIBLE_LEVELS:
            return overlay
    raise UserError(f"no mark of opacity {opacity} can be seen on these frames. Raise the opacity.")


def _mask(rng: np.random.Generator, kind: str, shape: tuple, faces: tuple) -> tuple[np.ndarray, str]:
    """float32 (H, W) coverage in [0, 1] of a mark at its place."""
    height, width = shape
    stamp = _logo(rng, shape, faces) if kind == "logo" else _text(rng, shape, faces)
    if kind == "tiled":
        return _tiles(rng, stamp, shape), "all"
    place = PLACES[int(rng.random() < 0.4)]
    stamp = stamp[:height, :width]
    free = height - stamp.shape[0], width - stamp.shape[1]
    edge = [min(space, max(1, side // 24)) for space, side in zip(free, shape, strict=True)]
    if place == "corner":
        top, left = (int(gap if rng.random() < 0.5 else space - gap) for gap, space in zip(edge, free, strict=True))
    else:
        top, left = (int(rng.integers(space + 1)) for space in free)
    mask = np.zeros(shape, np.float32)
    mask[top : top + stamp.shape[0], left : left + stamp.shape[1]] = stamp
    return mask, place


def _text(rng: np.random.Generator, shape: tuple, faces: tuple) -> np.ndarray:
    word = "".join(rng.choice(list(LETTERS), rng.integers(3, 11)))
    word = ("\u00a9" if rng.random() < 0.15 else "") + word + (".com" if rng.random() < 0.15 else "")
    font = _font(str(rng.choice(list(faces))), max(7, round(min(shape) * float(rng.uniform(0.1, 0.24)))))
    left, top, right, bottom = font.getbbox(word)
    image = Image.new("L", (right - left + 2, bottom - top + 2))
    ImageDraw.Draw(image).text((1 - left, 1 - top), word, fill=255, font=font)
    return np.asarray(image, np.float32) / 255


def _logo(rng: np.random.Generator, shape: tuple, faces: tuple) -> np.ndarray:
    """A ring, box, disc or triangle with a letter in it; drawn four times as large and averaged."""
    side = max(8, round(min(shape) * float(rng.uniform(0.14, 0.34))))
    large = 4 * side
    image = Image.new("L", (large, large))
    draw, box = ImageDraw.Draw(image), (2, 2, large - 3, large - 3)
    line = max(4, round(large * float(rng.uniform(0.06, 0.14))))
    form = rng.integers(4)
    if form == 0:
        draw.ellipse(box, outline=255, width=line)
    elif form == 1:
        draw.rectangle(box, outline=255, width=line)
    elif form == 2:
        draw.ellipse(box, fill=255)
    else:
        draw.polygon([(large // 2, 2), (large - 3, large - 3), (2, large - 3)], outline=255, width=line)
    font = _font(str(rng.choice(list(faces))), large // 2)
    middle = (large // 2, large * 5 // 8 if form == 3 else large // 2)
    draw.text(middle, str(rng.choice(list(LETTERS))), fill=0 if form == 2 else 255, font=font, anchor="mm")
    return np.asarray(image.resize((side, side), Image.Resampling.BOX), np.float32) / 255


def _tiles(rng: np.random.Generator, stamp: np.ndarray, shape: tuple) -> np.ndarray:
    """The stamp over and over, turned by up to 45 degrees."""
    gap = int(rng.integers(3, max(4, min(shape) // 5)))
    cell = np.pad(stamp, ((0, gap), (0, gap)))
    reach = 2 * max(shape)
    rows = [np.roll(np.tile(cell, (1, -(-reach // cell.shape[1]))), i * cell.shape[1] // 2, 1)
            for i in range(-(-reach // cell.shape[0]))]  # fmt: skip
    field = Image.fromarray((np.concatenate(rows) * 255).astype(np.uint8))
    field = field.rotate(float(rng.uniform(-45, 45)), Image.Resampling.BILINEAR)
    top, left = (field.height - shape[0]) // 2, (field.width - shape[1]) // 2
    return np.asarray(field, np.float32)[top : top + shape[0], left : left + shape[1]] / 255


def _colour(rng: np.random.Generator) -> np.ndarray:
    grey = rng.random()
    if grey < 0.7:
        return np.full(3, rng.choice([0, 40, 96, 128, 200, 255]), np.uint8)
    return rng.integers(0, 256, 3).astype(np.uint8)


@lru_cache(256)
def _font(face: str, size_px: int) -> ImageFont.FreeTypeFont:
    import matplotlib

    return ImageFont.truetype(str(Path(matplotlib.get_data_path()) / "fonts" / "ttf" / f"{face}.ttf"), size_px)
