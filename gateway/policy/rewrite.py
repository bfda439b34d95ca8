"""Compute the path that an upstream sees.

Works on whole segments: stripping `/a` from `/ab` changes nothing. The prefixes are in
canonical form without a trailing slash (`gateway.policy.compile` sees to it). The query
is the caller's, who appends it untouched.
"""

from typing import NamedTuple

from gateway.policy.model import Route
from gateway.policy.paths import BadPath, CanonicalPath, canonical_path


class RewrittenPath(NamedTuple):
    """The path to forward, and what was taken from its beginning."""

    path: str
    """Begins with `/`."""
    stripped: str
    """The route's `strip_prefix`, or nothing when the path did not begin with it."""


def rewrite_path(route: Route, path: CanonicalPath) -> RewrittenPath:
    """Return the path to forward.

    A path that does not begin with `strip_prefix` keeps what it has. A trailing slash
    stays one: with `strip_prefix: /a` and `add_prefix: /v2`, `/a` gives `/v2` and `/a/`
    gives `/v2/`.
    """
    rewrite = route.rewrite
    left = _without_prefix(path, rewrite.strip_prefix) if rewrite.strip_prefix else None
    stripped = "" if left is None else rewrite.strip_prefix
    return RewrittenPath(rewrite.add_prefix + (path.text if left is None else left) or "/", stripped)


def _without_prefix(path: CanonicalPath, prefix: str) -> str | None:
    """Return `path.text` without the segments of `prefix`: empty, or beginning with `/`.

    None when the path does not begin with them.
    """
    text, match_text = path.text, path.match_text
    if text is match_text and "%" not in prefix:
        matches = text.startswith(prefix) and text[len(prefix) : len(prefix) + 1] in ("", "/")
        return text[len(prefix) :] if matches else None
    # Escapes or parameters: compare as the templates are compared, then drop as many segments.
    canonical = canonical_path(prefix.encode("ascii"))
    if isinstance(canonical, BadPath):
        raise ValueError(f"strip_prefix {prefix!r} was compiled although it is no path: {canonical.detail}")
    wanted = canonical.match_text.split("/")
    if match_text.split("/")[: len(wanted)] != wanted:
        return None
    return "".join("/" + segment for segment in text.split("/")[len(wanted) :])
