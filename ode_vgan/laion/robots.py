"""robots.txt of each site: read once, kept for the run, honoured."""

from collections.abc import Callable
from dataclasses import replace
from threading import Lock

from ode_vgan.errors import UserError
from ode_vgan.laion.addresses import Target
from ode_vgan.laion.client import Client, FetchFailed
from ode_vgan.laion.optout import agent_token

MAX_BYTES = 500 * 1024
UNREACHABLE = (429,)  # besides 5xx and no answer at all


class Robots:
    """Whether we may fetch a url, by its site's robots.txt.

    A missing file (4xx) allows all; one that cannot be had (5xx, 429, no connection, a refused address) forbids all.
    More than 500 KiB are not read.

    Args:
        client: what fetches robots.txt itself.
        slow: called with a target and its site's crawl-delay in seconds, where it states one.

    Source: RFC 9309, sections 2.3.1 (access results) and 2.5 (limits).
    """

    def __init__(self, client: Client, slow: Callable[[Target, float], None] = lambda target, seconds: None):
        manners = replace(
            client.manners, honour_x_robots=False, schemes=("http", "https")
        )  # a tag on robots.txt itself
        self.client, self.slow = Client(manners, enter=client.enter, lookup=client.lookup), slow
        self.agent = agent_token(client.manners.user_agent)
        self.sites: dict[str, object] = {}
        self.locks: dict[str, Lock] = {}
        self.lock = Lock()

    def permit(self, url: str, target: Target) -> None:
        """Return if we may fetch the url.

        Raises:
            FetchFailed: we may not, or its site's robots.txt cannot be had.
        """
        with self.lock:
            own = self.locks.setdefault(target.site, Lock())
        with own:  # of a hundred first urls of a site, one asks
            if target.site not in self.sites:
                self.sites[target.site] = self._read(target)
        rules = self.sites[target.site]
        if rules is None:
            raise FetchFailed("robots.txt unreachable")
        if not rules.can_fetch(url, self.agent):
            raise FetchFailed("robots.txt")

    def _read(self, target: Target) -> object | None:
        protego = _protego()
        try:
            reply = self.client.get(f"{target.site}/robots.txt", max_bytes=MAX_BYTES, first_bytes_only=True)
            rules = protego.parse(reply.body.decode("utf-8", "replace"))
        except FetchFailed as failure:
            missing = failure.status is not None and 400 <= failure.status < 500 and failure.status not in UNREACHABLE
            return protego.parse("") if missing else None
        except (ValueError, RecursionError):  # a file that its parser cannot read forbids nothing
            return protego.parse("")
        delay = rules.crawl_delay(self.agent)
        if delay:
            self.slow(target, float(delay))
        return rules


def _protego() -> type:
    try:
        from protego import Protego
    except ImportError as error:
        raise UserError("protego is not installed, which reads robots.txt: pip install 'ode_vgan[laion]'.") from error
    return Protego
