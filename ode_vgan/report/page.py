"""What a report is made of: sections of text, bullets, tables, figures and films, for any way of writing it."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ode_vgan.report.canvas import Picture


@dataclass(frozen=True)
class Video:
    """A film and a still of the same clips.

    Attributes:
        name: of its files. title, caption: for the page. alt: what it shows. mp4, png: files on disk.
        notes: who is missing from it, and why.
    """

    name: str
    title: str
    caption: str
    alt: str
    mp4: Path
    png: Path
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Text:
    """A paragraph."""

    text: str


@dataclass(frozen=True)
class Bullet:
    """A line of a list: a strong beginning, then text; `kind` may colour it."""

    text: str
    strong: str = ""
    kind: str = ""


@dataclass(frozen=True)
class Bullets:
    """A list."""

    items: tuple[Bullet, ...]


@dataclass(frozen=True)
class Heading:
    """A heading inside a section."""

    text: str


@dataclass(frozen=True)
class Table:
    """A table of text; the first column names the row.

    Attributes:
        caption: what it holds. note: above it, such as its protocol. folded: shown when asked for.
        code: columns set as code.
    """

    caption: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    note: str = ""
    folded: bool = False
    code: tuple[str, ...] = ()


@dataclass(frozen=True)
class Section:
    """A part of the page with a place in its list of contents."""

    title: str
    anchor: str
    blocks: tuple["Block", ...]


Block = Text | Bullets | Heading | Table | Picture | Video


def table(caption: str, rows: Sequence[dict[str, str]], **more: object) -> Table:
    """A table from rows by column; a column that is empty in every row is left out."""
    columns = dict.fromkeys(name for row in rows for name in row)
    shown = [name for name in columns if any(row.get(name) for row in rows)]
    return Table(caption, tuple(shown), tuple(tuple(row.get(name, "") for name in shown) for row in rows), **more)
