"""An HTTP server on loopback that serves real clips, and everything that can be wrong with a web server.

    with faulty_server(good=24) as server:
        options = FetchOptions(manners=Manners(allow=server.allow, read_seconds=2, total_seconds=3), ...)
        table = [{"url": row["url"], "text": row["text"]} for row in server.rows]

Each row has url, text, expected_status and expected_error (the error_message of the parquet, None for a success).
A slow server ends only at the fetcher's total_seconds, and an endless body at its max_bytes: keep both small.
"""

import gzip
import io
import threading
import time
import zipfile
import zlib
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import lru_cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import av
import numpy as np
from PIL import Image

from ode_vgan.data.clips import decode_clip
from ode_vgan.data.shards import read_index

FORMATS = ("gif", "webp", "mp4", "webm", "avi")
TYPES = {"gif": "image/gif", "webp": "image/webp", "mp4": "video/mp4", "webm": "video/webm", "avi": "video/x-msvideo"}
ROBOTS = b"User-agent: *\nDisallow: /private/\nAllow: /\n"
HTML = b"<!DOCTYPE html><html><body>This video was removed.</body></html>"
NAMED = "ode_vgan"  # the agent that a tag of ours names
HOSTILE = ("<script>alert(1)</script> & <b>bold</b>", "../../../etc/passwd", "bell \x07, escape \x1b[31m, \u202eback")


@dataclass
class Server:
    """Where it listens, what it serves, what was asked of it.

    Attributes:
        allow: what Manners.allow needs to be let through to it.
        asked: how often each path was asked for.
    """

    url: str
    allow: tuple[str, ...]
    rows: list[dict] = field(default_factory=list)
    asked: Counter = field(default_factory=Counter)


