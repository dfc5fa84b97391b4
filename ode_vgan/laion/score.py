"""Scores of every clip of a dataset folder, in a parquet beside each shard that no clip is rewritten for.

    scores/00000.parquet    one row a clip of shards/00000.tar, sorted by key

The columns come in three parts, of which each is made again only when what makes it has changed: pixels (watermark,
motion, hash), captions (toxicity), and embeddings (similarity and the heads), which are read from DIR/emb.
"""

from collections import Counter
from collections.abc import Callable, Iterable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from functools import lru_cache
from multiprocessing import get_context
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from ode_vgan.data.clips import write_atomic
from ode_vgan.data.shards import Entry, read_tar
from ode_vgan.embed.embedder import file_sha256
from ode_vgan.errors import UserError
from ode_vgan.laion.duplicates import MAX_BITS, mark_duplicates, parquet_bytes
from ode_vgan.laion.embedded import HEADS, SIMILARITIES, embedded_scores, fingerprint_of, why_missing
from ode_vgan.laion.pixels import VERSION, measure_pixels
from ode_vgan.laion.schema import clip_uid
from ode_vgan.laion.toxicity import REMEDY, Toxicity, why_absent
from ode_vgan.laion.watermark import WatermarkDetector, open_detector

PIXELS = ("pwatermark", "watermark_persistence", "motion", "static_share")
PARTS = {
    "pixels": (*PIXELS, "phash", "error"),
    "captions": ("ptoxic",),
    "embeddings": (*SIMILARITIES, *HEADS),
}
NUMBERS = (*SIMILARITIES, *HEADS, *PIXELS[:2], "ptoxic", *PIXELS[2:])
SCHEMA = pa.schema(
    [("key", pa.string()), ("uid", pa.string())]
    + [(name, pa.float32()) for name in NUMBERS]
    + [(name, pa.string()) for name in ("phash", "dup_of", "scorer", "error")]
)
MAX_ERROR = 500  # characters of a reason


@dataclass(frozen=True)
class ScoreOptions:
    """What scores clips.

    Attributes:
        frames: of a clip that the watermark detector sees.
        watermark: its weights; None takes the repository's own.
        aesthetic, nsfw, violence: files of heads, None for no such score.
        max_bits, min_cosine: what makes two clips duplicates, see `mark_duplicates`.
    """

    frames: int = 8
    watermark: str | None = None
    aesthetic: str | None = None
    nsfw: str | None = None
    violence: str | None = None
    max_bits: int = MAX_BITS
    min_cosine: float | None = None

    def heads(self) -> dict[str, str]:
        """Column to file, for the heads that are given."""
        files = {"aesthetic": self.aesthetic, "punsafe": self.nsfw, "pviolence": self.violence}
        return {name: file for name, file in files.items() if file is not None}


@dataclass
class ScoreCounts:
    """Shards scored now and those that were already, clips of all, those in error by reason, and columns left null.

    Attributes:
        missing: why, by column. duplicates: what `mark_duplicates` counts.
    """

    shards: int = 0
    kept: int = 0
    clips: int = 0
    errors: dict[str, int] = field(default_factory=dict)
    missing: dict[str, str] = field(default_factory=dict)
    duplicates: dict = field(default_factory=dict)

    def add(self, other: "ScoreCounts") -> None:
        """Take in the counts of further shards."""
        self.shards, self.kept, self.clips = (
            getattr(self, name) + getattr(other, name) for name in ("shards", "kept", "clips")
        )
        self.errors = dict(Counter(self.errors) + Counter(other.errors))
        self.missing = other.missing | self.missing


def score_shards(
    folder: str | Path,
    options: ScoreOptions | None = None,
    *,
    jobs: int = 1,
    progress: Callable[[Iterable], Iterable] = iter,
) -> ScoreCounts:
    """Score every shard of DIR/shards into DIR/scores, then mark duplicates over all; typed again it goes on.

    The bytes depend on the shards, the embeddings and the options alone, however often it was killed and by how many
    processes it was done.

    Args:
        jobs: processes.
        progress: wraps the results of the shards as they come, for a bar.

    Raises:
        UserError: no shards, weights or heads that do not load, or embeddings that are not whole.
    """
    from ode_vgan.laion.embeddings import find_shards

    options = options or ScoreOptions()
    check_options(options)
    tars, counts = find_shards(folder), ScoreCounts()
    drop_orphans(Path(folder) / "scores", {tar.stem for tar in tars})
    if jobs <= 1:
        results = (score_shard(tar, options) for tar in tars)
        for one in progress(results):
            counts.add(one)
    else:
        with ProcessPoolExecutor(min(jobs, len(tars)), get_context("spawn"), initializer=_one_thread) as pool:
            futures = [pool.submit(score_shard, tar, options) for tar in tars]
            for one in progress(future.result() for future in futures):
                counts.add(one)
    counts.duplicates = mark_duplicates(folder, max_bits=options.max_bits, min_cosine=options.min_cosine)
    return counts


