"""Parquet files as a target, by every reader that there is."""

import io
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from tests.fuzz.mutate import mutated, text


class Parquet:
    """Tables: LAION's metadata, a ledger and any table of numbers, by every reader that there is."""

    def __init__(self, folder: Path):
        self.path = folder / "tables" / "table.parquet"
        self.path.parent.mkdir(exist_ok=True)
        urls = {"URL": [f"http://a/{i}.mp4" for i in range(6)], "TEXT": ["a", None, "c", "d", "e", "f"]}
        tables = [urls | {"similarity": [0.3] * 6, "punsafe": [None, 0.1, 0.2, 0.3, 0.4, 0.5]}]
        tables += [
            {"macs": [1e9, 1e10], "error": [0.5, 0.4], "run": ["a", "b"]},
            {"url": ["x"], "caption": ["y"], "n": [[1]]},
        ]
        self.tables = [pa.table(table) for table in tables]
        self.seeds = [written(table, **kind) for table in self.tables for kind in (
            {}, {"compression": "none"}, {"compression": "zstd", "use_dictionary": False}, {"version": "1.0"},
        )]  # fmt: skip

    def one(self, draw: np.random.Generator) -> None:
        if draw.random() < 0.25:
            self.path.write_bytes(written(self._odd(draw)))
        else:
            self.path.write_bytes(mutated(self.seeds, draw))
        READERS[draw.integers(len(READERS))](self.path)

    @staticmethod
    def _odd(draw: np.random.Generator) -> pa.Table:
        """A sound file with columns that nobody expects."""
        names = [
            "url",
            "URL",
            "text",
            "caption",
            "similarity",
            "metric",
            "value",
            "macs",
            "",
            "a.b",
            'x"y',
            text(draw, 3),
        ]
        kinds = [
            [1, None],
            ["a", None],
            [1.5, float("nan")],
            [[1], None],
            [{"a": 1}, None],
            [b"\xff", None],
            [True, None],
        ]
        chosen = {}
        for name in draw.choice(len(names), size=draw.integers(1, 6), replace=False):
            chosen[names[name].encode("utf-8", "replace").decode()] = kinds[draw.integers(len(kinds))]
        return pa.table(chosen)


def _listing(path: Path) -> None:
    from ode_vgan.laion.listing import Listing

    listing = Listing(path)
    listing.rows(0, min(5, len(listing)))


def _ledger(path: Path) -> None:
    from ode_vgan.scaling.ledger import read

    read(path.parent)


def _table(path: Path) -> None:
    from ode_vgan.scaling.table import Wanted, read_table, select

    select(read_table(path), Wanted(x="macs", y="error"))


def _selected(path: Path) -> None:
    from shutil import rmtree

    from ode_vgan.laion.select import select

    out = path.parent.parent / "selected"
    rmtree(out, ignore_errors=True)
    select(path, out, memory="200MB", threads=1)


READERS = (_listing, _listing, _ledger, _ledger, _table, _table, _selected)


def written(table: pa.Table, **options) -> bytes:
    """A table as the bytes of a parquet file."""
    buffer = io.BytesIO()
    pq.write_table(table, buffer, **options)
    return buffer.getvalue()
