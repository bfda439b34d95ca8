"""Say which pages of other origins may call the token endpoint from a browser. Pure.

Origins are compared exactly, and an answer is never for pages with cookies: a client
proves who it is in the request itself. `Vary: Origin` is on every answer once there is
a list, so that no cache gives one page's answer to another.

Sources: Fetch 3.3 (CORS protocol), RFC 6454 6.2, RFC 9110 12.5.5 (Vary).
"""

from collections.abc import Sequence

Fields = tuple[tuple[str, str], ...]

MAX_AGE_S = 600
_METHODS = "POST"
_FIELDS = "Authorization, Content-Type"
_READABLE = "Retry-After, WWW-Authenticate"


def answer_fields(origins: Sequence[str], origin: Sequence[str]) -> Fields:
    """Return the fields to add to an answer.

    Args:
        origins: Those that may call.
        origin: The values of the request's `Origin` fields.
    """
    if not origins:
        return ()
    if len(origin) != 1 or origin[0] not in origins:
        return (("Vary", "Origin"),)
    return (
        ("Vary", "Origin"),
        ("Access-Control-Allow-Origin", origin[0]),
        ("Access-Control-Expose-Headers", _READABLE),
    )


def preflight_fields(origins: Sequence[str], origin: Sequence[str]) -> Fields | None:
    """Return the fields of the answer to a preflight, or None when this origin may not call."""
    if len(origin) != 1 or origin[0] not in origins:
        return None
    return (
        ("Access-Control-Allow-Origin", origin[0]),
        ("Access-Control-Allow-Methods", _METHODS),
        ("Access-Control-Allow-Headers", _FIELDS),
        ("Access-Control-Max-Age", str(MAX_AGE_S)),
        ("Vary", "Origin, Access-Control-Request-Method, Access-Control-Request-Headers"),
    )
