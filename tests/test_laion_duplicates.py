"""Near-duplicates: the hash, all pairs that are near, their groups, and the column that names them."""

from itertools import combinations

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from ode_vgan.data.clips import decode_clip, encode_clip
from ode_vgan.data.emoji import embedded_folder
from ode_vgan.data.shards import read_index
from ode_vgan.errors import UserError
from ode_vgan.laion.duplicates import (
    MAX_BITS,
    group_rows,
    mark_duplicates,
    near_hashes,
    near_vectors,
    parquet_bytes,
)
from ode_vgan.laion.phash import clip_hash


@pytest.fixture(scope="module")
def clips():
    return [decode_clip(entry.read()) for entry in read_index(embedded_folder())[10:430:60]]


def _bits(a: int, b: int) -> int:
    return (a ^ b).bit_count()


def _found(pairs) -> set[tuple[int, int]]:
    return {tuple(sorted((int(i), int(j)))) for a, b in pairs for i, j in zip(a, b, strict=True)}


def _scaled(frames: np.ndarray, side: int) -> np.ndarray:
    return np.stack([np.asarray(Image.fromarray(one).resize((side, side), Image.Resampling.BICUBIC)) for one in frames])


EDITS = {
    "encoded anew": lambda clip: (
        decode_clip(encode_clip(None, clip.frames, clip.times, crf=30, pix_fmt="yuv420p")).frames
    ),
    "scaled": lambda clip: _scaled(clip.frames, 80),
    "recoloured": lambda clip: np.clip(clip.frames * [0.85, 1, 1.1] + 8, 0, 255).astype(np.uint8),
    "started later": lambda clip: np.roll(clip.frames, len(clip.frames) // 3, 0),
    "half the frames": lambda clip: clip.frames[::2],
}


@pytest.mark.parametrize("edit", EDITS)
def test_a_duplicate_survives_being(clips, edit):
    assert all(_bits(clip_hash(clip.frames), clip_hash(EDITS[edit](clip))) <= MAX_BITS for clip in clips)


def test_other_clips_are_far(clips):
    hashes = [clip_hash(clip.frames) for clip in clips]
    assert min(_bits(a, b) for a, b in combinations(hashes, 2)) > MAX_BITS


def test_a_still_of_a_clip_differs_by_its_motion_and_survives_encoding(clips):
    clip = clips[1]
    still = np.repeat(clip.frames[5][None], 20, 0)
    encoded = decode_clip(encode_clip(None, still, 24.0, crf=30, pix_fmt="yuv420p")).frames
    moving, held, again = (clip_hash(frames) for frames in (clip.frames, still, encoded))
    assert held & 0xFFFFFF == again & 0xFFFFFF == 0
    assert moving & 0xFFFFFF != 0
    assert _bits(held, again) <= MAX_BITS


def test_flat_clips_hash_to_nothing():
    assert {clip_hash(np.full((3, 40, 60, 3), level, np.uint8)) for level in (0, 90, 255)} == {0}


@pytest.mark.parametrize("max_bits", [0, 1, 2, 3, 5, 7, 12])
def test_every_near_pair_is_found_and_no_other(max_bits):
    rng = np.random.default_rng(max_bits)
    hashes = rng.integers(0, 2**64, 300, dtype=np.uint64)
    for i in range(150):  # the differing bits lie together or apart, so that they fall into any bands
        at = rng.choice(64, i % 16, False) if i % 2 else (np.arange(i % 16) + rng.integers(64)) % 64
        hashes[150 + i] = hashes[i] ^ np.uint64(sum(1 << int(bit) for bit in at))
    near = {(i, j) for i, j in combinations(range(300), 2) if _bits(int(hashes[i]), int(hashes[j])) <= max_bits}
    found = _found(near_hashes(hashes, max_bits))
    copies = {pair for pair in near if hashes[pair[0]] == hashes[pair[1]]}
    assert found <= near
    assert near - copies <= found
    assert len(near) > max_bits
    assert (group_rows(300, near_hashes(hashes, max_bits)) == group_rows(300, _as_arrays(near))).all()


def _as_arrays(pairs):
    yield tuple(np.array(list(pairs), dtype=np.int64).reshape(-1, 2).T)


def test_crowded_bands_are_all_compared():
    hashes = np.arange(3000, dtype=np.uint64)  # they agree in every band but one
    found = _found(near_hashes(hashes, 2))
    assert all(_bits(i, j) <= 2 for i, j in found)
    assert len(found) == sum(_bits(i, j) <= 2 for i, j in combinations(range(3000), 2))


def test_groups_are_chains_named_by_their_first_row():
    pairs = [(np.array([5, 2]), np.array([4, 5])), (np.array([7]), np.array([6]))]
    assert group_rows(8, pairs).tolist() == [0, 1, 2, 3, 2, 2, 6, 6]
    assert group_rows(3, []).tolist() == [0, 1, 2]


def test_near_vectors_are_those_of_the_whole_product():
    vectors = np.random.default_rng(0).standard_normal((2100, 3))
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    a, b = np.nonzero(np.triu(vectors @ vectors.T, 1) >= 0.9999)
    assert _found(near_vectors(vectors, 0.9999)) == set(zip(a.tolist(), b.tolist(), strict=True))


def test_hashes_too_far_to_be_banded_are_refused():
    with pytest.raises(UserError, match="0 to 15"):
        list(near_hashes(np.zeros(2, np.uint64), 16))


def _write(folder, name: str, hashes: list[int | None]) -> None:
    rows = {
        "key": [f"{name}{i}" for i in range(len(hashes))],
        "uid": [f"uid {name}{i}" for i in range(len(hashes))],
        "phash": [None if one is None else f"{one:016x}" for one in hashes],
        "dup_of": pa.nulls(len(hashes), pa.string()),
    }
    (folder / "scores").mkdir(exist_ok=True)
    (folder / "scores" / f"{name}.parquet").write_bytes(parquet_bytes(pa.table(rows)))


def _dup_of(folder) -> list:
    return [
        row
        for path in sorted((folder / "scores").glob("*.parquet"))
        for row in pq.read_table(path)["dup_of"].to_pylist()
    ]


def test_duplicates_are_found_across_shards_whatever_the_order_of_files(tmp_path):
    far = 0xFFFF0000FFFF0000
    _write(tmp_path, "00001", [far ^ 0b111, 3, None])
    _write(tmp_path, "00000", [1 << 40, far])
    counts = mark_duplicates(tmp_path)
    assert _dup_of(tmp_path) == [None, None, "uid 000001", "uid 000000", None]
    assert counts == {"clips": 5, "duplicates": 2, "groups": 2, "largest": 2}


def test_marking_twice_changes_no_byte_and_a_new_shard_is_taken_in(tmp_path):
    _write(tmp_path, "00001", [0, 7])
    mark_duplicates(tmp_path)
    before = {path: (path.read_bytes(), path.stat().st_ino) for path in (tmp_path / "scores").iterdir()}
    mark_duplicates(tmp_path)
    assert {path: (path.read_bytes(), path.stat().st_ino) for path in (tmp_path / "scores").iterdir()} == before
    _write(tmp_path, "00000", [1])
    mark_duplicates(tmp_path)
    assert _dup_of(tmp_path) == [None, "uid 000000", "uid 000000"]
    assert all(path.suffix == ".parquet" for path in (tmp_path / "scores").iterdir())


def test_a_dataset_without_scores_says_what_to_run(tmp_path):
    with pytest.raises(UserError, match="laion score"):
        mark_duplicates(tmp_path)
