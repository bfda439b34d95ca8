"""Quote text from a file without what may be secret in it.

A message is made of what was read and is public. Of an address that is the scheme, and
the host behind the last `@`: a password may hold any character, `/` and `@` too, so what
stands before it cannot be told from the password, and where no host can be told nothing is
shown. Stored secrets, tokens, keys and queries are never shown. What this cannot know is a
secret that somebody writes where a name or a path belongs.

Pure. Which text is an address is the caller's to say; one with `://` always is.

Sources: RFC 3986 3.2.1 (user information) and 3.4 (query).
"""

import re

from gateway.observe.credentials import mask_credentials
from gateway.observe.secret_parameters import mask_parameters

_QUOTED_LENGTH = 80
_LOOKED_AT_LENGTH = 4096
"""Of a text that long nothing more is looked at: it is cut to far less in the end."""
_HIDDEN = "***"
_HOST = re.compile(r"(?:[A-Za-z0-9_*](?:[A-Za-z0-9._*-]*)|\[[0-9A-Fa-f:.]+\])(?::[0-9]{1,5})?\Z")
_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]{0,19}\Z")
_STORED_SECRET = re.compile(r"\s*(plain|sha256|scrypt|env(?!:[A-Za-z_][A-Za-z0-9_]*\Z))\s*:", re.IGNORECASE)
"""As clients have them; what stands behind `env:` and is no name of a variable may be a secret, too."""
_WORD = re.compile(r"[A-Za-z0-9._/-]+\Z")
_KEY_MATERIAL = "-----BEGIN"


def quote(written: str) -> str:
    """Return a text in quotes, on one line, cut to a readable length, without what may be secret."""
    stored = _STORED_SECRET.match(written)
    if stored is not None:
        return f'"{stored[1]}:{_HIDDEN}"'
    if "://" in written or ("@" in written and (":" in written or "//" in written)):
        return quote_address(written)
    return _in_quotes(written)


def quote_address(written: str) -> str:
    """Return the public part of what is meant as an address, in quotes."""
    scheme, found, rest = written.strip().partition("://")
    if not found or not _SCHEME.match(scheme):
        return _quote_without_scheme(written)
    _, at, place = rest.rpartition("@")
    place, query_mark, _ = _cut(place)
    host, slash, path = place.partition("/")
    if not _HOST.match(host):
        return f'"{scheme}://{_HIDDEN}"'
    if not scheme.lower().startswith("http"):
        path = path if path.isdigit() else ""  # a database; anything else may be the rest of a password
    shown = f"{scheme}://{_HIDDEN + at if at else ''}{host}{slash}{path}"
    return _in_quotes(shown + (query_mark + _HIDDEN if query_mark else ""))


def _quote_without_scheme(written: str) -> str:
    """Return a word or a path as it is, of anything else what stands before the first colon, or nothing."""
    if _WORD.match(written):
        return _in_quotes(written)
    scheme, colon, rest = written.partition(":")
    if not colon or not _SCHEME.match(scheme):
        return f'"{_HIDDEN}"'
    return (
        _in_quotes(written) if _WORD.match(rest) and scheme in ("unix", "sqlite") else f'"{scheme}:{_HIDDEN}"'
    )


def _cut(place: str) -> tuple[str, str, str]:
    """Return what stands before the query or fragment, its mark, and what it holds."""
    at = min((index for mark in "?#" if (index := place.find(mark)) >= 0), default=-1)
    return (place, "", "") if at < 0 else (place[:at], place[at], place[at + 1 :])


def _in_quotes(text: str) -> str:
    text = text[:_LOOKED_AT_LENGTH]
    before, begins, _ = text.partition(_KEY_MATERIAL)
    text = before + _KEY_MATERIAL + "…" if begins else mask_credentials(text)
    place, mark, query = text.partition("?")
    text = place + mark + mask_parameters(query)
    if len(text) > _QUOTED_LENGTH:
        text = text[:_QUOTED_LENGTH] + "…"
    return '"' + "".join(char if char.isprintable() else ascii(char)[1:-1] for char in text) + '"'
