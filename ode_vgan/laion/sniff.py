"""What a file is by its first bytes, whatever its name or its server says."""

import re

CLIPS = ("gif", "webp", "mp4", "webm", "avi")
# brands of ISO files that hold one picture
STILL_BRANDS = {b"avif", b"heic", b"heix", b"mif1", b"jp2 ", b"crx "}
MARKS = (
    (re.compile(rb"GIF8[79]a"), "gif"),
    (re.compile(rb"RIFF....WEBP", re.S), "webp"),
    (re.compile(rb"RIFF....AVI ", re.S), "avi"),
    (re.compile(rb"....(ftyp|moov|mdat|wide|free|skip)", re.S), "mp4"),
    (re.compile(rb"\x1aE\xdf\xa3"), "webm"),
    (re.compile(rb"\xff\xd8\xff|\x89PNG|BM....\0\0|II\*\0|MM\0\*|\0\0\x01\0", re.S), "still image"),
    (re.compile(rb"PK\x03\x04|\x1f\x8b|Rar!|7z\xbc\xaf|\xfd7zXZ|BZh|(.{257}ustar)", re.S), "archive"),
    (re.compile(rb"%PDF"), "PDF"),
    (re.compile(rb"#EXTM3U|ffconcat"), "playlist"),
    (re.compile(rb"(\xef\xbb\xbf)?\s*<(!doctype|html|head|body|script|\?xml|svg|!--)", re.I), "HTML"),
)


def kind_of(content: bytes) -> str:
    """One of CLIPS, or what else it is: "HTML", "still image", "archive", "PDF", "playlist", "empty", "unknown"."""
    if not content:
        return "empty"
    head = content[:1024]
    kind = next((kind for mark, kind in MARKS if mark.match(head)), "unknown")
    if kind == "mp4" and head[4:8] == b"ftyp" and head[8:12] in STILL_BRANDS:
        return "still image"
    return kind
