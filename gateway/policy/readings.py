"""Tell how else the service behind a route may read a path that the route lets through.

A route that allows an encoded slash or `;` parameters lets through what servers read in
several ways: WSGI, PHP and CGI applications route by `/a/b` where `/a%2Fb` was sent,
servlet containers cut `;x` off each segment, before or after they decode. The gate has
found a rule under one of these readings. Here are the others, so that the rule which was
found can be held against the rules they lead to (`gateway.policy.evaluate`).

Two kinds, because the two exceptions say different things:

* With `encoded_slash` the service may or may not decode the slash. Each reading with
  `%2F` as `/` must lead to the very same route. `opaque_slash` says that it never does.
* With `parameters` the service is said to cut them off. One that keeps them reads longer
  segments; a rule that it names then must not demand more than the one that was found.
  That it names none is what the exception says yes to: `/login;x=1` is `/login`.

Pure, and on nobody's usual way: a plain path has one reading.

Sources: RFC 3986 2.2 and 3.3 (reserved characters, parameters in segments);
PEP 3333 (PATH_INFO is decoded); Jakarta Servlet 6.0 3.5.2 (parameters are removed, then
the path is decoded).
"""

import re
from collections.abc import Iterator
from typing import NamedTuple

from gateway.policy.paths import BadPath, CanonicalPath, canonical_path

_RAW_PARAMETERS = re.compile(r";[^/]*")
_ESCAPED = re.compile(r"(?:%(?!2F|25)[0-9A-F]{2})+")


class Reading(NamedTuple):
    """One more way to read a path."""

    path: CanonicalPath | BadPath
    """As `gateway.policy.match` takes it; a bad path cannot be anybody's route."""
    keeps_parameters: bool
    """The reader takes `;x`, or `%3Bx`, for a part of the segment."""


def other_readings(path: CanonicalPath, *, opaque_slash: bool) -> Iterator[Reading]:
    """Yield every reading of `path` besides the one that is matched.

    Args:
        path: One that a route lets through.
        opaque_slash: The route's service never decodes `%2F`.
    """
    decodes_slash = path.has_encoded_slash and not opaque_slash
    if decodes_slash:
        # The whole path decoded: segments that appear by it are held to all rules of a path.
        decoded = canonical_path(_with_slashes(path.text).encode("ascii"))
        yield Reading(decoded, False)
    if not path.has_parameters:
        return
    kept = [_keeping(path.text), _keeping(_RAW_PARAMETERS.sub("", path.text))]
    if decodes_slash:
        # Cut off first, decoded then: `/a;x%2Fb` is `/a`, where decoding first makes it `/a/b`.
        yield Reading(_matched(_with_slashes(path.match_text)), False)
        kept += [_with_slashes(text) for text in kept]
    for text in kept:
        yield Reading(_matched(text), True)


def _with_slashes(text: str) -> str:
    return text.replace("%2F", "/")


def _keeping(text: str) -> str:
    """Return `text` with every escape decoded that match texts decode, `%3B` too, and nothing cut off."""
    return _ESCAPED.sub(_decode_run, text)


def _decode_run(escapes: re.Match[str]) -> str:
    return bytes.fromhex(escapes[0].replace("%", "")).decode("utf-8")


def _matched(match_text: str) -> CanonicalPath | BadPath:
    """Return a path that is compared as `match_text`, unless that holds a segment no path may have."""
    if "//" in match_text:
        return BadPath("a segment is empty")
    return CanonicalPath(match_text, match_text, False, False)
