"""Embeddings of a dataset folder in clip-retrieval's layout, one part a shard, that know which clip each row is.

    emb/video_emb/video_emb_0000.npy      float16 (N, E), unit rows; the mean of a clip's frames
    emb/text_emb/text_emb_0000.npy        float16 (N, E), unit rows; the caption's, or that of "" where there is none
    emb/metadata/metadata_0000.parquet    row i is vector i: key, uid, caption, url, similarity, _min, _std
    emb/model.json                        the embedder, frames, pooling and width

A parquet is written last and holds digests of its shard, of both .npy files and of its uids, so that a part is either
whole and its own, or made again.
"""

import json
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import pyarrow as pa

from ode_vgan.data.clips import decode_clip, write_atomic
from ode_vgan.data.shards import Entry, read_tar
from ode_vgan.embed.cache import locked
from ode_vgan.embed.embedder import Embedder, file_sha256
from ode_vgan.embed.frames import even_frames
from ode_vgan.errors import UserError
from ode_vgan.laion.parts import Block, is_right, part_number, read_block, read_model, write_part
from ode_vgan.laion.schema import clip_uid

KINDS = ("video", "img")  # ours, and clip-retrieval's name of the same
FRAMES, LARGE_PX, MAX_FRAMES = 8, 256, 3000
POOLING = "mean over frames of unit vectors, then unit length"


@dataclass
class EmbedCounts:
    """Shards embedded and those that were already, clips embedded now, and why others were not, by shard/key."""

    shards: int = 0
    kept: int = 0
    clips: int = 0
    bad: dict[str, str] = field(default_factory=dict)


class Embeddings:
    """The parts of a folder, checked when they are reached.

    Attributes:
        model: what model.json holds; {} where clip-retrieval wrote the folder.
    """

    def __init__(self, folder: Path, paths: list[Path], model: dict):
        self.folder, self.paths, self.model = folder, paths, model

    def __iter__(self) -> Iterator[Block]:
        for path in self.paths:
            yield read_block(self.folder, path, self.model.get("fingerprint"))

    @cached_property
    def blocks(self) -> list[Block]:
        """Every part."""
        return list(self)

    @property
    def video(self) -> np.ndarray:
        """(N, E) float16 of all parts, in memory.

        Raises:
            UserError: parts of several widths.
        """
        return self._joined([block.video for block in self.blocks])

    @property
    def text(self) -> np.ndarray:
        """(N, E) float16 of all parts, in memory.

        Raises:
            UserError: a part has none, or parts of several widths.
        """
        missing = [block.number for block in self.blocks if block.text is None]
        if missing:
            raise UserError(f"{self.folder} has no text_emb of part {missing[0]}. Embed that shard again.")
        return self._joined([block.text for block in self.blocks])

    @property
    def metadata(self) -> pa.Table:
        """The rows of all parts; columns that a part lacks are null there."""
        return pa.concat_tables([block.metadata for block in self.blocks], promote_options="permissive")

    def _joined(self, parts: list[np.ndarray]) -> np.ndarray:
        widths = sorted({part.shape[1] for part in parts})
        if len(widths) > 1:
            raise UserError(f"{self.folder} has parts of widths {widths}: of several embedders. Embed all with one.")
        return np.concatenate(parts)


def embed_shards(
    folder: str | Path,
    embedder: Embedder | str,
    *,
    frames: int = FRAMES,
    jobs: int = 1,
    progress: Callable[[Iterable], Iterable] = iter,
) -> EmbedCounts:
    """Embed every shard of DIR/shards into DIR/emb; typed again it goes on where it stopped.

    A shard is left as it is when its part has this shard's digest, this embedder's fingerprint and so many frames, and
    its files are whole. A clip that cannot be read is named and left out of its part.

    Args:
        embedder: of text and frames, one that gives each frame's vector; or its name, as `open_embedder` takes it.
            An object is sent, and its nets are loaded, for every shard where there are several processes; by its name
            it is opened once in each.
        frames: a clip, evenly from its first to its last.
        jobs: processes.
        progress: wraps the results of the shards as they come, for a bar.

    Raises:
        UserError: no shards, a shard whose name is no number, or an embedder of text only.
    """
    tars = find_shards(folder)
    write_model(folder, opened(embedder), frames)
    counts = EmbedCounts()
    if jobs <= 1:
        results = (embed_shard(tar, embedder, frames=frames) for tar in tars)
        return _counted(counts, progress(results))
    with ProcessPoolExecutor(jobs, get_context("spawn"), initializer=_one_thread) as pool:
        results = [pool.submit(embed_shard, tar, embedder, frames=frames) for tar in tars]
        return _counted(counts, progress(result.result() for result in results))


def find_shards(folder: str | Path) -> list[Path]:
    """The tars of DIR/shards by number.

    Raises:
        UserError: there are none, or one's name is no number.
    """
    tars = sorted((Path(folder) / "shards").glob("*.tar"))
    if not tars:
        raise UserError(f"no shards in {Path(folder) / 'shards'}. Fetch some: ode-vgan laion fetch.")
    named = [tar for tar in tars if not (tar.stem.isascii() and tar.stem.isdigit())]
    if named:
        raise UserError(f"{named[0]} is not named for its number. Rename it as img2dataset does: 00000.tar.")
    return sorted(tars, key=lambda tar: int(tar.stem))


