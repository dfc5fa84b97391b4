"""Laws of the reader of TensorFlow's bundles: it reads what is there, and refuses the rest in one line."""

import struct
import zipfile

import numpy as np
import pytest

from ode_vgan.errors import UserError
from ode_vgan.laion.tensorbundle import BrokenBytes, crc32c, fields, masked, read_bundle, varint
from tests.made_bundle import block, bundle, part, table
from tests.shared_data import shared

TENSORS = {
    "a/scalar": np.array(3.5, "<f4"),
    "a/weight": np.arange(6, dtype="<f4").reshape(2, 3),
    "b/empty": np.zeros((0, 4), "<f8"),
    "b/places": np.array([1, -2, 3], "<i8"),
    "c/texts": [b"one", b"", "zwölf".encode()],
}


def test_checksum_has_its_published_value_and_goes_on():
    assert crc32c(b"123456789") == 0xE3069283
    assert crc32c(bytes(32)) == 0x8A9136AA  # RFC 3720, appendix B.4
    assert crc32c(b"6789", crc32c(b"12345")) == 0xE3069283
    assert masked(0) == 0xA282EAD8


def test_every_tensor_comes_back_as_it_was():
    found = read_bundle(*bundle(TENSORS), "made")
    assert found.keys() == TENSORS.keys() and found["c/texts"] == TENSORS["c/texts"]
    for name in ("a/scalar", "a/weight", "b/empty", "b/places"):
        assert found[name].dtype == TENSORS[name].dtype and np.array_equal(found[name], TENSORS[name])
        assert found[name].shape == TENSORS[name].shape


def whole(index, data):
    """Whether a bundle is read; if so, it is the right one, and if not, the user is told in one line."""
    try:
        found = read_bundle(index, data, "made")
    except UserError as error:
        assert "\n" not in str(error) and str(error).startswith("made is no whole TensorFlow bundle")
        return False
    assert found.keys() == TENSORS.keys() and np.array_equal(found["a/weight"], TENSORS["a/weight"])
    return True


def test_every_cut_and_every_flipped_bit_is_found():
    index, data = bundle(TENSORS)
    assert not any(whole(index[:end], data) for end in range(len(index)))
    assert not any(whole(index, data[:end]) for end in range(len(data)))
    footer = len(index) - 48
    meta = index.index(block([]), 100)
    idle = {*range(meta, meta + 13), *range(footer, footer + 3), *range(footer + 5, footer + 40)}  # nothing is there
    for at in set(range(len(index) + len(data))) - idle:
        for bit in range(8):
            flipped = bytearray(index + data)
            flipped[at] ^= 1 << bit
            assert not whole(bytes(flipped[: len(index)]), bytes(flipped[len(index) :])), f"bit {bit} of byte {at}"


def stored(kind=1, sizes=(2,), offset=0, size=8, data=bytes(8), extra=b""):
    """An index of one tensor that says what it is told to, with a checksum that is right."""
    shape = b"".join(part(2, part(1, one)) for one in sizes)
    entry = part(1, kind) + part(2, shape) + part(4, offset) + part(5, size) + extra
    return table([(b"", part(1, 1)), (b"a", entry + b"\x35" + struct.pack("<I", masked(crc32c(data))))])


@pytest.mark.parametrize(
    ("index", "match"),
    [
        (stored(size=9), "9 bytes at 0 of 8"),
        (stored(offset=1 << 40), "of 8"),
        (stored(sizes=(3,)), "for a tensor of shape"),
        (stored(sizes=(0, 1 << 62), size=0, data=b""), "axes, the longest"),
        (stored(sizes=(1,) * 70 + (2,)), "71 axes"),
        (stored(size=1 << 40), "bytes, more than"),
        (stored(data=b"other"), "another checksum"),
        (stored(kind=7, sizes=(1 << 27,), data=bytes(8)), "134217728 strings in 8 bytes"),
        (stored(extra=part(3, 1)), "data file 1"),
        (stored(extra=part(7, b"")), "slices"),
        (table([(b"", part(1, 2))]), "2 data files"),
        (table([(b"", part(1, 1) + part(2, 1))]), "byte order 1"),
        (table([(b"a", b"")]), "0 data files"),
        (table([(b"b", b""), (b"a", b"")]), "do not rise"),
        (b"", "does not end as a table"),
        (bytes(1 << 19) + stored(), "index of"),
    ],
)
def test_what_a_hostile_index_says_is_checked(index, match):
    with pytest.raises(UserError, match=match):
        read_bundle(index, bytes(8), "made")


def test_compressed_blocks_and_endless_keys_are_refused():
    made = table([(b"", part(1, 1))])
    first = block([])
    compressed = first[:-5] + b"\1" + struct.pack("<I", masked(crc32c(first[:-5] + b"\1")))
    with pytest.raises(UserError, match="compressed"):
        read_bundle(made.replace(first, compressed, 1), b"", "made")
    grown = table([(b"", part(1, 1)), (b"a" * 900, b""), (b"a" * 900 + b"b" * 900, b"")])
    with pytest.raises(UserError, match="leaves it"):
        read_bundle(grown, b"", "made")


def test_a_message_that_breaks_off_is_told():
    for message in (b"\x0a", b"\x0a\x05ab", b"\x08", b"\x09\x00", b"\x0b", b"\x80" * 11):
        with pytest.raises(BrokenBytes):
            list(fields(message))
    assert varint(b"\xac\x02", 0) == (300, 2)
    assert list(fields(b"\x08\x96\x01\x12\x02hi\x1d\x01\x00\x00\x00")) == [(1, 150), (2, b"hi"), (3, 1)]


@pytest.mark.parametrize(
    ("name", "shapes"),
    [
        ("heads/nsfw_clip_autokeras_binary_nsfw.zip", [(768, 64), (64, 512), (512, 256), (256, 1)]),
        ("heads/nsfw_clip_autokeras_nsfw_b32.zip", [(512, 32), (32, 32), (32, 1)]),
    ],
)
def test_laions_bundles_are_read_with_every_checksum(name, shapes):
    with zipfile.ZipFile(shared(name)) as file:
        parts = [next(one for one in file.namelist() if one.endswith(end)) for end in (".index", "-of-00001")]
        index, data = map(file.read, parts)
    found = read_bundle(index, data, name)
    kernels = sorted(key for key in found if "/kernel/" in key)
    assert [found[key].shape for key in kernels] == shapes
    assert int(found["layer_with_weights-1/count/.ATTRIBUTES/VARIABLE_VALUE"]) == 242_067  # clips it was trained on
    with pytest.raises(UserError, match="no whole TensorFlow bundle"):
        read_bundle(index, data[: len(data) // 2], name)
