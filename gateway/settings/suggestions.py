"""Make of a text that is not what it should be what it seems to mean.

Each returns nothing where that cannot be told. Whether a suggestion may be shown at all (it is made of
the text, which may come from the environment or hold a secret) is for `gateway.settings.reading` to say.
Pure.
"""

import re
from collections.abc import Mapping

from gateway.hosts import split_authority
from gateway.settings.problems import find_closest, plain_word

_LONGEST_WORD = 100
_PLAIN_PATH = re.compile(r"/[A-Za-z0-9._~{}/-]*").fullmatch


def closest_word(text: str, known: tuple[str, ...], others: Mapping[str, str]) -> str:
    """Return the known word that is meant; `others` are what people write for it, with spaces between."""
    plain = plain_word(text)
    for word in known:
        if plain in (plain_word(word), *map(plain_word, others.get(word, "").split())):
            return word
    close = find_closest(text[:_LONGEST_WORD], known)
    return close if close[:1].lower() == text[:1].lower() else ""  # HS256 is no slip of RS256


def authority_in(text: str) -> tuple[str, bool]:
    """Return what of a URL or of a host with a path is the host and its port, and whether it is a URL."""
    before, is_url, rest = text.partition("://")
    return re.split("[/?#]", rest if is_url else before)[0], bool(is_url)


def without_port(authority: str) -> str:
    """Return the host of `host:port`."""
    found = _split(authority)
    return "" if found is None else found[0]


def host_and_port(authority: str) -> str:
    """Return the authority if it is one."""
    return "" if _split(authority) is None else authority


def as_url(scheme: str, rest: str, *, whole: bool = False) -> str:
    """Return a URL of a host with its port, and with `whole` of all that follows."""
    authority = re.split("[/?#]", rest)[0]
    return f"{scheme}://{rest if whole else authority}" if host_and_port(authority) else ""


def path_in(text: str) -> str:
    """Return the path that is meant by a URL, or by a text without its first slash."""
    _, is_url, rest = text.partition("://")
    path = "/" + (rest.partition("/")[2] if is_url else text.removeprefix("/"))
    return path if _PLAIN_PATH(path) else ""


def _split(authority: str) -> tuple[str, int | None] | None:
    try:
        found = split_authority(authority.encode("ascii"))
    except UnicodeEncodeError:
        return None
    return None if found is None else (found[0].decode("ascii"), found[1])
