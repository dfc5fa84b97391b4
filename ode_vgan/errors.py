"""The errors a user meets."""


class UserError(ValueError):
    """Bad input from a user: one line that names the value, the limit and the remedy."""


class HeldError(UserError):
    """Another process is writing where this one wants to."""


class DivergedError(UserError):
    """Training left the numbers: a loss is not finite."""
