"""Laws of turning a source's bytes into clips, and of the processes that do it."""

import hashlib
import os
import signal
import threading
import time

import numpy as np
import pytest
from PIL import Image

from ode_vgan.data.clips import decode_clip, encode_clip
from ode_vgan.errors import UserError
from ode_vgan.laion import decoders, media
from ode_vgan.laion.decoders import Decoders
from ode_vgan.laion.media import MediaOptions, MediaRefused, fit, make_clips, probe
from ode_vgan.laion.sniff import kind_of
from tests.made_media import animated, encoded, gif_of_frames, gif_of_sides, webp_of_frames

SIZE = MediaOptions(size_px=64)


def moving(frames: int, width: int = 64, height: int = 64) -> np.ndarray:
    """A bright square that moves right over a grey ground."""
    clip = np.full((frames, height, width, 3), 90, np.uint8)
    for i in range(frames):
        clip[i, 10:26, i % (width - 16) : i % (width - 16) + 16] = (250, 120 + i % 100, 30)
    return clip


@pytest.fixture(scope="module")
def mp4() -> bytes:
    return encode_clip(None, moving(30), 25)


@pytest.mark.parametrize("suffix", ["gif", "webp", "mp4", "webm", "avi"])
def test_every_format_gives_its_frames_at_their_times(mp4, suffix):
    content = encoded(mp4, suffix)
    header, (clip,) = make_clips(content, SIZE)
    assert (header.kind, header.width, header.height, header.frames) == (suffix, 64, 64, 30)
    rate = 24 if suffix in ("webm", "avi") else 25
    row, decoded = clip.row(), decode_clip(clip.content)
    assert row["num_frames"] == len(decoded.frames) == 30
    assert row["duration_seconds"] == pytest.approx(30 / rate, abs=0.002)  # WebM holds whole milliseconds
    assert decoded.times == pytest.approx(np.arange(30) / rate, abs=0.001)
    assert np.abs(decoded.frames.astype(int) - moving(30)).mean() < 6
    assert row["fps"] == pytest.approx(rate, rel=0.002)
    assert (row["clip_start"], row["clip_end"]) == (0.0, row["duration_seconds"])
    assert row["clip_sha256"] == hashlib.sha256(clip.content).hexdigest() and row["uid"] == row["clip_sha256"][:32]


@pytest.mark.parametrize("suffix", ["gif", "webp"])
def test_variable_frame_rates_are_kept(suffix):
    delays = [40, 500, 40, 120, 1000, 40, 330]
    images = [Image.fromarray(frame) for frame in moving(7)]
    header, (clip,) = make_clips(animated(images, suffix, delays), SIZE)
    expected = np.cumsum([0, *delays]) / 1000
    assert decode_clip(clip.content).times == pytest.approx(expected[:-1], abs=1e-4)
    assert header.seconds == pytest.approx(expected[-1])
    assert clip.row()["clip_end"] == pytest.approx(expected[-1])


def test_variable_times_of_a_video_are_kept_too():
    times = np.cumsum([0, 0.04, 0.1, 0.02, 0.5, 0.25])
    _, (clip,) = make_clips(encode_clip(None, moving(6), times), SIZE)
    assert decode_clip(clip.content).times == pytest.approx(times, abs=1e-4)


def test_the_same_source_gives_the_same_bytes(mp4):
    first, second = (make_clips(mp4, SIZE)[1][0].content for _ in range(2))
    assert first == second


@pytest.mark.parametrize(
    ("sides", "options", "box", "size"),
    [
        ((640, 480), {"size_px": 64}, (80, 0, 560, 480), (64, 64)),
        ((50, 80), {"size_px": 64}, (0, 15, 50, 65), (50, 50)),  # nothing is enlarged
        ((640, 480), {"size_px": 240, "resize": "shortest"}, (0, 0, 640, 480), (320, 240)),
        ((100, 300), {"size_px": 50, "resize": "shortest"}, (0, 0, 100, 300), (50, 150)),
        ((100, 75), {"size_px": 200, "resize": "shortest"}, (0, 0, 100, 74), (100, 74)),
        ((101, 75), {"resize": "keep"}, (0, 0, 100, 74), (100, 74)),
        ((101, 75), {"resize": "keep", "pix_fmt": "yuv444p"}, (0, 0, 101, 75), (101, 75)),
    ],
)
def test_a_clip_shows_this_part_at_this_size(sides, options, box, size):
    assert fit(*sides, MediaOptions(**options)) == (box, size)


