"""Compare admin tokens with the content of `admin.token_file`.

The file is looked at for every comparison and read again when it changed, so
that a rotated token counts at once. A file that is missing, unreadable or empty
lets nobody in.

Sources: RFC 6750 5.2 (token confidentiality).
"""

import hmac
import os
from pathlib import Path

_LIMIT_BYTES = 4096


class TokenFileError(Exception):
    """The token file cannot be used; the message names no path."""


class TokenFile:
    """The expected token, read again when the file's identity, size or time changes."""

    __slots__ = ("_path", "_seen", "_token")

    def __init__(self) -> None:
        self._path: Path | None = None
        self._seen: tuple[int, int, int, int] | None = None
        self._token = b""

    def matches(self, path: Path, presented: str) -> bool:
        """Return whether `presented` is the token in the file, in a time that does not tell how much matches.

        Raises:
            TokenFileError: when the file cannot be read or holds no token.
        """
        return hmac.compare_digest(self._read(path), presented.encode())

    def _read(self, path: Path) -> bytes:
        try:
            with path.open("rb") as file:
                found = os.fstat(file.fileno())
                seen = (found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns)
                if (path, seen) != (self._path, self._seen):
                    self._token = file.read(_LIMIT_BYTES).strip()
                    self._path, self._seen = path, seen
        except OSError as error:
            raise TokenFileError("the admin token file cannot be read") from error
        if not self._token:
            raise TokenFileError("the admin token file is empty")
        return self._token
