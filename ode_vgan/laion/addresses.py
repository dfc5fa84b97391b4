"""Addresses that may be fetched from: http(s) at public hosts, connected to at the very address that was checked."""

import re
import socket
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from urllib.parse import quote, urlsplit

from ode_vgan.errors import UserError

PORTS = {"http": 80, "https": 443}
LOWEST_PORT = 1024  # below it, only 80 and 443: the others are mail, shells and other talk that is not HTTP
MAX_URL = 4096
# what tells machines in a cloud who they are; the first is public by its number
METADATA = tuple(map(ip_address, ("168.63.129.16", "169.254.169.254", "100.100.100.200", "fd00:ec2::254")))
# never a single host's own address, whatever is allowed: unspecified, multicast, reserved, translations of IPv4
NEVER = tuple(
    map(ip_network, ("0.0.0.0/8", "224.0.0.0/4", "240.0.0.0/4", "::/128", "ff00::/8", "::ffff:0:0/96"))
) + tuple(map(ip_network, ("64:ff9b::/96", "64:ff9b:1::/48", "2001::/32", "2002::/16", "::/96")))
PRIVATE = tuple(
    ip_network(network)
    for network in (
        *("10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12", "192.0.0.0/24"),
        *("192.0.2.0/24", "192.88.99.0/24", "192.168.0.0/16", "198.18.0.0/15", "198.51.100.0/24", "203.0.113.0/24"),
        *("2001::/23", "2001:db8::/32", "3fff::/20"),
    )
)
GLOBAL_V6 = ip_network("2000::/3")  # all that is handed out; loopback, link-local and unique local lie outside
LOOPBACK_V6 = ip_address("::1")

Lookup = Callable[..., list[tuple]]


class AddressRefused(UserError):  # noqa: N818 named for what it is, as UserError is
    """An address that is not fetched from: its form, its scheme, or where it leads."""


@dataclass(frozen=True)
class Target:
    """One url, taken apart.

    Attributes:
        host: ASCII, lower case, without brackets.
        path: path and query as they are sent; never the fragment.
    """

    scheme: str
    host: str
    port: int
    path: str

    @property
    def site(self) -> str:
        """Scheme, host and port: whose robots.txt counts."""
        return f"{self.scheme}://{self.authority}"

    @property
    def authority(self) -> str:
        """Host, with its port where that is not the scheme's own."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == PORTS.get(self.scheme) else f"{host}:{self.port}"


def split_url(url: str, schemes: Iterable[str] = ("http", "https")) -> Target:
    """Take a url apart, or refuse it.

    Raises:
        AddressRefused: a scheme not among the given, a user name, white space or control characters, no host, an IPv4
            address not in four decimal parts, a port below 1024 that is not 80 or 443, more than 4096 characters.
    """
    if len(url) > MAX_URL or re.search(r"[\x00-\x20\x7f\\]", url):
        raise AddressRefused("address refused: malformed")
    try:
        parts = urlsplit(url)
        host, port = parts.hostname or "", parts.port
    except ValueError as error:
        raise AddressRefused("address refused: malformed") from error
    if parts.scheme not in set(schemes):
        raise AddressRefused("address refused: scheme")
    if parts.username is not None or parts.password is not None:
        raise AddressRefused("address refused: user name")
    if "[" in parts.netloc and ":" not in host:
        raise AddressRefused("address refused: malformed")
    if parts.scheme == "file":
        return Target("file", host, 0, parts.path)
    port = PORTS[parts.scheme] if port is None else port
    if port not in PORTS.values() and port < LOWEST_PORT:
        raise AddressRefused("address refused: port")
    path = quote(parts.path or "/", safe="/%:@!$&'()*+,;=~") + (
        f"?{quote(parts.query, safe='/%:@!$&()*+,;=~?[]')}" if parts.query else ""
    )
    return Target(parts.scheme, _ascii_host(host), port, path)


def resolve(
    target: Target,
    *,
    allow_private: bool = False,
    allow: Iterable[str] = (),
    lookup: Lookup = socket.getaddrinfo,
) -> list[IPv4Address | IPv6Address]:
    """The numeric addresses of a target's host, all of which may be connected to.

    Args:
        allow_private: also private, loopback and link-local ones; never multicast, reserved or metadata addresses.
        allow: "address:port" pairs that are let through whatever they are.

    Raises:
        AddressRefused: one of them may not be connected to, or there is none.
    """
    try:
        found = lookup(target.host, target.port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        raise AddressRefused("host not found") from error
    addresses = []
    for _, _, _, _, (text, *_) in found:
        try:
            address = ip_address(text)  # a zone, as in fe80::1%eth0, stays in it
        except ValueError as error:
            raise AddressRefused("address refused: malformed") from error
        if f"{_bracketed(address)}:{target.port}" not in allow and not may_connect(address, allow_private):
            raise AddressRefused("address refused: private")
        if address not in addresses:
            addresses.append(address)
    if not addresses:
        raise AddressRefused("host not found")
    return addresses


def may_connect(address: IPv4Address | IPv6Address, allow_private: bool = False) -> bool:
    """Whether an address is a public host's, or with allow_private at least one host's and no cloud's metadata."""
    if address in METADATA or (address != LOOPBACK_V6 and any(address in network for network in NEVER)):
        return False
    if address.version == 6 and address.scope_id:
        return allow_private
    private = address.version == 6 and address not in GLOBAL_V6 or any(address in network for network in PRIVATE)
    return allow_private or not private


def connect(addresses: list[IPv4Address | IPv6Address], port: int, seconds: float) -> socket.socket:
    """A TCP connection to the first of the addresses that answers, within so many seconds for all of them.

    No name is looked up here: what was checked is what is connected to.

    Raises:
        OSError: none answers.
    """
    deadline, failure = time.monotonic() + seconds, None
    for i, address in enumerate(addresses):
        left = deadline - time.monotonic()
        if left <= 0:
            break
        try:
            return socket.create_connection((str(address), port), timeout=left / (len(addresses) - i))
        except OSError as error:
            failure = error
    raise failure or TimeoutError("no time left to connect")


def _ascii_host(host: str) -> str:
    """The host as DNS asks for it; refuse what some resolvers read as another spelling of an IPv4 address."""
    if ":" in host:  # urlsplit gives one only from within brackets
        with suppress(ValueError):
            return str(ip_address(host))
        raise AddressRefused("address refused: malformed")
    try:
        host = host.rstrip(".").encode("idna").decode().lower()
    except UnicodeError as error:
        raise AddressRefused("address refused: malformed") from error
    if not re.fullmatch(r"[a-z0-9_-]{1,63}(\.[a-z0-9_-]{1,63})*", host):
        raise AddressRefused("address refused: malformed")
    last = host.rpartition(".")[2]
    if re.fullmatch(r"\d+|0x[0-9a-f]*", last):
        try:
            return str(IPv4Address(host))  # leading zeros, fewer parts and other bases are not accepted
        except ValueError as error:
            raise AddressRefused("address refused: number") from error
    return host


def _bracketed(address: IPv4Address | IPv6Address) -> str:
    return f"[{address}]" if address.version == 6 else str(address)
