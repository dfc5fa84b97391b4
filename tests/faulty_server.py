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
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from PIL import Image

from ode_vgan.data.shards import read_index
from tests.made_media import animated, encoded, gif_of_frames, gif_of_sides, gzip_of_zeros, webp_of_frames

FORMATS = ("gif", "webp", "mp4", "webm", "avi")
TYPES = {"gif": "image/gif", "webp": "image/webp", "mp4": "video/mp4", "webm": "video/webm", "avi": "video/x-msvideo"}
ROBOTS = b"User-agent: *\nDisallow: /private/\nAllow: /\n"
HTML = b"<!DOCTYPE html><html><body>This video was removed.</body></html>"
DOWNLOAD, DECODE = "failed_to_download", "failed_to_decode"
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
    for faults in (_faults_of_servers(gif), _faults_of_redirects(), _faults_of_media(gif, content), _opt_outs(gif)):
        for name, (answer, status, error) in faults.items():
            listener.answers[f"/faults/{name}"] = answer
            yield f"/faults/{name}", f"a fault: {name}", status, error
    listener.answers["/private/secret.gif"] = _plain(gif, "image/gif")
    yield "/private/secret.gif", "robots.txt forbids this", DOWNLOAD, "robots.txt"
    for i, text in enumerate(HOSTILE):
        listener.answers[f"/faults/hostile{i}.gif"] = _plain(gif, "image/gif")
        yield f"/faults/hostile{i}.gif", text, "success", None


def _faults_of_servers(gif: bytes) -> dict[str, tuple]:
    good, empty = _plain(gif, "image/gif"), _plain(b"", "text/plain", 500)
    bomb = _plain(gzip_of_zeros(80), "image/gif", Content_Encoding="gzip")
    return {
        "missing.gif": (_plain(HTML, "text/html", 404), DOWNLOAD, "HTTP 404"),
        "flaky.gif": (_first(empty, good), "success", None),
        "broken.gif": (empty, DOWNLOAD, "HTTP 500"),
        "busy.gif": (_first(_plain(b"", "text/plain", 429, Retry_After="1"), good), "success", None),
        "drip.mp4": (_drip, DOWNLOAD, "timeout"),
        "truncated.gif": (_states(gif[: len(gif) // 2], len(gif)), DOWNLOAD, "truncated"),
        "typed-as-text.gif": (_plain(gif, "text/html"), "success", None),
        "gzip-bomb.gif": (bomb, DOWNLOAD, "too many bytes"),
        "gzipped.gif": (_plain(gzip.compress(gif), "image/gif", Content_Encoding="gzip"), "success", None),
        "endless.mp4": (_endless, DOWNLOAD, "too many bytes"),
        "lying-long.gif": (_states(gif, len(gif) + 1000), DOWNLOAD, "truncated"),
        "lying-short.gif": (_states(gif, len(gif) - 1000), DECODE, "corrupt"),
        "lying-huge.gif": (_states(gif, 10**13), DOWNLOAD, "too many bytes"),
    }


def _faults_of_redirects() -> dict[str, tuple]:
    return {
        "to-private.gif": (_to("http://10.0.0.1/a.gif"), DOWNLOAD, "address refused: private"),
        "to-metadata.gif": (_to("http://169.254.169.254/latest/meta-data/"), DOWNLOAD, "address refused: private"),
        "to-loopback.gif": (_to("http://localhost:8001/a.gif"), DOWNLOAD, "address refused: private"),
        "to-file.gif": (_to("file:///etc/passwd"), DOWNLOAD, "address refused: scheme"),
        "loop.gif": (_to("/faults/loop.gif"), DOWNLOAD, "too many redirects"),
        "hop.gif": (_to("/faults/typed-as-text.gif"), "success", None),
    }


def _faults_of_media(gif: bytes, content: bytes) -> dict[str, tuple]:
    """Files that are sent as clips and are something else, or too much."""
    photo = io.BytesIO()
    Image.new("RGB", (64, 64), "blue").save(photo, "png")
    files = {
        "half.gif": (gif[: len(gif) // 2], "corrupt"),
        "half.mp4": (content[: len(content) // 2], "corrupt"),
        "page.mp4": (HTML, "not a clip: HTML"),
        "photo.mp4": (photo.getvalue(), "not a clip: still image"),
        "noise.mp4": (b"\x93\x21" * 5000, "not a clip: unknown"),
        "empty.mp4": (b"", "not a clip: empty"),
        "list.mp4": (b"#EXTM3U\nfile:///etc/passwd\n", "not a clip: playlist"),
        "sides.gif": (gif_of_sides(60_000, 60_000), "too many pixels a side"),
        "frames.gif": (gif_of_frames(20_000), "too many frames"),
        "pixels.webp": (webp_of_frames(4000, 4000, 3000), "too many pixels"),
        "zip.mp4": (_zipped("clip.mp4", bytes(10**6)), "not a clip: archive"),
    }
    still = animated([Image.new("RGB", (64, 64), "red")], "gif", [100])
    faults = {name: (_plain(body, "video/mp4"), DECODE, error) for name, (body, error) in files.items()}
    return faults | {"still.gif": (_plain(still, "image/gif"), "filtered", "still image")}


def _opt_outs(gif: bytes) -> dict[str, tuple]:
    def tagged(tag: str):
        return _plain(gif, "image/gif", X_Robots_Tag=tag)

    return {
        "noai.gif": (tagged("noai"), DOWNLOAD, "X-Robots-Tag: noai"),
        "noindex-us.gif": (tagged(f"{NAMED}: noindex"), DOWNLOAD, "X-Robots-Tag: noindex"),
        "noai-other.gif": (tagged("otherbot: noai"), "success", None),
    }


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
        yield url, "leads elsewhere", DOWNLOAD, f"address refused: {reason}"
    yield server.rows[0]["url"], "a second time", "filtered", "duplicate url"
