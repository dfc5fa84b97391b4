"""A small server on loopback: a socket that is taken before anything is promised, and uvicorn on it."""

import socket

from ode_vgan.errors import UserError


def listen(host: str, port: int) -> socket.socket:
    """A listening socket.

    Raises:
        UserError: the address is not this machine's, or the port is taken or out of range.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
        listener.listen(128)
    except (OSError, OverflowError) as error:
        listener.close()
        raise UserError(f"cannot listen on {host} port {port} ({error}). Choose another --port or --host.") from error
    return listener


def serve_app(app, host: str, port: int, what: str) -> None:
    """Serve an application until interrupted; prints its address first.

    Raises:
        UserError: the port is taken, or uvicorn is missing.
    """
    uvicorn = need_server()
    with listen(host, port) as listener:
        shown = f"[{host}]" if ":" in host else host
        print(f"{what}: http://{shown}:{listener.getsockname()[1]} (Ctrl-C ends it)", flush=True)
        uvicorn.Server(uvicorn.Config(app, log_level="warning")).run(sockets=[listener])


def need_server():
    """uvicorn, beside fastapi.

    Raises:
        UserError: one is missing.
    """
    try:
        import fastapi  # noqa: F401 one remedy for both
        import uvicorn
    except ImportError as error:
        raise UserError("this page needs fastapi and uvicorn. Run: pip install 'ode_vgan[web]'") from error
    return uvicorn
