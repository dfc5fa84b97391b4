"""A picture of what a text finds: for each text a row of its nearest clips, each a strip of frames over its caption."""

from collections.abc import Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from ode_vgan.data.clips import write_atomic
from ode_vgan.embed.frames import even_frames
from ode_vgan.errors import UserError
from ode_vgan.report.video import EDGE, GAP, INK, MARGIN, PALE, PAPER, sans, shortened

HEADING_PX, CAPTION_PX, ROW_GAP = 26, 20, 14
STRIP_GAP = 14  # between clips
LEAST_PX = 64  # side of a frame


@dataclass(frozen=True)
class Found:
    """A clip that a text found: frames (T, H, W, 3) uint8, its caption, and the cosine of the two."""

    frames: np.ndarray
    caption: str
    cosine: float


def nearest_png(
    path: str | Path, texts: Sequence[str], found: Sequence[Sequence[Found]], *, frames: int = 4, note: str = ""
) -> Path:
    """Draw each text above the clips that it found, nearest at the left, with their captions and cosines below.

    A clip whose caption is the text itself has a dark frame.

    Args:
        found: as many clips for each text, of one size. frames: of each, evenly from its first to its last.
        note: a line below all.

    Raises:
        UserError: no text, or not as many rows of clips as texts.
    """
    if not texts or len(found) != len(texts) or not all(found) or frames < 1:
        raise UserError(f"{len(texts)} texts, {len(found)} rows of clips, {frames} frames each; give one row a text.")
    height, width = found[0][0].frames.shape[1:3]
    tile = tuple(side * max(1, -(-LEAST_PX // height)) for side in (width, height))
    strip = frames * (tile[0] + 1) - 1
    row_px, columns = HEADING_PX + tile[1] + CAPTION_PX + ROW_GAP, max(map(len, found))
    size = (
        2 * MARGIN + columns * (strip + STRIP_GAP) - STRIP_GAP,
        2 * MARGIN + len(texts) * row_px - ROW_GAP + (CAPTION_PX if note else 0),
    )
    page = Image.new("RGB", size, PAPER)
    draw = ImageDraw.Draw(page)
    for row, (text, clips) in enumerate(zip(texts, found, strict=True)):
        y = MARGIN + row * row_px
        heading = shortened(f"“{' '.join(text.split())}”", sans(16), size[0] - 2 * MARGIN)
        draw.text((MARGIN, y), heading, INK, sans(16))
        for column, clip in enumerate(clips):
            corner = (MARGIN + column * (strip + STRIP_GAP), y + HEADING_PX)
            _draw_clip(page, draw, clip, corner, tile, frames)
            _outline(draw, corner, (strip, tile[1]), clip.caption == text)
    _below(draw, size, note)
    buffer = BytesIO()
    page.save(buffer, "PNG", optimize=True)
    write_atomic(path, buffer.getvalue())
    return Path(path)


def _outline(draw: ImageDraw.ImageDraw, corner: tuple, size: tuple[int, int], own: bool) -> None:
    (x, y), (width, height), reach = corner, size, 2 if own else 1
    box = (x - reach, y - reach, x + width + reach - 1, y + height + reach - 1)
    draw.rectangle(box, outline=INK if own else EDGE, width=reach)


def _below(draw: ImageDraw.ImageDraw, size: tuple[int, int], note: str) -> None:
    line = shortened(note, sans(11), size[0] - 2 * MARGIN)
    draw.text((MARGIN, size[1] - MARGIN), line, PALE, sans(11), anchor="ld")


def _draw_clip(
    page: Image.Image, draw: ImageDraw.ImageDraw, clip: Found, corner: tuple, tile: tuple[int, int], frames: int
) -> None:
    x, y = corner
    strip = frames * (tile[0] + 1) - 1
    for i, frame in enumerate(even_frames(clip.frames, frames)):
        times = tile[1] // frame.shape[0]
        page.paste(Image.fromarray(frame.repeat(times, axis=0).repeat(times, axis=1)), (x + i * (tile[0] + 1), y))
    told, font = f"{clip.cosine:.2f}", sans(12)
    room = strip - font.getlength(told) - GAP
    draw.text((x, y + tile[1] + 4), shortened(" ".join(clip.caption.split()), font, room), INK, font)
    draw.text((x + strip, y + tile[1] + 4), told, PALE, font, anchor="ra")
