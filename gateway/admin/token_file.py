"""Compare admin tokens with the content of `admin.token_file`.

The file is read for every comparison, so that a rotated token counts at once. A file that
is missing, unreadable or empty lets nobody in.

Sources: RFC 6750 5.2 (token confidentiality).
"""

import hmac
from pathlib import Path

from gateway.files import UnusableFileError, read_file

_LARGEST_BYTES = 4096


class TokenFileError(Exception):
    """The token file cannot be used; the message names no path."""


def is_admin_token(path: Path, presented: str) -> bool:
    """Return whether `presented` is the token in the file, in a time that does not tell how much matches.

    Raises:
        TokenFileError: The file cannot be read or holds no token.
    """
    try:
        token = read_file(path, largest_bytes=_LARGEST_BYTES).octets.strip()
    except UnusableFileError as problem:
        raise TokenFileError(f"the admin token file {problem}") from problem
    if not token:
        raise TokenFileError("the admin token file is empty")
    return hmac.compare_digest(token, presented.encode())
