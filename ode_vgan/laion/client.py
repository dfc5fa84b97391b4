"""A polite and suspicious GET: pinned addresses, deadlines, byte caps, few redirects, few retries, opt-outs heard.

On http.client, since it lets us hand it a socket that is already connected to the address that was checked.
"""

import email.utils
import http.client
import socket
import ssl
import time
import zlib
from collections.abc import Callable
from contextlib import AbstractContextManager, closing, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from urllib.parse import unquote, urljoin

from ode_vgan import __version__
from ode_vgan.laion.addresses import AddressRefused, Lookup, Target, resolve, split_url
from ode_vgan.laion.optout import refusal
from ode_vgan.laion.wire import CHUNK, Timed, open_line

USER_AGENT = f"ode_vgan/{__version__} (research; clips for video models)"
REDIRECTS = {301, 302, 303, 307, 308}
RETRIED = {429, 500, 502, 503, 504}


@dataclass(frozen=True)
class Manners:
    """How urls are fetched.

    Attributes:
        schemes: what may be asked for; "file" too, if it is named here. Redirects lead to http and https only.
        allow_private: private and loopback hosts too; allow: only these "address:port" pairs of them.
        total_seconds: for one attempt with its redirects, waits for a host's turn not counted.
        retries: further attempts after 429, 5xx, a reset connection or a body that breaks off.
        backoff_seconds: the wait before the first retry; it doubles each time. A server's Retry-After counts instead.
        max_wait_seconds: the most that is waited before a retry, whatever a server asks for.
        honour_x_robots: refuse a file whose X-Robots-Tag says noai, noimageai, noindex or noimageindex.
    """

    user_agent: str = USER_AGENT
    schemes: tuple[str, ...] = ("http", "https")
    allow_private: bool = False
    allow: tuple[str, ...] = ()
    connect_seconds: float = 10
    read_seconds: float = 15
    total_seconds: float = 60
    max_bytes: int = 64 * 2**20
    max_redirects: int = 5
    retries: int = 2
    backoff_seconds: float = 1
    max_wait_seconds: float = 30
    honour_x_robots: bool = True


@dataclass(frozen=True)
class Reply:
    """What came back: the url that answered in the end, its body without any encoding, its X-Robots-Tag.

    Attributes:
        location: where a redirect leads; None in what `Client.get` returns.
    """

    url: str
    body: bytes
    x_robots: str | None
    location: str | None = None


class FetchFailed(Exception):  # noqa: N818 named for what it is
    """A url that gave nothing; the message is one of a few, so that failures can be counted by it.

    Attributes:
        status: of HTTP, or None where there was no answer.
        again: whether another attempt may help, and after how many seconds the server asks for one.
        x_robots: the header that was met.
    """

    def __init__(
        self,
        message: str,
        *,
        status: int | None = None,
        again: bool = False,
        wait_seconds: float | None = None,
        x_robots: str | None = None,
    ):
        super().__init__(message)
        self.status, self.again, self.wait_seconds, self.x_robots = status, again, wait_seconds, x_robots


