"""A connection that ends at its deadline, however slowly the other side talks."""

import io
import socket
import ssl
import time
from functools import cache
from ipaddress import IPv4Address, IPv6Address

from ode_vgan.laion.addresses import Target, connect

CHUNK = 2**16
SHORTEST = 0.001  # a timeout of 0 would mean not to wait at all


class Timed(io.RawIOBase):
    """A socket read until a deadline (of time.monotonic), and never silent for longer than read_seconds."""

    def __init__(self, line: socket.socket, deadline: float, read_seconds: float):
        self.line, self.deadline, self.read_seconds = line, deadline, read_seconds

    def readable(self) -> bool:
        """Always."""
        return True

    def readinto(self, buffer) -> int:
        """Bytes put in the buffer; 0 at the end.

        Raises:
            TimeoutError: the deadline is past, or nothing came.
        """
        left = self.deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError("past the deadline")
        self.line.settimeout(min(left, self.read_seconds))
        return self.line.recv_into(buffer)

    def makefile(self, mode: str) -> io.BufferedReader:
        """A buffered reader: the one thing that HTTPResponse asks of its socket."""
        return io.BufferedReader(self, CHUNK)


def open_line(
    target: Target, addresses: list[IPv4Address | IPv6Address], deadline: float, connect_seconds: float
) -> socket.socket:
    """A connection to one of the addresses; for https, with the certificate of the target's name checked.

    Raises:
        OSError: none answers in time, or the certificate is another's.
    """
    line = connect(addresses, target.port, min(deadline - time.monotonic(), connect_seconds))
    try:
        if target.scheme == "https":
            line.settimeout(max(min(deadline - time.monotonic(), connect_seconds), SHORTEST))
            line = _tls().wrap_socket(line, server_hostname=target.host)
    except BaseException:
        line.close()
        raise
    return line


@cache
def _tls() -> ssl.SSLContext:
    return ssl.create_default_context()
