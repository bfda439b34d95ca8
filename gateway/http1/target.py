"""Split a request target into path and query, or say why it is refused.

Only origin-form and absolute-form lead anywhere: CONNECT is not served, and `*` names
no resource that could have a route. An absolute-form target must name the same
authority as Host: RFC 9112 3.2.2 lets it win, but an upstream behind us may see it
otherwise, so a contradiction is refused.

Sources: RFC 9112 3.2.
"""

from gateway.http1.grammar import ABSOLUTE_TARGET
from gateway.http1.request import BadRequest
from gateway.reasons import Reason


def split_target(target: bytes, host: bytes | None) -> tuple[bytes, bytes] | BadRequest:
    """Return (path, query): the path as sent, the query with its `?`, or empty.

    Args:
        target: The request target as sent.
        host: The Host value, or None when absent.
    """
    if target.startswith(b"/"):
        path, mark, query = target.partition(b"?")
        return path, mark + query
    absolute = ABSOLUTE_TARGET.fullmatch(target)
    if absolute is None:
        return BadRequest(
            Reason.BAD_PATH, "the request target is neither a path, which begins with /, nor an http URL"
        )
    authority, path, query = absolute.groups()
    if host is None or authority.lower() != host.lower():
        return BadRequest(
            Reason.BAD_FRAMING, "the request target names another host or port than the Host field"
        )
    return path or b"/", query or b""
