"""A small dataset folder of real clips, in the layout that the stages of ode_vgan.laion write."""

import hashlib
import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch

from ode_vgan.data.emoji import embedded_folder
from ode_vgan.data.shards import Entry, Sample, read_index, write_shards
from ode_vgan.embed.embedder import Embedder

HOSTILE = "<img src=x onerror=\"document.title='hacked'\"><b>bold</b>"
DIM = 32


class WordEmbedder(Embedder):
    """A stand-in whose space is exact: a text is the sum of its words' fixed vectors, frames their colour averages."""

    dim = DIM
    fingerprint = "words-32"

    def encode_text(self, texts: list[str]) -> torch.Tensor:
        rows = [sum((_word(word) for word in text.lower().split()), np.full(DIM, 1e-3)) for text in texts]
        return torch.nn.functional.normalize(torch.tensor(np.stack(rows), dtype=torch.float32), dim=-1)

    def encode_frames(self, clips: np.ndarray) -> torch.Tensor:
        means = torch.tensor(clips, dtype=torch.float32).mean((1, 2, 3)) - 128
        return torch.nn.functional.normalize(torch.nn.functional.pad(means + 1e-3, (0, DIM - 3)), dim=-1)


def _word(word: str) -> np.ndarray:
    seed = int.from_bytes(hashlib.sha256(word.strip(",.:").encode()).digest()[:8], "big")
    return np.random.default_rng(seed).standard_normal(DIM)


def make_dataset(
    folder: Path, clips: int = 48, *, per_shard: int = 20, hostile: bool = True, every: int = 1
) -> list[Entry]:
    """Write shards, scores and emb of clips of the embedded set, in its order; clip 0's caption holds HTML."""
    entries = read_index(embedded_folder())[::every][:clips]
    if hostile:
        entries[0] = Entry(entries[0].key, HOSTILE, entries[0].meta, entries[0].source)
    samples = [_sample(i, entry, per_shard) for i, entry in enumerate(entries)]
    write_shards(folder / "shards", samples, per_shard=per_shard)
    random = np.random.default_rng(0)
    for number, path in enumerate(sorted((folder / "shards").glob("*.parquet"))):
        rows = pq.read_table(path).to_pylist()
        (folder / "scores").mkdir(exist_ok=True)
        pq.write_table(_scores(rows, random), folder / "scores" / path.name)
        write_emb(folder / "emb", number, rows, WordEmbedder().encode_text([row["caption"] for row in rows]).numpy())
    (folder / "emb" / "model.json").write_text(json.dumps({"fingerprint": WordEmbedder.fingerprint}))
    return entries


def write_emb(emb: Path, number: int, rows: list[dict], vectors: np.ndarray, kind: str = "video") -> None:
    """One part in clip-retrieval's layout."""
    (emb / f"{kind}_emb").mkdir(parents=True, exist_ok=True)
    (emb / "metadata").mkdir(exist_ok=True)
    np.save(emb / f"{kind}_emb" / f"{kind}_emb_{number:04d}.npy", vectors.astype(np.float16))
    pq.write_table(pa.Table.from_pylist(rows), emb / "metadata" / f"metadata_{number:04d}.parquet")


def _sample(i: int, entry: Entry, per_shard: int) -> Sample:
    clip = entry.read()
    digest = hashlib.sha256(clip).hexdigest()
    meta = {name: entry.meta[name] for name in ("duration_seconds", "num_frames", "width", "height", "split", "group")}
    meta |= {"uid": digest[:32], "clip_sha256": digest, "url": f"https://clips.example/{i}.mp4", "bytes": len(clip)}
    meta |= {"fps": meta["num_frames"] / meta["duration_seconds"], "text": entry.caption}
    return Sample(f"{i // per_shard:05d}{i % per_shard:04d}_00000", clip, entry.caption, meta)


def _scores(rows: list[dict], random: np.random.Generator) -> pa.Table:
    count = len(rows)
    columns = {name: [row[name] for row in rows] for name in ("key", "uid")}
    for name in ("similarity", "punsafe", "pwatermark", "motion", "static_share", "ptoxic"):
        columns[name] = random.random(count)
    columns["aesthetic"] = 4 + 2 * random.standard_normal(count)
    columns["dup_of"] = pa.array([rows[0]["uid"] if i == 1 else None for i in range(count)], pa.string())
    return pa.table(columns)
