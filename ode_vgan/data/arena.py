"""Memory for decoded clips that a process and those forked from it share: each clip is in it once."""

import mmap
import multiprocessing

import numpy as np

from ode_vgan.data.clips import Clip

FREE, WRITING = 0, -1  # of a clip's place in the table; above 0 it is where the clip begins, plus 1
ALIGNED = 64  # bytes


class ClipArena:
    """Room for some of N clips, given away in the order in which they are decoded, by whichever process it was.

    Memory is taken from the system as it is written. Processes that are forked see and add clips; others, and those
    that get it by pickling, find no room.

    Args:
        clips: N. limit_bytes: of frames and times, at most.
    """

    def __init__(self, clips: int, limit_bytes: int):
        self.clips, self.limit_bytes = clips, limit_bytes
        self._open()

    def _open(self) -> None:
        self.full = self.limit_bytes <= 0 or not self.clips
        if self.full:
            return
        self.memory = np.frombuffer(mmap.mmap(-1, self.limit_bytes), dtype=np.uint8)
        # rows: place, frames, height, width; the last row: bytes given away
        self.table = np.frombuffer(mmap.mmap(-1, 32 * (self.clips + 1)), dtype=np.int64).reshape(-1, 4)
        self.lock = multiprocessing.get_context("fork").Lock()

    def __getstate__(self) -> dict:
        return {"clips": self.clips, "limit_bytes": 0}

    def __setstate__(self, state: dict) -> None:
        self.__dict__.update(state)
        self._open()

    def find(self, i: int) -> Clip | None:
        """Clip i if it is here; it must not be written to."""
        if self.limit_bytes <= 0 or self.table[i, 0] <= FREE:
            return None
        return Clip(*self._views(i))

    def claim(self, i: int, frames: int, height: int, width: int) -> Clip | None:
        """A place for clip i to be written to and then published; None where there is none, or someone has it."""
        if self.full:
            return None
        pixels = frames * height * width * 3
        size = -(-pixels // ALIGNED) * ALIGNED + -(-8 * frames // ALIGNED) * ALIGNED
        with self.lock:
            used = int(self.table[-1, 0])
            if self.table[i, 0] != FREE:
                return None
            if used + size > self.limit_bytes:
                self.full = True
                return None
            self.table[-1, 0] = used + size
            self.table[i] = WRITING, frames, height, width
        return Clip(*self._views(i, used))

    def publish(self, i: int, clip: Clip) -> None:
        """Let all see clip i, whose place was claimed and written."""
        begin = clip.frames.__array_interface__["data"][0] - self.memory.__array_interface__["data"][0]
        with self.lock:
            self.table[i, 0] = begin + 1

    def _views(self, i: int, begin: int | None = None) -> tuple[np.ndarray, np.ndarray]:
        place, frames, height, width = (int(number) for number in self.table[i])
        begin = place - 1 if begin is None else begin
        pixels = frames * height * width * 3
        after = begin + -(-pixels // ALIGNED) * ALIGNED
        shown = self.memory[begin : begin + pixels].reshape(frames, height, width, 3)
        return shown, self.memory[after : after + 8 * frames].view(np.float64)
