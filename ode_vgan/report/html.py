"""The report as one HTML file that needs nothing else: style, figures and films are inside it."""

import base64
import re
from collections.abc import Sequence
from functools import singledispatch
from html import escape
from pathlib import Path

from ode_vgan import __version__
from ode_vgan.data.clips import write_atomic
from ode_vgan.report.canvas import Picture
from ode_vgan.report.findings import Finding
from ode_vgan.report.markdown import write_markdown
from ode_vgan.report.page import Bullets, Heading, Section, Table, Text, Video
from ode_vgan.report.sections import lead, sections, title
from ode_vgan.report.study import Study

__all__ = ["write_html", "write_markdown"]

MAX_FILM_BYTES = 8_000_000  # larger films stay beside the page
NUMBER = re.compile(r"<?\s*-?[\d.,]+(e[+-]\d+)?( M)?( ± [\d.,]+)?( to -?[\d.,]+( M)?)?( \(-?[^a-z]* to [^a-z]*\))?")


def write_html(
    study: Study, findings: Sequence[Finding], figures: Sequence[Picture], videos: Sequence[Video], path: str | Path
) -> Path:
    """Write the page; whatever a name, caption or error holds is shown as text."""
    parts = sections(study, findings, figures, videos)
    here = Path(__file__).parent
    contents = "".join(f'<li><a href="#{part.anchor}">{escape(part.title)}</a></li>' for part in parts)
    body = "\n".join(_section(part) for part in parts)
    page = f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{escape(title(study))}</title>
<style>
{(here / "page.css").read_text()}</style>
</head>
<body>
<header>
<h1>{escape(title(study))}</h1>
<p class="lead">{escape(lead(study))}</p>
</header>
<nav aria-label="Contents"><ul>{contents}</ul></nav>
<main>
{body}
</main>
<footer>Written by ode_vgan {escape(__version__)} from run folders; nothing in it was entered by hand.</footer>
<script>
{(here / "page.js").read_text()}</script>
</body>
</html>
"""
    write_atomic(path, page.encode())
    return Path(path)


def _section(part: Section) -> str:
    blocks = "\n".join(_block(one) for one in part.blocks)
    return f'<section id="{part.anchor}">\n<h2>{escape(part.title)}</h2>\n{blocks}\n</section>'


@singledispatch
def _block(block: object) -> str:
    raise TypeError(f"no way to write a {type(block).__name__}")


@_block.register
def _text(block: Text) -> str:
    return f"<p>{escape(block.text)}</p>"


@_block.register
def _heading(block: Heading) -> str:
    return f"<h3>{escape(block.text)}</h3>"


@_block.register
def _bullets(block: Bullets) -> str:
    items = []
    for one in block.items:
        kind = f' class="{escape(one.kind.replace(" ", "-"))}"' if one.kind else ""
        strong = f"<strong>{escape(one.strong)}</strong> " if one.strong else ""
        items.append(f"<li{kind}>{strong}{escape(one.text)}</li>")
    return f"<ul>\n{''.join(items)}\n</ul>"


@_block.register
def _table(block: Table) -> str:
    right = [i > 0 and _numeric([row[i] for row in block.rows]) for i in range(len(block.columns))]
    kinds = [' class="number"' if one else "" for one in right]
    heads = "".join(
        f'<th scope="col"{kind}>{escape(name)}</th>' for name, kind in zip(block.columns, kinds, strict=True)
    )
    rows = "\n".join(_row(block, row, kinds) for row in block.rows)
    note = f'<p class="note">{escape(block.note)}</p>' if block.note else ""
    inside = (
        f'<div class="scroll"><table><caption>{escape(block.caption)}</caption>'
        f"<thead><tr>{heads}</tr></thead>\n<tbody>\n{rows}\n</tbody></table></div>"
    )
    if block.folded:
        return f"<details><summary>{escape(block.caption)}</summary>{note}{inside}</details>"
    return note + inside


def _row(block: Table, row: Sequence[str], kinds: Sequence[str]) -> str:
    cells = []
    for i, (name, text) in enumerate(zip(block.columns, row, strict=True)):
        inside = f"<code>{escape(text)}</code>" if name in block.code and text else escape(text)
        cells.append(f'<th scope="row">{inside}</th>' if i == 0 else f"<td{kinds[i]}>{inside}</td>")
    return f"<tr>{''.join(cells)}</tr>"


def _numeric(cells: Sequence[str]) -> bool:
    """Whether a column is of numbers, alone, with a spread, or as an interval."""
    told = [text for text in cells if text]
    return bool(told) and all(NUMBER.fullmatch(text) for text in told)


@_block.register
def _picture(block: Picture) -> str:
    source = base64.b64encode(block.svg.encode()).decode()
    return (
        f'<figure><img class="chart" src="data:image/svg+xml;base64,{source}" alt="{escape(block.alt)}">'
        f"<figcaption><b>{escape(block.title)}.</b> {escape(block.caption)}</figcaption></figure>"
    )


@_block.register
def _video(block: Video) -> str:
    still = base64.b64encode(block.png.read_bytes()).decode()
    film = block.mp4.read_bytes()
    caption = f"<figcaption><b>{escape(block.title)}.</b> {escape(block.caption)}</figcaption>"
    shown = f'<img src="data:image/png;base64,{still}" alt="{escape(block.alt)}">'
    if len(film) > MAX_FILM_BYTES:
        beside = f'<p class="note">The film is beside this page: {escape(block.mp4.name)}.</p>'
        return f"<figure>{shown}{caption}{beside}</figure>"
    source = base64.b64encode(film).decode()
    player = (
        f'<video controls autoplay loop muted playsinline aria-label="{escape(block.alt)}" '
        f'src="data:video/mp4;base64,{source}"></video>'
    )
    frames = f"<details><summary>Frame by frame</summary>{shown}</details>"
    return f"<figure>{player}{caption}{frames}</figure>"
