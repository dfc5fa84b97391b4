"""What a set of clips looks like under a filter: a histogram for each number, counts for each word."""

from dataclasses import asdict, dataclass

from ode_vgan.laion.predicate import Filter
from ode_vgan.laion.rows import Rows
from ode_vgan.laion.sql import identifier

BINS = 40
MAX_VALUES = 24  # a column of words with more of them is no facet
# name -> what a reader calls it, its unit, and what it measures; in the order shown
KNOWN = {
    "similarity": ("Caption match", "", "cosine of caption and clip, mean over frames"),
    "similarity_min": ("Weakest frame", "", "cosine of the caption and its least fitting frame"),
    "similarity_std": ("Match spread", "", "spread of that cosine over the frames"),
    "aesthetic": ("Aesthetics", "", "predicted rating, about 1 to 10"),
    "motion": ("Motion", "", "mean change between frames"),
    "static_share": ("Still share", "", "share of the clip in which nothing moves"),
    "duration_seconds": ("Duration", "s", "length of the clip"),
    "fps": ("Frame rate", "fps", "frames per second, from the file's own times"),
    "num_frames": ("Frames", "", "frames in the clip"),
    "punsafe": ("Unsafe", "", "probability of unsafe content"),
    "pviolence": ("Violence", "", "probability of violent content"),
    "pwatermark": ("Watermark", "", "probability of a watermark, the largest over frames"),
    "watermark_persistence": ("Watermark stays", "", "share of frames with the watermark"),
    "ptoxic": ("Toxic caption", "", "probability that the caption is toxic"),
    "width": ("Width", "px", "width of the clip"),
    "height": ("Height", "px", "height of the clip"),
    "bytes": ("Size", "B", "bytes of the clip's file"),
}
WORDS = {"split": "Split", "codec": "Codec", "near_duplicate": "Near duplicate", "group": "Group"}
NO_FACET = {"row", "hash", "clip_start", "clip_end", "original_width", "original_height", "status", "phash", "dup_of"}
NO_FACET |= {"uid", "key", "shard", "caption", "text", "url", "error_message"}
NUMBERS = ("DOUBLE", "FLOAT", "BIGINT", "INTEGER", "SMALLINT", "TINYINT", "UBIGINT", "UINTEGER", "HUGEINT", "DECIMAL")


@dataclass(frozen=True)
class Column:
    """A column that can be filtered by.

    Attributes:
        kind: "number", with the lowest and highest value, or "word", with its values by falling count.
    """

    name: str
    label: str
    unit: str
    about: str
    kind: str
    low: float = 0.0
    high: float = 0.0
    values: tuple[str, ...] = ()

    def plain(self) -> dict:
        """Itself as a dictionary."""
        return asdict(self)


def facet_columns(rows: Rows) -> list[Column]:
    """The columns worth a histogram or a list: numbers that differ, words that recur. The known ones come first."""
    candidates = [name for name in KNOWN if name in rows.columns]
    candidates += sorted(name for name in rows.columns if name not in KNOWN and name not in NO_FACET)
    found = (
        _number(rows, name) if rows.columns[name].startswith(NUMBERS) else _word(rows, name) for name in candidates
    )
    return [column for column in found if column is not None]


def count_facets(rows: Rows, columns: list[Column], wanted: Filter) -> dict:
    """Counts under a filter; a column's own range or values do not narrow its own counts.

    Returns:
        {"count": clips kept, "histograms": {name: [BINS counts]}, "words": {name: {value: count}}}
    """
    count = rows.query(f"SELECT count(*) FROM clips WHERE ({rows.condition(wanted)})")[0][0]
    histograms, words = {}, {}
    for column in columns:
        condition = rows.condition(wanted.without(column.name))
        if column.kind == "number":
            histograms[column.name] = _histogram(rows, column, condition)
        else:
            found = rows.query(f"SELECT {_text(column.name)}, count(*) FROM clips WHERE ({condition}) GROUP BY 1")
            counts = dict(found)
            words[column.name] = {value: counts.get(value, 0) for value in column.values}
    return {"count": count, "histograms": histograms, "words": words}


def _histogram(rows: Rows, column: Column, condition: str) -> list[int]:
    name, step = identifier(column.name), (column.high - column.low) / BINS
    found = rows.query(
        f"SELECT least(floor(({name} - ?) / ?)::INT, ?), count(*) FROM clips "
        f"WHERE ({condition}) AND isfinite({name}::DOUBLE) GROUP BY 1",
        [column.low, step, BINS - 1],
    )
    counts = [0] * BINS
    for i, number in found:
        counts[max(i, 0)] += number
    return counts


def _number(rows: Rows, name: str) -> Column | None:
    value = f"{identifier(name)}::DOUBLE"
    low, high = rows.query(f"SELECT min({value}), max({value}) FROM clips WHERE isfinite({value})")[0]
    if low is None or low == high:
        return None
    label, unit, about = KNOWN.get(name, (_label(name), "", ""))
    return Column(name, label, unit, about, "number", low, high)


def _word(rows: Rows, name: str) -> Column | None:
    if rows.columns[name] not in ("VARCHAR", "BOOLEAN"):
        return None
    text = _text(name)
    found = rows.query(
        f"SELECT {text}, count(*) FROM clips WHERE {identifier(name)} IS NOT NULL GROUP BY 1 "
        f"ORDER BY 2 DESC, 1 LIMIT {MAX_VALUES + 1}"
    )
    if not 2 <= len(found) <= MAX_VALUES:
        return None
    return Column(name, WORDS.get(name, _label(name)), "", "", "word", values=tuple(value for value, _ in found))


def _text(name: str) -> str:
    return f"{identifier(name)}::VARCHAR"


def _label(name: str) -> str:
    return name.replace("_", " ").capitalize()
