"""Laws of decoding, encoding, and the uint8 <-> float boundary."""

import io
import time
from fractions import Fraction

import av
import numpy as np
import pytest
import torch
from PIL import Image

from ode_vgan.data import clips, soundness
from ode_vgan.data.clips import CorruptClip, decode_clip, encode_clip, to_float, to_uint8, write_atomic
from ode_vgan.errors import UserError

LOSSLESS = {"codec": "libx264rgb", "crf": 0, "pix_fmt": "rgb24"}


@pytest.fixture(scope="module")
def noise() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (12, 32, 48, 3), dtype=np.uint8)


@pytest.fixture(scope="module")
def ramp() -> np.ndarray:
    """A coloured ramp that moves: (24, 64, 64, 3)."""
    y, x, t = np.ogrid[:64, :64, :24]
    channels = [(3 * x + 4 * t) % 256 + 0 * y, (2 * y + 2 * x + 3 * t) % 256, 255 - (3 * y + 0 * x + 2 * t) % 256]
    return np.stack(channels, -1).transpose(2, 0, 1, 3).astype(np.uint8)


def mux(frames: np.ndarray, path, codec: str, pix_fmt: str, movflags: str = "") -> bytes:
    """A file at 25 frames per second, written without `encode_clip`."""
    with av.open(str(path), "w", options={"movflags": movflags} if movflags else {}) as container:
        stream = container.add_stream(codec, rate=25, options={"crf": "18"} if "26" in codec else {})
        stream.width, stream.height, stream.pix_fmt = frames.shape[2], frames.shape[1], pix_fmt
        for image in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24").reformat(format=pix_fmt)))
        container.mux(stream.encode(None))
    return path.read_bytes()


def webp(frames: list[Image.Image], milliseconds: list[int], suffix: str = "webp") -> bytes:
    buffer = io.BytesIO()
    options = {"lossless": True, "exact": True} if suffix == "webp" else {"disposal": 2}
    frames[0].save(buffer, suffix, save_all=True, append_images=frames[1:], duration=milliseconds, **options)
    return buffer.getvalue()


def test_every_level_survives_float_and_back():
    levels = torch.arange(256, dtype=torch.uint8).repeat(3).reshape(2, 2, 8, 8, 3)
    x = to_float(levels)
    assert x.shape == (2, 2, 3, 8, 8) and x.dtype == torch.float32
    assert x.min() == -1 and x.max() == 1
    assert torch.equal(to_uint8(x), levels)


def test_to_uint8_clips_what_lies_outside():
    x = torch.tensor([-9.0, -1.0, 0.0, 1.0, 9.0, 1.002]).reshape(2, 1, 3, 1, 1)
    assert to_uint8(x).flatten().tolist() == [0, 0, 128, 255, 255, 255]


def test_a_lossless_codec_round_trips_exactly(noise):
    clip = decode_clip(encode_clip(None, noise, 24, **LOSSLESS))
    assert clip.frames.dtype == np.uint8 and clip.times.dtype == np.float64
    assert np.array_equal(clip.frames, noise)


def test_the_default_encoding_keeps_35_db(ramp):
    decoded = decode_clip(encode_clip(None, ramp, 24)).frames
    error = np.mean((decoded.astype(float) - ramp) ** 2)
    assert 10 * np.log10(255**2 / error) > 35


@pytest.mark.parametrize("options", [{}, {"bf": "3"}], ids=["no B-frames", "B-frames"])
def test_milliseconds_come_back_exactly(ramp, options):
    gaps = np.random.default_rng(1).integers(1, 400, len(ramp) - 1)
    times = np.concatenate([[0], np.cumsum(gaps)]) / 1000
    clip = decode_clip(encode_clip(None, ramp, times + 7.5, options=options))  # times count from the first frame
    assert np.array_equal(clip.times, times)


@pytest.mark.parametrize("fps", [24, 25, 30, 48, 60, 100])
def test_a_frame_rate_comes_back_exactly(noise, fps):
    times = decode_clip(encode_clip(None, noise, fps)).times
    assert np.array_equal(times, [float(Fraction(i, fps)) for i in range(len(noise))])


def test_encoding_is_a_function_of_its_arguments(ramp):
    assert encode_clip(None, ramp, 24) == encode_clip(None, ramp, 24)


def test_a_path_gets_the_same_bytes_or_nothing(ramp, tmp_path):
    assert encode_clip(tmp_path / "new" / "clip.mp4", ramp, 24) is None
    assert (tmp_path / "new" / "clip.mp4").read_bytes() == encode_clip(None, ramp, 24)
    with pytest.raises(UserError):
        encode_clip(tmp_path / "none.mp4", ramp, [0.0] * len(ramp))
    assert not (tmp_path / "none.mp4").exists()


