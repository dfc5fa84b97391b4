"""The report in Markdown, with figures and films as files beside it."""

import shutil
from collections.abc import Sequence
from functools import singledispatch
from pathlib import Path

from ode_vgan.data.clips import write_atomic
from ode_vgan.report.canvas import Picture
from ode_vgan.report.findings import Finding
from ode_vgan.report.page import Bullets, Heading, Table, Text, Video
from ode_vgan.report.sections import lead, sections, title
from ode_vgan.report.study import Study
from ode_vgan.report.table import Row, results_table

FOLDER = "figures"
SPECIAL = str.maketrans({"<": "&lt;", ">": "&gt;", "&": "&amp;", "*": r"\*", "_": r"\_", "`": r"\`", "[": r"\["})


def write_markdown(
    study: Study, findings: Sequence[Finding], figures: Sequence[Picture], videos: Sequence[Video], path: str | Path
) -> Path:
    """Write the page, and its figures as PNG and SVG in `figures/` beside it."""
    path = Path(path)
    folder = path.parent / FOLDER
    for one in figures:
        write_atomic(folder / f"{one.name}.png", one.png)
        write_atomic(folder / f"{one.name}.svg", one.svg.encode())
    for file in (file for video in videos for file in (video.mp4, video.png)):
        if file.resolve().parent != folder.resolve():
            folder.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(file, folder / file.name)
    parts = [f"# {_plain(title(study))}", _plain(lead(study))]
    for part in sections(study, findings, figures, videos):
        parts += [f"## {part.title}", *map(_block, part.blocks)]
    write_atomic(path, ("\n\n".join(parts) + "\n").encode())
    return path


def _plain(text: str) -> str:
    """Text that Markdown shows as it is, on one line."""
    return " ".join(text.translate(SPECIAL).split())


@singledispatch
def _block(block: object) -> str:
    raise TypeError(f"no way to write a {type(block).__name__}")


@_block.register
def _text(block: Text) -> str:
    return _plain(block.text)


@_block.register
def _heading(block: Heading) -> str:
    return f"### {_plain(block.text)}"


@_block.register
def _bullets(block: Bullets) -> str:
    strong = (f"**{_plain(one.strong)}** " if one.strong else "" for one in block.items)
    return "\n".join(f"- {start}{_plain(one.text)}" for start, one in zip(strong, block.items, strict=True))


@_block.register
def _table(block: Table) -> str:
    rows = [
        Row({name: _cell(name, text, block) for name, text in zip(block.columns, row, strict=True)})
        for row in block.rows
    ]
    note = f"{_plain(block.note)}\n\n" if block.note else ""
    inside = f"{note}{results_table(rows).strip()}"
    if block.folded:
        return f"<details><summary>{_plain(block.caption)}</summary>\n\n{inside}\n\n</details>"
    return f"**{_plain(block.caption)}**\n\n{inside}"


def _cell(column: str, text: str, block: Table) -> str:
    if column in block.code and text:
        return "`" + " ".join(text.replace("`", "'").split()) + "`"
    return _plain(text)


@_block.register
def _picture(block: Picture) -> str:
    return f"![{_plain(block.alt)}]({FOLDER}/{block.name}.png)\n\n**{_plain(block.title)}.** {_plain(block.caption)}"


@_block.register
def _video(block: Video) -> str:
    shown = f"![{_plain(block.alt)}]({FOLDER}/{block.png.name})"
    film = f"[Film]({FOLDER}/{block.mp4.name})"
    return f"{shown}\n\n**{_plain(block.title)}.** {_plain(block.caption)} {film}."
