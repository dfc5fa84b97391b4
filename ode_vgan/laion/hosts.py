"""Taking turns at a host: so many requests at once, and a pause between them."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from threading import BoundedSemaphore, Lock

from ode_vgan.laion.addresses import Target


@dataclass
class _Host:
    places: BoundedSemaphore
    pause_seconds: float
    lock: Lock = field(default_factory=Lock)
    free_at: float = 0.0


class Hosts:
    """Turns at every host.

    Args:
        at_once: requests under way at one host, at most.
        pause_seconds: from the start of one request to a host to the start of the next, at least.
        longest_pause_seconds: the most that a site's own wish (crawl-delay) can make of it.
    """

    def __init__(self, at_once: int, pause_seconds: float = 0.0, longest_pause_seconds: float = 30.0):
        self.at_once, self.pause_seconds, self.longest = at_once, pause_seconds, longest_pause_seconds
        self.hosts: dict[str, _Host] = {}
        self.lock = Lock()

    @contextmanager
    def turn(self, target: Target) -> Iterator[None]:
        """Wait until the target's host has a place for us, and hold it."""
        host = self._host(target)
        with host.places:
            with host.lock:
                now = time.monotonic()
                begin = max(now, host.free_at)
                host.free_at = begin + host.pause_seconds
            if begin > now:
                time.sleep(begin - now)
            yield

    def slow(self, target: Target, seconds: float) -> None:
        """Leave at least so many seconds between requests to the target's host, up to the longest pause."""
        host = self._host(target)
        with host.lock:
            host.pause_seconds = max(host.pause_seconds, min(seconds, self.longest))

    def _host(self, target: Target) -> _Host:
        with self.lock:
            if target.authority not in self.hosts:
                self.hosts[target.authority] = _Host(BoundedSemaphore(self.at_once), self.pause_seconds)
            return self.hosts[target.authority]


def interleaved(names: list[str]) -> list[int]:
    """An order of the rows in which no host's come in a row while others wait: its first, then all second ones ...

    Args:
        names: the host of each row.
    """
    counts: dict[str, int] = {}
    turns = []
    for name in names:
        turns.append(counts.get(name, 0))
        counts[name] = turns[-1] + 1
    return sorted(range(len(names)), key=lambda i: (turns[i], i))