@contextmanager
def faulty_server(folder_or_clips=None, *, good: int = 24, faults: bool = True) -> Iterator[Server]:
    """Serve so many good clips, and one url for each fault, in rows that mix them.

    Args:
        folder_or_clips: a folder of clips or shards, or a list of (bytes, text); None is the embedded emoji.
    """
    listener = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
    listener.daemon_threads = True
    port = listener.server_address[1]
    server = Server(f"http://127.0.0.1:{port}", (f"127.0.0.1:{port}",))
    listener.answers, listener.server = {}, server
    clips = _clips(folder_or_clips, good)
    for i, (content, text) in enumerate(clips):
        suffix = FORMATS[i % len(FORMATS)]
        path = f"/good/{i:04d}.{suffix}"
        listener.answers[path] = _plain(encoded(content, suffix), TYPES[suffix])
        server.rows.append(_row(server.url + path, text))
    if faults:
        bad = [_row(server.url + path, *rest) for path, *rest in _faults(listener, clips[0][0])]
        bad += [_row(*one) for one in _elsewhere(server)]
        every = max(1, len(server.rows) // max(1, len(bad)))
        for i, row in enumerate(bad):  # among the good ones, never first
            server.rows.insert(min(1 + i * (every + 1), len(server.rows)), row)
    thread = threading.Thread(target=listener.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield server
    finally:
        listener.shutdown()
        listener.server_close()
        thread.join()


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


def _row(url: str, text: str, status: str = "success", error: str | None = None) -> dict:
    return {"url": url, "text": text, "expected_status": status, "expected_error": error}


def _clips(source, count: int) -> list[tuple[bytes, str]]:
    if isinstance(source, list):
        return source[:count]
    folder = Path(source) if source else Path(__file__).resolve().parents[1] / "data" / "emoji"
    entries = read_index(folder)
    step = max(1, len(entries) // max(1, count))
    return [(entry.read(), entry.caption or "") for entry in entries[::step][:count]]


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):  # noqa: N802 the name that http.server calls
        path = self.path.partition("?")[0]
        self.server.server.asked[path] += 1
        self.close_connection = True
        answer = self.server.answers.get(path)
        if path == "/robots.txt":
            answer = _plain(ROBOTS, "text/plain")
        with suppress(ConnectionError, TimeoutError):
            (answer or _plain(HTML, "text/html", 404))(self)

    def reply(self, status: int, headers: dict, body: bytes = b"") -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *arguments):
        """Nothing: a test's output is for what failed."""


def _plain(body: bytes, kind: str, status: int = 200, **further):
    headers = {name.replace("_", "-"): value for name, value in further.items()}
    return lambda request: request.reply(status, {"Content-Type": kind, "Content-Length": len(body)} | headers, body)


def _to(location: str):
    return lambda request: request.reply(302, {"Location": location, "Content-Length": 0})


def _first(first, then):
    """One answer to the first who asks, another to all later ones."""
    seen = []

    def answer(request):
        seen.append(request)
        (first if len(seen) == 1 else then)(request)

    return answer


def _drip(request):
    request.reply(200, {"Content-Type": "video/mp4", "Content-Length": 100_000})
    for _ in range(3000):
        request.wfile.write(b"\0")
        time.sleep(0.1)


def _endless(request):
    request.reply(200, {"Content-Type": "video/mp4", "Transfer-Encoding": "chunked"})
    while True:
        request.wfile.write(b"10000\r\n" + bytes(0x10000) + b"\r\n")


def _states(body: bytes, length: int):
    return lambda request: request.reply(200, {"Content-Type": "image/gif", "Content-Length": length}, body)


def _zipped(name: str, body: bytes) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr(name, body)
    return buffer.getvalue()


def _faults(listener, content: bytes) -> Iterator[tuple]:
    """(path, text, expected status, expected error) of each fault, whose answer is given to the listener."""
    gif = encoded(content, "gif")
    download, decode = "failed_to_download", "failed_to_decode"
    still = animated([Image.new("RGB", (64, 64), "red")], "gif", [100])
    photo = io.BytesIO()
    Image.new("RGB", (64, 64), "blue").save(photo, "png")
    gif_answer = _plain(gif, "image/gif")
    faults = {
        "missing.gif": (_plain(HTML, "text/html", 404), download, "HTTP 404"),
        "flaky.gif": (_first(_plain(b"", "text/plain", 500), gif_answer), "success", None),
        "broken.gif": (_plain(b"", "text/plain", 500), download, "HTTP 500"),
        "busy.gif": (_first(_plain(b"", "text/plain", 429, Retry_After="1"), gif_answer), "success", None),
        "drip.mp4": (_drip, download, "timeout"),
        "truncated.gif": (_states(gif[: len(gif) // 2], len(gif)), download, "truncated"),
        "half.gif": (_plain(gif[: len(gif) // 2], "image/gif"), decode, "corrupt"),
        "half.mp4": (_plain(content[: len(content) // 2], "video/mp4"), decode, "corrupt"),
        "typed-as-text.gif": (_plain(gif, "text/html"), "success", None),
        "page.mp4": (_plain(HTML, "video/mp4"), decode, "not a clip: HTML"),
        "photo.mp4": (_plain(photo.getvalue(), "video/mp4"), decode, "not a clip: still image"),
        "noise.mp4": (_plain(b"\x93\x21" * 5000, "video/mp4"), decode, "not a clip: unknown"),
        "empty.mp4": (_plain(b"", "video/mp4"), decode, "not a clip: empty"),
        "list.mp4": (_plain(b"#EXTM3U\nfile:///etc/passwd\n", "video/mp4"), decode, "not a clip: playlist"),
        "still.gif": (_plain(still, "image/gif"), "filtered", "still image"),
        "to-private.gif": (_to("http://10.0.0.1/a.gif"), download, "address refused: private"),
        "to-metadata.gif": (_to("http://169.254.169.254/latest/meta-data/"), download, "address refused: private"),
        "to-loopback.gif": (_to("http://localhost:8001/a.gif"), download, "address refused: private"),
        "to-file.gif": (_to("file:///etc/passwd"), download, "address refused: scheme"),
        "loop.gif": (_to("/faults/loop.gif"), download, "too many redirects"),
        "hop.gif": (_to("/faults/typed-as-text.gif"), "success", None),
        "sides.gif": (_plain(gif_of_sides(60_000, 60_000), "image/gif"), decode, "too many pixels a side"),
        "frames.gif": (_plain(gif_of_frames(20_000), "image/gif"), decode, "too many frames"),
        "pixels.webp": (_plain(webp_of_frames(4000, 4000, 3000), "image/webp"), decode, "too many pixels"),
        "zip.mp4": (_plain(_zipped("clip.mp4", bytes(10**6)), "video/mp4"), decode, "not a clip: archive"),
        "gzip-bomb.gif": (
            _plain(gzip_of_zeros(80), "image/gif", Content_Encoding="gzip"),
            download,
            "too many bytes",
        ),
        "gzipped.gif": (_plain(gzip.compress(gif), "image/gif", Content_Encoding="gzip"), "success", None),
        "endless.mp4": (_endless, download, "too many bytes"),
        "lying-long.gif": (_states(gif, len(gif) + 1000), download, "truncated"),
        "lying-short.gif": (_states(gif, len(gif) - 1000), decode, "corrupt"),
        "lying-huge.gif": (_states(gif, 10**13), download, "too many bytes"),
        "noai.gif": (_plain(gif, "image/gif", X_Robots_Tag="noai"), download, "X-Robots-Tag: noai"),
        "noindex-us.gif": (
            _plain(gif, "image/gif", X_Robots_Tag=f"{NAMED}: noindex"),
            download,
            "X-Robots-Tag: noindex",
        ),
        "noai-other.gif": (_plain(gif, "image/gif", X_Robots_Tag="otherbot: noai"), "success", None),
    }
    for name, (answer, status, error) in faults.items():
        listener.answers[f"/faults/{name}"] = answer
        yield f"/faults/{name}", f"a fault: {name}", status, error
    listener.answers["/private/secret.gif"] = gif_answer
    yield "/private/secret.gif", "robots.txt forbids this", download, "robots.txt"
    for i, text in enumerate(HOSTILE):
        listener.answers[f"/faults/hostile{i}.gif"] = gif_answer
        yield f"/faults/hostile{i}.gif", text, "success", None


def _elsewhere(server: Server) -> Iterator[tuple]:
    """Rows that lead away from the server, or to it a second time."""
    port = server.url.rpartition(":")[2]
    refused = {
        "http://127.0.0.1:8001/a.gif": "private",
        "http://[::1]/a.gif": "private",
        "http://192.168.1.1/a.gif": "private",
        f"http://2130706433:{port}/good/0000.gif": "number",
        f"http://0x7f.1:{port}/good/0000.gif": "number",
        "file:///etc/passwd": "scheme",
        "ftp://127.0.0.1/a.gif": "scheme",
        f"http://someone@127.0.0.1:{port}/good/0000.gif": "user name",
        "http://127.0.0.1:22/a.gif": "port",
        "not a url": "malformed",
    }
    for url, reason in refused.items():
        yield url, "leads elsewhere", "failed_to_download", f"address refused: {reason}"
    yield server.rows[0]["url"], "a second time", "filtered", "duplicate url"
