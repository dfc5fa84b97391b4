"""Clips for people: a PNG that lays time out in columns, and an MP4 that plays captioned tiles."""

import math
from collections.abc import Iterator, Sequence
from functools import cache
from io import BytesIO
from itertools import chain, repeat
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from ode_vgan.data.clips import encode_clip, write_atomic
from ode_vgan.data.soundness import MAX_SIDE_PX
from ode_vgan.errors import UserError

INK, PALE, PAPER, EDGE = (28, 30, 34), (128, 133, 142), (255, 255, 255), (226, 228, 232)
MAX_ROWS, MAX_COLUMNS = 24, 12
MARGIN, GAP, CAPTION_PX, TEXT_PX = 16, 4, 168, 36
KEPT_BYTES = 2**28  # of a film whose clips repeat


def grid_png(
    path: str | Path,
    clips: np.ndarray,
    captions: Sequence[str],
    times: np.ndarray | None = None,
    *,
    title: str | None = None,
    upscale: int | None = None,
    total: int | None = None,
) -> Path:
    """Draw one row a clip and one column a frame, with captions beside and times above.

    At most 24 clips are drawn; of more than 12 frames, 12 evenly spaced ones including both ends (`grid_columns`).

    Args:
        clips: (N, T, H, W, 3) uint8.
        times: (T,) or (N, T) seconds; columns carry the common times, rows their own where they differ.
        upscale: whole-number enlargement; by default the smallest that shows frames at 64 px or more.
        total: clips that there are, where only some are given.

    Raises:
        UserError: the clips, captions and times do not fit each other.
    """
    clips, captions, times = _checked(clips, captions, times)
    total, (count, frames, height, width) = total or len(clips), clips[:MAX_ROWS].shape[:4]
    upscale = upscale or _upscale(height, 64)
    columns = grid_columns(frames)
    common = times is not None and bool(np.all(times == times[:1]))
    tile_w, tile_h = width * upscale, height * upscale
    row_h = tile_h + GAP + (0 if common or times is None else 14)
    left, top = MARGIN + CAPTION_PX + GAP * 3, MARGIN + (26 if title else 0) + (18 if common else 0)
    note = f"{count} of {total} clips" if total > count else ""
    size = (left + len(columns) * (tile_w + GAP) + MARGIN - GAP, top + count * row_h + MARGIN + (16 if note else 0))
    page = Image.new("RGB", size, PAPER)
    draw = ImageDraw.Draw(page)
    if title:
        draw.text((MARGIN, MARGIN - 3), shortened(title, sans(16), size[0] - 2 * MARGIN), INK, sans(16))
    for row in range(count):
        y = top + row * row_h
        _draw_lines(draw, (MARGIN, y), captions[row], (CAPTION_PX, tile_h), centre=False)
        for i, column in enumerate(columns):
            x = left + i * (tile_w + GAP)
            page.paste(_tile(clips[row, column], upscale), (x, y))
            if times is not None and (row == 0 or not common):
                label_y = y - 8 if common else y + tile_h + 8
                draw.text((x + tile_w / 2, label_y), _seconds(times[row, column]), PALE, sans(11), anchor="mm")
    draw.text((MARGIN, size[1] - MARGIN), note, PALE, sans(11), anchor="lm")
    buffer = BytesIO()
    page.save(buffer, "PNG", optimize=True)
    write_atomic(path, buffer.getvalue())
    return Path(path)


def grid_columns(frames: int) -> np.ndarray:
    """The frames that a grid shows."""
    return np.unique(np.linspace(0, frames - 1, min(frames, MAX_COLUMNS)).round().astype(int))


def write_clips_mp4(
    path: str | Path,
    clips: np.ndarray | Iterator[np.ndarray],
    times: np.ndarray,
    captions: Sequence[str],
    *,
    columns: int | None = None,
    min_seconds: float = 2.0,
) -> Path:
    """Play N clips side by side in one MP4, each above its caption, at their true times.

    The clips repeat until the film lasts `min_seconds`, unless they are too large to be kept; 0 plays them once.

    Args:
        clips: (N, T, H, W, 3) uint8; or stretches of it one after the other, (N, t, H, W, 3).
        times: (T,) seconds, rising, shared by all clips.
        columns: tiles in a row; by default about as many as there are rows, at most 8.

    Raises:
        UserError: clips, captions and times do not fit each other, or the tiles need a film too large to be played.
    """
    stretches = clips if isinstance(clips, Iterator) else iter([clips])
    times = np.asarray(times, np.float64).reshape(-1)
    first, captions, _ = _checked(next(stretches), captions, None)
    count, _, height, width = first.shape[:4]
    columns, upscale, size = film_size(count, height, width, columns)
    page, corners = _stage(captions, columns, (width * upscale, height * upscale), size)

    def film() -> Iterator[np.ndarray]:
        for stretch in chain([first], stretches):
            for tiles in stretch.swapaxes(0, 1):
                frame = page.copy()
                for (x, y), tile in zip(corners, tiles, strict=True):
                    frame[y : y + height * upscale, x : x + width * upscale] = _enlarged(tile, upscale)
                yield frame

    kept_bytes = len(times) * page.nbytes
    return write_mp4(path, film(), times, min_seconds=min_seconds if kept_bytes <= KEPT_BYTES else 0, pix_fmt="yuv420p")


