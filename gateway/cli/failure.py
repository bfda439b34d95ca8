"""Name the failure of a command that its user can understand and mend."""


class CommandError(Exception):
    """The text is for the terminal: what failed, and what to do about it."""
