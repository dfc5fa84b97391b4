"""Weight files: what they are, where they are looked for, and what to do without them."""

import os
from dataclasses import dataclass
from pathlib import Path

from ode_vgan.embed.cache import cache_folder
from ode_vgan.embed.embedder import file_sha256
from ode_vgan.errors import UserError


class MissingWeights(UserError):  # noqa: N818 named for what it is, as UserError is
    """A file of weights that is not on this machine."""


@dataclass(frozen=True)
class WeightFile:
    """One file of weights that someone else published.

    Attributes:
        name: what needs it. file: the name it is looked for under.
        sha256: of its bytes; "" where we never saw the file.
        source: who publishes it. licence: its terms. get: how to get it. instead: what runs without it.
    """

    name: str
    file: str
    sha256: str
    source: str
    licence: str
    get: str
    instead: str

    def locate(self, path: str | Path | None = None) -> Path:
        """The file: `path`, else $ODE_VGAN_WEIGHTS/<file>, else <cache>/weights/<file>; its bytes are checked.

        Raises:
            MissingWeights: it is in none of these places.
            UserError: its sha256 is another.
        """
        folders = [Path(os.environ["ODE_VGAN_WEIGHTS"])] if os.environ.get("ODE_VGAN_WEIGHTS") else []
        places = [Path(path)] if path else [folder / self.file for folder in (*folders, cache_folder() / "weights")]
        found = next((place for place in places if place.is_file()), None)
        if found is None:
            raise MissingWeights(
                f"{self.name} needs {self.file} (sha256 {self.sha256 or 'unknown'}, {self.source}, {self.licence}), "
                f"not found at {' or '.join(map(str, places))}. {self.get} {self.instead}"
            )
        if self.sha256 and file_sha256(found) != self.sha256:
            raise UserError(f"{found} is not {self.name}'s {self.file}: its sha256 is not {self.sha256}. {self.get}")
        return found
