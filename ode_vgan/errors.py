"""The errors a user meets."""


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
