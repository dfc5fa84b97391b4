"""What a server's X-Robots-Tag says of the use of a file."""

from collections.abc import Iterable

REFUSALS = frozenset({"noai", "noimageai", "noindex", "noimageindex", "none"})  # none is noindex and nofollow
# directives that carry a value after a colon; any other word before a colon names an agent
VALUED = frozenset({"unavailable_after", "max-snippet", "max-image-preview", "max-video-preview"})


def refusal(values: Iterable[str], user_agent: str) -> str | None:
    """The first directive that refuses us, or None.

    Args:
        values: one string for each X-Robots-Tag header, e.g. "noai, noindex" or "otherbot: noindex, nofollow".
        user_agent: ours; its first word, up to a slash, is the name that a tag may address.

    Source: img2dataset's opt-out directives (noai, noimageai, noindex, noimageindex, on by default there too).
    Differs: "none" counts as noindex.
    """
    us = agent_token(user_agent)
    for value in values:
        agent = None
        for item in value.lower().split(","):
            word, colon, rest = (part.strip() for part in item.partition(":"))
            if colon and word not in VALUED:
                agent, word = word, rest
            if word in REFUSALS and agent in (None, "*", us):
                return word
    return None


def agent_token(user_agent: str) -> str:
    """The name by which robots.txt and X-Robots-Tag may address an agent: "ode_vgan" of "ode_vgan/0.1 (research)"."""
    return user_agent.split("/")[0].split()[0].lower() if user_agent.strip(" /") else ""
