"""Laws of shared memory for clips: each is decoded and kept once, whichever process was first, within the limit."""

import multiprocessing
import pickle
import tracemalloc

import numpy as np

from ode_vgan.data.arena import ClipArena
from ode_vgan.data.clips import Clip


def fill(arena: ClipArena, i: int, value: int, frames: int = 3) -> bool:
    if (place := arena.claim(i, frames, 4, 5)) is None:
        return False
    place.frames[:], place.times[:] = value, np.arange(frames) / 7
    arena.publish(i, place)
    return True


def in_a_fork(run) -> None:
    child = multiprocessing.get_context("fork").Process(target=run)
    child.start()
    child.join(10)
    assert child.exitcode == 0


def test_what_is_published_is_found_as_it_was():
    arena = ClipArena(4, 10_000)
    assert arena.find(2) is None and fill(arena, 2, 9)
    clip = arena.find(2)
    assert clip.frames.shape == (3, 4, 5, 3) and (clip.frames == 9).all()
    assert clip.times.dtype == np.float64 and np.array_equal(clip.times, np.arange(3) / 7)


def test_a_forked_process_fills_what_its_parent_and_siblings_find():
    arena = ClipArena(4, 10_000)
    in_a_fork(lambda: fill(arena, 1, 5))
    assert (arena.find(1).frames == 5).all() and not fill(arena, 1, 6)
    in_a_fork(lambda: arena.find(1).frames[0, 0, 0, 0] == 5 or exit(1))


def test_a_place_is_given_once_and_is_not_seen_before_it_is_published():
    arena = ClipArena(2, 10_000)
    assert isinstance(arena.claim(0, 3, 4, 5), Clip)
    assert arena.find(0) is None and arena.claim(0, 3, 4, 5) is None


def test_clips_that_do_not_fit_are_left_out_and_none_overlap():
    arena = ClipArena(50, 2_000)
    kept = [i for i in range(50) if fill(arena, i, i)]
    assert 0 < len(kept) == 2_000 // 256 and arena.full  # 180 bytes of pixels and 24 of times, in pieces of 64
    assert all((arena.find(i).frames == i).all() for i in kept)
    assert not fill(ClipArena(3, 0), 0, 1)


def test_memory_is_taken_as_it_is_written():
    tracemalloc.start()
    ClipArena(1000, 2**40 // 1024)
    assert tracemalloc.get_traced_memory()[1] < 100_000
    tracemalloc.stop()


def test_what_is_not_forked_has_no_room():
    arena = ClipArena(4, 10_000)
    fill(arena, 1, 5)
    other = pickle.loads(pickle.dumps(arena))
    assert other.find(1) is None and other.full and not fill(other, 1, 5)
