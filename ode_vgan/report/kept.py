"""What was judged of a checkpoint stays in its run folder, so that nothing is judged twice."""

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path

from ode_vgan import __version__
from ode_vgan.runs import write_json

VERSION = 1  # raise it when the same question has another answer than before


@dataclass(frozen=True)
class Kept:
    """Answers about one checkpoint, each in RUN/judged under a hash of all that it depends on.

    Args:
        folder: the run folder. sha256: of the checkpoint's bytes.
    """

    folder: Path
    sha256: str

    def read(self, asked: dict) -> dict | None:
        """What was found when this was asked before; None where it was not, or the file is not whole."""
        try:
            content = json.loads(self._path(asked).read_text())
            return content["found"] if content["asked"] == self._told(asked) else None
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def write(self, asked: dict, found: dict) -> None:
        """Keep what was found; plain data both."""
        write_json(self._path(asked), {"asked": self._told(asked), "ode_vgan": __version__, "found": found})

    def _told(self, asked: dict) -> dict:
        return json.loads(json.dumps(asked | {"checkpoint_sha256": self.sha256, "version": VERSION}))

    def _path(self, asked: dict) -> Path:
        digest = hashlib.sha256(json.dumps(self._told(asked), sort_keys=True).encode()).hexdigest()
        return self.folder / "judged" / f"{digest[:32]}.json"