def score_shard(tar: str | Path, options: ScoreOptions) -> ScoreCounts:
    """Score one shard, DIR/shards/00000.tar, into DIR/scores/00000.parquet; `dup_of` stays null or as it was.

    Raises:
        UserError: the tar is not whole, weights or heads do not load, or its embeddings are not whole.
    """
    tar, folder = Path(tar), Path(tar).parent.parent
    path = folder / "scores" / f"{tar.stem}.parquet"
    detector = _detector(options.watermark)
    missing = why_missing(folder, int(tar.stem), options.heads())
    made_from = {
        "shard_sha256": file_sha256(tar),
        "pixels": f"{VERSION} {detector.fingerprint} {options.frames}",
        "captions": Toxicity().fingerprint if why_absent() is None else "none",
        "embeddings": fingerprint_of(folder, int(tar.stem), options.heads()),
    }
    if made_from["captions"] == "none":
        missing["ptoxic"] = f"alt-profanity-check: {why_absent()}. {REMEDY}"
    old = _read_old(path, made_from["shard_sha256"])
    entries = sorted(read_tar(tar), key=lambda entry: entry.key)
    columns: dict[str, list] = {"key": [entry.key for entry in entries]}
    fresh = [part for part in PARTS if old is None or _told(old).get(part) != made_from[part]]
    for part in PARTS.keys() - fresh:
        columns |= {name: old[name].to_pylist() for name in ("uid", *PARTS[part])}
    if "pixels" in fresh:
        columns |= _pixel_columns(entries, detector, options.frames)
    if "captions" in fresh and "ptoxic" not in missing:
        columns["ptoxic"] = Toxicity().score([entry.caption for entry in entries])
    if "embeddings" in fresh:
        columns |= embedded_scores(folder, int(tar.stem), columns["key"], columns["uid"], options.heads())
    if fresh:
        write_atomic(path, parquet_bytes(_table(columns, made_from)))
    return _counts(columns, missing, bool(fresh))


def _pixel_columns(entries: list[Entry], detector: WatermarkDetector, frames: int) -> dict[str, list]:
    rows = []
    for entry in entries:
        row = dict.fromkeys(("uid", *PARTS["pixels"]))
        try:
            content = entry.read()
            row["uid"] = clip_uid(content)
            row |= measure_pixels(content, detector, frames)
        except (UserError, OSError, ValueError) as error:
            row["error"] = " ".join(f"{type(error).__name__}: {error}".split())[:MAX_ERROR]
        rows.append(row)
    return {name: [row[name] for row in rows] for name in ("uid", *PARTS["pixels"])}


def _table(columns: dict[str, list], made_from: dict[str, str]) -> pa.Table:
    count = len(columns["key"])
    scorer = "; ".join(f"{part} {made_from[part]}" for part in PARTS)
    whole = {name: [None] * count for name in SCHEMA.names} | columns | {"scorer": [scorer] * count}
    return pa.table({name: whole[name] for name in SCHEMA.names}, schema=SCHEMA.with_metadata(made_from))


def _read_old(path: Path, shard_sha256: str) -> pa.Table | None:
    """The scores that are there, if they are of this shard."""
    try:
        table = pq.read_table(path)
    except (OSError, pa.ArrowInvalid):
        return None
    same = _told(table).get("shard_sha256") == shard_sha256 and table.schema.equals(SCHEMA, check_metadata=False)
    return table if same else None


def _told(table: pa.Table) -> dict[str, str]:
    return {name.decode(): value.decode() for name, value in (table.schema.metadata or {}).items()}


def _counts(columns: dict[str, list], missing: dict[str, str], fresh: bool) -> ScoreCounts:
    errors = Counter(error.partition(":")[0] for error in columns["error"] if error)
    return ScoreCounts(int(fresh), int(not fresh), len(columns["key"]), dict(errors), missing)


def drop_orphans(folder: Path, names: set[str]) -> None:
    """Scores of shards that are gone must not be found as duplicates."""
    for path in folder.glob("*.parquet"):
        if path.stem not in names:
            path.unlink()


def check_options(options: ScoreOptions) -> None:
    """Refuse options under which no clip can be scored, before any work.

    Raises:
        UserError: frames below 1, or a watermark net that does not load.
    """
    if options.frames < 1:
        raise UserError(f"frames={options.frames} a clip must be at least 1.")
    _detector(options.watermark)


@lru_cache(2)
def _detector(path: str | None) -> WatermarkDetector:
    return open_detector(path)


def _one_thread() -> None:
    import torch

    torch.set_num_threads(1)
