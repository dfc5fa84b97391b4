"""The one error a user can cause."""


class UserError(ValueError):
    """Bad input from a user: one line that names the value, the limit and the remedy."""
