"""Clips in every container, and files that promise more than they hold."""

import gzip
import io
import zlib
from functools import lru_cache

import av
import numpy as np
from PIL import Image

from ode_vgan.data.clips import decode_clip


@lru_cache(maxsize=1024)
def encoded(content: bytes, suffix: str) -> bytes:
    """A clip's frames in another container; 24 frames a second in WebM and AVI, the true times elsewhere."""
    if suffix == "mp4":
        return content
    clip = decode_clip(content)
    if suffix in ("gif", "webp"):
        milliseconds = np.diff(clip.times, append=clip.times[-1] + 0.04) * 1000
        images = [Image.fromarray(frame) for frame in clip.frames]
        delays = [max(20, int(round(one, -1))) for one in milliseconds]
        return animated(images, suffix, delays)
    codec, container = {"webm": ("libvpx", "webm"), "avi": ("mpeg4", "avi")}[suffix]
    buffer = io.BytesIO()
    with av.open(buffer, "w", format=container) as file:
        stream = file.add_stream(codec, rate=24, options={"deadline": "realtime"} if suffix == "webm" else {})
        stream.width, stream.height, stream.pix_fmt = clip.frames.shape[2], clip.frames.shape[1], "yuv420p"
        stream.codec_context.bit_rate = 400_000
        for frame in clip.frames:
            file.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        file.mux(stream.encode(None))
    return buffer.getvalue()


def animated(images: list[Image.Image], suffix: str, milliseconds: list[int]) -> bytes:
    """A GIF or WebP of the images, each shown for its milliseconds."""
    buffer = io.BytesIO()
    further = {"method": 0, "quality": 80} if suffix == "webp" else {}
    images[0].save(buffer, suffix, save_all=True, append_images=images[1:], duration=milliseconds, loop=0, **further)
    return buffer.getvalue()


def gif_of_frames(count: int) -> bytes:
    """A GIF of so many frames of one pixel, about 20 bytes each."""
    head = b"GIF89a\1\0\1\0\x80\0\0\0\0\0\xff\xff\xff"
    frame = b"!\xf9\4\0\4\0\0\0" + b",\0\0\0\0\1\0\1\0\0" + b"\2\2D\1\0"
    return head + frame * count + b";"


def gif_of_sides(width: int, height: int) -> bytes:
    """A GIF that states its sides and holds one small frame."""
    one = gif_of_frames(2)
    return one[:6] + width.to_bytes(2, "little") + height.to_bytes(2, "little") + one[10:]


def webp_of_frames(width: int, height: int, count: int) -> bytes:
    """A WebP whose header promises so many frames of these sides; their content is empty."""
    sides = (width - 1).to_bytes(3, "little") + (height - 1).to_bytes(3, "little")
    frame = b"ANMF" + (16).to_bytes(4, "little") + bytes(6) + sides + (40).to_bytes(3, "little") + b"\0"
    body = b"WEBPVP8X" + (10).to_bytes(4, "little") + b"\2\0\0\0" + sides
    body += b"ANIM" + (6).to_bytes(4, "little") + bytes(6) + frame * count
    return b"RIFF" + len(body).to_bytes(4, "little") + body


def gzip_of_zeros(megabytes: int) -> bytes:
    """A gzip file of so many MiB of zeros, a thousandth of that long."""
    packer = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    one = packer.compress(bytes(2**20)) + packer.flush(zlib.Z_FULL_FLUSH)  # stands alone, so it may be repeated
    return gzip.compress(b"")[:10] + one * megabytes + packer.flush()
