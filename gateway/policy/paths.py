"""Bring a request path into the one form that is matched and forwarded.

The theory of it. A gate is bypassed when it and the upstream read one path in two
ways. So a path that has more than one common reading is refused, and the others get
a single spelling:

* Escapes are decoded once. Unreserved characters lose their escape, the rest keep it
  in upper case; `%2541` therefore stays what it is, and canonicalising twice changes
  nothing.
* Dot segments, empty segments, `\\`, control characters, broken escapes and bytes that
  are not UTF-8 (overlong forms included) are refused, however they are spelt. A dot
  segment is also found behind parameters (`/..;x/`) and around an escaped slash.
* An escaped slash and `;` parameters are refused unless the matched route allows them.
  That needs a route, so here they are only flagged. `%3B` counts as `;`, because many
  servers decode before they look for parameters.

Two texts result. `text` is forwarded. `match_text` is compared with templates: in it
parameters are cut off and every escape but `%2F` and `%25` is decoded, so `/jobs/all%3Arun`
cannot slip past a rule for `/jobs/all:run` under the rule for `/jobs/{id}`.

Not done here: splitting off the query (the caller does, at the first `?`), limits on
length, finding the route (`gateway.policy.match`).

Sources: RFC 3986 2.3, 3.3, 6.2.2 (unreserved, path, normalisation); RFC 3629 3 and 10
(overlong UTF-8); RFC 9110 4.2.3 (comparing http URIs).
"""

import re
from string import hexdigits
from typing import NamedTuple

from gateway.tokens.percent import decode_percent


class CanonicalPath(NamedTuple):
    """A path that passed. A tuple, because one is made per request and must be cheap."""

    text: str
    """What is forwarded; ASCII, begins with `/`."""
    match_text: str
    """What is compared with templates; the same object as `text` when nothing was escaped."""
    has_encoded_slash: bool
    """Refuse with `bad_path` unless the matched route allows `encoded_slash`."""
    has_parameters: bool
    """Refuse with `bad_path` unless the matched route allows `parameters`."""


class BadPath(NamedTuple):
    """A path that is refused; `detail` is for people and quotes nothing the caller sent."""

    detail: str


_PLAIN = re.compile(
    # Nothing to decode, nothing to refuse. Linear, because no segment character is a slash.
    # Segments that begin with a dot are left to the thorough path. Never possessive: in
    # CPython before 3.11.5 `(?:...)++` would let `/a/..` through (python/cpython#100061).
    rb"(?:/(?![/.])[A-Za-z0-9_~!$&'()*+,=:@.\-]*)+"
).fullmatch

_UNRESERVED = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~")
_CANONICAL_ESCAPES = {
    (high + low).encode("ascii"): bytes.fromhex(high + low)
    if bytes.fromhex(high + low)[0] in _UNRESERVED
    else f"%{high}{low}".upper().encode("ascii")
    for high in hexdigits
    for low in hexdigits
}
"""The two digits of an escape as sent -> what stands in its place."""
MOST_ESCAPES = 4096
"""In one path: some 1 300 characters beyond ASCII. Each costs half a microsecond of the event loop."""
_IN_A_PATH = bytes(set(range(0x21, 0x7F)) - set(b'"#<>?\\'))
_ESCAPED_CONTROL = re.compile(r"%(?:[01][0-9A-F]|7F)").search
_DOT_SEGMENT = re.compile(r"(?:/|%2F)\.\.?(?:/|%2F|;|%3B|\Z)").search
_NAMELESS_SEGMENT = re.compile(r"/(?:;|%3B)").search
_PARAMETERS = re.compile(r"(?:;|%3B)[^/]*")
_DECODED_FOR_MATCHING = re.compile(r"(?:%(?!2F|25)[0-9A-F]{2})+")


def canonical_path(target_path: bytes) -> CanonicalPath | BadPath:
    """Return the canonical form of `target_path`, or why it is refused. Never raises.

    Args:
        target_path: The path of the request target as sent, without `?` and query.
    """
    if _PLAIN(target_path):
        text = target_path.decode("ascii")
        return CanonicalPath(text, text, False, False)
    return _read_thoroughly(target_path)


def _read_thoroughly(target_path: bytes) -> CanonicalPath | BadPath:
    if target_path[:1] != b"/":
        return BadPath("the path must begin with /")
    if target_path.translate(None, _IN_A_PATH):
        return BadPath("the path holds a character that must be percent-encoded, or a backslash or #")
    if target_path.count(b"%") > MOST_ESCAPES:
        return BadPath(f"the path holds more than {MOST_ESCAPES} percent-encoded octets")
    before, *escaped = target_path.split(b"%")
    try:
        pieces = [_CANONICAL_ESCAPES[piece[:2]] + piece[2:] for piece in escaped]
    except KeyError:
        return BadPath("a % in the path is not followed by two hexadecimal digits")
    try:
        decode_percent(target_path).decode("utf-8")
    except UnicodeDecodeError:
        return BadPath("the decoded path is not UTF-8")
    text = (before + b"".join(pieces)).decode("ascii")
    if _ESCAPED_CONTROL(text):
        return BadPath("the path holds an encoded control character")
    if "%5C" in text:
        return BadPath("the path holds an encoded backslash")
    if "//" in text:
        return BadPath("the path holds an empty segment (//)")
    if _DOT_SEGMENT(text):
        return BadPath("the path holds a . or .. segment")
    if _NAMELESS_SEGMENT(text):
        return BadPath("the path holds a segment of parameters only")
    has_parameters = ";" in text or "%3B" in text
    bare = _PARAMETERS.sub("", text) if has_parameters else text
    match_text = _DECODED_FOR_MATCHING.sub(_decode_run, bare) if "%" in bare else bare
    return CanonicalPath(text, match_text, "%2F" in text, has_parameters)


def _decode_run(escapes: re.Match[str]) -> str:
    return bytes.fromhex(escapes[0].replace("%", "")).decode("utf-8")


def escape_non_ascii(text: str) -> bytes:
    """Return `text` as a client would send it: everything beyond ASCII percent-encoded as UTF-8.

    For paths that people write into files; a path on the wire is never mended.
    """
    return b"".join(
        char.encode("ascii")
        if char.isascii()
        else b"".join(b"%%%02X" % byte for byte in char.encode("utf-8"))
        for char in text
    )
