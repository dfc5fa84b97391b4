"""What every page here does before and after a request: who may ask, how much, and what the browser may load."""

import ipaddress
import json
from urllib.parse import urlsplit

from ode_vgan.errors import UserError

LOOPBACK = {"localhost", "127.0.0.1", "::1"}
JSON_BYTES = 2**20
HEADERS = {
    "content-security-policy": "default-src 'self'; img-src 'self' data: blob:; media-src 'self' blob:; "
    "object-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-resource-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
}


class Guard:
    """ASGI middleware that refuses a foreign Host or Origin and adds the security headers.

    A page of another site that resolves its own name to this machine (DNS rebinding) sends that name as Host. Allowed
    are the loopback names and the address bound; bound to every address, any address but no other name.
    """

    def __init__(self, app, host: str = "127.0.0.1"):
        self.app, self.host = app, host.strip("[]").lower()

    async def __call__(self, scope, receive, send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        headers = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in scope["headers"]}

        async def send_guarded(message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message["headers"], *((k.encode(), v.encode()) for k, v in HEADERS.items())]
            await send(message)

        refusal = self.refusal(headers, scope["method"])
        if refusal is None:
            await self.app(scope, receive, send_guarded)
            return
        content = json.dumps({"error": refusal}).encode()
        start = {"type": "http.response.start", "status": 403, "headers": [(b"content-type", b"application/json")]}
        await send_guarded(start)
        await send_guarded({"type": "http.response.body", "body": content})

    def refusal(self, headers: dict[str, str], method: str) -> str | None:
        """Why a request is refused, in one line; None where it is not."""
        host = headers.get("host", "")
        if not self.allows(host_name(host)):
            return f"Host {host[:80]!r} is not this server's. Open it by its address, such as http://127.0.0.1."
        origin = headers.get("origin")
        if method not in ("GET", "HEAD") and origin is not None and urlsplit(origin).netloc.lower() != host.lower():
            return f"requests from {origin[:80]!r} are refused. Use the page of this server."
        return None

    def allows(self, name: str) -> bool:
        """Whether a Host name may be answered."""
        if name in LOOPBACK or name == self.host:
            return True
        return self.host in ("0.0.0.0", "::") and _is_address(name)


def host_name(header: str) -> str:
    """The name in a Host header, without its port and brackets; empty where it is malformed."""
    try:
        return urlsplit(f"//{header}").hostname or ""
    except ValueError:
        return ""


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


async def read_body(request, limit: int) -> bytes:
    """The bytes of a request, counted as they arrive.

    Raises:
        TooLarge: there are more than `limit`.
    """
    stated = request.headers.get("content-length", "0")
    parts, size = [], int(stated) if stated.isdigit() else 0
    if size > limit:
        raise TooLarge(f"{size} bytes were sent, at most {limit}. Send less.")
    size = 0
    async for part in request.stream():
        size += len(part)
        if size > limit:
            raise TooLarge(f"more than {limit} bytes were sent. Send less.")
        parts.append(part)
    return b"".join(parts)


async def read_json(request, limit: int = JSON_BYTES) -> dict:
    """The JSON object of a request.

    Raises:
        UserError: it is not one.
        TooLarge: it has more than `limit` bytes.
    """
    content = await read_body(request, limit)
    try:
        found = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise UserError("the request's body is not JSON. Send an object.") from error
    if not isinstance(found, dict):
        raise UserError(f"the request's body is a {type(found).__name__}. Send an object.")
    return found


class TooLarge(UserError):  # noqa: N818 named for what it is, as UserError is
    """A request with more bytes than are read."""


def add_errors(app) -> None:
    """Answer errors with one line in JSON: 400 for a user's, 404 for what is not there, 413 for what is too large."""
    from fastapi.responses import JSONResponse

    def answer(status: int):
        def respond(_, error: Exception):
            return JSONResponse({"error": " ".join(str(error).split())}, status_code=status)

        return respond

    def broken(_, error: Exception):
        return JSONResponse({"error": f"the server failed ({type(error).__name__}). See its log."}, status_code=500)

    app.add_exception_handler(UserError, answer(400))
    app.add_exception_handler(TooLarge, answer(413))
    app.add_exception_handler(LookupError, answer(404))
    app.add_exception_handler(FileNotFoundError, answer(404))
    app.add_exception_handler(Exception, broken)