def film_size(count: int, height: int, width: int, columns: int | None = None) -> tuple[int, int, tuple[int, int]]:
    """Columns, enlargement, and (width, height) in px, of a film of so many clips.

    Raises:
        UserError: it would be larger than players show.
    """
    columns = min(count, columns or min(8, math.ceil(math.sqrt(count * 1.5))))
    upscale, rows = _upscale(height, 112), -(-count // columns)
    size = (
        columns * (width * upscale + GAP * 2) + GAP * 2,
        rows * (height * upscale + TEXT_PX + GAP) + GAP * 2,
    )
    if max(size) > MAX_SIDE_PX:
        raise UserError(
            f"{count} clips of {width}x{height} px side by side are {size[0]}x{size[1]} px, "
            f"the limit is {MAX_SIDE_PX}; ask for fewer."
        )
    return columns, upscale, tuple(n + n % 2 for n in size)  # 4:2:0 chroma needs even sides


def _stage(
    captions: Sequence[str], columns: int, tile: tuple[int, int], size: tuple[int, int]
) -> tuple[np.ndarray, list[tuple[int, int]]]:
    """The captioned page that tiles are laid on, and their corners."""
    page = Image.new("RGB", size, PAPER)
    draw = ImageDraw.Draw(page)
    corners = []
    for i, caption in enumerate(captions):
        x = GAP * 2 + (i % columns) * (tile[0] + GAP * 2)
        y = GAP * 2 + (i // columns) * (tile[1] + TEXT_PX + GAP)
        _draw_lines(draw, (x, y + tile[1] + 3), caption, (tile[0], TEXT_PX - 3), centre=True)
        corners.append((x, y))
    return np.asarray(page), corners


def write_mp4(
    path: str | Path,
    clip: np.ndarray | Iterator[np.ndarray],
    times: np.ndarray,
    *,
    min_seconds: float = 0.0,
    pix_fmt: str = "yuv444p",
) -> Path:
    """Write one clip, uint8 (T, H, W, 3) or its frames one by one, at its true times (T,).

    It repeats until it lasts `min_seconds`: its frames are then kept. yuv444p keeps the colours of small frames;
    yuv420p, which needs even sides, plays everywhere.
    """
    times = np.asarray(times, np.float64)
    times = times - times[0]
    hold = float(np.median(np.diff(times))) if len(times) > 1 else 0.25
    period = times[-1] + hold
    repeats = max(1, math.ceil(min_seconds / period))
    looped = np.concatenate([times + period * i for i in range(repeats)])
    kept = list(clip) if repeats > 1 and isinstance(clip, Iterator) else clip
    film = iter(kept) if repeats == 1 else chain.from_iterable(repeat(kept, repeats))
    # x264 0.165 spreads bits over macroblocks by memory that it has not set: 16 px frames had other bytes at times
    options = {"preset": "medium", "x264-params": "mbtree=0"}
    encode_clip(path, film, looped, pix_fmt=pix_fmt, options=options)
    return Path(path)


def _checked(clips, captions, times) -> tuple[np.ndarray, list[str], np.ndarray | None]:
    clips = np.asarray(clips)
    if clips.ndim != 5 or clips.shape[-1] != 3 or clips.dtype != np.uint8 or 0 in clips.shape:
        raise UserError(f"clips are {clips.dtype} {clips.shape}; give non-empty uint8 (N, T, H, W, 3).")
    if len(captions) != len(clips):
        raise UserError(f"{len(captions)} captions for {len(clips)} clips; give one caption a clip.")
    if times is not None:
        times = np.asarray(times, np.float64)
        if times.shape not in {clips.shape[1:2], clips.shape[:2]}:
            raise UserError(f"times are {times.shape} for {clips.shape[1]} frames; give (T,) or (N, T) seconds.")
        times = np.broadcast_to(times, clips.shape[:2])
    return clips, [" ".join(str(c).split()) for c in captions], times


def _upscale(height: int, least_px: int) -> int:
    return max(1, -(-least_px // height))


def _tile(frame: np.ndarray, upscale: int) -> Image.Image:
    return Image.fromarray(_enlarged(frame, upscale))


def _enlarged(frame: np.ndarray, upscale: int) -> np.ndarray:
    return frame.repeat(upscale, axis=0).repeat(upscale, axis=1)


@cache
def sans(size: int) -> ImageFont.FreeTypeFont:
    """The font of every picture, at a size in px."""
    return ImageFont.load_default(size=size)


def _seconds(value: float) -> str:
    return f"{value:.2f} s" if abs(value) < 100 else f"{value:.0f} s"


def _draw_lines(draw: ImageDraw.ImageDraw, corner: tuple, text: str, box: tuple[int, int], *, centre: bool) -> None:
    """Write wrapped text into a box; beside a frame it is centred in height, below one in width."""
    font, step = sans(13), 16
    lines = _wrapped(text, font, box[0], max(1, box[1] // step))
    y = corner[1] if centre else corner[1] + (box[1] - len(lines) * step) / 2
    for i, line in enumerate(lines):
        x = corner[0] + (box[0] / 2 if centre else 0)
        draw.text((x, y + i * step), line, INK, font, anchor="ma" if centre else "la")


def _wrapped(text: str, font: ImageFont.FreeTypeFont, width: float, max_lines: int) -> list[str]:
    lines: list[str] = []
    words = text.split()
    while words:
        if len(lines) == max_lines - 1:
            return [*lines, shortened(" ".join(words), font, width)]
        taken = 1
        while taken < len(words) and font.getlength(" ".join(words[: taken + 1])) <= width:
            taken += 1
        lines.append(shortened(" ".join(words[:taken]), font, width))
        words = words[taken:]
    return lines


def shortened(text: str, font: ImageFont.FreeTypeFont, width: float) -> str:
    """The text, cut to end in "..." where it is wider than so many px."""
    if font.getlength(text) <= width:
        return text
    while text and font.getlength(text + "...") > width:
        text = text[:-1]
    return text.rstrip() + "..."
