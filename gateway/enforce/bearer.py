"""Find the bearer token of a request.

Only the Authorization field is looked at, never query or body (RFC 6750 2.2 and 2.3
are not offered).

Sources: RFC 6750 2.1; RFC 9110 11.4 (the scheme is case-insensitive).
"""

import re

from gateway.policy.model import Reason

_BEARER = re.compile(rb"(?i:bearer)(?: +([A-Za-z0-9\-._~+/]+=*))?")
_BEARER_SCHEME = re.compile(rb"(?i:bearer)(?:[ \t]|$)")


def bearer_token(authorization: bytes | None, count: int) -> bytes | Reason:
    """Return the token, or the reason there is none.

    `no_token` when the field is absent or has another scheme (RFC 6750 3.1: the
    challenge then carries no error), `duplicate_authorization` when there are several
    fields, `malformed_token` when what follows the scheme is not one token.
    """
    if authorization is None:
        return Reason.NO_TOKEN
    if count > 1:
        return Reason.DUPLICATE_AUTHORIZATION
    match = _BEARER.fullmatch(authorization)
    if match is None:
        return Reason.MALFORMED_TOKEN if _BEARER_SCHEME.match(authorization) else Reason.NO_TOKEN
    return match.group(1) or Reason.MALFORMED_TOKEN
