"""The stages that engines share out, an item of each the name of a shard: fetch, embed, score."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from ode_vgan.errors import UserError
from ode_vgan.laion.fetch import Fetcher, FetchOptions, fetching
from ode_vgan.laion.listing import Listing
from ode_vgan.laion.score import ScoreOptions

Work = Callable[[str], dict]


@dataclass(frozen=True)
class FetchStage:
    """Rows of a table to DIR/shards; the driver plans and holds the folder.

    Attributes:
        options: of one worker, see `shared_out`.
        workers: how many there are; a site's own crawl-delay is multiplied by it.
    """

    table: str
    folder: str
    options: FetchOptions
    workers: int = 1

    @contextmanager
    def open(self) -> Iterator[Work]:
        """Threads, decoder processes and each site's robots.txt are the worker's, for all its shards."""
        listing = Listing(self.table, url=self.options.url, text=self.options.text)
        shards = Path(self.folder) / "shards"
        with fetching(listing, self.options) as fetcher:
            share_crawl_delay(fetcher, self.workers)
            yield lambda name: fetcher.write(int(name), shards, None)


@dataclass(frozen=True)
class EmbedStage:
    """Clips of DIR/shards to vectors in DIR/emb. embedder: a name for `open_embedder`."""

    folder: str
    embedder: str
    frames: int

    @contextmanager
    def open(self) -> Iterator[Work]:
        from ode_vgan.embed.matched import open_embedder
        from ode_vgan.laion.embeddings import embed_shard

        embedder = open_embedder(self.embedder)
        yield lambda name: asdict(embed_shard(tar_of(self.folder, name), embedder, frames=self.frames))


@dataclass(frozen=True)
class ScoreStage:
    """Clips of DIR/shards to columns in DIR/scores, but for `dup_of`, which all shards together decide."""

    folder: str
    options: ScoreOptions

    @contextmanager
    def open(self) -> Iterator[Work]:
        from ode_vgan.laion.score import score_shard

        yield lambda name: asdict(score_shard(tar_of(self.folder, name), self.options))


def tar_of(folder: str, name: str) -> Path:
    """The tar of a shard."""
    return Path(folder) / "shards" / f"{name}.tar"


def share_crawl_delay(fetcher: Fetcher, workers: int) -> None:
    """Let one of several workers wait longer, so that all together keep to a site's crawl-delay."""
    if fetcher.robots:
        slow = fetcher.robots.slow
        fetcher.robots.slow = lambda target, seconds: slow(target, seconds * workers)


def shared_out(options: FetchOptions, workers: int) -> FetchOptions:
    """What one of several workers may do, so that all together keep to the options at every host.

    Raises:
        UserError: there are more workers than one host may be asked at once.
    """
    if options.per_host < workers:
        raise UserError(
            f"{workers} jobs each ask a host by themselves, which is more than per_host={options.per_host} at once. "
            f"Lower --jobs, or raise --per-host to {workers} where the hosts can bear it."
        )
    fewer = {"per_host": options.per_host // workers, "threads": max(1, options.threads // workers)}
    decoders = None if options.decoders is None else max(1, options.decoders // workers)
    return replace(options, **fewer, decoders=decoders or 1, pause_seconds=options.pause_seconds * workers)
