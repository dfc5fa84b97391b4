"""A listing: the table of urls and captions to fetch, read a shard at a time."""

import csv
import hashlib
import json
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from ode_vgan.errors import UserError
from ode_vgan.laion.schema import canonical_names

TABLES = (".parquet", ".csv", ".tsv", ".json", ".jsonl")
BATCH = 65_536


class Listing:
    """A parquet, csv, tsv, json (a list of objects) or jsonl file with a url column, by canonical names.

    Parquet is read by row group and never whole; the others are.

    Attributes:
        digest: SHA-256 of the file, hex.
        names: canonical name -> the file's own.

    Raises:
        UserError: there is no such file, it does not parse, or it has no url column.
    """

    def __init__(self, path: str | Path, *, url: str | None = None, text: str | None = None):
        self.path = Path(path)
        if not self.path.is_file():
            raise UserError(f"no table at {path}. Give a file: {', '.join(TABLES)}.")
        if self.path.suffix.lower() not in TABLES:
            raise UserError(f"{path} is no table that is read: {', '.join(TABLES)}. Convert it.")
        try:
            self.table = None if self.path.suffix.lower() == ".parquet" else _read(self.path)
            self.parquet = pq.ParquetFile(self.path) if self.table is None else None
            columns = (self.table.schema if self.parquet is None else self.parquet.schema_arrow).names
        except (pa.ArrowException, OSError, ValueError, csv.Error) as error:  # text that is none is a ValueError
            raise UserError(f"{path} does not parse ({' '.join(str(error).split())}). Repair it.") from error
        self.names = canonical_names(columns, url=url, text=text)
        if "url" not in self.names:
            raise UserError(f"{path} has no url column among {', '.join(columns)}. Name it with url=.")

    def __len__(self) -> int:
        return self.parquet.metadata.num_rows if self.table is None else self.table.num_rows

    @cached_property
    def digest(self) -> str:
        with open(self.path, "rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()

    @property
    def schema(self) -> pa.Schema:
        """The file's columns under their canonical names."""
        own = self.parquet.schema_arrow if self.table is None else self.table.schema
        return pa.schema([(name, own.field(column).type) for name, column in self.names.items()])

    def rows(self, start: int, stop: int) -> list[dict]:
        """Rows start to stop - 1 by canonical names."""
        table = self._parquet_rows(start, stop) if self.table is None else self.table.slice(start, stop - start)
        try:
            columns = [table.column(column).to_pylist() for column in self.names.values()]
        except UnicodeDecodeError as error:
            raise self._broken(error) from error
        return [dict(zip(self.names, values, strict=True)) for values in zip(*columns, strict=True)]

    @cached_property
    def first_rows(self) -> np.ndarray:
        """(rows,) int64: for each row the first that has its url, itself if none came before. 16 bytes a row."""
        column, parts = self.names["url"], [np.zeros(0, np.uint64)]
        for batch in self._batches(column):
            urls = (str(url).encode() for url in batch.column(0).to_pylist())
            digests = b"".join(hashlib.blake2b(url, digest_size=8).digest() for url in urls)
            parts.append(np.frombuffer(digests, dtype=np.uint64))
        _, first, which = np.unique(np.concatenate(parts), return_index=True, return_inverse=True)
        return first[which].astype(np.int64)

    def _parquet_rows(self, start: int, stop: int) -> pa.Table:
        groups, begin, before = [], 0, 0
        for i in range(self.parquet.metadata.num_row_groups):
            end = begin + self.parquet.metadata.row_group(i).num_rows
            if begin < stop and end > start:
                groups.append(i)
                before = begin if len(groups) == 1 else before
            begin = end
        try:
            table = self.parquet.read_row_groups(groups, columns=list(self.names.values()))
        except (pa.ArrowException, OSError) as error:
            raise self._broken(error) from error
        return table.slice(start - before, stop - start)

    def _batches(self, column: str) -> Iterator[pa.RecordBatch]:
        if self.table is not None:
            yield from self.table.select([column]).to_batches(BATCH)
            return
        try:
            yield from self.parquet.iter_batches(BATCH, columns=[column])
        except (pa.ArrowException, OSError) as error:
            raise self._broken(error) from error

    def _broken(self, error: Exception) -> UserError:
        return UserError(f"{self.path} does not parse ({' '.join(str(error).split())}). Repair it.")


def _read(path: Path) -> pa.Table:
    suffix = path.suffix.lower()
    if suffix in (".csv", ".tsv"):
        with open(path, newline="", encoding="utf-8-sig", errors="replace") as file:
            rows = list(csv.DictReader(file, delimiter="\t" if suffix == ".tsv" else ","))
        rows = [{name: value or None for name, value in row.items() if name is not None} for row in rows]
    elif suffix == ".jsonl":
        rows = [json.loads(line) for line in path.read_text(errors="replace").splitlines() if line.strip()]
    else:
        rows = json.loads(path.read_text(errors="replace"))
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows) or not rows:
        raise ValueError("no rows")
    names = list(dict.fromkeys(name for row in rows for name in row))
    return pa.table({name: _column([row.get(name) for row in rows]) for name in names})


def _column(values: list) -> pa.Array:
    """One type for a column of JSON: its own if it has one, else text."""
    values = [value.encode("utf-8", "replace").decode() if isinstance(value, str) else value for value in values]
    try:
        return pa.array(values)
    except (pa.ArrowException, OverflowError):
        return pa.array([None if value is None else str(value) for value in values], pa.string())
