"""The explorer: one page over a dataset folder, to search, filter, look, and cut subsets."""

import hashlib
import threading
import time
from collections import OrderedDict
from functools import cached_property
from pathlib import Path

import numpy as np

from ode_vgan.embed.embedder import Embedder
from ode_vgan.errors import UserError
from ode_vgan.laion.facets import BINS
from ode_vgan.laion.predicate import Filter
from ode_vgan.laion.rows import DERIVED
from ode_vgan.laion.search import NEAR_DUPLICATE, UPLOAD_BYTES, Found, Hit, Search
from ode_vgan.laion.sql import identifier, parse_expression
from ode_vgan.web.answered import plain
from ode_vgan.web.asked import asked_filter, asked_name, asked_page, asked_text
from ode_vgan.web.beside import Beside, usual_closeness
from ode_vgan.web.guard import Guard, add_errors
from ode_vgan.web.knn import given_vector
from ode_vgan.web.media import Clips
from ode_vgan.web.routes import add_routes
from ode_vgan.web.server import need_server, serve_app

STATIC = Path(__file__).parent / "static" / "explorer"
PORT = 8321
UPLOADS_KEPT = 256


class Explorer:
    """A folder's search, its clips, and the vectors of clips that were dropped on the page."""

    def __init__(self, folder: str | Path, embedder: Embedder | None = None, generated: str | Path | None = None):
        self.folder = Path(folder)
        self.search = Search(folder, embedder)
        self.clips = Clips(self.folder / "shards")
        self.beside = Beside(self.search, generated) if generated is not None else None
        self.uploads: OrderedDict[str, np.ndarray] = OrderedDict()

    @cached_property
    def closeness(self) -> dict:
        """How near clips of the set usually lie to each other."""
        return usual_closeness(self.search)

    def info(self) -> dict:
        """What the page needs to know before it asks anything."""
        index = self.search.index.info
        return {
            "name": self.folder.resolve().name,
            "count": self.search.count,
            "index": {name: index[name] for name in ("factory", "nprobe", "recall@10", "dim", "embedder")},
            "text": self.search.embedder is not None,
            "generated": self.beside is not None,
            "columns": [column.plain() for column in self.search.columns],
            "fields": sorted(self.search.rows.columns),
            "bins": BINS,
            "upload_bytes": UPLOAD_BYTES,
            "near_duplicate": NEAR_DUPLICATE,
        }

    def find(self, body: dict) -> dict:
        """One page of results for a query, or of all clips that the filter keeps."""
        started = time.perf_counter()
        query, wanted, page = body.get("query") or {}, asked_filter(body), asked_page(body)
        if not isinstance(query, dict):
            raise UserError("query must be an object with one of text, uid, upload and vector.")
        about = None
        if query:
            vector, own = self._vector(query)
            about = plain(self.search.describe([Hit(own[0])])[0]) if own else None
            collapse = NEAR_DUPLICATE if body.get("collapse") else None
            found = self.search.neighbours(vector, wanted, collapse=collapse, without=own, **page)
        else:
            found = self.search.browse(wanted, order=asked_text(body, "order") or "", **page)
        return {
            "results": self._records(found),
            "kept": found.kept,
            "more": found.more,
            "query": about,
            "seconds": round(time.perf_counter() - started, 4),
        }

    def upload(self, content: bytes) -> dict:
        """Embed a dropped clip; the name by which it can be asked for is the digest of its bytes."""
        name = hashlib.sha256(content).hexdigest()[:32]
        if name not in self.uploads:
            self.uploads[name] = self.search.embed_clip(content)
            while len(self.uploads) > UPLOADS_KEPT:
                self.uploads.popitem(last=False)
        return {"upload": name}

    def subset(self, body: dict) -> dict:
        """Write a manifest of the clips named, or of all that a filter keeps."""
        from ode_vgan.laion.subset import write_subset

        name, uids, wanted = asked_name(body), body.get("uids"), asked_filter(body)
        if uids is not None:
            if not isinstance(uids, list) or not all(isinstance(uid, str) for uid in uids):
                raise UserError("uids must be a list of texts.")
            rows, sql = [self.search.row(uid) for uid in uids], None
        else:
            kept, sql = self.search.rows.select(wanted), written_sql(wanted)
            rows = range(self.search.count) if kept is None else kept.tolist()
        uids = self.search.index.rowmap["uid"].take(list(rows)).to_pylist()
        made = write_subset(self.folder, name, uids, sql=sql)
        return {"name": name, "count": made["count"], "path": f"subsets/{name}.json", "sql": made.get("sql")}

    def _vector(self, query: dict) -> tuple[np.ndarray, list[int]]:
        """The vector of a query, and the row of its own clip where it is one of the set."""
        text, uid, upload = (asked_text(query, name) for name in ("text", "uid", "upload"))
        if text is not None:
            return self.search.embed_text(text), []
        if uid is not None:
            row = self.search.row(uid)
            return self.search.vector(row), [row]
        if upload is not None:
            if upload not in self.uploads:
                raise UserError("the dropped clip is no longer held by the server. Drop it again.")
            return self.uploads[upload], []
        return given_vector(query.get("vector")), []

    def _records(self, found: Found) -> list[dict]:
        return [plain(record) for record in self.search.describe(found.hits)]


def written_sql(wanted: Filter) -> str | None:
    """A filter as SQL over the files' own columns; None where it keeps all, or reads a column that only rows have."""
    sql = wanted.sql()
    for name, meaning in DERIVED.items():
        if name not in wanted.where and not any(name in value for kept in wanted.values.values() for value in kept):
            sql = sql.replace(identifier(name), meaning)
    own = {"row", "shard", *DERIVED}
    return None if sql == "true" or own & parse_expression(sql).columns else sql


def create_app(explorer: Explorer, host: str = "127.0.0.1"):
    """The FastAPI application of an explorer, which answers to the given host and to loopback names only."""
    from fastapi import FastAPI
    from fastapi.staticfiles import StaticFiles

    app = FastAPI(title="ode_vgan explorer", docs_url=None, redoc_url=None, openapi_url=None)
    add_errors(app)
    add_routes(app, explorer)
    app.mount("/", StaticFiles(directory=STATIC, html=True))
    app.add_middleware(Guard, host=host)
    return app


def serve(
    folder: str | Path,
    host: str = "127.0.0.1",
    port: int = PORT,
    embedder: Embedder | str | None = "matched",
    generated: str | Path | None = None,
) -> None:
    """Serve the explorer of a folder until interrupted.

    Args:
        host: where to listen; anything but loopback lets other machines read the clips.
        embedder: what embedded the clips, or its name for `open_embedder`; None searches from clips only.
        generated: a folder of generated clips to show beside their nearest training clips.

    Raises:
        UserError: no index, another embedder's vectors, or the port is taken.
    """
    need_server()
    if isinstance(embedder, str):
        from ode_vgan.embed.matched import open_embedder

        embedder = open_embedder(embedder)
    explorer = Explorer(folder, embedder, generated)
    app = create_app(explorer, host)
    if embedder is not None:  # the first query does not wait for the model
        threading.Thread(target=explorer.search.embed_text, args=["a clip"], daemon=True).start()
    serve_app(app, host, port, f"explorer of {folder}")