def test_an_interrupted_write_keeps_the_old_file(tmp_path, monkeypatch):
    write_atomic(tmp_path / "file", b"old")

    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(clips.os, "replace", interrupted)
    with pytest.raises(KeyboardInterrupt):
        write_atomic(tmp_path / "file", b"new")
    assert [path.name for path in tmp_path.iterdir()] == ["file"] and (tmp_path / "file").read_bytes() == b"old"


def test_max_frames_is_the_start_of_the_clip(noise):
    content = encode_clip(None, noise, 24, **LOSSLESS)
    clip = decode_clip(content, max_frames=5)
    assert np.array_equal(clip.frames, noise[:5]) and len(clip.times) == 5


def test_size_is_the_area_mean_of_the_centre_square(noise):
    clip = decode_clip(encode_clip(None, noise, 24, **LOSSLESS), size=8)
    blocks = noise[:, :, 8:40].reshape(len(noise), 8, 4, 8, 4, 3).astype(float).mean((2, 4))
    assert clip.frames.shape == (len(noise), 8, 8, 3)
    assert np.abs(clip.frames - blocks).max() <= 1  # two passes of rounding to a level


def test_a_small_clip_is_enlarged(noise):
    assert decode_clip(encode_clip(None, noise, 24), size=64).frames.shape == (len(noise), 64, 64, 3)


@pytest.mark.parametrize("movflags", ["", "faststart", "frag_keyframe+empty_moov"])
@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
def test_a_truncated_mp4_is_a_corrupt_clip_that_is_named(ramp, tmp_path, movflags, share):
    content = mux(ramp, tmp_path / "whole.mp4", "libx264", "yuv444p", movflags)
    assert len(decode_clip(content).frames) == len(ramp)
    broken = tmp_path / "broken.mp4"
    broken.write_bytes(content[: int(len(content) * share)])
    with pytest.raises(CorruptClip, match=r"broken\.mp4") as error:
        decode_clip(broken)
    assert "\n" not in str(error.value)


def test_an_mp4_cut_between_two_frames_is_a_corrupt_clip(ramp, tmp_path):
    content = mux(ramp, tmp_path / "whole.mp4", "libx264", "yuv444p", "faststart")
    with av.open(io.BytesIO(content)) as container:
        start = container.streams.video[0].index_entries[12].pos
    with pytest.raises(CorruptClip):
        decode_clip(content[:start])


