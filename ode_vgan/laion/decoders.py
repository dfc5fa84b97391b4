"""Decoder processes: hostile media can crash, hang or fill one, and it is replaced; the run goes on.

Parent and child exchange JSON and bytes, never pickles: a child that media took over cannot run code in its parent.
"""

import json
import multiprocessing
import queue
import signal
from contextlib import suppress
from dataclasses import asdict
from multiprocessing.connection import Connection

from ode_vgan.errors import UserError
from ode_vgan.laion.media import Header, MadeClip, MediaOptions, MediaRefused, make_clips
from ode_vgan.laion.spans import Span

READY = b"ready"
START_SECONDS = 300.0  # the first has all to import, a minute or more on a busy machine
STOP_SECONDS = 2.0
TRIES = 2  # a process may die of another's doing (out of memory); a source that kills two is at fault


class Decoders:
    """So many processes that make clips; `make_clips` may be called from as many threads as one likes.

    Use as a context. Processes start when they are first needed, forked from one that has all imported.
    """

    def __init__(self, count: int, options: MediaOptions):
        self.options = options
        self.context = multiprocessing.get_context("forkserver")
        self.context.set_forkserver_preload([__name__])
        self.idle: queue.LifoQueue[_Worker | None] = queue.LifoQueue()
        self.count = count
        for _ in range(count):
            self.idle.put(None)

    def __enter__(self):
        return self

    def __exit__(self, *exception) -> None:
        for _ in range(self.count):
            with suppress(queue.Empty):
                worker = self.idle.get(timeout=STOP_SECONDS)
                if worker:
                    worker.stop()

    def make_clips(self, content: bytes) -> tuple[Header, list[MadeClip]]:
        """`media.make_clips` in a process that may take decode_seconds and memory_mb for it.

        Raises:
            MediaRefused: as there; or the process died or was too slow.
        """
        for left in reversed(range(TRIES)):
            worker = self.idle.get()
            try:
                worker = worker or _Worker(self.context, self.options)
                reply = worker.ask(content, self.options.decode_seconds)
            except (EOFError, OSError) as error:
                worker = worker and worker.stop()
                if isinstance(error, TimeoutError):
                    raise MediaRefused("decoder too slow") from error
                if not left:
                    raise MediaRefused("decoder died") from error
            else:
                return _read(reply)
            finally:
                self.idle.put(worker)
        raise AssertionError("unreachable")


class _Worker:
    def __init__(self, context, options: MediaOptions):
        self.line, theirs = context.Pipe()
        self.process = context.Process(target=_serve, args=(theirs, json.dumps(asdict(options))), daemon=True)
        self.process.start()
        theirs.close()
        if not self.line.poll(START_SECONDS) or self.line.recv_bytes() != READY:
            self.stop()
            raise UserError(f"a decoder process did not start within {START_SECONDS:.0f} s. Use fewer decoders.")

    def ask(self, content: bytes, seconds: float) -> bytes:
        self.line.send_bytes(content)
        if not self.line.poll(seconds):
            raise TimeoutError("no clips in time")
        return self.line.recv_bytes()

    def stop(self) -> None:
        self.line.close()
        self.process.kill()
        self.process.join(STOP_SECONDS)


def _serve(line: Connection, options: str) -> None:
    """Answer sources with clips until the parent is gone."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent tells us when to end
    options = MediaOptions(**json.loads(options))
    _limit_memory(options.memory_mb)
    with suppress(EOFError, BrokenPipeError, ConnectionResetError):
        line.send_bytes(READY)
        while True:
            line.send_bytes(_answer(line.recv_bytes(), options))


def _answer(content: bytes, options: MediaOptions) -> bytes:
    """A line of JSON, then the clips' bytes one after the other."""
    try:
        header, clips = make_clips(content, options)
    except MediaRefused as refused:
        return json.dumps({"status": refused.status, "message": str(refused)}).encode() + b"\n"
    except MemoryError:
        return json.dumps({"status": "failed_to_decode", "message": "too much memory"}).encode() + b"\n"
    except Exception:  # whatever a hostile file makes of a library
        return json.dumps({"status": "failed_to_decode", "message": "corrupt"}).encode() + b"\n"
    made = [{"span": asdict(c.span), "sides": [c.width, c.height], "bytes": len(c.content)} for c in clips]
    head = json.dumps({"header": asdict(header), "clips": made}).encode()
    return b"\n".join([head, b"".join(clip.content for clip in clips)])


def _read(reply: bytes) -> tuple[Header, list[MadeClip]]:
    head, _, contents = reply.partition(b"\n")
    answer = json.loads(head)
    if "message" in answer:
        raise MediaRefused(answer["message"], answer["status"])
    clips, at = [], 0
    for one in answer["clips"]:
        clips.append(MadeClip(contents[at : at + one["bytes"]], Span(**one["span"]), *one["sides"]))
        at += one["bytes"]
    return Header(**answer["header"]), clips


def _limit_memory(megabytes: int) -> None:
    """Let this process have so much address space beyond what it has; where the system cannot say, no limit."""
    try:
        import resource

        with open("/proc/self/statm") as file:
            held = int(file.read().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (held + megabytes * 2**20,) * 2)
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    except (ImportError, OSError, ValueError):
        return
