"""The studio: one page to play with trained runs, in words, in latents and in time."""

import json
import tempfile
import threading
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from ode_vgan.errors import UserError
from ode_vgan.web.guard import Guard, add_errors, read_json
from ode_vgan.web.playable import Playable, Rendered, names_of
from ode_vgan.web.server import need_server, serve_app
from ode_vgan.web.studio_asked import MAX_FRAMES, MAX_RUNS, MAX_TEXT, REACH_SECONDS, Asked, asked_clip, asked_clips
from ode_vgan.web.turns import Stale, Turns

STATIC = Path(__file__).parent / "static" / "studio"
PORT = 8322


class Studio:
    """Some runs, and one answer at a time.

    Args:
        runs: run folders, exported folders or checkpoints. device: where they are rendered.

    Raises:
        UserError: none or more than 8, or one cannot be loaded.
    """

    def __init__(self, runs: Sequence[str | Path], device: str = "cpu"):
        from ode_vgan import load

        if not 1 <= len(runs) <= MAX_RUNS:
            raise UserError(f"{len(runs)} runs; the studio shows 1 to {MAX_RUNS}.")
        paths = [Path(run) for run in runs]
        loaded = [load(path, device=device) for path in paths]
        self.runs = {name: Playable(name, run) for name, run in zip(names_of(paths), loaded, strict=True)}
        self.turns = Turns()

    def info(self) -> dict:
        """What the page shows first."""
        limits = {"frames": MAX_FRAMES, "text": MAX_TEXT, "reach_seconds": REACH_SECONDS}
        return {"runs": [run.describe() for run in self.runs.values()], "limits": limits}

    def run(self, name: str) -> Playable:
        """A run by its name.

        Raises:
            LookupError: there is none.
        """
        if name not in self.runs:
            raise LookupError(f"no run {name[:60]!r}; there are {', '.join(self.runs)}.")
        return self.runs[name]

    def clip(self, asked: Asked) -> Rendered:
        """The frames of one clip, unless its page has asked anew meanwhile."""
        run, mine = self.run(asked.run), (asked.page, f"clip {asked.run}", asked.turn)
        with self.turns.answering(*mine):
            return run.render(asked, go_on=lambda: self.turns.check(*mine))

    def path(self, asked: Asked) -> dict:
        """The latent path of one clip."""
        run = self.run(asked.run)
        with self.turns.answering(asked.page, f"path {asked.run}", asked.turn):
            return run.path(asked)

    def film(self, clips: Sequence[Asked]) -> bytes:
        """An MP4 of one clip at its own size, or of several side by side, each above its run's name and caption."""
        from ode_vgan.report.video import write_clips_mp4, write_mp4

        made = [self.run(asked.run).render(asked).frames for asked in clips]
        times = np.asarray(clips[0].times) - clips[0].times[0]
        size = max(len(frames[0]) for frames in made)
        made = [enlarged(frames, size) for frames in made]
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "film.mp4"
            if len(made) == 1:
                write_mp4(path, enlarged(made[0], max(size, 128)), times, pix_fmt="yuv420p")
            else:
                captions = [f"{asked.run}: {asked.text}" for asked in clips]
                write_clips_mp4(path, np.stack(made), times, captions, min_seconds=0.0)
            return path.read_bytes()

    def warm_up(self) -> None:
        """Render the trained window of each run, so that the first question does not wait for models to load."""
        for run in self.runs.values():
            with self.turns.answering("", "", 0):
                text = (run.captions or ["a clip"])[0]
                run.render(asked_clip({"run": run.name, "text": text, "times": run.window}))


def enlarged(frames: np.ndarray, size: int) -> np.ndarray:
    """Frames (T, H, W, 3) at the whole multiple of their size that is at most `size`, at least their own."""
    factor = max(1, size // frames.shape[1])
    return frames.repeat(factor, axis=1).repeat(factor, axis=2)


def create_app(studio: Studio, host: str = "127.0.0.1"):
    """The FastAPI application of a studio, which answers to the given host and to loopback names only."""
    from fastapi import FastAPI, Request
    from fastapi.concurrency import run_in_threadpool
    from fastapi.responses import JSONResponse, Response
    from fastapi.staticfiles import StaticFiles

    app = FastAPI(title="ode_vgan studio", docs_url=None, redoc_url=None, openapi_url=None)
    add_errors(app)
    app.add_exception_handler(Stale, lambda _, error: JSONResponse({"error": str(error)}, status_code=409))

    @app.get("/v1/info")
    def info():
        return studio.info()

    @app.post("/v1/clip")
    async def clip(request: Request):
        made = await run_in_threadpool(studio.clip, asked_clip(await read_json(request)))
        told = {"shape": made.frames.shape, "evaluations": made.evaluations, "seconds": round(made.seconds, 4)}
        headers = {"x-clip": json.dumps(told), "cache-control": "no-store"}
        return Response(made.frames.tobytes(), media_type="application/octet-stream", headers=headers)

    @app.post("/v1/path")
    async def path(request: Request):
        return await run_in_threadpool(studio.path, asked_clip(await read_json(request)))

    @app.post("/v1/film")
    async def film(request: Request):
        made = await run_in_threadpool(studio.film, asked_clips(await read_json(request)))
        return Response(made, media_type="video/mp4", headers={"cache-control": "no-store"})

    app.mount("/", StaticFiles(directory=STATIC, html=True))
    app.add_middleware(Guard, host=host)
    return app


def serve(runs: Sequence[str | Path], host: str = "127.0.0.1", port: int = PORT, device: str = "cpu") -> None:
    """Serve the studio of some runs until interrupted.

    Args:
        host: where to listen; anything but loopback lets other machines use the models.

    Raises:
        UserError: a run cannot be loaded, or the port is taken.
    """
    need_server()
    studio = Studio(runs, device)
    app = create_app(studio, host)
    threading.Thread(target=studio.warm_up, daemon=True).start()
    serve_app(app, host, port, f"studio of {', '.join(studio.runs)}")
