"""Clips over HTTP, straight from where they lie: a part of a tar, or a file, with byte ranges."""

import re
import tarfile
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path

from ode_vgan.data.shards import CLIP_SUFFIXES, Source

CHUNK = 64 * 1024
TYPES = {
    "mp4": "video/mp4",
    "m4v": "video/mp4",
    "mov": "video/quicktime",
    "webm": "video/webm",
    "mkv": "video/x-matroska",
    "avi": "video/x-msvideo",
    "gif": "image/gif",
    "webp": "image/webp",
}
RANGE = re.compile(r"bytes=(\d{0,18})-(\d{0,18})")


class Clips:
    """The clips of DIR/shards by key; a tar's headers are read once, when one of its clips is first asked for."""

    def __init__(self, shards: str | Path, tars_kept: int = 256):
        self.shards = Path(shards)
        self._members = lru_cache(tars_kept)(tar_members)

    def find(self, shard: str, key: str) -> tuple[Source, str]:
        """Where a clip's bytes lie, and their suffix.

        Raises:
            FileNotFoundError: there is no such shard, or it has no such clip.
        """
        path = self.shards / f"{shard}.tar"
        if not re.fullmatch(r"[0-9]+", shard) or not path.is_file():
            raise FileNotFoundError(f"clip {key!r} lies in no shard of this folder.")
        changed = path.stat().st_mtime_ns
        members = self._members(path, changed)
        if key not in members:
            raise FileNotFoundError(f"shard {shard} has no clip {key!r}.")
        return members[key]


def tar_members(path: Path, changed: int) -> dict[str, tuple[Source, str]]:
    """Key -> the place of its clip and the suffix, for a tar last changed at that time."""
    found: dict[str, tuple[Source, str]] = {}
    with tarfile.open(path, mode="r:") as tar:
        for member in tar:
            key, _, suffix = member.name.partition(".")
            suffix = suffix.lower()
            if member.isfile() and suffix in CLIP_SUFFIXES and (key not in found or suffix == "mp4"):
                found[key] = Source(path, member.offset_data, member.size), suffix
    return found


def respond(source: Source, suffix: str, tag: str, request):
    """A clip's bytes, whole or the one range that was asked for; 304 where the browser has them, 416 where none is."""
    from fastapi.responses import Response, StreamingResponse

    size = source.size if source.size is not None else source.path.stat().st_size - source.offset
    headers = {"accept-ranges": "bytes", "etag": f'"{tag}"', "cache-control": "private, max-age=86400"}
    if request.headers.get("if-none-match") == headers["etag"]:
        return Response(status_code=304, headers=headers)
    start, stop, status = 0, size, 200
    asked = RANGE.fullmatch(request.headers.get("range", ""))  # several ranges, or none of ours: the whole
    if asked and request.headers.get("if-range", headers["etag"]) == headers["etag"]:
        span = byte_range(*asked.groups(), size)
        if span is None:
            return Response(status_code=416, headers=headers | {"content-range": f"bytes */{size}"})
        (start, stop), status = span, 206
        headers["content-range"] = f"bytes {start}-{stop - 1}/{size}"
    headers["content-length"] = str(stop - start)
    kind = TYPES.get(suffix, "application/octet-stream")
    if request.method == "HEAD":
        return Response(status_code=status, headers=headers, media_type=kind)
    parts = read_span(source.path, source.offset + start, stop - start)
    return StreamingResponse(parts, status_code=status, headers=headers, media_type=kind)


def byte_range(first: str, last: str, size: int) -> tuple[int, int] | None:
    """(start, stop) of "bytes=first-last" within size bytes; None where nothing satisfies it.

    Source: RFC 9110, section 14.1.2.
    """
    if not first:  # the last bytes
        return (max(0, size - int(last)), size) if last and int(last) and size else None
    if int(first) >= size or last and int(last) < int(first):
        return None
    return int(first), min(size, int(last) + 1) if last else size


def read_span(path: Path, offset: int, size: int) -> Iterator[bytes]:
    """The bytes of a part of a file, in chunks."""
    with open(path, "rb") as file:
        file.seek(offset)
        while size > 0:
            chunk = file.read(min(CHUNK, size))
            if not chunk:
                return
            size -= len(chunk)
            yield chunk
