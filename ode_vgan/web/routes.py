"""The explorer's addresses; each reads a request, asks the explorer in a thread, and answers JSON or bytes."""

from ode_vgan.errors import UserError
from ode_vgan.laion.search import UPLOAD_BYTES
from ode_vgan.web.answered import plain
from ode_vgan.web.asked import asked_filter
from ode_vgan.web.guard import read_body, read_json
from ode_vgan.web.knn import INDICE, knn, metadata_of
from ode_vgan.web.media import respond

BESIDE_PAGE = 20


def add_routes(app, explorer) -> None:
    """Add every address of the explorer to its application."""
    _add_search(app, explorer)
    _add_clips(app, explorer)
    _add_knn(app, explorer)


def _add_search(app, explorer) -> None:
    from fastapi import Request
    from fastapi.concurrency import run_in_threadpool

    @app.get("/v1/info")
    def info():
        return explorer.info()

    @app.post("/v1/search")
    async def search(request: Request):
        return await run_in_threadpool(explorer.find, await read_json(request))

    @app.post("/v1/facets")
    async def facets(request: Request):
        return await run_in_threadpool(explorer.search.facets, asked_filter(await read_json(request)))

    @app.post("/v1/upload")
    async def upload(request: Request):
        return await run_in_threadpool(explorer.upload, await read_body(request, UPLOAD_BYTES))

    @app.post("/v1/subset")
    async def subset(request: Request):
        return await run_in_threadpool(explorer.subset, await read_json(request))

    @app.get("/v1/closeness")
    def closeness():
        return explorer.closeness

    @app.get("/v1/beside")
    def beside(offset: int = 0, limit: int = BESIDE_PAGE):
        if explorer.beside is None:
            raise UserError("no folder of generated clips. Start the explorer with --generated FOLDER.")
        if not (0 <= offset and 1 <= limit <= BESIDE_PAGE):
            raise UserError(f"offset={offset}, limit={limit}: a page has 1 to {BESIDE_PAGE} clips.")
        page = explorer.beside.page(offset, limit) | {"baseline": explorer.closeness}
        page["items"] = [one | {"nearest": [plain(record) for record in one["nearest"]]} for one in page["items"]]
        return page


def _add_clips(app, explorer) -> None:
    from fastapi import Request

    @app.api_route("/clips/{uid}.mp4", methods=["GET", "HEAD"])
    def clip(uid: str, request: Request):
        row = explorer.search.row_of_uid.get(uid)
        if row is None:
            raise FileNotFoundError(f"no clip {uid[:40]!r}.")
        found = explorer.search.index.rowmap.slice(row, 1).to_pylist()[0]
        source, suffix = explorer.clips.find(found["shard"], found["key"])
        return respond(source, suffix, uid, request)

    @app.api_route("/generated/{number}.mp4", methods=["GET", "HEAD"])
    def generated(number: int, request: Request):
        if explorer.beside is None:
            raise FileNotFoundError("no folder of generated clips.")
        source, suffix = explorer.beside.source(number)
        return respond(source, suffix, f"{number}-{source.path.stat().st_mtime_ns}", request)


def _add_knn(app, explorer) -> None:
    from fastapi import Request
    from fastapi.concurrency import run_in_threadpool

    @app.get("/indices-list")
    def indices():
        return [INDICE]

    @app.post("/knn-service")
    async def knn_service(request: Request):
        body = await read_json(request, UPLOAD_BYTES * 2)  # an image comes in base64
        return await run_in_threadpool(knn, explorer.search, body, plain)

    @app.post("/metadata")
    async def metadata(request: Request):
        return await run_in_threadpool(metadata_of, explorer.search, await read_json(request), plain)