def opened(embedder: Embedder | str) -> Embedder:
    """The embedder; one that is named is opened once in a process."""
    return _opened(embedder) if isinstance(embedder, str) else embedder


def write_model(folder: str | Path, embedder: Embedder, frames: int) -> None:
    """Put emb/model.json in place: which embedder fills the folder, and how.

    Raises:
        UserError: the embedder reads text only, or frames is below 1.
    """
    if not hasattr(embedder, "encode_each_frame"):
        raise UserError(f"{type(embedder).__name__} gives no vector of a frame. Embed with matched or openclip.")
    if frames < 1:
        raise UserError(f"frames={frames} a clip must be at least 1.")
    told = {"fingerprint": embedder.fingerprint, "dim": embedder.dim, "frames": frames, "pooling": POOLING}
    content = (json.dumps(told, indent=2) + "\n").encode()
    path = Path(folder) / "emb" / "model.json"
    if not path.is_file() or path.read_bytes() != content:
        write_atomic(path, content)


def embed_shard(tar: Path, embedder: Embedder | str, *, frames: int = FRAMES) -> EmbedCounts:
    """Embed one shard, DIR/shards/00000.tar, into its part of DIR/emb; does nothing where the part is right.

    The bytes depend on the shard, the embedder and the frames alone.

    Raises:
        UserError: the tar is not whole.
    """
    tar, embedder = Path(tar), opened(embedder)
    root, number = tar.parent.parent / "emb", int(tar.stem)
    made_from = {
        "shard_sha256": file_sha256(tar),
        "fingerprint": embedder.fingerprint,
        "frames": str(frames),
        "pooling": POOLING,
    }
    (root / "metadata").mkdir(parents=True, exist_ok=True)
    with locked(root / "metadata" / f".{number:04d}.lock"):  # a second process waits, and finds the part right
        if is_right(root, number, made_from):
            return EmbedCounts(kept=1)
        vectors, rows, bad = _embed_clips(tar, embedder, frames)
        write_part(root, number, vectors, rows, made_from)
    return EmbedCounts(shards=1, clips=len(rows), bad=bad)


def read_embeddings(folder: str | Path) -> Embeddings:
    """The embeddings of DIR or DIR/emb, or those that clip-retrieval wrote (img_emb, without digests).

    Raises:
        UserError: there are none. Iterating refuses a part whose vectors are not those that its metadata describes.
    """
    for root in (Path(folder) / "emb", Path(folder)):
        for kind in KINDS:
            paths = sorted((root / f"{kind}_emb").glob(f"{kind}_emb_*.npy"), key=part_number)
            if paths:
                return Embeddings(root, paths, read_model(root / "model.json"))
    raise UserError(f"no embeddings in {folder}. Make them: ode-vgan laion embed {folder}.")


@lru_cache(maxsize=1)
def _opened(name: str) -> Embedder:
    from ode_vgan.embed.matched import open_embedder

    return open_embedder(name)


def _embed_clips(
    tar: Path, embedder: Embedder, frames: int
) -> tuple[dict[str, np.ndarray], list[dict], dict[str, str]]:
    """Vectors of both sides and rows, by key, of the clips that can be read; and why the others cannot."""
    video, text, rows, bad = [], [], [], {}
    entries = sorted(read_tar(tar), key=lambda entry: entry.key)
    captions = [(entry.caption or "").strip() for entry in entries]
    said = embedder.encode_text(captions).numpy() if entries else ()
    for entry, caption, words in zip(entries, captions, said, strict=True):
        try:
            row, vector = _embed_clip(entry, embedder, words if caption else None, frames)
        except (UserError, OSError) as error:
            bad[f"{tar.stem}/{entry.key}"] = str(error)
            continue
        rows.append(row)
        video.append(vector)
        text.append(words)
    none = np.zeros((0, embedder.dim), np.float32)
    return {"video": np.stack(video) if video else none, "text": np.stack(text) if text else none}, rows, bad


def _embed_clip(entry: Entry, embedder: Embedder, text: np.ndarray | None, frames: int) -> tuple[dict, np.ndarray]:
    content = entry.read()
    height, width = decode_clip(content, max_frames=1).frames.shape[1:3]
    small = max(height, width) <= LARGE_PX  # larger ones are scaled as they are read, which bounds memory
    clip = decode_clip(content, size=None if small else LARGE_PX, max_frames=MAX_FRAMES)
    each = embedder.encode_each_frame(even_frames(clip.frames, frames)[None])[0].numpy()
    mean = each.mean(0)
    row = {"key": entry.key, "uid": clip_uid(content), "caption": entry.caption, "url": _url(entry.meta)}
    if text is not None:
        cosines = each @ text
        row |= {"similarity": cosines.mean(), "similarity_min": cosines.min(), "similarity_std": cosines.std()}
    return row, mean / max(float(np.linalg.norm(mean)), 1e-12)


def _url(meta: dict) -> str | None:
    found = meta.get("url") or meta.get("URL")
    return found if isinstance(found, str) else None


def _counted(counts: EmbedCounts, results: Iterable[EmbedCounts]) -> EmbedCounts:
    for result in results:
        counts.shards += result.shards
        counts.kept += result.kept
        counts.clips += result.clips
        counts.bad |= result.bad
    return counts


def _one_thread() -> None:
    import torch

    torch.set_num_threads(1)