class Client:
    """Gets urls by its manners.

    Args:
        enter: called with each target before it is asked, redirects too; its context is held while we are there.
        lookup: finds a host's addresses, as socket.getaddrinfo does.
    """

    def __init__(
        self,
        manners: Manners = Manners(),  # noqa: B008 frozen
        *,
        enter: Callable[[Target], AbstractContextManager] = lambda target: nullcontext(),
        lookup: Lookup = socket.getaddrinfo,
    ):
        self.manners, self.enter, self.lookup = manners, enter, lookup

    def get(
        self,
        url: str,
        *,
        permit: Callable[[str, Target], None] = lambda url, target: None,
        max_bytes: int | None = None,
        first_bytes_only: bool = False,
    ) -> Reply:
        """The body of a url.

        Args:
            permit: called with each url before it is asked, redirects too; raises FetchFailed to refuse it.
            max_bytes: of the body, before and after decompression; None is the manners' own.
            first_bytes_only: give the first max_bytes of a longer body instead of refusing it.

        Raises:
            FetchFailed: it gave nothing, for the reason in the message.
        """
        limit = self.manners.max_bytes if max_bytes is None else max_bytes
        wait = self.manners.backoff_seconds
        for left in reversed(range(self.manners.retries + 1)):
            try:
                return self._follow(url, permit, limit, first_bytes_only)
            except FetchFailed as failure:
                if not (failure.again and left):
                    raise
                asked = wait if failure.wait_seconds is None else failure.wait_seconds
                time.sleep(min(max(asked, 0), self.manners.max_wait_seconds))
                wait *= 2

    def _follow(self, url: str, permit: Callable, limit: int, first_bytes_only: bool) -> Reply:
        schemes = self.manners.schemes
        seconds = self.manners.total_seconds
        for _ in range(self.manners.max_redirects + 1):
            try:
                target = split_url(url, schemes)
                if target.scheme == "file":
                    return Reply(url, read_file(target, limit), None)
                addresses = self._resolve(target)
                permit(url, target)
                with self.enter(target):  # the wait for our turn is not the server's fault
                    begun = time.monotonic()
                    reply = self._ask(target, addresses, begun + seconds, limit, first_bytes_only)
                    seconds -= time.monotonic() - begun
            except AddressRefused as refused:
                raise FetchFailed(str(refused)) from refused
            if reply.location is None:
                return replace(reply, url=url)
            try:
                url, schemes = urljoin(url, reply.location), tuple(scheme for scheme in schemes if scheme != "file")
            except ValueError as error:
                raise FetchFailed("malformed reply") from error
        raise FetchFailed("too many redirects")

    def _resolve(self, target: Target) -> list:
        allowed = {"allow_private": self.manners.allow_private, "allow": self.manners.allow}
        return resolve(target, **allowed, lookup=self.lookup)

    def _ask(self, target: Target, addresses: list, deadline: float, limit: int, first_bytes_only: bool) -> Reply:
        """What one request brings: a body, or a location to go to instead."""
        try:
            with closing(open_line(target, addresses, deadline, self.manners.connect_seconds)) as line:
                reply = _request(line, target, deadline, self.manners)
                if reply.status in REDIRECTS and reply.headers.get("Location"):
                    return Reply(target.site, b"", None, location=reply.headers["Location"].strip())
                x_robots = self._check(reply)
                return Reply(target.site, _body(reply, limit, first_bytes_only), x_robots)
        except TimeoutError as error:
            raise FetchFailed("timeout") from error
        except ssl.SSLCertVerificationError as error:
            raise FetchFailed("certificate refused") from error
        except OSError as error:
            raise FetchFailed("connection failed", again=True) from error
        except http.client.IncompleteRead as error:
            raise FetchFailed("truncated", again=True) from error
        except (http.client.HTTPException, ValueError) as error:
            raise FetchFailed("malformed reply") from error

    def _check(self, reply: http.client.HTTPResponse) -> str | None:
        """The reply's X-Robots-Tag, unless its status or that tag refuses us."""
        tags = reply.headers.get_all("X-Robots-Tag") or []
        x_robots = ", ".join(tags)[:1000] or None
        if reply.status != 200:
            raise FetchFailed(
                f"HTTP {reply.status}",
                status=reply.status,
                again=reply.status in RETRIED,
                wait_seconds=_retry_after(reply.headers.get("Retry-After")),
                x_robots=x_robots,
            )
        word = refusal(tags, self.manners.user_agent) if self.manners.honour_x_robots else None
        if word:
            raise FetchFailed(f"X-Robots-Tag: {word}", status=200, x_robots=x_robots)
        return x_robots


def read_file(target: Target, limit: int) -> bytes:
    """The bytes of a regular file on this machine, named by a file: url.

    Raises:
        FetchFailed: another machine's, none, not a regular file, or too many bytes.
    """
    path = Path(unquote(target.path))
    if target.host not in ("", "localhost") or "\0" in str(path):
        raise FetchFailed("address refused: malformed")
    try:
        if not path.is_file():
            raise FetchFailed("no such file")
        with open(path, "rb") as file:
            content = file.read(limit + 1)
    except OSError as error:
        raise FetchFailed("no such file") from error
    if len(content) > limit:
        raise FetchFailed("too many bytes")
    return content


def _request(line: socket.socket, target: Target, deadline: float, manners: Manners) -> http.client.HTTPResponse:
    headers = {
        "Host": target.authority,
        "User-Agent": manners.user_agent,
        "Accept": "video/*, image/gif, image/webp, */*;q=0.1",
        "Accept-Encoding": "identity",
        "Connection": "close",
    }
    lines = [f"GET {target.path} HTTP/1.1", *(f"{name}: {value}" for name, value in headers.items()), "", ""]
    line.settimeout(max(min(deadline - time.monotonic(), manners.read_seconds), 0.001))
    line.sendall("\r\n".join(lines).encode("latin-1", "replace"))
    reply = http.client.HTTPResponse(Timed(line, deadline, manners.read_seconds), method="GET")
    reply.begin()
    return reply


def _body(reply: http.client.HTTPResponse, limit: int, first_bytes_only: bool) -> bytes:
    coding = (reply.headers.get("Content-Encoding") or "identity").strip().lower()
    if coding not in ("identity", "gzip", "x-gzip", "deflate"):
        raise FetchFailed("encoding refused")
    unpack = None if coding == "identity" else zlib.decompressobj(zlib.MAX_WBITS | 32)  # gzip or zlib, by its head
    stated = reply.length  # None where it is chunked or ends with the connection
    if stated is not None and stated > limit and not first_bytes_only:
        raise FetchFailed("too many bytes")
    received, body = 0, bytearray()
    while received <= limit and len(body) <= limit and (chunk := reply.read(CHUNK)):
        received += len(chunk)
        try:
            body += unpack.decompress(chunk, limit + 1 - len(body)) if unpack else chunk
        except zlib.error as error:
            raise FetchFailed("malformed reply") from error
    if max(received, len(body)) > limit:
        if not first_bytes_only:
            raise FetchFailed("too many bytes")
    elif stated is not None and received < stated or unpack and received and not unpack.eof:
        raise FetchFailed("truncated", again=True)
    return bytes(body[:limit])


def _retry_after(value: str | None) -> float | None:
    """Seconds that a Retry-After asks for, in either of its forms; None where it says nothing readable."""
    if value is None:
        return None
    if value.strip().isdigit():
        return float(value)
    try:
        return max(0.0, email.utils.parsedate_to_datetime(value).timestamp() - time.time())
    except (ValueError, OverflowError):
        return None
