"""One answer at a time, and none to a question that its page has already replaced."""

import threading
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager

PAGES_KEPT = 256


class Stale(LookupError):  # noqa: N818 an answer nobody waits for any more
    """A newer question of the same page has come."""


class Turns:
    """The newest question of each page, and a lock that one answer holds at a time."""

    def __init__(self):
        self._newest: OrderedDict[tuple[str, str], int] = OrderedDict()
        self._guard, self._work = threading.Lock(), threading.Lock()

    def note(self, page: str, subject: str, turn: int) -> None:
        """A question has come; older ones of this page about this subject are stale from now on."""
        if not page:
            return
        with self._guard:
            self._newest[page, subject] = max(turn, self._newest.pop((page, subject), 0))
            while len(self._newest) > PAGES_KEPT:
                self._newest.popitem(last=False)

    def check(self, page: str, subject: str, turn: int) -> None:
        """Go on only while nothing newer has come.

        Raises:
            Stale: it has.
        """
        with self._guard:
            newest = self._newest.get((page, subject), turn)
        if newest > turn:
            raise Stale(f"turn {turn} was replaced by turn {newest}.")

    @contextmanager
    def answering(self, page: str, subject: str, turn: int) -> Iterator[None]:
        """Wait for the answer before, then hold others off.

        Raises:
            Stale: a newer question came while it waited.
        """
        self.note(page, subject, turn)
        with self._work:
            self.check(page, subject, turn)
            yield
