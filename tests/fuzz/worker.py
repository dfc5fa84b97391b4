"""The process in which a target's inputs are read: python -m tests.fuzz.worker TARGET SEED FIRST STOP FOLDER."""

import json
import os
import sys
import traceback
from pathlib import Path

import numpy as np

from ode_vgan.errors import UserError

WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
CHANGES = {"os.remove", "os.rename", "os.rmdir", "os.mkdir", "os.link", "os.symlink", "os.chmod", "shutil.rmtree"}
STARTS = {"os.system", "subprocess.Popen", "os.exec", "os.posix_spawn", "os.fork", "os.spawn", "socket.connect"}


class Guard:
    """Notes what may not happen: a write outside one folder, a process, a connection, a foreign class unpickled."""

    def __init__(self, folder: Path):
        self.folder, self.noted = str(folder.resolve()), []
        self.on = False
        sys.addaudithook(self.hear)

    def hear(self, event: str, arguments: tuple) -> None:
        if not self.on:
            return
        if event == "open" and self._writes(arguments[1], arguments[2]) and not self._inside(arguments[0]):
            self.noted.append(f"writes {str(arguments[0])[:120]}")
        elif event in CHANGES and not all(
            self._inside(one) for one in arguments if isinstance(one, str | bytes | Path)
        ):
            self.noted.append(f"{event} {str(arguments)[:120]}")
        elif event in STARTS:
            self.noted.append(f"{event} {str(arguments)[:120]}")
        elif event == "pickle.find_class":
            self.noted.append(f"unpickles {arguments}")

    @staticmethod
    def _writes(mode, flags) -> bool:
        if isinstance(mode, str):
            return any(letter in mode for letter in "wax+")
        return isinstance(flags, int) and bool(flags & WRITES)

    def _inside(self, path) -> bool:
        if isinstance(path, int) or path is None:
            return True
        path = os.path.realpath(os.fsdecode(path))
        return path.startswith((self.folder, "/dev/", "/proc/"))


def main(name: str, seed: int, first: int, stop: int, folder: Path) -> None:
    """Read inputs and append what became of them to out.jsonl, each at once."""
    from tests.fuzz.targets import TARGETS

    sandbox = folder / "sandbox"
    sandbox.mkdir(exist_ok=True)
    target = TARGETS[name](sandbox)
    for number in range(20):
        outcome(
            target, np.random.default_rng([seed, 2**31 + number])
        )  # what is imported on the first use is not the input's doing
    place = os.open(folder / "place", os.O_WRONLY)
    out = os.open(folder / "out.jsonl", os.O_WRONLY | os.O_APPEND)
    os.chdir(sandbox)
    guard = Guard(folder)
    for number in range(first, stop):
        os.pwrite(place, str(number).encode(), 0)
        guard.noted.clear()
        guard.on = True
        what = outcome(target, np.random.default_rng([seed, number]))
        guard.on = False
        told = {"inputs": 1, "read": what == "read", "refused": what == "refused", "findings": []}
        for found in [what] * (what not in ("read", "refused")) + guard.noted:
            told["findings"].append({"target": name, "seed": seed, "input": number, "what": found})
        os.write(out, (json.dumps(told) + "\n").encode())  # a crash in the next one loses nothing


def outcome(target, draw: np.random.Generator) -> str:
    """ "read", "refused", or the traceback's last lines."""
    try:
        target.one(draw)
    except UserError as error:
        return "refused" if "\n" not in str(error) else f"a refusal of several lines: {str(error)[:200]}"
    except BaseException as error:
        where = traceback.extract_tb(error.__traceback__)[-1]
        own = [frame for frame in traceback.extract_tb(error.__traceback__) if "ode_vgan" in frame.filename]
        at = own[-1] if own else where
        return f"{type(error).__name__}: {str(error)[:160]} at {Path(at.filename).name}:{at.lineno} {at.name}"
    return "read"


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4]), Path(sys.argv[5]))
