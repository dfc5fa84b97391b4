"""Mutations of bytes and of texts, each a function of a random generator alone."""

from collections.abc import Sequence

import numpy as np

EXTREMES = (0, 1, 0x7F, 0x80, 0xFF, 0x7FFF, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF)
PIECES = (
    "", " ", "a cat", "\x00", "\x07\x1b[31m", "\u202e", "\u200b", "\ufeff", "שלום", "مرحبا", "猫", "\U0001f600",
    "e\u0301" * 40,
    "<b>", "<script>alert(1)</script>", "&amp;", '"', "'", "`", "$(id)", "%s%n", "{0}", "${oc.env:HOME}", "../../x",
    "C:\\x",
    "\n", "\r\n", "\t", "|", "a" * 300, "=1+1", "-- ", ";", "NaN", "1e400", "\ud800", "\U000e0001", "𝕏", "null",
)  # fmt: skip


def mutated(seeds: Sequence[bytes], draw: np.random.Generator) -> bytes:
    """One of the seeds after one to eight mutations."""
    content = bytearray(seeds[draw.integers(len(seeds))])
    for _ in range(draw.integers(1, 9)):
        if not content:
            break
        content = MUTATIONS[draw.integers(len(MUTATIONS))](content, seeds, draw)
    return bytes(content)


def _flip(content, seeds, draw):
    for place in draw.integers(len(content), size=draw.integers(1, 9)):
        content[place] ^= 1 << int(draw.integers(8))
    return content


def _overwrite(content, seeds, draw):
    content[draw.integers(len(content))] = int(draw.integers(256))
    return content


def _extreme(content, seeds, draw):
    size = int(draw.choice([1, 2, 4]))
    head = draw.random() < 0.6
    place = int(draw.integers(max(1, min(len(content), 400) if head else len(content))))
    value = EXTREMES[draw.integers(len(EXTREMES))] & (256**size - 1)
    content[place : place + size] = value.to_bytes(size, "big" if draw.random() < 0.5 else "little")
    return content


def _cut(content, seeds, draw):
    start = int(draw.integers(len(content)))
    return content[:start] + content[start + int(draw.integers(1, 200)) :]


def _double(content, seeds, draw):
    start = int(draw.integers(len(content)))
    piece = content[start : start + int(draw.integers(1, 200))]
    return content[:start] + piece * int(draw.integers(1, 4)) + content[start:]


def _truncate(content, seeds, draw):
    return content[: int(draw.integers(len(content) + 1))]


def _splice(content, seeds, draw):
    other = seeds[draw.integers(len(seeds))]
    return content[: int(draw.integers(len(content)))] + other[int(draw.integers(len(other))) :]


def _zeros(content, seeds, draw):
    start = int(draw.integers(len(content)))
    stop = min(len(content), start + int(draw.integers(1, 64)))
    content[start:stop] = bytes(stop - start)
    return content


MUTATIONS = (_flip, _flip, _overwrite, _extreme, _extreme, _cut, _double, _truncate, _splice, _zeros)


def text(draw: np.random.Generator, longest: int = 12) -> str:
    """Pieces of trouble and random code points, joined; now and then one of megabytes."""
    parts = [PIECES[i] for i in draw.integers(len(PIECES), size=draw.integers(1, longest))]
    parts += [chr(int(code)) for code in draw.integers(0x110000, size=draw.integers(0, 4))]
    draw.shuffle(parts)
    found = "".join(parts)
    return found * (10_000_000 // max(1, len(found))) if draw.random() < 1 / 4000 else found


def value(draw: np.random.Generator, depth: int = 0):
    """Any JSON or YAML value, of troublesome numbers and texts."""
    kind = int(draw.integers(9 if depth < 3 else 6))
    if kind == 0:
        return text(draw, 4)
    if kind == 1:
        return int(draw.choice([0, 1, -1, 2, 7, 64, 2**31, -(2**31), 2**53, 10**9]))
    if kind == 2:
        return float(draw.choice([0.0, -0.0, 0.5, -1.5, 1e-300, 1e300, np.inf, -np.inf, np.nan]))
    if kind == 3:
        return bool(draw.integers(2))
    if kind in (4, 5):
        return None if kind == 4 else 10 ** int(draw.integers(400))
    if kind in (6, 7):
        return [value(draw, depth + 1) for _ in range(draw.integers(4))]
    return {text(draw, 3): value(draw, depth + 1) for _ in range(draw.integers(4))}