def test_sizes_reach_the_clip():
    content = encode_clip(None, moving(4, 90, 60), 10)
    for options, expected in (({"resize": "keep"}, (90, 60)), ({"size_px": 30, "resize": "shortest"}, (44, 30))):
        _, (clip,) = make_clips(content, MediaOptions(**options))
        assert decode_clip(clip.content).frames.shape[1:3] == expected[::-1]
        assert (clip.row()["width"], clip.row()["height"]) == expected


@pytest.mark.parametrize(
    ("content", "kind"),
    [
        (b"", "empty"),
        (b"\n <!doctype html>", "HTML"),
        (b"<HTML><body>", "HTML"),
        (b"\xef\xbb\xbf<html>", "HTML"),
        (b"<?xml version='1.0'?><Error>", "HTML"),
        (b"PK\x03\x04rest", "archive"),
        (b"\x89PNG\r\n", "still image"),
        (b"\xff\xd8\xff\xe0", "still image"),
        (b"\0\0\0\x1cftypavif", "still image"),
        (b"\0\0\0\x1cftypisom", "mp4"),
        (b"#EXTM3U\n", "playlist"),
        (b"%PDF-1.7", "PDF"),
        (b"{}", "unknown"),
    ],
)
def test_a_file_is_what_its_bytes_say(content, kind):
    assert kind_of(content) == kind
    if kind != "mp4":
        with pytest.raises(MediaRefused, match=f"not a clip: {kind}"):
            make_clips(content, SIZE)


@pytest.mark.parametrize(
    ("content", "limits", "message"),
    [
        (gif_of_sides(65535, 2), {}, "too many pixels a side"),
        (gif_of_frames(4000), {}, "too many frames"),
        (webp_of_frames(4000, 4000, 3000), {}, "too many pixels"),
        (webp_of_frames(16384, 16384, 2), {}, "too many pixels a side"),
        (webp_of_frames(16, 16, 3601), {}, "too many frames"),
        (gif_of_frames(100), {"max_seconds": 1}, "too many seconds"),
    ],
)
def test_bombs_are_refused_by_their_headers(monkeypatch, content, limits, message):
    def decoding(*arguments):
        pytest.fail("a frame was decoded")

    monkeypatch.setattr(media, "stream_frames", decoding)
    with pytest.raises(MediaRefused, match=message):
        probe(content, MediaOptions(**limits))


def test_what_a_header_hides_is_found_while_decoding(mp4):
    """The header's own frame size binds the frames; a limit on frames and seconds holds for what is decoded too."""
    header = probe(mp4, SIZE)
    for limits, message in (({"max_frames": 5}, "too many frames"), ({"max_seconds": 0.5}, "too many seconds")):
        with pytest.raises(MediaRefused, match=message):
            media._decode(mp4, header, MediaOptions(**limits), (0, 0, 64, 64), (64, 64))
    other = encode_clip(None, moving(3, 32, 32), 25)
    with pytest.raises(MediaRefused, match="sides change"):
        media._decode(other, header, SIZE, (0, 0, 64, 64), (64, 64))


