"""Name the failure of a command that its user can understand and mend."""

import os


class CommandError(Exception):
    """The text is for the terminal: what failed, and what to do about it."""


def why(error: BaseException) -> str:
    """Return the system's words for what it refused, with the file it was about, and no number."""
    if not isinstance(error, OSError) or error.errno is None or error.errno <= 0:
        return str(error)  # not the system's, or name resolution's own numbers
    about = f"{os.fsdecode(error.filename)}: " if isinstance(error.filename, str | bytes) else ""
    return f"{about}{os.strerror(error.errno)}"
