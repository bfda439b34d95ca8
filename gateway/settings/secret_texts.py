"""Spell stored client secrets: `sha256:SALT:HEX` and `scrypt:N:R:P:SALT:HASH`.

SALT, HEX and HASH are lower- or upper-case hexadecimal. Pure; computing and
comparing hashes is `gateway.clients`, reading `env:` and `file:` is the loader.

Sources: CONTRACT section 2 (bounds), RFC 7914 2 (scrypt parameters).
"""

import re

from gateway.settings.model import ScryptSecret, Sha256Secret
from gateway.settings.problems import SpellingError

_HEX = re.compile(r"(?:[0-9a-fA-F]{2})+\Z")
_COUNT = re.compile(r"[1-9][0-9]{0,8}\Z")

LARGEST_N, LARGEST_R, LARGEST_P = 2**15, 8, 2
"""Above these one login would hold too much memory or time (32 MiB, two passes)."""
SMALLEST_N = 2**10

SHORTEST_SECRET = 16
"""Characters; of fewer there are not enough to keep one from being guessed."""
MOST_SECRETS = 16
"""Of one client, of whatever form: every failed login is compared with as many as the longest list has."""
MOST_SCRYPT_SECRETS = 4
"""Of one client: a failed login costs as much as the longest list, whosever it is."""

UNUSABLE_SECRET = "sha256:" + "0" * 32 + ":" + "0" * 64
"""How a stored secret is spelled that no text can match: the place where `sidegate init` puts a real one."""


def parse_hashed_secret(text: str) -> Sha256Secret | ScryptSecret:
    """Return the stored secret of a `sha256:` or `scrypt:` text; raises SpellingError."""
    scheme, _, rest = text.partition(":")
    parts = rest.split(":")
    if scheme == "sha256":
        if len(parts) != 2:
            raise SpellingError("is not sha256:SALT:HEX", "`sidegate secret generate` prints one")
        return Sha256Secret(_bytes(parts[0], "SALT", 8, 64), _bytes(parts[1], "HEX", 32, 32))
    if len(parts) != 5:
        raise SpellingError("is not scrypt:N:R:P:SALT:HASH", "`sidegate secret hash` prints one")
    n, r, p = (_count(part, name) for part, name in zip(parts[:3], ("N", "R", "P"), strict=True))
    if not SMALLEST_N <= n <= LARGEST_N or n & (n - 1):
        raise SpellingError("has an N out of bounds", f"a power of two from {SMALLEST_N} to {LARGEST_N}")
    if r > LARGEST_R or p > LARGEST_P:
        raise SpellingError("has an R or P out of bounds", f"R at most {LARGEST_R}, P at most {LARGEST_P}")
    return ScryptSecret(n, r, p, _bytes(parts[3], "SALT", 8, 64), _bytes(parts[4], "HASH", 16, 64))


def without_line_break(stored: bytes) -> bytes:
    """Return a secret as it was meant: editors, `echo` and key stores end a text with LF or CRLF."""
    return stored.removesuffix(b"\n").removesuffix(b"\r")


def _bytes(text: str, name: str, least: int, most: int) -> bytes:
    if not _HEX.match(text) or not least <= len(text) // 2 <= most:
        size = f"{2 * least}" if least == most else f"{2 * least} to {2 * most}"
        hint = f"`sidegate secret {'hash' if name == 'HASH' else 'generate'}` prints one"
        raise SpellingError(f"has a {name} that is not {size} hexadecimal digits", hint)
    return bytes.fromhex(text)


def _count(text: str, name: str) -> int:
    if not _COUNT.match(text):
        raise SpellingError(f"has no number as {name}", "`sidegate secret hash` prints one")
    return int(text)