@pytest.mark.parametrize("suffix", ["gif", "webp", "mp4", "webm", "avi"])
def test_broken_media_is_corrupt_and_nothing_worse(mp4, suffix):
    content = encoded(mp4, suffix)
    generator = np.random.default_rng(0)
    with pytest.raises(MediaRefused, match="corrupt"):
        make_clips(content[: len(content) * 2 // 3], SIZE)
    for _ in range(20):
        noisy = bytearray(content)
        for i in generator.integers(12, len(noisy), 30):
            noisy[i] = generator.integers(256)
        try:
            make_clips(bytes(noisy), SIZE)
        except MediaRefused as refused:
            assert refused.status in ("failed_to_decode", "filtered")


def test_a_still_image_and_a_short_clip_are_filtered(mp4):
    still = animated([Image.new("RGB", (64, 64), "red")], "gif", [100])
    for content, options, message in (
        (still, SIZE, "still image"),
        (mp4, MediaOptions(clip_min_seconds=5), "too short"),
    ):
        with pytest.raises(MediaRefused, match=message) as refused:
            make_clips(content, options)
        assert refused.value.status == "filtered"


def test_a_source_is_cut_at_its_shots_with_true_times():
    colours = [(200, 30, 30), (30, 200, 30), (30, 30, 200)]
    frames = np.concatenate([np.full((20, 64, 64, 3), colour, np.uint8) for colour in colours])
    frames += moving(60) // 8
    times = np.cumsum(np.tile([0.04, 0.08], 30)) - 0.04
    _, clips = make_clips(encode_clip(None, frames, times), MediaOptions(size_px=64, cuts="content", cut_threshold=15))
    assert [(clip.span.first, clip.span.stop) for clip in clips] == [(0, 20), (20, 40), (40, 60)]
    assert [clip.row()["clip_start"] for clip in clips] == pytest.approx(times[[0, 20, 40]], abs=1e-4)
    assert [clip.row()["clip_end"] for clip in clips[:2]] == pytest.approx(times[[20, 40]], abs=1e-4)
    for clip, first in zip(clips, (0, 20, 40), strict=True):
        decoded = decode_clip(clip.content)
        assert decoded.times == pytest.approx(times[first : first + 20] - times[first], abs=2e-4)
        assert np.abs(decoded.frames.astype(int) - frames[first : first + 20]).mean() < 6


@pytest.mark.parametrize(
    "wrong",
    [
        {"size_px": 0},
        {"resize": "x"},
        {"cuts": "x"},
        {"pix_fmt": "rgb"},
        {"clip_max_seconds": 1, "clip_min_seconds": 2},
    ],
)
def test_wrong_options_are_refused(wrong):
    with pytest.raises(UserError):
        MediaOptions(**wrong)


@pytest.fixture(scope="module")
def pool():
    with Decoders(1, SIZE) as pool:
        yield pool


def test_a_process_gives_what_a_call_gives(pool, mp4):
    assert pool.make_clips(mp4) == make_clips(mp4, SIZE)
    with pytest.raises(MediaRefused, match="not a clip: HTML"):
        pool.make_clips(b"<html>")


def test_a_process_that_dies_is_replaced_and_the_source_tried_again(pool, mp4):
    pool.make_clips(mp4)
    worker = pool.idle.get()
    pool.idle.put(worker)
    os.kill(worker.process.pid, signal.SIGSTOP)  # it cannot answer before it is killed
    threading.Timer(0.2, os.kill, (worker.process.pid, signal.SIGKILL)).start()
    assert pool.make_clips(mp4) == make_clips(mp4, SIZE)
    assert not worker.process.is_alive()


def test_a_process_that_hangs_is_killed(mp4):
    with Decoders(1, MediaOptions(size_px=64, decode_seconds=0.5)) as pool:
        pool.make_clips(gif_of_frames(3))
        worker = pool.idle.get()
        pool.idle.put(worker)
        os.kill(worker.process.pid, signal.SIGSTOP)
        begun = time.monotonic()
        with pytest.raises(MediaRefused, match="decoder too slow"):
            pool.make_clips(mp4)
        assert time.monotonic() - begun < 5 and not worker.process.is_alive()
        assert pool.make_clips(gif_of_frames(3))  # the next has a new one


def test_a_process_that_fills_its_memory_is_refused():
    sides = 2048
    frames = moving(40, sides, sides)
    content = encode_clip(None, frames, 25, options={"preset": "ultrafast"})
    with Decoders(1, MediaOptions(size_px=sides, memory_mb=150, decode_seconds=30)) as pool:
        with pytest.raises(MediaRefused, match="too much memory|corrupt|decoder died"):
            pool.make_clips(content)
        assert pool.make_clips(gif_of_frames(3))


def test_an_answer_holds_no_pickle(mp4):
    answer = decoders._answer(mp4, SIZE)
    head, _, contents = answer.partition(b"\n")
    assert head.startswith(b"{") and decoders._read(answer) == make_clips(mp4, SIZE)
