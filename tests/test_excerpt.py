"""Laws of excerpts: the frames of a window are those of the whole clip, and no more is decoded than leads to them."""

import io
from contextlib import suppress

import av
import numpy as np
import pytest

from ode_vgan.data.clips import CorruptClip, decode_clip, encode_clip
from ode_vgan.data.excerpt import REORDERED, Excerpt, open_excerpt

KINDS = {  # container, codec, pixels, options
    "b-frames": ("mp4", "libx264", "yuv420p", {"bf": "3", "g": "10"}),
    "open-gop": ("mp4", "libx264", "yuv420p", {"bf": "3", "g": "10", "x264-params": "open-gop=1:scenecut=0"}),
    "matroska": ("matroska", "libx264", "yuv444p", {"bf": "2"}),
    "hevc": ("mp4", "libx265", "yuv420p", {"x265-params": "log-level=none:keyint=8:pools=none:frame-threads=1"}),
    "vp9": ("webm", "libvpx-vp9", "yuv420p", {"g": "9", "deadline": "realtime", "cpu-used": "8"}),
    "mjpeg": ("mov", "mjpeg", "yuvj420p", {}),
}


def moving(count: int, size: int = 48) -> np.ndarray:
    y, x = np.mgrid[:size, :size]
    return np.stack(
        [np.stack([x * 3 + 5 * i, y * 2 + 7 * i, x + y + 3 * i], axis=-1) % 256 for i in range(count)]
    ).astype(np.uint8)


def made(kind: str, count: int = 30) -> bytes:
    container, codec, pixels, options = KINDS[kind]
    size = 128 if codec == "libx265" else 48  # x265 writes past its memory for frames below a block of 64
    buffer = io.BytesIO()
    with av.open(buffer, "w", format=container) as out:
        stream = out.add_stream(codec, rate=25)
        stream.width, stream.height, stream.pix_fmt, stream.options = size, size, pixels, options
        for frame in moving(count, size):
            picture = av.VideoFrame.from_ndarray(frame, format="rgb24").reformat(format=pixels)
            out.mux(stream.encode(picture))
        out.mux(stream.encode())
    return buffer.getvalue()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("max_frames", [None, 13])
def test_any_frames_in_any_order_are_those_of_the_whole_clip(kind, max_frames):
    content = made(kind)
    whole = decode_clip(content, size=32, max_frames=max_frames)
    excerpt = open_excerpt(content, size=32, max_frames=max_frames)
    assert excerpt.decoded == 0 and np.array_equal(excerpt.times, whole.times)
    draw = np.random.default_rng(0)
    for _ in range(6):
        index = draw.integers(len(whole.times), size=5)
        assert np.array_equal(excerpt.take(index), whole.frames[index])
    assert np.array_equal(excerpt.take(range(len(whole.times))), whole.frames)
    excerpt.close()


def test_decoding_begins_at_a_keyframe_and_ends_with_the_last_frame():
    excerpt = open_excerpt(made("mjpeg"), size=32)  # every frame stands alone
    excerpt.take([20, 22, 25])
    assert excerpt.decoded == 6
    content = encode_clip(None, moving(40), 25.0, options={"g": "10", "sc_threshold": "0"})
    excerpt = open_excerpt(content, size=32)
    excerpt.take([23, 27])
    assert excerpt.decoded == 8  # 20 to 27
    excerpt = open_excerpt(encode_clip(None, moving(40), 25.0, options={"g": "100", "sc_threshold": "0"}), size=32)
    excerpt.take([23, 27])
    assert excerpt.decoded == 28


def test_no_packet_is_read_far_past_the_frames_that_count():
    excerpt = open_excerpt(encode_clip(None, moving(80), 25.0), size=32, max_frames=10)
    assert len(excerpt.times) == 10 and len(excerpt.packets) == 10 + REORDERED


@pytest.mark.parametrize(
    ("container", "codec", "pixels"),
    [("gif", "gif", "rgb8"), ("avi", "mpeg4", "yuv420p"), ("webm", "libvpx", "yuv420p")],
)
def test_where_packets_do_not_tell_there_is_no_excerpt(container, codec, pixels, monkeypatch):
    monkeypatch.setitem(KINDS, "other", (container, codec, pixels, {}))
    content = made("other", 6)
    assert open_excerpt(content, size=32) is None and len(decode_clip(content).times) == 6


def test_a_window_with_a_broken_frame_is_corrupt_and_those_beside_it_are_not():
    content = bytearray(made("mjpeg"))
    excerpt = open_excerpt(bytes(content), size=32)
    place, size = excerpt.packets[20].pos, excerpt.packets[20].size
    content[place : place + size] = bytes(size)
    whole, broken = decode_clip(made("mjpeg"), size=32), open_excerpt(bytes(content), size=32)
    assert np.array_equal(broken.take([3, 18]), whole.frames[[3, 18]])
    assert np.array_equal(broken.take([21, 25]), whole.frames[[21, 25]])
    with pytest.raises(CorruptClip, match="clip of .* bytes: .*Replace it") as caught:
        broken.take([19, 20])
    assert "\n" not in str(caught.value)


def decided(content: bytes) -> Excerpt:
    """An excerpt; where only decoding tells, what that tells."""
    excerpt = open_excerpt(content, size=32)
    if excerpt is None:
        decode_clip(content)
        pytest.fail("it passes for whole")
    return excerpt


@pytest.mark.parametrize("kind", ["b-frames", "matroska", "mjpeg"])
@pytest.mark.parametrize("share", [0.02, 0.3, 0.7, 0.97])
def test_what_breaks_off_is_refused_where_decoding_it_whole_is(kind, share):
    content = made(kind)
    content = content[: int(share * len(content))]
    try:
        whole = decode_clip(content, size=32)
    except CorruptClip:
        with suppress(CorruptClip), decided(content) as excerpt:
            excerpt.take(range(len(excerpt.times)))
            pytest.fail("it passes for whole")
    else:
        with open_excerpt(content, size=32) as excerpt:
            assert np.array_equal(excerpt.take(range(len(excerpt.times))), whole.frames)


def test_a_clip_that_breaks_off_is_refused_before_anything_is_decoded(tmp_path):
    path = tmp_path / "short.mp4"
    path.write_bytes(made("b-frames")[:-900])
    with pytest.raises(CorruptClip, match=r"short\.mp4"):
        open_excerpt(path, size=32)