@pytest.mark.parametrize(
    ("suffix", "codec", "pix_fmt"),
    [
        ("webm", "libvpx-vp9", "yuv420p"),
        ("avi", "mpeg4", "yuv420p"),
        ("gif", "gif", "rgb8"),
        ("mkv", "ffv1", "yuv444p"),
    ],
)
def test_other_containers_decode_whole_and_are_refused_cut(ramp, tmp_path, suffix, codec, pix_fmt):
    content = mux(ramp, tmp_path / f"clip.{suffix}", codec, pix_fmt)
    clip = decode_clip(tmp_path / f"clip.{suffix}")
    assert clip.frames.shape == ramp.shape
    assert np.allclose(clip.times, np.arange(len(ramp)) / 25, atol=0.5e-3)  # WebM counts milliseconds
    with pytest.raises(CorruptClip):
        decode_clip(content[: len(content) * 6 // 10])


@pytest.mark.parametrize("suffix", ["webp", "gif"])
def test_animated_images_keep_their_true_durations(suffix):
    images = [Image.new("RGB", (8, 8), colour) for colour in ("red", "green", "blue", "white")]
    clip = decode_clip(webp(images, [40, 100, 250, 30], suffix))
    assert clip.times.tolist() == [0.0, 0.04, 0.14, 0.39]
    assert [tuple(frame[4, 4]) for frame in clip.frames] == [(255, 0, 0), (0, 128, 0), (0, 0, 255), (255, 255, 255)]


def test_a_transparent_webp_lies_on_white_and_is_refused_cut():
    images = [Image.new("RGBA", (8, 8), (200 - i, 0, 0, 51)) for i in range(3)]
    content = webp(images, [40, 40, 40])
    # 51/255 is a fifth: 0.2 * 200 + 0.8 * 255 = 244
    assert decode_clip(content).frames[0, 0, 0].tolist() == [244, 204, 204]
    with pytest.raises(CorruptClip):
        decode_clip(content[:-20])


@pytest.mark.parametrize("content", [b"", b"not a clip", b"RIFF\x04\0\0\0WEBP", b"GIF89a;"])
def test_what_is_no_clip_is_a_corrupt_clip(content):
    with pytest.raises(CorruptClip):
        decode_clip(content)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"nowhere\.mp4"):
        decode_clip(tmp_path / "nowhere.mp4")


def test_insane_sides_and_lengths_are_refused(noise, monkeypatch):
    content = encode_clip(None, noise, 24)
    monkeypatch.setattr(clips, "MAX_FRAMES", 10)
    with pytest.raises(CorruptClip, match="more than 10 frames"):
        decode_clip(content)
    assert len(decode_clip(content, max_frames=10).frames) == 10
    monkeypatch.setattr(soundness, "MAX_SIDE_PX", 40)
    with pytest.raises(CorruptClip, match="48x32 px"):
        decode_clip(content)


@pytest.mark.parametrize("limits", [{"size": 0}, {"max_frames": 0}])
def test_limits_below_one_are_a_user_error(limits):
    with pytest.raises(UserError, match="at least 1"):
        decode_clip(b"", **limits)


@pytest.mark.parametrize(
    ("frames", "times", "pix_fmt"),
    [
        (np.zeros((3, 8, 8, 3), np.uint8), [0.0, 0.2, 0.1], "yuv444p"),
        (np.zeros((3, 8, 8, 3), np.uint8), [0.0, 0.1, 0.1], "yuv444p"),
        (np.zeros((3, 8, 8, 3), np.uint8), [0.0, 0.1], "yuv444p"),
        (np.zeros((3, 8, 8, 3), np.uint8), 0, "yuv444p"),
        (np.zeros((3, 8, 8, 3), np.uint8), [0.0, np.nan, 0.1], "yuv444p"),
        (np.zeros((3, 8, 8, 3), np.float32), 24, "yuv444p"),
        (np.zeros((0, 8, 8, 3), np.uint8), 24, "yuv444p"),
        (np.zeros((3, 9, 8, 3), np.uint8), 24, "yuv420p"),
    ],
    ids=["falls", "repeats", "too few", "no rate", "not a number", "float", "empty", "odd"],
)
def test_what_cannot_be_a_clip_is_not_encoded(frames, times, pix_fmt):
    with pytest.raises(UserError):
        encode_clip(None, frames, times, pix_fmt=pix_fmt)


def test_frames_that_come_one_by_one_give_the_same_bytes(ramp, tmp_path):
    times = np.arange(len(ramp)) / 24
    assert encode_clip(None, iter(ramp), times) == encode_clip(None, ramp, 24)
    encode_clip(tmp_path / "clip.mp4", iter(ramp), times)
    assert (tmp_path / "clip.mp4").read_bytes() == encode_clip(None, ramp, 24)


@pytest.mark.parametrize("count", [0, 2, 4])
def test_frames_that_come_one_by_one_are_as_many_as_the_times(count, ramp, tmp_path):
    with pytest.raises(UserError, match="give one for each"):
        encode_clip(tmp_path / "clip.mp4", iter(ramp[:count]), [0.0, 0.1, 0.2])
    assert not list(tmp_path.iterdir())


def test_frames_that_come_one_by_one_have_one_size(ramp):
    with pytest.raises(UserError, match="has one size"):
        encode_clip(None, iter([ramp[0], ramp[1][:-2]]), [0.0, 0.1])


def test_one_frame_is_a_clip(noise):
    clip = decode_clip(encode_clip(None, noise[:1], 24, **LOSSLESS))
    assert np.array_equal(clip.frames, noise[:1]) and clip.times.tolist() == [0.0]


def test_a_clip_that_keeps_its_decoder_busy_is_given_up_and_a_slow_reader_is_not(noise, monkeypatch):
    from ode_vgan.data.excerpt import open_excerpt

    content = bytes(encode_clip(None, np.repeat(noise, 4, axis=0), 25.0))
    monkeypatch.setattr(soundness, "MAX_SECONDS", 1.0)
    for _ in clips.stream_frames(content):  # who reads takes their time: 1.2 s of 48 frames
        time.sleep(0.025)
    monkeypatch.setattr(soundness, "MAX_SECONDS", 1e-9)
    with pytest.raises(CorruptClip, match="decoding takes more than 1e-09 s"):
        decode_clip(content)
    with pytest.raises(CorruptClip, match="decoding takes more than"):
        open_excerpt(content, size=None).take([0])
