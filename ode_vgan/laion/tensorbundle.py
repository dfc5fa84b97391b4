"""Tensors that TensorFlow saved (`variables.index`, `variables.data-...`), read as data: nothing in them is run.

Source: LevelDB's doc/table_format.md and TensorFlow's tensor_bundle.proto.
"""

import math
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from ode_vgan.errors import UserError

MAGIC = 0xDB4775248B80FB57
FOOTER_BYTES, TRAILER_BYTES = 48, 5
DTYPES = {1: np.dtype("<f4"), 2: np.dtype("<f8"), 3: np.dtype("<i4"), 9: np.dtype("<i8"), 19: np.dtype("<f2")}
STRING = 7
# far above what a head has, and low enough that no file of a few bytes fills the memory
MAX_INDEX_BYTES, MAX_KEY_BYTES, MAX_TENSOR_BYTES, MAX_STRINGS, MAX_AXES = 1 << 18, 1 << 10, 1 << 28, 1 << 20, 8
CASTAGNOLI = 0x82F63B78
MASK_DELTA = 0xA282EAD8


class BrokenBytes(ValueError):  # noqa: N818 named for what it is
    """Bytes that do not follow the format; what reads the file turns it into one line for the user."""


@dataclass(frozen=True)
class Stored:
    """Where a tensor lies: its type's number, shape, bytes and masked CRC-32C."""

    dtype: int
    shape: tuple[int, ...]
    offset: int
    size: int
    checksum: int


def read_bundle(index: bytes, data: bytes, name: str) -> dict[str, np.ndarray | list[bytes]]:
    """Every tensor of a bundle with one data file, by its name; strings as a list of bytes.

    Tensors of a type that no head needs (their bytes are bounded all the same) are left out.

    Args:
        name: of the file, for errors.

    Raises:
        UserError: the index or a tensor breaks off, overlaps its file's end, has another checksum, is compressed or
            is spread over several files.
    """
    try:
        entries = dict(_table(index))
        _check_header(entries.pop(b"", b""))
        stored = {key.decode(): _stored(value) for key, value in entries.items()}
        found = {key: _tensor(data, at) for key, at in stored.items() if at.dtype in DTYPES or at.dtype == STRING}
    except (BrokenBytes, UnicodeDecodeError) as error:
        raise UserError(f"{name} is no whole TensorFlow bundle ({error}). Fetch it again.") from None
    return found


def fields(message: bytes) -> Iterator[tuple[int, int | bytes]]:
    """Number and value of each field of a protobuf message: an integer, or the bytes of all longer kinds.

    Raises:
        BrokenBytes: the message breaks off, or has a group.
    """
    at = 0
    while at < len(message):
        tag, at = varint(message, at)
        kind = tag & 7
        if kind == 0:
            value, at = varint(message, at)
        elif kind in (1, 5):
            value, at = _take(message, at, 8 if kind == 1 else 4)
            value = int.from_bytes(value, "little")
        elif kind == 2:
            size, at = varint(message, at)
            value, at = _take(message, at, size)
        else:
            raise BrokenBytes(f"a field of kind {kind}")
        yield tag >> 3, value


def varint(content: bytes, at: int) -> tuple[int, int]:
    """An integer of 7 bits a byte, lowest first, and where it ends."""
    value = 0
    for shift in range(0, 70, 7):
        if at >= len(content):
            raise BrokenBytes(f"it breaks off at byte {at}")
        byte, at = content[at], at + 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value & 0xFFFFFFFFFFFFFFFF, at
    raise BrokenBytes(f"an integer of more than 64 bits before byte {at}")


def crc32c(content: bytes, seed: int = 0) -> int:
    """CRC-32C of the bytes, going on from that of earlier ones.

    Source: Castagnoli, Braeuer and Herrmann (1993), the polynomial 0x1EDC6F41; reflected here.
    """
    table, value = _crc_table(), seed ^ 0xFFFFFFFF
    for byte in content:
        value = table[(value ^ byte) & 0xFF] ^ (value >> 8)
    return value ^ 0xFFFFFFFF


def masked(checksum: int) -> int:
    """A checksum as LevelDB stores it: rotated and shifted, so that the CRC of a CRC is not trivial."""
    return (((checksum >> 15) | (checksum << 17)) + MASK_DELTA) & 0xFFFFFFFF


@lru_cache(maxsize=1)
def _crc_table() -> tuple[int, ...]:
    table = []
    for value in range(256):
        for _ in range(8):
            value = (value >> 1) ^ (CASTAGNOLI if value & 1 else 0)
        table.append(value)
    return tuple(table)


def _take(content: bytes, at: int, size: int) -> tuple[bytes, int]:
    if size > len(content) - at:
        raise BrokenBytes(f"{size} bytes at {at} of {len(content)}")
    return content[at : at + size], at + size


