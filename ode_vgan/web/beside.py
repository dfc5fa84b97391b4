"""Generated clips beside their nearest training clips: whether a generator repeats what it has seen."""

import threading
from pathlib import Path

import numpy as np

from ode_vgan.data.shards import Source, read_index
from ode_vgan.errors import UserError
from ode_vgan.laion.search import Search

MOST = 500
NEAREST = 5
BASELINE = 200  # training clips whose own nearest neighbour tells what closeness is usual


class Beside:
    """The clips of a folder, each with its nearest clips of the index, the closest pair first.

    Args:
        folder: video files, or shards; the first 500 are compared.

    Raises:
        UserError: it holds no clip.
    """

    def __init__(self, search: Search, folder: str | Path):
        self.search = search
        entries = read_index(folder)
        self.total, self.entries = len(entries), entries[:MOST]
        self._lock = threading.Lock()
        self._found: list[dict] | None = None

    def source(self, number: int) -> tuple[Source, str]:
        """Where a generated clip lies, by its number in the folder's order, and its suffix.

        Raises:
            LookupError: there is none.
        """
        if not 0 <= number < len(self.entries):
            raise LookupError(f"no generated clip {number} among {len(self.entries)}.")
        source = self.entries[number].source
        suffix = source.path.suffix.lstrip(".").lower()
        return source, "mp4" if suffix == "tar" else suffix

    def page(self, offset: int, limit: int) -> dict:
        """Pairs in order of similarity."""
        with self._lock:  # embedded once, whoever asks first
            if self._found is None:
                self._found = self._compare()
        chosen = self._found[offset : offset + limit]
        return {
            "items": [one | {"nearest": self.search.describe(one["nearest"])} for one in chosen],
            "compared": len(self._found),
            "total": self.total,
        }

    def _compare(self) -> list[dict]:
        found = []
        for number, entry in enumerate(self.entries):
            one = {"number": number, "key": entry.key, "caption": entry.caption or "", "nearest": [], "error": None}
            try:
                one["nearest"] = self.search.neighbours(self.search.embed_clip(entry.read()), limit=NEAREST).hits
            except (UserError, OSError) as error:  # one broken clip never hides the others
                one["error"] = " ".join(str(error).split())
            found.append(one)
        return sorted(found, key=lambda one: (-(one["nearest"][0].similarity if one["nearest"] else -2), one["key"]))


def usual_closeness(search: Search) -> dict:
    """How near the nearest other clip is to a clip of the index: the median, the 95 % point, and of how many."""
    count = min(BASELINE, search.count)
    rows = np.random.default_rng(0).choice(search.count, count, replace=False)
    found = [search.neighbours(search.vector(row), limit=1, without=[int(row)]).hits for row in rows]
    nearest = [hits[0].similarity for hits in found if hits]
    if not nearest:
        return {"median": None, "high": None, "count": 0}
    return {"median": float(np.median(nearest)), "high": float(np.quantile(nearest, 0.95)), "count": len(nearest)}
