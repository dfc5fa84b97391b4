"""The errors a user meets."""

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

DISK = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EACCES, errno.EPERM)


class UserError(ValueError):
    """Bad input from a user: one line that names the value, the limit and the remedy.

    What a message quotes may be anything: line ends, escapes and marks that turn the writing round become spaces.
    """

    def __init__(self, message: object = ""):
        text = str(message)
        super().__init__(text if text.isprintable() else "".join(one if one.isprintable() else " " for one in text))


class HeldError(UserError):
    """Another process is writing where this one wants to."""


class DivergedError(UserError):
    """Training left the numbers: a loss is not finite."""


class DiskError(UserError):
    """What is to be kept cannot be written."""


@contextmanager
def told_of_the_disk(folder: Path) -> Iterator[None]:
    """Say in one line that a disk is full, that a file may not grow, or that a folder may not be written.

    Args:
        folder: named where the system names no file.

    Raises:
        DiskError: for an OSError of that kind.
    """
    try:
        yield
    except OSError as error:
        if error.errno not in DISK:
            raise
        remedy = "Allow writing there" if error.errno in DISK[3:] else "Free some space"
        raise DiskError(
            f"{error.filename or folder}: {error.strerror}. {remedy} and type the command again; "
            "what was written before is whole."
        ) from None