def _table(content: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Keys and values of a LevelDB table, in rising order of the keys."""
    if len(content) < FOOTER_BYTES or int.from_bytes(content[-8:], "little") != MAGIC:
        raise BrokenBytes("its index does not end as a table does")
    if len(content) > MAX_INDEX_BYTES:
        raise BrokenBytes(f"an index of {len(content)} bytes, more than {MAX_INDEX_BYTES}")
    footer = content[-FOOTER_BYTES:]
    _, at = _handle(footer, 0)  # the meta index, which bundles leave empty
    where, _ = _handle(footer, at)
    last = None
    for _, handle in _block(content, *where):
        for key, value in _block(content, *_handle(handle, 0)[0]):
            if last is not None and key <= last:
                raise BrokenBytes("its keys do not rise")
            last = key
            yield key, value


def _handle(content: bytes, at: int) -> tuple[tuple[int, int], int]:
    offset, at = varint(content, at)
    size, at = varint(content, at)
    return (offset, size), at


def _block(content: bytes, offset: int, size: int) -> list[tuple[bytes, bytes]]:
    """Keys and values of one block; a key states how much of the one before it begins with."""
    raw, end = _take(content, offset, size)
    trailer, _ = _take(content, end, TRAILER_BYTES)
    if masked(crc32c(raw + trailer[:1])) != int.from_bytes(trailer[1:], "little"):
        raise BrokenBytes(f"the block at {offset} has another checksum")
    if trailer[0]:
        raise BrokenBytes(f"the block at {offset} is compressed, which bundles are not")
    if size < 4 or (limit := size - 4 - 4 * int.from_bytes(raw[-4:], "little")) < 0:
        raise BrokenBytes(f"the block at {offset} is too short for its restarts")
    entries, key, at = [], b"", 0
    while at < limit:
        shared, at = varint(raw, at)
        own, at = varint(raw, at)
        length, at = varint(raw, at)
        if shared > len(key) or own + length > limit - at or shared + own > MAX_KEY_BYTES:
            raise BrokenBytes(f"an entry of the block at {offset} leaves it")
        key = key[:shared] + raw[at : at + own]
        entries.append((key, raw[at + own : at + own + length]))
        at += own + length
    return entries


def _check_header(header: bytes) -> None:
    told = {number: value for number, value in fields(header) if isinstance(value, int)}
    if told.get(1) != 1 or told.get(2, 0) != 0:
        raise BrokenBytes(
            f"it has {told.get(1, 0)} data files of byte order {told.get(2, 0)}; one, of order 0, is read"
        )


def _stored(entry: bytes) -> Stored:
    """A tensor's BundleEntryProto."""
    numbers, shape = {}, []
    for number, value in fields(entry):
        if number == 2:
            shape += [_size(part) for kind, part in fields(_message(value)) if kind == 2]
        elif number == 7:
            raise BrokenBytes("a tensor in slices")
        elif isinstance(value, int):
            numbers[number] = value
    if len(shape) > MAX_AXES or max(shape, default=0) > MAX_TENSOR_BYTES:
        raise BrokenBytes(f"a tensor of {len(shape)} axes, the longest {max(shape)}")
    if numbers.get(3, 0):
        raise BrokenBytes(f"a tensor in data file {numbers[3]}")
    return Stored(*(numbers.get(1, 0), tuple(shape)), *(numbers.get(i, 0) for i in (4, 5, 6)))


def _size(dimension: int | bytes) -> int:
    return next((value for number, value in fields(_message(dimension)) if number == 1 and isinstance(value, int)), 0)


def _message(value: int | bytes) -> bytes:
    if not isinstance(value, bytes):
        raise BrokenBytes("a number where a message belongs")
    return value


def _tensor(data: bytes, at: Stored) -> np.ndarray | list[bytes]:
    """One tensor of the data file."""
    if at.size > MAX_TENSOR_BYTES:
        raise BrokenBytes(f"a tensor of {at.size} bytes, more than {MAX_TENSOR_BYTES}")
    raw, _ = _take(data, at.offset, at.size)
    count = math.prod(at.shape)
    if at.dtype == STRING:
        return _strings(raw, count, at.checksum)
    if count * DTYPES[at.dtype].itemsize != at.size:
        raise BrokenBytes(f"{at.size} bytes for a tensor of shape {list(at.shape)}")
    if masked(crc32c(raw)) != at.checksum:
        raise BrokenBytes(f"the tensor at {at.offset} has another checksum")
    return np.frombuffer(raw, DTYPES[at.dtype]).reshape(at.shape).copy()


def _strings(raw: bytes, count: int, checksum: int) -> list[bytes]:
    """Strings lie behind their lengths and the checksum of those; the whole's checksum takes a length as 4 bytes."""
    if count > min(len(raw), MAX_STRINGS):
        raise BrokenBytes(f"{count} strings in {len(raw)} bytes")
    lengths, at = [], 0
    for _ in range(count):
        length, at = varint(raw, at)
        lengths.append(length)
    if sum(lengths) != len(raw) - at - 4:
        raise BrokenBytes(f"strings of {sum(lengths)} bytes in {len(raw) - at - 4}")
    if masked(crc32c(b"".join(struct.pack("<I", length) for length in lengths) + raw[at:])) != checksum:
        raise BrokenBytes("strings with another checksum")
    ends = np.cumsum([at + 4, *lengths])
    return [raw[start:end] for start, end in zip(ends[:-1], ends[1:], strict=True)]
